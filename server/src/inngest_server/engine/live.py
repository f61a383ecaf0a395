"""What a node keeps in memory of the shards it owns."""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from inngest_server.apps.records import CronRow
from inngest_server.engine import timeouts
from inngest_server.engine.functions import Functions
from inngest_server.engine.timers import Timer, Timers
from inngest_server.engine.windows import Windows
from inngest_server.events.expressions import compile_expression
from inngest_server.events.wait_index import WaitIndex
from inngest_server.flow_control.parking import Parking
from inngest_server.flow_control.records import MeterRow, PauseRow, RekeyRow
from inngest_server.flow_control.timeouts import Timeout
from inngest_server.jobs.records import JobRow
from inngest_server.runs.placement import shard_of_run
from inngest_server.runs.records import ItemState, WaitKind, WaitRow
from inngest_server.runs.run import Run
from inngest_server.wire import json

if TYPE_CHECKING:
    from inngest_server.engine.rekeying import Progress


class Shard:
    """One owned shard: its epoch and its unfinished runs."""

    __slots__ = ("epoch", "id", "runs")

    def __init__(self, shard_id: int, epoch: int) -> None:
        self.id = shard_id
        self.epoch = epoch
        self.runs: dict[str, Run] = {}


class Live:
    """All owned shards, and what is indexed across them: waits, timers, signals, crons."""

    def __init__(
        self, functions: Functions, *, idle_contents_max: int, idle_bytes_max: int, window_bytes_max: int
    ) -> None:
        self.functions = functions
        self.shards: dict[int, Shard] = {}
        self.waits = WaitIndex[str]()
        self._signals: dict[str, WaitRow] = {}
        self._locks: dict[str, dict[str, None]] = {}
        """Unfinished runs by the singleton that they hold, the oldest first."""
        self.making_way: set[str] = set()
        """Runs that were told to end because a newer one has their singleton."""
        self.crons: dict[str, CronRow] = {}
        self.pauses: dict[str, PauseRow] = {}
        """By function."""
        self.rekeys: dict[str, RekeyRow] = {}
        """By function."""
        self.meters: dict[str, MeterRow] = {}
        """By bucket."""
        self.rekeying: dict[str, Progress] = {}
        """By function: how far it is."""
        self.meter_dues_ms: dict[str, int] = {}
        """Moments of the throttles' timers, by bucket."""
        self.slots = self._make_slots()
        self.windows = Windows(window_bytes_max)
        self.jobs: dict[str, JobRow] = {}
        """Those that have not ended."""
        self.due_jobs: dict[str, None] = {}
        """Those whose next slice may be read."""
        self.timers = Timers(self._is_alive)
        self.item_counts = Counter[tuple[str, str]]()
        """Items by function id and state: counted as they change, because counting them takes long."""
        self.wait_counts = Counter[str]()
        """Waits by kind."""
        self.unreached: dict[str, dict[str, None]] = {}
        """Items by app, in order, that are queued again because it did not answer; gone with a restart."""
        self._idle: OrderedDict[str, int] = OrderedDict()
        self._idle_bytes = 0
        self._idle_contents_max = idle_contents_max
        self._idle_bytes_max = idle_bytes_max

    def clear(self) -> None:
        """Forget everything; the shards are loaded again."""
        self.shards.clear()
        self.waits = WaitIndex[str]()
        self._signals.clear()
        self._locks.clear()
        self.making_way.clear()
        self.crons.clear()
        for table in (self.pauses, self.rekeys, self.meters, self.windows, self.jobs, self.due_jobs):
            table.clear()
        self.meter_dues_ms.clear()
        self.rekeying.clear()
        self.slots = self._make_slots()
        self.timers.clear()
        self.item_counts.clear()
        self.wait_counts.clear()
        self.unreached.clear()
        self._idle.clear()
        self._idle_bytes = 0

    def _make_slots(self) -> Parking:
        return Parking(self.functions.limit_of, self.functions.rate_of, self.pauses.__contains__)

    def find_run(self, run_id: str) -> Run | None:
        shard = self.shards.get(shard_of_run(run_id)) if len(run_id) == 26 else None
        return shard.runs.get(run_id) if shard is not None else None

    def run_count(self) -> int:
        return sum(len(shard.runs) for shard in self.shards.values())

    def lock(self, run: Run) -> None:
        """Let a run hold the singleton that its terms name, if they name one."""
        if run.terms is not None and run.terms.singleton:
            self._locks.setdefault(run.terms.singleton, {})[run.id] = None

    def unlock(self, run: Run) -> None:
        """The run has ended."""
        if run.terms is None or not run.terms.singleton:
            return
        holders = self._locks.get(run.terms.singleton, {})
        holders.pop(run.id, None)
        self.making_way.discard(run.id)
        if not holders:
            self._locks.pop(run.terms.singleton, None)

    def holders_of(self, lock: str) -> tuple[str, ...]:
        """The unfinished runs that hold a singleton, the oldest first.

        Several hold it only while all but the last are being cancelled.
        """
        return tuple(self._locks.get(lock, ()))

    def rivals_of(self, lock: str) -> tuple[str, ...]:
        """Those of them that were not told to make way; of many in a burst that is the last one."""
        found: list[str] = []
        for run_id in reversed(self._locks.get(lock, {})):
            if run_id in self.making_way:
                break  # When one is told, all that were there before it are too.
            found.append(run_id)
        return tuple(reversed(found))

    def open_wait(self, wait: WaitRow) -> None:
        """Index a wait and set its timer."""
        self.wait_counts[wait.kind] += 1
        if wait.kind in (WaitKind.EVENT, WaitKind.CANCEL):
            expression = compile_expression(wait.expression) if wait.expression else None
            captured = tuple(json.parse_kept(wait.captured)) if expression is not None else ()
            self.waits.add(wait.wait_id, wait.name, expression, captured)
        elif wait.kind == WaitKind.SIGNAL and wait.name:
            holder = self._signals.get(wait.name)
            if holder is None or holder.opened_at_ms <= wait.opened_at_ms:
                self._signals[wait.name] = wait
        self.timers.set(wait.fires_at_ms, "wait", wait.run_id, wait.wait_id)

    def close_wait(self, wait: WaitRow) -> None:
        self.wait_counts[wait.kind] -= 1
        if wait.kind in (WaitKind.EVENT, WaitKind.CANCEL):
            self.waits.remove(wait.wait_id)
        elif wait.kind == WaitKind.SIGNAL and self.signal_holder(wait.name) == wait.wait_id:
            del self._signals[wait.name]

    def signal_holder(self, signal: str) -> str | None:
        """The id of the wait that gets the signal: of several, the one opened last."""
        wait = self._signals.get(signal)
        return wait.wait_id if wait is not None else None

    def _is_alive(self, timer: Timer) -> bool:
        if timer.kind == "cron":
            row = self.crons.get(timer.key)
            return row is not None and row.fires_at_ms == timer.due_ms
        if timer.kind == "window":
            return self.windows.is_armed(timer.key, timer.due_ms)
        if timer.kind == "pause":
            pause = self.pauses.get(timer.key)
            return pause is not None and pause.cancel_at_ms == timer.due_ms
        if timer.kind == "meter":
            return self.meter_dues_ms.get(timer.key) == timer.due_ms
        if timer.kind == "job":
            return timer.key in self.jobs
        run = self.find_run(timer.owner)
        if run is None:
            return False
        if timer.kind == "wait":
            return timer.key in run.waits
        if timer.kind in (Timeout.START, Timeout.FINISH):
            due = timeouts.deadline_of(self.functions.get(run.row.function_id), run)
            return due is not None and due.timeout == timer.kind and due.at_ms == timer.due_ms
        item = run.items.get(timer.key)
        return item is not None and item.state == ItemState.QUEUED and item.due_at_ms == timer.due_ms

    # Contents of idle runs are dropped when there are too many; the journal brings them back.

    def touched(self, runs: Iterable[Run]) -> None:
        """Call when the changes of these runs are durable: contents of idle ones may now be dropped."""
        runs = list(runs)
        # First, so that none of them is dropped for being the oldest: it may just have been sent.
        for run in runs:
            self._idle_bytes -= self._idle.pop(run.id, 0)
        for run in runs:
            self._may_be_idle(run)
        while self._idle and (
            len(self._idle) > self._idle_contents_max or self._idle_bytes > self._idle_bytes_max
        ):
            oldest, size = self._idle.popitem(last=False)
            self._idle_bytes -= size
            idle = self.find_run(oldest)
            if idle is not None:
                idle.content = None

    def _may_be_idle(self, run: Run) -> None:
        run_id = run.id
        if run.content is None or self.find_run(run_id) is not run:
            return
        if _is_under_way(run):
            return  # Its answer will be decided soon.
        size = run.content.size_bytes
        run.content.forget_parsed()
        self._idle[run_id] = size
        self._idle_bytes += size


def _is_under_way(run: Run) -> bool:
    """Whether a request of the run is out."""
    return any(item.state == ItemState.SENT for item in run.items.values())
