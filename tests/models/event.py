"""An event as the models know it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """What was sent: `number` tells events apart, `id` is what the sender called it (`""`: nothing).

    `ts_ms` is the sender's moment; None is that of arrival. `bytes` is the size that counts for a batch.
    """

    number: int
    data: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    ts_ms: int | None = None
    name: str = "test/event"
    bytes: int = 100
