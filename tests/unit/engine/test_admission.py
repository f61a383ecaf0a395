"""When new events are turned away."""

import pytest

from inngest_server.clock import Clock
from inngest_server.engine.admission import Admission
from inngest_server.engine.options import EngineOptions, EngineUnavailableError
from inngest_server.events.event import Event, make_event, read_event
from tests.builders import T0_MS, make_ulid


class Watch(Clock):
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.s = 100.0

    def now_ms(self) -> int:
        return T0_MS

    def host_s(self) -> int:
        return T0_MS // 1000

    def monotonic_s(self) -> float:
        return self.s


def make_events(count: int) -> list[Event]:
    draft = read_event({"name": "shop/order.placed"}, size=30, size_max=1000)
    return [
        make_event(draft, internal_id=make_ulid(number), received_at_ms=T0_MS, repeatable=False)
        for number in range(count)
    ]


def make_admission(**options: float) -> tuple[Admission, Watch]:
    watch = Watch()
    return Admission(watch, EngineOptions(**options)), watch  # type: ignore[arg-type]


def is_open(admission: Admission) -> bool:
    try:
        admission.check()
    except EngineUnavailableError:
        return False
    return True


def test_events_count_until_they_are_decided() -> None:
    admission, _ = make_admission(undecided_events_max=5)
    first, second = make_events(3), make_events(2)
    one, two = admission.enter(first), admission.enter(second)
    assert (admission.events, is_open(admission)) == (5, False)

    admission.leave(one, first)
    assert (admission.events, is_open(admission)) == (2, True)
    admission.leave(two, second)
    assert (admission.events, admission.bytes, admission.oldest_s) == (0, 0, 0.0)


def test_their_bytes_count_too() -> None:
    events = make_events(1)
    admission, _ = make_admission(undecided_bytes_max=len(events[0].body))
    number = admission.enter(events)
    assert not is_open(admission)
    admission.leave(number, events)
    assert is_open(admission)


def test_a_second_is_too_long_to_wait() -> None:
    admission, watch = make_admission(undecided_s_max=1.0)
    first, second = make_events(1), make_events(1)
    one = admission.enter(first)
    watch.s += 0.9
    two = admission.enter(second)
    assert is_open(admission)

    watch.s += 0.2
    with pytest.raises(EngineUnavailableError, match=r"wait for 1\.1 s"):
        admission.check()
    admission.leave(one, first)
    assert is_open(admission)  # The next in line has not waited for long.
    watch.s += 1.0
    assert not is_open(admission)
    admission.leave(two, second)
    assert is_open(admission)
