"""Moments at which something is due."""

from hypothesis import given
from hypothesis import strategies as st

from inngest_server.engine.timers import Timers
from tests.builders import T0_MS


def make_timers(*due_ms: int) -> Timers:
    timers = Timers(lambda _: True)
    for number, due in enumerate(due_ms):
        timers.set(due, "wait", "run", str(number))
    return timers


def test_nothing_is_due_before_its_moment() -> None:
    timers = make_timers(T0_MS + 1)
    assert timers.take_due(T0_MS, 10) == []
    assert timers.next_due_ms() == T0_MS + 1


def test_what_is_due_comes_soonest_first_and_in_the_order_of_setting() -> None:
    timers = make_timers(5, 3, 5, 9, 3)
    assert [timer.key for timer in timers.take_due(5, 10)] == ["1", "4", "0", "2"]
    assert timers.next_due_ms() == 9


def test_a_slice_leaves_the_rest_for_the_next() -> None:
    timers = make_timers(1, 2, 3)
    assert len(timers.take_due(9, 2)) == 2
    assert [timer.key for timer in timers.take_due(9, 2)] == ["2"]
    assert timers.next_due_ms() is None


def test_memory_follows_the_timers_that_are_alive() -> None:
    alive = {"9999"}
    timers = Timers(lambda timer: timer.key in alive)
    for number in range(20_000):
        timers.set(number, "wait", "run", str(number))
    assert len(timers) <= Timers.SWEEP_MIN + 1
    assert "9999" in [timer.key for timer in timers.take_due(9999, 20_000)]


@given(moments=st.lists(st.integers(0, 50)), now=st.integers(0, 60))
def test_exactly_what_is_due_is_taken(moments: list[int], now: int) -> None:
    timers = make_timers(*moments)
    taken = timers.take_due(now, len(moments) + 1)
    assert sorted(timer.due_ms for timer in taken) == sorted(moment for moment in moments if moment <= now)
    assert [timer.due_ms for timer in taken] == sorted(timer.due_ms for timer in taken)
    assert len(timers) == len(moments) - len(taken)
