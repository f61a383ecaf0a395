"""Reads what decisions lack: contents of runs that were dropped, and marks of event ids that were seen.

Facts wait here until their reading is done. Nothing is changed but `Run.content`, which the loader fills, and
only for runs that have none.
"""

from collections import deque
from collections.abc import Callable

import structlog

from inngest_server.engine import events
from inngest_server.engine.facts import EventsSent, Pending
from inngest_server.engine.options import EngineUnavailableError
from inngest_server.engine.work import Work
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.runs.records import RunRow
from inngest_server.runs.run import Content
from inngest_server.storage.protocol import Storage, StorageError

log = structlog.get_logger("inngest.engine")

LOADS_PER_READ = 500


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
        self._load_singly = 0
        self._generation = 0
        self.rounds = 0
        """Readings begun so far."""
        self.held: dict[str, str] = {}
        """Runs that are set aside, with the reason: a decision raised, or their rows are damaged."""
        self.wake: Callable[[], None] = lambda: None
        """Called when there is something to load."""

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

    def forget(self) -> list[Pending]:
        """Drop everything that waits, and what is being read; returns what waited."""
        waited = [pending for queue in self._waiting.values() for pending in queue]
        waited += self._events
        self._waiting.clear()
        self._to_load.clear()
        self._events.clear()
        self._generation += 1
        return waited

    async def load_once(self) -> bool:
        """Read what waiting facts lack; False if nothing was wanted."""
        if not self._to_load and not self._events:
            return False
        self.rounds += 1
        round_number, generation = self.rounds, self._generation
        run_ids = [self._to_load.popleft() for _ in range(min(self._loads_per_read(), len(self._to_load)))]
        pending = [self._events.popleft() for _ in range(min(LOADS_PER_READ, len(self._events)))]
        try:
            if pending:
                await self._load_marks(pending, round_number)
            contents = await self._load_contents(run_ids) if run_ids else {}
        except StorageError as error:
            log.error("engine.load_failed", code=error.code, detail=str(error))
            if generation == self._generation:
                self._load_failed(run_ids, pending, error)
            else:
                refuse(pending)
            return True
        if generation != self._generation:
            refuse(pending)  # Memory was forgotten meanwhile; what was read belongs to the past.
            return True
        self._events_inbox.extend(pending)
        for run_id in run_ids:
            run = self._work.live.find_run(run_id)
            if run is not None and run.content is None:
                run.content = contents.get(run_id)
                if run.content is None:
                    self._hold_unreadable(run_id)
                    continue
            # In front: what came for the run while it was loaded comes after what it was loaded for.
            self._work.inbox.extendleft(reversed(self._waiting.pop(run_id, ())))
        return True

    def _loads_per_read(self) -> int:
        """One while the damaged one among several runs is looked for."""
        if self._load_singly == 0:
            return LOADS_PER_READ
        self._load_singly -= 1
        return 1

    def _hold_unreadable(self, run_id: str) -> None:
        log.error("engine.run_unreadable", run_id=run_id, detail="its event or journal is missing or damaged")
        self.held[run_id] = "its event or journal is missing or damaged"
        for pending in self._waiting.pop(run_id, ()):
            self._work.inbox.append(pending)

    def _load_failed(self, run_ids: list[str], pending: list[Pending], error: StorageError) -> None:
        """A damaged row holds its run alone; a storage that does not answer is reopened."""
        refuse(pending)
        if error.code != "storage_corrupt":
            self._failed(str(error))
        elif len(run_ids) == 1:
            self._hold_unreadable(run_ids[0])
        else:
            self._to_load.extendleft(reversed(run_ids))
            self._load_singly = len(run_ids)

    async def _load_marks(self, pending: list[Pending], round_number: int) -> None:
        facts = [one.fact for one in pending]
        keys = [
            events.mark_key(event.event_id)
            for fact in facts
            if isinstance(fact, EventsSent)
            for event in fact.events
            if event.repeatable
        ]
        marks = {
            row.key: (row.internal_id, row.expires_at_ms) for row in await self._storage.get(MarkRow, keys)
        }
        for fact in facts:
            assert isinstance(fact, EventsSent)
            asked_again = fact.round > 0
            fact.marks, fact.round = marks, round_number
            if asked_again:
                candidates = events.candidate_runs(self._work, fact, self._now_ms())
                fact.run_ids = frozenset(row.run_id for row in await self._storage.get(RunRow, candidates))
                sent_again = [event.internal_id for event in fact.events if event.repeatable]
                stored = await self._storage.get(EventRow, sent_again)
                fact.stored = {row.internal_id: row for row in stored}

    async def _load_contents(self, run_ids: list[str]) -> dict[str, Content]:
        runs = {run_id: run for run_id in run_ids if (run := self._work.live.find_run(run_id)) is not None}
        bodies = {
            row.internal_id: row.body
            for row in await self._storage.get(EventRow, [run.row.event_id for run in runs.values()])
        }
        journals = await self._storage.journals(list(runs))
        contents: dict[str, Content] = {}
        for run_id, run in runs.items():
            body = bodies.get(run.row.event_id)
            if body is None:
                continue
            content = contents[run_id] = Content(body)
            for entry in journals.get(run_id, ()):
                content.fold(entry)
        return contents


def refuse(pending: list[Pending]) -> None:
    """Tell who asked that it cannot be decided now; what came as a message stays stored."""
    for one in pending:
        if one.reply is not None and not one.reply.done():
            one.reply.set_exception(EngineUnavailableError("the server cannot read its storage now"))
