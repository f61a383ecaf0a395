"""How late the event loop is: the one figure that tells a busy server from a blocked one."""

import asyncio
from collections import deque

from inngest_server.clock import Clock

INTERVAL_S = 1.0
SAMPLES_KEPT = 60


class LoopLag:
    """Sleeps again and again and notes by how much it overslept; all else that is late is late by as much."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[float] = deque(maxlen=SAMPLES_KEPT)

    @property
    def largest_s(self) -> float:
        """The largest lag of the last minute."""
        return max(self._samples, default=0.0)

    def note(self, lag_s: float) -> None:
        self._samples.append(max(0.0, lag_s))

    async def run(self) -> None:
        while True:
            began_s = self._clock.monotonic_s()
            await asyncio.sleep(INTERVAL_S)
            self.note(self._clock.monotonic_s() - began_s - INTERVAL_S)
