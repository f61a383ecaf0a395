"""How many events wait to be decided, and whether more may come. Source: design 7."""

from collections.abc import Sequence

from inngest_server.clock import Clock
from inngest_server.engine.options import EngineOptions, EngineUnavailableError
from inngest_server.events.event import Event


class Admission:
    """Counts events from their arrival until they are decided and stored, or refused.

    Only new events are ever turned away: what was answered with 200 is stored, and work under way goes first.
    """

    def __init__(self, clock: Clock, options: EngineOptions) -> None:
        self._clock = clock
        self._options = options
        self.events = 0
        self.bytes = 0
        self._since_s: dict[int, float] = {}
        """When each request's events came, oldest first."""
        self._number = 0

    def check(self) -> None:
        """Return if events may be sent now; asked before their body is read.

        Raises:
            EngineUnavailableError: too many events wait, or the oldest of them for too long.
        """
        options = self._options
        if self.events >= options.undecided_events_max or self.bytes >= options.undecided_bytes_max:
            raise EngineUnavailableError(f"{self.events} events wait to be decided; send again later")
        if self.oldest_s > options.undecided_s_max:
            raise EngineUnavailableError(
                f"events wait for {self.oldest_s:.1f} s to be decided; send again later"
            )

    @property
    def oldest_s(self) -> float:
        """For how long the oldest events wait; 0 while there are none."""
        oldest_s = next(iter(self._since_s.values()), None)
        return 0.0 if oldest_s is None else self._clock.monotonic_s() - oldest_s

    def enter(self, events: Sequence[Event]) -> int:
        """Count the events of a request; `leave` takes the number that this returns."""
        self.events += len(events)
        self.bytes += sum(len(event.body) for event in events)
        self._number += 1
        self._since_s[self._number] = self._clock.monotonic_s()
        return self._number

    def leave(self, number: int, events: Sequence[Event]) -> None:
        """The events are stored, or refused."""
        self.events -= len(events)
        self.bytes -= sum(len(event.body) for event in events)
        del self._since_s[number]
