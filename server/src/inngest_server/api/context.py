"""What the HTTP handlers work with."""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from inngest_server.api.lane import Lane
from inngest_server.apps.app_error import AppError
from inngest_server.clock import Clock
from inngest_server.engine.engine import Engine
from inngest_server.engine.time_travel import TimeTravel
from inngest_server.observability.metrics import Metrics
from inngest_server.settings import Settings
from inngest_server.storage.protocol import Storage


class Syncer(Protocol):
    """Asks an app to announce its functions."""

    async def sync(self, url: str) -> AppError | None:
        """PUT to the app; None when it accepted. Its registration comes by a request of its own."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of a server that handlers may use."""

    settings: Settings
    engine: Engine
    storage: Storage
    syncer: Syncer
    clock: Clock
    version: str
    metrics: Metrics | None = None
    """None where nobody scrapes, as in tests of other things."""
    refusals: dict[str, None] = field(default_factory=dict[str, None])
    """Problems of refused registrations that were logged."""
    lane: Lane = field(default_factory=Lane)
    """Where answers are made that take longer than the event loop may."""
    left_running: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    """What handlers began and did not wait for; the loop keeps no task alive by itself."""
    forking: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a run is started again: what it takes over is in memory then, and may be large."""
    travel: TimeTravel | None = None
    """None where the clock cannot be moved."""
