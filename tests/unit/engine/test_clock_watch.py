"""The clock watch: a jump forward wakes who waits, and a clock that is behind is said."""

from dataclasses import dataclass, field
from typing import Any, cast

import structlog

from inngest_server.engine.clock_watch import ClockWatch
from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import Ping

HOUR_MS = 3_600_000


@dataclass
class Machine:
    """Both clocks, and an engine as far as the watch knows it."""

    wall_ms: int = 1_700_000_000_000
    monotonic_ms: int = 5_000
    domain_ms: int = 0
    told: list[Any] = field(default_factory=list[Any])

    def now_ms(self) -> int:
        return self.wall_ms

    def host_ms(self) -> int:
        return self.wall_ms

    def monotonic_s(self) -> float:
        return self.monotonic_ms / 1000

    def pass_time(self, wall_ms: int, monotonic_ms: int) -> None:
        self.wall_ms += wall_ms
        self.monotonic_ms += monotonic_ms


class FakeEngine:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.tell = machine.told.append

    def now_ms(self) -> int:
        self._machine.domain_ms = max(self._machine.domain_ms, self._machine.wall_ms)
        return self._machine.domain_ms


def said_after(machine: Machine, *passed: tuple[int, int]) -> list[dict[str, Any]]:
    """What is logged while the clocks move on so, wall and monotonic, with a look after each step."""
    watch = ClockWatch(cast("Engine", FakeEngine(machine)), cast("Any", machine))
    with structlog.testing.capture_logs() as said:
        for wall_ms, monotonic_ms in passed:
            machine.pass_time(wall_ms, monotonic_ms)
            watch.run_once()
    return cast("list[dict[str, Any]]", said)


def test_time_that_passes_and_a_clock_that_is_adjusted_slowly_are_nothing() -> None:
    machine = Machine()
    assert said_after(machine, (1_000, 1_000), (1_400, 1_000), (700, 1_000), (30_000, 30_000)) == []
    assert machine.told == []


def test_a_jump_forward_wakes_the_engine_once() -> None:
    machine = Machine()
    (line,) = said_after(machine, (HOUR_MS, 1_000), (1_000, 1_000))
    assert (line["event"], line["by_s"]) == ("clock.stepped", 3_599)
    assert [type(fact) for fact in machine.told] == [Ping]


def test_a_jump_back_behind_what_was_decided_is_said() -> None:
    machine = Machine()
    said_after(machine, (1_000, 1_000))
    machine.domain_ms = machine.wall_ms
    (line,) = said_after(machine, (-HOUR_MS, 1_000), (1_000, 1_000))
    assert (line["event"], line["by_s"]) == ("clock.behind", 3_600)
    assert machine.told == []
