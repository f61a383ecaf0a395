"""What runs wait for, as the auditor sees it: events, signals, invoked runs and timers.

Three sentences about events are checked (design 4): an event whose request began after a wait was committed
must end it; one that was stored before the wait existed must not; whatever lies between may, once.
"""

from collections import Counter
from collections.abc import Callable

import orjson

from inngest_server.runs.records import JournalRow, RunStatus, WaitKind, WaitRow
from inngest_server.storage.protocol import Batch

from .seen import Client, Registered, Run, StoredEvent, Wait, plain


class WaitBook:
    """Open and closed waits; `seq` is the auditor's place in the order of everything, which it sets.

    Runs, functions, events and acknowledgements are the auditor's own dictionaries.
    """

    def __init__(
        self,
        wrong: Callable[[str], None],
        seen: Counter[str],
        runs: dict[str, Run],
        functions: dict[str, Registered],
        events: dict[str, StoredEvent],
        acknowledged: dict[str, Client],
        damaged: set[str],
        callers: dict[str, str],
    ) -> None:
        self._wrong = wrong
        self._seen = seen
        self._runs = runs
        self._functions = functions
        self._events = events
        self._acknowledged = acknowledged
        self._damaged = damaged
        self._callers = callers
        """Correlation ids of invocations that share a debounced run, with that run."""
        self.seq = 0
        self.open: dict[str, Wait] = {}
        self._closed: list[Wait] = []
        self._signals: set[bytes] = set()
        self._signals_taken: Counter[bytes] = Counter()

    def check_batch(self, batch: Batch) -> None:
        """At most one wait gets a signal."""
        for row in batch.rows.get(WaitRow, {}).values():
            assert isinstance(row, WaitRow)
            if row.kind == WaitKind.SIGNAL and row.name:
                open_waits = [
                    one.row.wait_id
                    for one in self.open.values()
                    if one.row.kind == WaitKind.SIGNAL and one.row.name == row.name
                ]
                if len(open_waits) > 1:
                    self._wrong(f"the waits {open_waits} would all get the signal {row.name}")

    def signalled(self, signal: str, data: bytes) -> None:
        self._signals.add(_signal(signal, data))

    def acknowledged_signal(self, signal: str, data: bytes, run_id: str) -> None:
        run = self._runs.get(run_id)
        has_failed = run is not None and run.row.status == RunStatus.FAILED  # Its state became too large.
        if not self._signals_taken[_signal(signal, data)] and not has_failed:
            self._wrong(f"signal {signal} {data!r} was answered with 200, and no run got it")

    def put(self, row: WaitRow) -> None:
        known = self.open.get(row.wait_id)
        if known is not None:
            if row.kind == WaitKind.SIGNAL and row == known.row._replace(name=""):
                known.row = row  # Another wait replaced it.
                self._seen["wait: signal replaced"] += 1
            else:
                self._wrong(f"wait {row.wait_id} was opened twice")
            return
        self.open[row.wait_id] = Wait(row, self.seq)
        if row.run_id in self._runs and row.kind != WaitKind.CANCEL:
            self._runs[row.run_id].waits.add(row.wait_id)

    def take_signal(self, entry: JournalRow) -> None:
        """A wait got a signal, maybe within the batch that opened it."""
        signal = plain(orjson.dumps(orjson.loads(entry.payload or b"")["data"]))
        self._signals_taken[signal] += 1
        if signal not in self._signals:
            self._wrong(f"step {entry.step_id} of {entry.run_id} got {signal!r}, which nobody sent")
        if self._signals_taken[signal] > 1:
            self._wrong(f"the signal {signal!r} ended {self._signals_taken[signal]} waits")

    def close(self, wait: Wait, memo: JournalRow | None, batch: Batch) -> None:
        row = wait.row
        self._closed.append(wait)
        wait.closed = self.seq
        run = self._runs[row.run_id]
        run.waits.discard(row.wait_id)
        if memo is None:
            wait.how = "end" if run.ended else "timeout"
            if wait.how == "timeout" and (row.kind != WaitKind.CANCEL or row.fires_at_ms > batch.now_ms):
                self._wrong(f"{row.kind} wait {row.wait_id} vanished without a memo")
            return
        meta = orjson.loads(memo.meta)
        payload = memo.payload or b""
        if row.kind == WaitKind.SLEEP or meta.get("timeout"):
            wait.how = "timeout"
            if memo.at_ms < row.fires_at_ms:
                self._wrong(f"timer of {row.wait_id} fired {row.fires_at_ms - memo.at_ms} ms early")
            if row.kind == WaitKind.INVOKE:
                self._check_child_is_running(row)
            elif payload != b"null":
                self._wrong(f"wait {row.wait_id} timed out with {payload!r}")
        elif row.kind == WaitKind.EVENT:
            wait.how, wait.event = "event", meta.get("event", "")
            self._check_woken(wait, run, payload)
        elif row.kind == WaitKind.SIGNAL:
            wait.how = "signal"
        else:
            wait.how = "child"
            self._check_child_result(row, payload)
        if row.kind in (WaitKind.EVENT, WaitKind.SIGNAL):
            how = (
                "its timeout"
                if wait.how == "timeout"
                else f"{'an' if wait.how == 'event' else 'a'} {wait.how}"
            )
            self._seen[f"wait: ended by {how}"] += 1
        elif row.kind == WaitKind.INVOKE:
            self._seen["invoke: timed out" if wait.how == "timeout" else "invoke: answered by its run"] += 1

    def _check_woken(self, wait: Wait, run: Run, payload: bytes) -> None:
        row = wait.row
        event = self._events.get(wait.event)
        if event is None:
            self._wrong(f"wait {row.wait_id} was ended by the unknown event {wait.event}")
            return
        if event.row.body != payload:
            self._wrong(f"wait {row.wait_id} got {payload!r}, the event is {event.row.body!r}")
        if event.seq < wait.opened:
            self._wrong(f"wait {row.wait_id} was ended by {wait.event}, which was there before it")
        if event.duplicate:
            self._wrong(f"wait {row.wait_id} was ended by {wait.event}, a duplicate")
        if wait.event == run.row.event_id:
            self._wrong(f"wait {row.wait_id} was ended by the run's own event")
        if not self._is_for(wait, event, run):
            self._wrong(f"wait {row.wait_id} for {row.name} {row.expression!r} got {payload!r}")

    def _is_for(self, wait: Wait, event: StoredEvent, run: Run) -> bool:
        return event.row.name == wait.row.name and (not wait.row.expression or event.k == run.k)

    def _child_of(self, row: WaitRow) -> Run | None:
        shared = self._runs.get(self._callers.get(row.wait_id, ""))
        return next((run for run in self._runs.values() if run.row.parent == row.wait_id), shared)

    def _check_child_is_running(self, row: WaitRow) -> None:
        child = self._child_of(row)
        if child is None or not 0 < child.ended < self.seq:
            return
        if (child.row.ended_at_ms or 0) < row.fires_at_ms:  # Otherwise both came due together.
            self._wrong(f"invocation {row.wait_id} timed out although {child.row.run_id} had ended")

    def _check_child_result(self, row: WaitRow, payload: bytes) -> None:
        child = self._child_of(row)
        memo = orjson.loads(payload)
        parent = self._runs[row.run_id]
        if child is not None and self._app_of(child) != self._app_of(parent):
            self._seen["invoke: from another app"] += 1
        if child is None:
            reasons = ("could not find function", "invoked function is rate limited", "function was skipped")
            self._seen["invoke: refused by a rate limit"] += reasons[1] in str(memo)
            if not any(reason in str(memo) for reason in reasons):
                self._wrong(f"invocation {row.wait_id} got {payload!r} and has no run")
            return
        if not child.ended:
            self._wrong(f"invocation {row.wait_id} got {payload!r} of a run that has not ended")
        elif child.row.output is not None:
            key = "data" if child.row.status == RunStatus.COMPLETED else "error"
            if memo != {key: orjson.loads(child.row.output)}:
                self._wrong(
                    f"invocation {row.wait_id} got {payload!r}, its run ended with {child.row.output!r}"
                )

    def _app_of(self, run: Run) -> str:
        return self._functions[run.row.function_id].slug.partition("-")[0]

    def _check_not_missed(self, wait: Wait) -> None:
        """An event whose request began after the wait was committed must have ended it."""
        run = self._runs[wait.row.run_id]
        for client in self._acknowledged.values():
            event = self._events.get(client.internal_id)
            if event is None or event.duplicate:
                continue
            if not (wait.opened < client.began and wait.opened < event.seq < wait.closed):
                continue
            self._seen["wait: event began after it opened"] += 1
            if event.row.internal_id == run.row.event_id or not self._is_for(wait, event, run):
                continue
            by = self._events.get(wait.event)
            if by is not None and by.seq <= event.seq:
                continue
            if wait.how == "timeout" and wait.row.fires_at_ms <= event.decided_ms:
                continue  # Its moment had come when the event was decided.
            if wait.how == "end" and wait.row.kind == WaitKind.EVENT:
                continue
            if wait.row.run_id in self._damaged:
                continue
            if wait.row.kind == WaitKind.CANCEL and (
                run.row.status != RunStatus.COMPLETED or run.last_sent <= event.seq
            ):
                continue  # Its answer had come before; or a child that the same event cancels failed it.
            self._wrong(
                f"{wait.row.kind} wait {wait.row.wait_id} (opened {wait.opened}, closed {wait.closed} by "
                f"{wait.how}) missed event {event.row.internal_id} (began {client.began}, stored {event.seq})"
            )

    def check_settled(self) -> None:
        """After everything has ended: no wait missed the event that should have ended it."""
        for wait in self._closed:
            if wait.row.kind in (WaitKind.EVENT, WaitKind.CANCEL):
                self._check_not_missed(wait)


def _signal(signal: str, data: bytes) -> bytes:
    return plain(b'{"signal":"%b","data":%b}' % (signal.encode(), data))
