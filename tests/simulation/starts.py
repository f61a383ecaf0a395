"""The auditor's book of starts: what becomes of an event that a function with rules wants.

Each such event is dropped by a rate limit that is used up, and that is noted; or it is collected in one
window, from which one run is made; or it makes a run at once, which is skipped if its function is paused or
its singleton taken. Windows are computed here from events alone, and compared with what was stored.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction

import orjson

from inngest_server.events.records import EventRow, MarkRow
from inngest_server.flow_control.records import PauseRow, TermsRow, WindowRow
from inngest_server.runs.records import JournalKind, RunStatus
from inngest_server.storage.protocol import Batch
from inngest_server.storage.records import MessageRow

from .limits import Levels
from .options import Collects, Pace, value_of
from .seen import Registered, Run, StoredEvent

INVOKED = "inngest/function.invoked"
Notes = set[tuple[str, str]]
"""Internal ids of events, and functions that they did not start because of a rate limit."""


@dataclass
class Window:
    """A debounce or a batch, as it must be."""

    kind: str
    function_id: str
    key: str
    period_ms: int
    due_ms: int
    deadline_ms: int | None
    max_size: int
    id: str = ""
    """Of its row, once there was one."""
    events: list[str] = field(default_factory=list[str])
    """Internal ids: of a batch in order, of a debounce the newest alone."""
    newest_ts_ms: int = 0
    size_bytes: int = 0
    callers: str = ""

    def collect(self, event: StoredEvent, now_ms: int, bytes_max: int) -> None:
        self.size_bytes += len(event.row.body or b"")
        if self.kind == "batch":
            self.events.append(event.row.internal_id)
            if len(self.events) >= self.max_size or self.size_bytes >= bytes_max:
                self.due_ms = now_ms
            return
        if not self.events or event.row.ts_ms >= self.newest_ts_ms:
            self.events, self.newest_ts_ms = [event.row.internal_id], event.row.ts_ms
        due_ms = now_ms + self.period_ms
        self.due_ms = due_ms if self.deadline_ms is None else min(due_ms, self.deadline_ms)

    def follow(self, row: WindowRow) -> None:
        """Take over what is stored, where what happened was not seen."""
        self.id, self.due_ms, self.deadline_ms = row.window_id, row.due_at_ms, row.deadline_ms
        self.events, self.newest_ts_ms = row.event_ids.split("\n"), row.newest_ts_ms
        self.period_ms, self.max_size, self.size_bytes = row.period_ms, row.max_size, row.size_bytes
        self.callers = row.callers


class StartBook:
    """Rate limits, windows, singletons and pauses. Functions, events and runs are the auditor's own."""

    def __init__(
        self,
        wrong: Callable[[str], None],
        seen: Counter[str],
        functions: dict[str, Registered],
        events: dict[str, StoredEvent],
        runs: dict[str, Run],
        damaged: set[str],
    ) -> None:
        self._wrong = wrong
        self._seen = seen
        self._functions = functions
        self._events = events
        self._runs = runs
        self._damaged = damaged
        self.batch_bytes_max = 10 * 1024 * 1024
        self.paused: dict[str, int] = {}
        """Functions, with when they were paused."""
        self._resumed: dict[str, int] = {}
        self._rates: dict[tuple[str, str], Levels] = {}
        self._windows: dict[str, list[Window]] = {}
        """By function, in the order in which they opened."""
        self._closing: list[Window] = []
        """Those that are closed, while it is read whether a rate limit lets their runs start."""
        self._locks: dict[tuple[str, str], list[Run]] = {}
        self._unclear: dict[str, list[Run]] = {}
        """By function: runs that hold a singleton by the one or the other configuration."""
        self.callers: dict[str, str] = {}
        """Correlation ids of invocations that get the result of another one's run, with that run."""
        self.asked: dict[tuple[str, str], int] = {}
        """Starts that were stored because a rate limit was not read yet: function and event, with when."""
        self.late_ms = 0
        """By how much a window closed late at most."""
        self._matched: list[tuple[StoredEvent, str]] = []

    # What a batch does.

    def take(self, batch: Batch, events: Iterable[StoredEvent], runs: list[Run], seq: int) -> None:
        """Events that were stored and runs that were made in a batch; all else in it is known already."""
        notes: Notes = set()
        for key in batch.rows.get(MarkRow, {}):
            if str(key).startswith("why/"):
                _, event_id, function_id = str(key).split("/")
                notes.add((event_id, function_id))
        for row in batch.rows.get(TermsRow, {}).values():
            assert isinstance(row, TermsRow)
            self.callers |= {caller: row.run_id for caller in row.callers.split("\n") if caller}
        self._take_pauses(batch, seq)
        for row in batch.rows.get(MessageRow, {}).values():
            assert isinstance(row, MessageRow)
            for kind, *fields in orjson.loads(b"[" + row.body + b"]"):
                if kind == "start_asked":
                    self.asked[fields[0], fields[1]] = seq
                    self._seen["rate limit: start stored until it was read"] += 1
        touched: list[Window] = []
        for event, function_id, function in self._wanted(events, seq):
            window = self._arrive(event, function_id, function, notes, batch.now_ms)
            if window is not None and window not in touched:
                touched.append(window)
        unseen = any(
            isinstance(row, EventRow) and row.name.startswith("inngest/")
            for row in batch.rows.get(EventRow, {}).values()
        )
        self._compare(batch, touched, seq, unseen=unseen or bool(batch.gone.get(MessageRow)))
        for run in runs:
            self._begin(run, batch, seq)
        self._drop(notes, batch.now_ms, seq)
        self._check_gone(batch, touched, notes, seq)

    def _take_pauses(self, batch: Batch, seq: int) -> None:
        for key in batch.rows.get(PauseRow, {}):
            if str(key) not in self.paused:
                self._seen["pause: function paused"] += 1
                self.paused[str(key)] = seq
        for key in batch.gone.get(PauseRow, {}):
            self.paused.pop(str(key), None)
            self._resumed[str(key)] = seq
            self._seen["pause: function resumed"] += 1

    def _wanted(
        self, events: Iterable[StoredEvent], seq: int
    ) -> Iterable[tuple[StoredEvent, str, Registered]]:
        for event in events:
            if event.row.name.startswith("inngest/") or event.row.body is None:
                continue
            data = orjson.loads(event.row.body)["data"]
            for function_id, function in self._functions.items():
                if function.changed != seq and function.active and function.wants(event.row.name, data):
                    yield event, function_id, function

    def _arrive(
        self, event: StoredEvent, function_id: str, function: Registered, notes: Notes, now_ms: int
    ) -> Window | None:
        """The window that takes the event in; None if none does."""
        collects, rate = function.rules.collects, function.rules.rate
        if collects is None or (collects.has_if and event.k == 2):
            return None
        if (function_id, event.row.internal_id) in self.asked:
            return None
        if rate is not None and not function.rules.rate_counts_runs and collects.kind == "debounce":
            if (event.row.internal_id, function_id) in notes:
                return None
            self._pass(function_id, rate, event, now_ms)
        return self._collect(function_id, collects, event, now_ms)

    def _collect(self, function_id: str, collects: Collects, event: StoredEvent, now_ms: int) -> Window:
        windows, key = self._windows.setdefault(function_id, []), value_of(collects.key, event.k)
        of_key = [one for one in windows if one.kind == collects.kind and one.key == key]
        if of_key and of_key[-1].due_ms > now_ms:
            window = of_key[-1]
            self._seen[f"{collects.kind}: window took another event"] += 1
        else:
            deadline_ms = now_ms + collects.timeout_ms if collects.timeout_ms is not None else None
            due_ms = now_ms + collects.period_ms
            window = Window(
                collects.kind, function_id, key, collects.period_ms, due_ms, deadline_ms, collects.max_size
            )
            windows.append(window)
        window.collect(event, now_ms, self.batch_bytes_max)
        if window.due_ms == window.deadline_ms:
            self._seen["debounce: bounded by its timeout"] += 1
        return window

    def _compare(self, batch: Batch, touched: list[Window], seq: int, *, unseen: bool) -> None:
        """What is stored of windows is what was computed."""
        for row in batch.rows.get(WindowRow, {}).values():
            assert isinstance(row, WindowRow)
            windows = self._windows.setdefault(row.function_id, [])
            known = next((one for one in windows if one.id == row.window_id), None)
            if known is None:
                known = next((one for one in touched if not one.id and _is_of(one, row)), None)
            function = self._functions[row.function_id]
            is_odd = unseen or function.changed == seq
            if unseen:
                self._forget_rates(row.function_id, batch.now_ms)
            if known is None and is_odd:  # What nobody saw may have come into it in the same batch.
                new = [one for one in touched if not one.id and one.function_id == row.function_id]
                known = next((one for one in new if (one.kind, one.key) == (row.kind, row.key_value)), None)
            if known is None:
                if not is_odd:
                    self._wrong(f"the window {row} was opened, and no event asked for it")
                event = self._events[row.event_ids.split("\n")[-1]]
                key = value_of(function.rules.collects.key, event.k) if function.rules.collects else "?"
                known = Window(row.kind, row.function_id, key, 0, 0, None, 0)
                windows.append(known)
            elif not is_odd and not _is_of(known, row):
                self._wrong(f"the window {row} is stored, and should be {known}")
            known.follow(row)
            if known in touched:
                touched.remove(known)

    def _check_gone(self, batch: Batch, touched: list[Window], notes: Notes, seq: int) -> None:
        for window in touched:
            if window in self._windows[window.function_id]:
                self._wrong(f"{window} is not stored, and no run was made of it")
        gone = set(map(str, batch.gone.get(WindowRow, {})))
        for windows in self._windows.values():
            for window in [one for one in windows if one.id in gone]:
                windows.remove(window)
                if (window.events[0], window.function_id) in notes:
                    pass
                elif self.asked.get((window.function_id, window.events[0])) == seq:
                    self._seen["debounce: rate limit read before the run"] += 1
                    self._closing.append(window)
                elif self._functions[window.function_id].changed != seq:
                    self._wrong(f"{window} vanished, and no run was made of it")
        for event_id, function_id in notes:
            for window in [one for one in self._closing if one.function_id == function_id]:
                if window.events[0] == event_id:
                    self._closing.remove(window)

    # Runs.

    def _begin(self, run: Run, batch: Batch, seq: int) -> None:
        row = run.row
        function = self._functions[row.function_id]
        is_new, is_again = function.changed == seq, row.original_run_id is not None
        if not is_again:
            self._begin_by_event(run, batch, function, seq, is_new=is_new)
        reason = _skip_reason(run, batch)
        self._check_pause(run, reason, seq)
        if reason:
            self._seen[f"run: skipped, {reason}"] += 1
        self._check_singleton(run, function, reason, batch, seq, is_new=is_new)

    def _begin_by_event(
        self, run: Run, batch: Batch, function: Registered, seq: int, *, is_new: bool
    ) -> None:
        """From a window that is due, or from an event or invocation that none takes in."""
        row, rules = run.row, function.rules
        ids = [row.event_id, *run.further]
        windows = self._windows.get(row.function_id, [])
        wanted = (row.function_id, ids, "debounce" if row.batch_id is None else "batch")
        candidates = [*self._closing, *windows]
        window = next((one for one in candidates if (one.function_id, one.events, one.kind) == wanted), None)
        if window is not None and window.due_ms > batch.now_ms and rules.collects is None:
            # The very same request again, of a function that has stopped collecting: not the window's run.
            window = window if self._events[row.event_id].seq == seq else None
        if window is not None:
            (self._closing if window in self._closing else windows).remove(window)
            run.is_of_window = True
            self._seen[f"{window.kind}: run made of a window"] += 1
            self._seen["batch: window full"] += window.kind == "batch" and len(ids) == window.max_size
            self.late_ms = max(self.late_ms, batch.now_ms - window.due_ms)
            if batch.now_ms < window.due_ms:
                self._wrong(f"{window} was closed {window.due_ms - batch.now_ms} ms early")
        elif is_new and self._close_unseen(windows, ids, run.born):
            run.is_of_window = True
        elif row.batch_id is not None:
            self._wrong(
                f"run {row.run_id} is of the batch {ids}, which nobody collected; there are {windows}"
            )
        elif rules.collects is not None and not is_new:
            event = self._events[row.event_id]
            is_free = rules.collects.kind == "batch" and (
                event.row.name == INVOKED or (event.k == 2 and rules.collects.has_if)
            )
            if not is_free:
                self._wrong(f"run {row.run_id} is of {ids}, past the {rules.collects}; there are {windows}")
        counts = rules.rate_counts_runs if window is not None else rules.collects is None
        if rules.rate is not None and counts and row.batch_id is None:
            event = self._events[row.event_id]
            self._pass(row.function_id, rules.rate, event, batch.now_ms, is_new=is_new)

    def _close_unseen(self, windows: list[Window], ids: list[str], seq: int) -> bool:
        """Whether a run may be of these events, of which some came in the batch of a sync."""
        for window in windows:
            rest = [one for one in ids if one not in window.events]
            if window.events == ids[: len(window.events)] and all(
                self._events[one].seq == seq for one in rest
            ):
                windows.remove(window)
                return True
        return all(self._events[one].seq == seq for one in ids)

    def _check_pause(self, run: Run, reason: str, seq: int) -> None:
        function_id = run.row.function_id
        paused = self.paused.get(function_id)
        if reason == "FunctionPaused":
            if paused is None and self._resumed.get(function_id) != seq:
                self._wrong(f"run {run.row.run_id} was skipped, and its function is not paused")
        elif paused is not None and paused < seq and reason != "FunctionRemoved":
            self._wrong(f"run {run.row.run_id} was made, and its function is paused")

    def _check_singleton(
        self, run: Run, function: Registered, reason: str, batch: Batch, seq: int, *, is_new: bool
    ) -> None:
        singleton = function.rules.singleton
        terms = batch.rows.get(TermsRow, {}).get(run.row.run_id)
        name = terms.singleton if isinstance(terms, TermsRow) else ""
        if is_new or singleton is None:
            if name:
                self._unclear.setdefault(run.row.function_id, []).append(run)
            if name and not is_new:
                self._wrong(
                    f"run {run.row.run_id} holds the singleton {name}, which its function does not have"
                )
            return
        lock = run.row.function_id, value_of(singleton[1], run.k)
        holders = [one for one in self._locks.get(lock, ()) if not one.ended]
        if reason == "Singleton":
            self._seen["singleton: run skipped"] += 1
            holders = [*self._locks.get(lock, ()), *self._unclear.get(run.row.function_id, ())]
            if not any(not one.ended or one.ended == seq for one in holders):
                self._wrong(f"run {run.row.run_id} was skipped for a singleton that nobody holds")
        elif not reason:
            if not name and not run.ended:
                self._wrong(f"run {run.row.run_id} does not hold the singleton of its function")
            if holders and singleton[0] == "skip":
                self._wrong(f"the singleton {lock} is held by {[*holders, run]}")
            self._seen["singleton: newer run made an older one end"] += bool(holders)
            self._locks.setdefault(lock, []).append(run)
            run.lock = lock

    def started(self, run: Run) -> None:
        """The first request of a run goes out."""
        for other in self._locks.get(run.lock, ()) if run.lock is not None else ():
            is_held = other.row.run_id in self._damaged  # It keeps nobody waiting.
            if other is not run and other.started and not (other.ended or is_held):
                self._wrong(
                    f"run {run.row.run_id} starts while {other.row.run_id} has its singleton {run.lock}"
                )

    def resumed(self, function_id: str) -> int:
        """When the function was last paused or resumed."""
        return max(self.paused.get(function_id, 0), self._resumed.get(function_id, 0))

    def was_paused(self, function_id: str, seq: int) -> bool:
        """Whether it was paused, or is not any more, since this batch."""
        return self.resumed(function_id) == seq

    def is_collected(self, function_id: str, internal_id: str) -> bool:
        """Whether a window of the function holds the event."""
        return any(internal_id in one.events for one in self._windows.get(function_id, ()))

    def is_singleton_taken(self, run: Run) -> bool:
        """Whether a started run holds what this one needs to start."""
        others = self._locks.get(run.lock, ()) if run.lock is not None else ()
        return any(other.started and not other.ended for other in others if other is not run)

    # Rate limits.

    def _pass(
        self, function_id: str, pace: Pace, event: StoredEvent, now_ms: int, *, is_new: bool = False
    ) -> None:
        levels = self._levels(function_id, pace, event, now_ms)
        if is_new:  # It may have been let through before the sync of this batch, or after it.
            levels.forget_above(now_ms)
        elif not levels.fill(now_ms):
            self._wrong(
                f"event {event.row.internal_id} passed the rate limit {pace} of {function_id}, now used up"
            )

    def _drop(self, notes: Notes, now_ms: int, seq: int) -> None:
        for event_id, function_id in sorted(notes):
            function = self._functions[function_id]
            self._seen["rate limit: event dropped"] += 1
            if function.changed == seq:
                continue
            if function.rules.rate is None:
                self._wrong(f"event {event_id} was dropped by {function_id}, which limits no rate")
                continue
            self._seen["idempotency: event dropped"] += function.rules.rate.period_ms == 86_400_000
            levels = self._levels(function_id, function.rules.rate, self._events[event_id], now_ms)
            if levels.upper.has_room(max(now_ms, levels.upper.seen_ms)):
                self._wrong(
                    f"event {event_id} was dropped, and the rate limit of {function_id} has room: {levels}"
                )

    def _levels(self, function_id: str, pace: Pace, event: StoredEvent, now_ms: int) -> Levels:
        key = function_id, f"{pace.key}={value_of(pace.key, event.k)}"
        levels = self._rates.get(key)
        if levels is None or levels.pace != pace:
            is_known = levels is None and self._functions[function_id].rules.collects is None
            levels = self._rates[key] = (Levels.empty if is_known else Levels.unknown)(pace, now_ms)
        return levels

    def _forget_rates(self, function_id: str, now_ms: int) -> None:
        """An invocation may have passed the rate limit of a debounced function, where nobody sees it."""
        for key, levels in self._rates.items():
            if key[0] == function_id:
                levels.lower.level = Fraction(0)
                levels.forget_above(now_ms)

    # The end.

    def check_settled(self) -> None:
        left = [*self._closing, *(one for windows in self._windows.values() for one in windows)]
        if left:
            self._wrong(f"never closed: {left}")


def _is_of(window: Window, row: WindowRow) -> bool:
    return (
        window.function_id == row.function_id
        and window.kind == row.kind
        and window.due_ms == row.due_at_ms
        and window.deadline_ms == row.deadline_ms
        and window.events == row.event_ids.split("\n")
    )


def _skip_reason(run: Run, batch: Batch) -> str:
    if run.row.status != RunStatus.SKIPPED:
        return ""
    for entry in batch.journal:
        if entry.run_id == run.row.run_id and entry.kind == JournalKind.ENDED:
            return str(orjson.loads(entry.meta)["reason"])
    return "?"
