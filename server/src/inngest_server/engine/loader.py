"""Reads what decisions lack: contents of runs that were dropped, and marks of event ids that were seen.

Facts wait here until their reading is done. Nothing is changed but `Run.content`, which the loader fills, and
only for runs that have none.
"""

from collections import deque
from collections.abc import Callable

import structlog

from inngest_server.engine import events, starts
from inngest_server.engine.facts import EventsSent, Pending, StartDue, WindowDue
from inngest_server.engine.options import EngineUnavailableError, UndecidableError
from inngest_server.engine.work import Work
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.flow_control.parking import run_of
from inngest_server.runs.facts import Ending, ItemDue
from inngest_server.runs.records import RunRow, RunStatus
from inngest_server.runs.run import Content, Run
from inngest_server.runs.skip import SkipReason, find_skipped
from inngest_server.storage.protocol import Storage, StorageError

log = structlog.get_logger("inngest.engine")

LOADS_PER_READ = 500
EVENTS_PER_READ = 1_000
"""After so many no further request is read with them: what limits their starts is found out in one go."""
LOADS_AHEAD = 100
"""Runs that are read with one that got its slots, because they come next in its queue; at most."""
LOADS_AHEAD_FIRST = 10
AHEAD_BYTES = 8 * 1024 * 1024
"""Of those, roughly: as many are read as would have fitted the last time."""
WINDOW_BYTES_PER_READ = 32 * 1024 * 1024
UNREADABLE = "its event or journal is missing or damaged"


