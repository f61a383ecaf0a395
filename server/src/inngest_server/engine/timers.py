"""Moments at which something is due, soonest first. The first entry is the engine's only alarm."""

import heapq
from collections.abc import Callable
from typing import NamedTuple


class Timer(NamedTuple):
    due_ms: int
    key: str
    """Of two that are due at the same moment the smaller one is first: that of the older run."""
    kind: str
    """`item`, `wait`, `start`, `finish`, `cron`, `pause`; other rules of flow control have theirs."""
    owner: str
    """Run id; empty for what belongs to no run."""


class Timers:
    """A heap with lazy deletion: who pops an entry checks whether it still means something.

    What is no longer meant is swept out when it may be the greater part, so that memory follows the timers
    that are alive and not those ever set.
    """

    SWEEP_MIN = 4096

    def __init__(self, is_alive: Callable[[Timer], bool]) -> None:
        self._heap: list[Timer] = []
        self._is_alive = is_alive
        self._sweep_at = self.SWEEP_MIN

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, due_ms: int, kind: str, owner: str, key: str) -> None:
        heapq.heappush(self._heap, Timer(due_ms, key, kind, owner))
        if len(self._heap) > self._sweep_at:
            self._heap = [timer for timer in self._heap if self._is_alive(timer)]
            heapq.heapify(self._heap)
            self._sweep_at = max(self.SWEEP_MIN, 2 * len(self._heap))

    def soonest(self) -> Timer | None:
        """The next timer that still means something."""
        while self._heap and not self._is_alive(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def has_any(self, *, but: frozenset[str]) -> bool:
        """Whether a timer of another kind than these still means something; looks at many of them."""
        return any(timer.kind not in but and self._is_alive(timer) for timer in self._heap)

    def next_due_ms(self) -> int | None:
        return self._heap[0].due_ms if self._heap else None

    def take_due(self, now_ms: int, limit: int) -> list[Timer]:
        """Remove and return what is due, soonest first, at most `limit` entries."""
        due: list[Timer] = []
        while self._heap and self._heap[0].due_ms <= now_ms and len(due) < limit:
            due.append(heapq.heappop(self._heap))
        return due

    def clear(self) -> None:
        self._heap.clear()
        self._sweep_at = self.SWEEP_MIN
