"""Time and chance, as the server is given them.

Two clocks, never mixed. *Domain time* is an argument of every decision: it orders what happens to runs and
is what timers wait for; a virtual clock replaces it. *Host time* serves sockets, signatures and measurements.
"""

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Where the shells read the time; nothing else in the server does."""

    def now_ms(self) -> int:
        """Domain time: epoch milliseconds."""
        ...

    def host_s(self) -> int:
        """Wall time of this machine in whole epoch seconds, for signatures."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that only grow, for measuring."""
        ...


class SystemClock:
    """The machine's own time for both."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def host_s(self) -> int:
        return int(time.time())

    def monotonic_s(self) -> float:
        return time.monotonic()


class RandomSource(Protocol):
    """Where jitter and fresh ids come from."""

    def random(self) -> float:
        """In [0, 1)."""
        ...

    def getrandbits(self, k: int, /) -> int: ...


def system_random() -> RandomSource:
    """Unpredictable, as ids that act as secrets towards other tenants must be."""
    return random.SystemRandom()
