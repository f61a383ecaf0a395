"""Debounce: a series of events becomes one run, on the newest of them.

Each event of a key moves the end of the series to `period` later, but not beyond `timeout` after the first
one. The newest by `ts` is the run's event; of two with the same `ts` the one that came later (debounce
guide, protocol 5.11). What the options were when the series began counts until it ends (issue 4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.models.event import Event
from tests.models.options import duration_ms, key_of


@dataclass
class Series:
    """The events of one key since the last run, with their moments of arrival."""

    options: Mapping[str, Any]
    arrivals: list[tuple[int, Event]]

    def ends_ms(self) -> int:
        """When the run starts if no further event comes."""
        first_ms, last_ms = self.arrivals[0][0], self.arrivals[-1][0]
        end_ms = last_ms + duration_ms(self.options["period"])
        if self.options.get("timeout"):
            end_ms = min(end_ms, first_ms + duration_ms(self.options["timeout"]))
        return end_ms

    def newest(self) -> Event:
        """The event of the run."""
        newest_ms, newest = self.arrivals[0]
        newest_ms = newest.ts_ms if newest.ts_ms is not None else newest_ms
        for arrived_ms, event in self.arrivals[1:]:
            ts_ms = event.ts_ms if event.ts_ms is not None else arrived_ms
            if ts_ms >= newest_ms:
                newest_ms, newest = ts_ms, event
        return newest


class Debounce:
    """One function's open series."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.series: dict[str, Series] = {}

    def take(self, event: Event, now_ms: int) -> None:
        """An event came; a series that was to end at this moment has ended."""
        key = key_of(self.options, event.data)
        self.series.setdefault(key, Series(self.options, [])).arrivals.append((now_ms, event))

    def next_ms(self) -> int | None:
        """When the first of the series ends."""
        return min((series.ends_ms() for series in self.series.values()), default=None)

    def ended(self, now_ms: int) -> list[Event]:
        """The events of the series that end now, which are over then."""
        over = [key for key, series in self.series.items() if series.ends_ms() <= now_ms]
        return [self.series.pop(key).newest() for key in over]
