"""Throttle: starts of runs are delayed, never dropped.

`max(burst, 1)` runs may start at once, then one each `period / limit`; later requests of a run are free.
Each value of the key has its own count, and so has each function (throttling guide; decisions, "throttle
burst").
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from tests.models.leaky_bucket import LeakyBucket
from tests.models.options import duration_ms, key_of


class Throttle:
    """One function's throttle."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.buckets: dict[str, LeakyBucket] = {}

    def bucket(self, data: Mapping[str, Any]) -> LeakyBucket:
        """The bucket in which a start of a run on this event counts."""
        key = key_of(self.options, data)
        if key not in self.buckets:
            capacity = max(self.options.get("burst", 1), 1)
            interval_ms = Fraction(duration_ms(self.options["period"]), max(self.options["limit"], 1))
            self.buckets[key] = LeakyBucket(capacity, interval_ms)
        return self.buckets[key]


def starts_ms(options: Mapping[str, Any], enqueued_ms: list[int]) -> list[int]:
    """When runs start that were enqueued at these moments, in order, and only the throttle holds them."""
    bucket = Throttle(options).bucket({})
    starts: list[int] = []
    for enqueued in enqueued_ms:
        start = bucket.room_from_ms(max([enqueued, *starts[-1:]]))
        bucket.fill(start)
        starts.append(start)
    return starts
