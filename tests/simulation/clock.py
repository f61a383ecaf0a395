"""The clocks of a world: true time, the machine's wall clock, which is wrong and jumps, and domain time."""

from inngest_server.clock import Clock

from .event_loop import SimulatedLoop

T0_MS = 1_790_000_000_000


class WorldClock(Clock):
    """The machine's clock as nodes read it: true time, and an offset that may jump either way."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.offset_ms = 0
        self.latest_ms = 0
        """The highest reading that anybody got."""

    def now_ms(self) -> int:
        now_ms = self.true_ms() + self.offset_ms
        self.latest_ms = max(self.latest_ms, now_ms)
        return now_ms

    def true_ms(self) -> int:
        return T0_MS + int(self._loop.time() * 1000)

    def domain_ms(self) -> int:
        """No node's domain time is ahead of this."""
        self.now_ms()
        return self.latest_ms

    def catch_up(self) -> None:
        """Set a clock that was put back to the highest time that it ever showed."""
        self.offset_ms = max(self.offset_ms, self.latest_ms - self.true_ms())

    def host_s(self) -> int:
        return self.now_ms() // 1000

    def monotonic_s(self) -> float:
        return self._loop.time()
