"""A leaky bucket in exact fractions: what GCRA computes, seen from the other side.

GCRA remembers the moment at which the bucket will be empty; this remembers how full it is. The two are the
same rule, and have no line in common.
"""

import math
from dataclasses import dataclass
from fractions import Fraction


@dataclass
class LeakyBucket:
    """Room for `capacity` units; one unit leaks out each `interval_ms`, as a steady trickle."""

    capacity: int
    interval_ms: Fraction
    level: Fraction = Fraction(0)
    seen_ms: int = 0

    def level_at(self, now_ms: int) -> Fraction:
        """How many units are in it at a moment."""
        return max(Fraction(0), self.level - Fraction(now_ms - self.seen_ms) / self.interval_ms)

    def has_room(self, now_ms: int) -> bool:
        """Whether one more unit fits."""
        return self.level_at(now_ms) + 1 <= self.capacity

    def fill(self, now_ms: int) -> None:
        """Put one unit in; there must be room."""
        assert self.has_room(now_ms)
        self.level, self.seen_ms = self.level_at(now_ms) + 1, now_ms

    def room_from_ms(self, now_ms: int) -> int:
        """The first whole millisecond, not before `now_ms`, at which one more unit fits."""
        too_much = self.level_at(now_ms) + 1 - self.capacity
        return now_ms + max(0, math.ceil(too_much * self.interval_ms))
