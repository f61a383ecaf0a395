"""The clocks: what a virtual one shows, and how far apps' instants are moved."""

import pytest

from inngest_server.clock import Clock, VirtualClock
from tests.builders import T0_MS

DAY_MS = 24 * 3_600_000


class Host(Clock):
    def __init__(self) -> None:
        self.ms = T0_MS

    def now_ms(self) -> int:
        return self.ms

    def host_s(self) -> int:
        return self.ms // 1000

    def monotonic_s(self) -> float:
        return self.ms / 1000


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def clock(host: Host) -> VirtualClock:
    return VirtualClock(host)


def test_it_shows_the_hosts_time_until_it_is_moved(clock: VirtualClock, host: Host) -> None:
    host.ms += 5

    assert (clock.now_ms(), clock.offset_ms, clock.shift_ms()) == (T0_MS + 5, 0, 0)


def test_a_moved_clock_runs_on_one_second_per_second(clock: VirtualClock, host: Host) -> None:
    clock.move_to(T0_MS + DAY_MS)
    host.ms += 1000

    assert clock.now_ms() == T0_MS + DAY_MS + 1000
    assert clock.offset_ms == clock.shift_ms() == clock.seed_shift_ms() == DAY_MS


def test_a_stopped_clock_stands_still_and_goes_on_from_there(clock: VirtualClock, host: Host) -> None:
    clock.stop()
    host.ms += 1000
    assert (clock.now_ms(), clock.offset_ms) == (T0_MS, -1000)

    clock.run()
    host.ms += 500
    assert clock.now_ms() == T0_MS + 500


def test_it_is_never_set_back(clock: VirtualClock) -> None:
    clock.move_to(T0_MS + 10)
    clock.move_to(T0_MS)

    assert clock.now_ms() == T0_MS + 10


@pytest.mark.parametrize("is_stopped", [False, True])
def test_host_time_stays_the_hosts(clock: VirtualClock, host: Host, is_stopped: bool) -> None:
    if is_stopped:
        clock.stop()
    clock.move_to(T0_MS + DAY_MS)
    host.ms += 1000

    assert clock.host_ms() == host.ms
    assert clock.host_s() == host.host_s()
    assert clock.monotonic_s() == host.monotonic_s()


def test_an_instant_means_so_much_from_the_hosts_now_also_while_the_clock_stands_still(
    clock: VirtualClock, host: Host
) -> None:
    clock.stop()
    clock.move_to(T0_MS + DAY_MS)
    host.ms += 1000
    in_an_hour_ms = host.ms + 3_600_000

    assert in_an_hour_ms + clock.shift_ms() == clock.now_ms() + 3_600_000


def test_ids_of_a_repeated_request_stay_the_same_while_the_clock_stands_still(
    clock: VirtualClock, host: Host
) -> None:
    clock.stop()
    clock.move_to(T0_MS + DAY_MS)
    before_ms = clock.seed_shift_ms()
    host.ms += 1000

    assert clock.seed_shift_ms() == before_ms == DAY_MS


def test_instants_are_not_moved_where_they_are_absolute(host: Host) -> None:
    clock = VirtualClock(host, is_absolute=True)
    clock.move_to(T0_MS + DAY_MS)

    assert (clock.shift_ms(), clock.seed_shift_ms()) == (0, 0)
    assert clock.offset_ms == DAY_MS


def test_the_delay_to_a_moment_is_host_time_and_endless_while_the_clock_stands_still(
    clock: VirtualClock,
) -> None:
    clock.move_to(T0_MS + DAY_MS)
    assert clock.delay_s(T0_MS + DAY_MS + 1500) == 1.5
    assert clock.delay_s(T0_MS) == 0

    clock.stop()
    assert clock.delay_s(T0_MS + DAY_MS + 1500) is None
    assert clock.delay_s(T0_MS + DAY_MS) == 0  # What is due is due.


def test_a_clock_without_offset_moves_nothing(host: Host) -> None:
    assert (host.shift_ms(), host.seed_shift_ms(), host.host_ms()) == (0, 0, T0_MS)
