"""Time and chance, as the server is given them.

Two clocks, never mixed. *Domain time* is an argument of every decision: it orders what happens to runs and
is what timers wait for; a virtual clock replaces it. *Host time* serves sockets, signatures and measurements.
"""

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Where the shells read the time; nothing else in the server does.

    What follows `monotonic_s` is for clocks whose domain time is not the host's; others inherit it.
    """

    def now_ms(self) -> int:
        """Domain time: epoch milliseconds."""
        ...

    def host_s(self) -> int:
        """Wall time of this machine in whole epoch seconds, for signatures."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that only grow, for measuring."""
        ...

    def host_ms(self) -> int:
        """Wall time of this machine: epoch milliseconds."""
        return self.now_ms()

    def delay_s(self, until_ms: int) -> float | None:
        """Host time until domain time is there, 0 if it is; None while domain time stands still."""
        return max(0.0, (until_ms - self.now_ms()) / 1000)

    def shift_ms(self) -> int:
        """What to add to an instant that an app took from its own clock, to have the same one in domain time.

        An app's clock is taken to show what the host's shows now.
        """
        return 0

    def seed_shift_ms(self) -> int:
        """The same for the time in the ids of a request that may be repeated: it changes by commands only."""
        return 0


class SystemClock(Clock):
    """The machine's own time for both."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def host_s(self) -> int:
        return int(time.time())

    def monotonic_s(self) -> float:
        return time.monotonic()


class VirtualClock(Clock):
    """Domain time that commands move, over the time of a host.

    It *runs*, one second per second at a distance from the host's, or is *stopped*. It is never set back.
    `is_absolute` says that apps' instants mean domain time as they are.
    """

    def __init__(self, host: Clock, *, is_absolute: bool = False) -> None:
        self._host = host
        # Asked for with every fact, so without a call in between.
        self.monotonic_s, self.host_ms = host.monotonic_s, host.host_ms
        self._is_absolute = is_absolute
        self._offset_ms = 0
        """Domain time less host time; of a stopped clock when it was last moved or stopped."""
        self._stopped_at_ms: int | None = None

    def now_ms(self) -> int:
        return self._host.now_ms() + self._offset_ms if self._stopped_at_ms is None else self._stopped_at_ms

    def host_s(self) -> int:
        return self._host.host_s()

    def delay_s(self, until_ms: int) -> float | None:
        delay_s = super().delay_s(until_ms)
        return None if delay_s and self.is_stopped else delay_s

    def shift_ms(self) -> int:
        if self._is_absolute:
            return 0
        return self._offset_ms if self._stopped_at_ms is None else self._stopped_at_ms - self.host_ms()

    def seed_shift_ms(self) -> int:
        return 0 if self._is_absolute else self._offset_ms

    @property
    def offset_ms(self) -> int:
        """How far domain time is ahead of the host's now; negative after it stood still for long."""
        return self._offset_ms if self._stopped_at_ms is None else self._stopped_at_ms - self.host_ms()

    @property
    def is_stopped(self) -> bool:
        return self._stopped_at_ms is not None

    def restore(self, offset_ms: int) -> None:
        """Run at that distance from the host's time; before anybody has read the clock."""
        self._offset_ms, self._stopped_at_ms = offset_ms, None

    def stop(self) -> None:
        """Stand still from here on."""
        self._stopped_at_ms = self.now_ms()

    def run(self) -> None:
        """Go on from here, one second per second."""
        self._offset_ms, self._stopped_at_ms = self.offset_ms, None

    def move_to(self, at_ms: int) -> None:
        """Go forward to a moment; a moment that has passed changes nothing."""
        if at_ms <= self.now_ms():
            return
        self._offset_ms = at_ms - self.host_ms()
        if self._stopped_at_ms is not None:
            self._stopped_at_ms = at_ms


class RandomSource(Protocol):
    """Where jitter and fresh ids come from."""

    def random(self) -> float:
        """In [0, 1)."""
        ...

    def getrandbits(self, k: int, /) -> int: ...


class SystemRandom:
    """Bits from the system: unpredictable, as ids that act as secrets towards other tenants must be.

    Jitter is no secret, and every decision asks for some: it costs no call of the system.
    """

    def __init__(self) -> None:
        self.random = random.Random().random
        self.getrandbits = random.SystemRandom().getrandbits


def system_random() -> RandomSource:
    return SystemRandom()