class Loader:
    """The facts that wait for a reading, and the reading.

    `failed` is told when the storage does not answer; `now_ms` is domain time.
    """

    def __init__(
        self,
        storage: Storage,
        work: Work,
        events_inbox: deque[Pending],
        *,
        now_ms: Callable[[], int],
        failed: Callable[[str], None],
    ) -> None:
        self._storage = storage
        self._work = work
        self._events_inbox = events_inbox
        self._now_ms = now_ms
        self._failed = failed
        self._waiting: dict[str, list[Pending]] = {}
        """Facts by the run whose content they wait for."""
        self._to_load: deque[str] = deque()
        self._events: deque[Pending] = deque()
        self._reading: list[Pending] = []
        """Events whose marks are being read."""
        self._windows: deque[Pending] = deque()
        """Windows that are due, and lack events."""
        self._reading_windows: list[Pending] = []
        # More than there is room for would drop those that are next.
        self._ahead_most = min(LOADS_AHEAD, work.options.idle_contents_max // 2)
        self._ahead_max = min(LOADS_AHEAD_FIRST, self._ahead_most)
        self._load_singly = 0
        """Facts and runs still to be read one at a time, to find the one among them that cannot be read."""
        self._generation = 0
        self.rounds = 0
        """Readings begun so far."""
        self.wake: Callable[[], None] = lambda: None
        """Called when there is something to load."""

    @property
    def is_busy(self) -> bool:
        """Whether anything waits here."""
        of_windows = self._windows or self._reading_windows
        return bool(self._waiting or self._events or self._reading or of_windows)

    def wait_for_content(self, run_id: str, pending: Pending) -> None:
        """Let a fact wait until its run is in memory."""
        queue = self._waiting.get(run_id)
        if queue is None:
            self._waiting[run_id] = [pending]
            self._to_load.append(run_id)
            self.wake()
        else:
            queue.append(pending)

    def wait_for_marks(self, pending: Pending) -> None:
        """Let events wait until it is known which of their ids were seen."""
        self._events.append(pending)
        self.wake()

    def wait_for_events(self, pending: Pending) -> None:
        """Let a window that is due wait until its events are in memory."""
        self._windows.append(pending)
        self.wake()

    def forget(self) -> list[Pending]:
        """Drop everything that waits, and what is being read; returns what waited."""
        waited = [pending for queue in self._waiting.values() for pending in queue]
        waited += [*self._reading, *self._events, *self._reading_windows, *self._windows]
        self._waiting.clear()
        self._to_load.clear()
        self._reading = []
        self._events.clear()
        self._reading_windows = []
        self._windows.clear()
        self._generation += 1
        return waited

    async def load_once(self) -> bool:
        """Read what waiting facts lack; False if nothing was wanted."""
        has_read = await self._load_windows() if self._windows else False
        if not self._to_load and not self._events:
            return has_read
        self.rounds += 1
        round_number, generation = self.rounds, self._generation
        is_alone = self._load_singly > 0
        run_ids, self._reading = self._next()
        ahead = self._next_in_line(run_ids) if not is_alone else []
        pending = self._reading
        try:
            if pending:
                await self._load_marks(pending, round_number)
            contents = await self._load_contents([*run_ids, *ahead]) if run_ids else {}
        except StorageError as error:
            log.error("engine.load_failed", code=error.code, detail=str(error))
            if generation == self._generation:
                if error.code == "storage_corrupt":
                    await self._without_the_bad_one(run_ids, pending, ahead, error)
                else:
                    self._failed(str(error))
            return True
        except Exception as error:  # Our own mistake, about one of what was read.
            log.error("engine.load_failed", exc_info=error)
            if generation == self._generation:
                await self._without_the_bad_one(run_ids, pending, ahead, error)
            return True
        if generation != self._generation:
            return True  # Memory was forgotten meanwhile; what was read belongs to the past.
        self._reading = []
        self._events_inbox.extend(pending)
        for run_id in run_ids:
            if generation != self._generation:
                break
            run = self._work.live.find_run(run_id)
            if run is not None and run.content is None:
                run.content = contents.get(run_id)
                if run.content is None:
                    await self._unreadable(run_id, UNREADABLE)
                    continue
            self._give_back(run_id)
        if generation == self._generation:
            self._keep(ahead, contents)
        return True

    def _next_in_line(self, run_ids: list[str]) -> list[str]:
        """Runs behind those that are read because they got their slots: their turn is soon.

        They are read in the same go. Otherwise each would wait for a read of its own when its turn has come.
        """
        live, wanted = self._work.live, dict[str, None]()
        for run_id in run_ids:
            run = live.find_run(run_id)
            for pending in self._waiting[run_id] if run is not None else ():
                left = self._ahead_max - len(wanted)
                if run is not None and left > 0 and isinstance(pending.fact, ItemDue):
                    items = live.slots.next_after(pending.fact.item_id, run.row.function_id, left)
                    wanted |= dict.fromkeys(map(run_of, items))
        runs = [run for run_id in wanted if run_id not in self._waiting and (run := live.find_run(run_id))]
        return [run.id for run in runs if run.content is None]

    def _keep(self, run_ids: list[str], contents: dict[str, Content]) -> None:
        """Keep what was read ahead as contents of idle runs; what could not be read is read in its turn."""
        kept: list[Run] = []
        for run_id in run_ids:
            run = self._work.live.find_run(run_id)
            if run is None or run.content is not None or run_id not in contents:
                continue
            run.content = contents[run_id]
            kept.append(run)
            if run_id in self._waiting:  # Its turn came meanwhile.
                self._to_load.remove(run_id)
                self._give_back(run_id)
        if kept:
            size_bytes = sum([run.loaded.size_bytes for run in kept])
            fitting = AHEAD_BYTES * len(kept) // max(size_bytes, 1)
            self._ahead_max = max(1, min(self._ahead_most, 2 * self._ahead_max, fitting))
            # Room for them is made after a commit: what another run holds now may not be durable yet.
            self._work.touched |= {run.id: run for run in kept}

    def _next(self) -> tuple[list[str], list[Pending]]:
        """The runs and the events that are read next."""
        limit = LOADS_PER_READ
        if self._load_singly:
            self._load_singly -= 1
            limit = 1
        run_ids = [self._to_load.popleft() for _ in range(min(limit, len(self._to_load)))]
        limit = LOADS_PER_READ if limit > 1 else 1 - len(run_ids)
        requests: list[Pending] = []
        events_left = EVENTS_PER_READ
        while self._events and len(requests) < limit and events_left > 0:
            pending = self._events.popleft()
            requests.append(pending)
            events_left -= len(pending.fact.events) if isinstance(pending.fact, EventsSent) else 1
        return run_ids, requests

    def _give_back(self, run_id: str) -> None:
        # In front: what came for the run while it was loaded comes after what it was loaded for.
        self._work.inbox.extendleft(reversed(self._waiting.pop(run_id, ())))

    async def _without_the_bad_one(
        self, run_ids: list[str], pending: list[Pending], ahead: list[str], error: Exception
    ) -> None:
        """A run that cannot be read is held alone, and of several requests that one is refused.

        Runs that were read `ahead` may be at fault too; they are read again in their turn.
        """
        self._reading = []
        if len(run_ids) + len(pending) + len(ahead) > 1:
            self._to_load.extendleft(reversed(run_ids))
            self._events.extendleft(reversed(pending))
            self._load_singly = len(run_ids) + len(pending)
        elif run_ids:
            why = UNREADABLE if isinstance(error, StorageError) else f"{type(error).__name__}: {error}"
            await self._unreadable(run_ids[0], why)
        else:
            for one in pending:
                if isinstance(one.fact, StartDue):
                    run_id = starts.run_id_of(self._work, starts.start_of(self._work, one.fact))
                    self.hold(run_id, f"{type(error).__name__}: {error}")
                    self._work.held.refuse(run_id, one)
                else:
                    one.fail(UndecidableError(error))

    def hold(self, run_id: str, why: str) -> None:
        """Set a run aside whose rows cannot be understood."""
        self._work.hold(run_id, "run", why, self._now_ms())

    async def _unreadable(self, run_id: str, why: str) -> None:
        """Hold a run; but what ends it can be decided on what is left of it."""
        endings = [one for one in self._waiting[run_id] if isinstance(one.fact, Ending)]
        run, generation = self._work.live.find_run(run_id), self._generation
        if run is None:
            self._give_back(run_id)  # It ended meanwhile.
            return
        if endings:
            try:
                content = await self._salvage(run)
            except StorageError as error:
                log.error("engine.load_failed", code=error.code, detail=str(error))
            else:
                if generation == self._generation and run.content is None:
                    run.content = content
        if generation != self._generation:
            return
        if run.content is None:
            self.hold(run_id, why)
            for one in endings:
                one.fail(EngineUnavailableError("the server cannot read its storage now"))
                self._waiting[run_id].remove(one)
        else:
            # First, so that nothing else is decided on a content that holds next to nothing.
            self._work.inbox.extendleft(reversed(endings))
            self._waiting[run_id] = [one for one in self._waiting[run_id] if one not in endings]
        self._work.inbox.extend(self._waiting.pop(run_id))

    async def _salvage(self, run: Run) -> Content:
        rows = await self._storage.salvage(EventRow, [run.row.event_id])
        entries = await self._storage.salvage_journal(run.id)
        return Content.remains(rows[0].body if rows else None, entries[-1].n if entries else 0)

    async def _load_marks(self, pending: list[Pending], round_number: int) -> None:
        facts = [one.fact for one in pending if isinstance(one.fact, EventsSent | StartDue)]
        keys = {
            events.mark_key(event.event_id): None
            for fact in facts
            if isinstance(fact, EventsSent)
            for event in fact.events
            if event.repeatable
        }
        now_ms = self._now_ms()
        meters = frozenset([key for fact in facts for key in starts.meters_of(self._work, fact, now_ms)])
        rows = await self._storage.get(MarkRow, [*keys, *sorted(meters)])
        marks = {row.key: (row.value, row.expires_at_ms) for row in rows}
        for fact in facts:
            asked_again = fact.round > 0
            fact.marks, fact.asked_marks, fact.round = marks, meters, round_number
            if asked_again and isinstance(fact, EventsSent):
                candidates = events.candidate_runs(self._work, fact, self._now_ms())
                existing = await self._storage.get(RunRow, candidates)
                fact.asked = frozenset(candidates)
                fact.run_ids = frozenset(row.run_id for row in existing)
                fact.paused_run_ids = await self._skipped_by_pause(existing)
                sent_again = [event.internal_id for event in fact.events if event.repeatable]
                stored = await self._storage.get(EventRow, sent_again)
                fact.stored = {row.internal_id: row for row in stored}

    async def _load_windows(self) -> bool:
        """Read the events of windows, as many as one read may be large; a damaged event has no body."""
        generation, ids, size_bytes = self._generation, dict[str, None](), 0
        while self._windows and len(ids) < LOADS_PER_READ and size_bytes < WINDOW_BYTES_PER_READ:
            pending = self._windows.popleft()
            assert isinstance(pending.fact, WindowDue)
            window = self._work.live.windows.find(pending.fact.window_id)
            if window is not None:
                self._reading_windows.append(pending)
                # All: what is in memory now may be dropped before the read is done.
                ids |= dict.fromkeys(window.event_ids)
                size_bytes += window.size_bytes
        try:
            rows = {row.internal_id: row for row in await self._storage.salvage(EventRow, list(ids))}
        except StorageError as error:
            log.error("engine.load_failed", code=error.code, detail=str(error))
            if generation == self._generation:
                self._failed(str(error))
            return True
        if generation == self._generation:
            for pending in self._reading_windows:
                assert isinstance(pending.fact, WindowDue)
                pending.fact.read = rows
            self._work.inbox.extend(self._reading_windows)
            self._reading_windows = []
        return True

    async def _skipped_by_pause(self, rows: list[RunRow]) -> frozenset[str]:
        skipped = [row.run_id for row in rows if row.status == RunStatus.SKIPPED]
        if not skipped:
            return frozenset()
        journals = await self._storage.journals(skipped)
        return frozenset(
            run_id
            for run_id, entries in journals.items()
            if (found := find_skipped(entries)) is not None and found.reason == SkipReason.FUNCTION_PAUSED
        )

    async def _load_contents(self, run_ids: list[str]) -> dict[str, Content]:
        runs = {run_id: run for run_id in run_ids if (run := self._work.live.find_run(run_id)) is not None}
        batches = [run_id for run_id, run in runs.items() if run.row.batch_id is not None]
        further = await self._storage.batched_events(batches) if batches else {}
        wanted = [run.row.event_id for run in runs.values()]
        wanted += [event_id for event_ids in further.values() for event_id in event_ids]
        bodies = {row.internal_id: row.body for row in await self._storage.get(EventRow, wanted)}
        journals = await self._storage.journals(list(runs))
        contents: dict[str, Content] = {}
        for run_id, run in runs.items():
            body = bodies.get(run.row.event_id)
            ids = further.get(run_id, ())
            others = tuple([other for one in ids if (other := bodies.get(one)) is not None])
            if body is None or len(others) < len(ids):
                continue
            content = contents[run_id] = Content(body, others)
            for entry in journals.get(run_id, ()):
                content.fold(entry)
        return contents
