"""Notices that the machine's clock was set, or that the machine slept.

The engine's alarm counts monotonic time, as timers of an event loop do. When the wall clock jumps forward,
what became due must start now and not when the alarm would have rung.
"""

import asyncio

import structlog

from inngest_server.clock import Clock
from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import Ping

log = structlog.get_logger("inngest.clock")

INTERVAL_S = 1.0
STEP_MS = 1_000
"""Below this a clock is being adjusted slowly, as it always is."""


class ClockWatch:
    """Compares the two clocks once a second."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._offset_ms = self._offset()

    async def run(self) -> None:
        self._tell_if_behind(0)  # What is stored may come from a clock that was ahead.
        while True:
            await asyncio.sleep(INTERVAL_S)
            self.run_once()

    def run_once(self) -> None:
        """Look at the clocks; wakes the engine if the time of day has jumped."""
        before_ms, self._offset_ms = self._offset_ms, self._offset()
        step_ms = self._offset_ms - before_ms
        if abs(step_ms) < STEP_MS:
            return
        if step_ms > 0:
            log.warning("clock.stepped", by_s=step_ms // 1000)
            self._engine.tell(Ping())
        self._tell_if_behind(step_ms)

    def _tell_if_behind(self, step_ms: int) -> None:
        behind_ms = self._engine.now_ms() - self._clock.now_ms()
        if behind_ms >= STEP_MS:
            log.warning(
                "clock.behind",
                by_s=behind_ms // 1000,
                stepped_s=step_ms // 1000,
                detail="this clock shows an earlier time than what was stored; sleeps, timeouts, retries and "
                "crons wait until it has caught up",
            )

    def _offset(self) -> int:
        return self._clock.host_ms() - int(self._clock.monotonic_s() * 1000)
