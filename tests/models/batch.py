"""Batching: events of one key are collected and become one run on all of them, in the order in which they
came.

A batch is over when it has `maxSize` events, or 10 MiB of them, or `timeout` after its first one. An event
for which `if` is not true goes its own way (batching guide, protocol 5.10).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.models.event import Event
from tests.models.options import duration_ms, key_of, value_of

BATCH_BYTES = 10 * 1024 * 1024


@dataclass
class Collected:
    """One open batch."""

    began_ms: int
    options: Mapping[str, Any]
    events: list[Event] = field(default_factory=list)

    def ends_ms(self) -> int:
        """When it is over, full or not."""
        return self.began_ms + duration_ms(self.options["timeout"])

    def is_full(self) -> bool:
        """Whether it is over at once."""
        return (
            len(self.events) >= self.options["maxSize"]
            or sum(event.bytes for event in self.events) >= BATCH_BYTES
        )


class Batching:
    """One function's open batches."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.open: dict[str, Collected] = {}

    def concerns(self, event: Event) -> bool:
        """Whether an event is collected at all."""
        condition = self.options.get("if")
        return not condition or value_of(condition, event.data) is True

    def take(self, event: Event, now_ms: int) -> list[Event] | None:
        """Collect an event; the batch's events if it is full with it."""
        key = key_of(self.options, event.data)
        collected = self.open.setdefault(key, Collected(now_ms, self.options))
        collected.events.append(event)
        return self.open.pop(key).events if collected.is_full() else None

    def next_ms(self) -> int | None:
        """When the first batch is over without being full."""
        return min((collected.ends_ms() for collected in self.open.values()), default=None)

    def ended(self, now_ms: int) -> list[list[Event]]:
        """The batches whose time is up, which are over then."""
        over = [key for key, collected in self.open.items() if collected.ends_ms() <= now_ms]
        return [self.open.pop(key).events for key in over]
