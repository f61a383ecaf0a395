"""The auditor's books of who waits: first come, first served, and nobody waits without a reason."""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from inngest_server.runs.records import ItemRow, ItemState, RunStatus

from .limits import LimitBook, Limits
from .options import PRIORITIES_MS
from .seen import Registered, Run
from .starts import StartBook

Line = tuple[object, ...]
Rank = tuple[int, str, str]
SENT_KEPT = 200
"""Requests that are remembered of each line."""
MOMENT_MS = 1_000
"""By how much a timer may be behind while nothing else happens."""


@dataclass
class Parked:
    line: Line
    rank: Rank
    at_ms: int
    seq: int


class LineBook:
    """Items that were parked and sent; only rows that were committed count."""

    def __init__(
        self,
        wrong: Callable[[str], None],
        seen: Counter[str],
        functions: dict[str, Registered],
        limits: LimitBook,
        starts: StartBook,
    ) -> None:
        self._wrong = wrong
        self._seen = seen
        self._functions = functions
        self._limits = limits
        self._starts = starts
        self._parked: dict[str, Parked] = {}
        self._sent: dict[Line, deque[tuple[int, Rank]]] = {}
        self._taken = 0
        """When memory was last loaded: grants before that are forgotten."""

    def took(self, seq: int) -> None:
        self._taken = seq

    def parked(self, row: ItemRow, run: Run, *, seq: int, now_ms: int) -> None:
        self._seen["run: waited for a slot"] += 1
        line = self._limits.queue_of(run, is_start=run.row.started_at_ms is None)
        known = self._parked.get(row.item_id)
        if known is None or known.line != line:
            self._parked[row.item_id] = Parked(line, _rank(row, run), now_ms, seq)

    def gone(self, item_id: str, run: Run) -> None:
        """It waits no longer, and was not sent."""
        if self._parked.pop(item_id, None) is not None and run.row.status == RunStatus.CANCELLED:
            self._seen["limits: one that waited was cancelled"] += 1

    def configured(self, function_id: str, before: Limits, now: Limits) -> None:
        """The limits of a function are others now: what that means for those that wait."""
        if not any(one.line[0] == function_id for one in self._parked.values()):
            return
        for name in {*before, *now}:
            old, new = before.get(name), now.get(name)
            if old != new:
                what = (
                    "added"
                    if old is None
                    else "removed"
                    if new is None
                    else "raised"
                    if new > old
                    else "lowered"
                )
                self._seen[f"limits: {what} while somebody waited"] += 1

    def sent(self, row: ItemRow, run: Run, *, is_start: bool, now_ms: int) -> None:
        """The first request of an item goes out."""
        line = self._limits.queue_of(run, is_start=is_start)
        if len(line) == 2:
            return  # It waits for nothing.
        rank = _rank(row, run)
        parked = self._parked.pop(row.item_id, None)
        before = self._sent.setdefault(line, deque(maxlen=SENT_KEPT))
        if parked is not None:
            self._check_overtaken(row, run, parked, before, line, now_ms)
        before.append((now_ms, rank))

    def _check_overtaken(
        self,
        row: ItemRow,
        run: Run,
        parked: Parked,
        before: Iterable[tuple[int, Rank]],
        line: Line,
        now_ms: int,
    ) -> None:
        """Nobody behind it in its line was sent since it waits; who was granted before it may."""
        function_id, grant_ms = run.row.function_id, self._limits.grant_ms
        changed = max(self._functions[function_id].changed, self._taken, self._starts.resumed(function_id))
        if changed >= parked.seq or parked.line != line:
            return
        self._seen["limits: sent in its turn"] += 1
        for at_ms, rank in before:
            if parked.at_ms + grant_ms < at_ms < now_ms - grant_ms and rank > parked.rank:
                self._wrong(
                    f"item {row.item_id} of rank {parked.rank} waited since {parked.at_ms} until {now_ms}, "
                    f"and was overtaken at {at_ms} by {rank}"
                )
                return

    def check_rest(self, items: Iterable[tuple[ItemRow, Run]], now_ms: int) -> None:
        """Nothing is to be decided: who waits for slots does so for a reason, and nothing is overdue."""
        self._seen["limits: looked at rest"] += 1
        for row, run in items:
            function_id = run.row.function_id
            if row.state == ItemState.SENT or self._limits.is_rekeying(function_id):
                continue
            if row.state == ItemState.QUEUED:
                if row.due_at_ms < now_ms - MOMENT_MS:
                    self._wrong(f"item {row.item_id} is queued, and was due {now_ms - row.due_at_ms} ms ago")
                continue
            is_start = run.row.started_at_ms is None
            if function_id in self._starts.paused or (is_start and self._starts.is_singleton_taken(run)):
                continue
            if self._limits.shut(run, is_start=is_start, now_ms=now_ms - MOMENT_MS) is None:
                self._wrong(f"item {row.item_id} waits for {row.slots!r}, and all of it has room")
            else:
                self._seen["limits: waits at rest"] += 1


def _rank(row: ItemRow, run: Run) -> Rank:
    return run.row.created_at_ms - run.earlier_ms, run.row.event_id, row.item_id


def earlier_ms(run: Run, *, has_priority: bool) -> int:
    """By how much earlier than it was made a run takes its place."""
    return PRIORITIES_MS.get(run.k, 0) if has_priority and isinstance(run.k, int) else 0
