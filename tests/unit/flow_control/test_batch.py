"""Batching: which events are collected, and when that is enough."""

import pytest

from inngest_server.apps.options import Batch
from inngest_server.flow_control.batch import BATCH_BYTES_MAX, collect, is_due, takes
from inngest_server.flow_control.records import WindowKind
from tests.builders import SECOND_MS, T0_MS, make_window

LIMIT = Batch(max_size=3, timeout_ms=5 * SECOND_MS)


class Usage:
    """An open batch of so many events."""

    def __init__(
        self, count: int, *, size_bytes: int = 0, max_size: int = 3, due_at_ms: int = T0_MS + 9
    ) -> None:
        row = make_window(kind=WindowKind.BATCH.value, max_size=max_size, size_bytes=size_bytes)
        self.count = count
        self.max_size = row.max_size
        self.size_bytes = row.size_bytes
        self.due_at_ms = due_at_ms


def test_the_first_event_opens_a_batch_until_its_timeout() -> None:
    assert collect(LIMIT, None, 10, T0_MS) == (T0_MS + 5 * SECOND_MS, 10)


def test_a_further_event_does_not_move_the_moment() -> None:
    assert collect(LIMIT, Usage(1, size_bytes=10), 7, T0_MS) == (T0_MS + 9, 17)


def test_the_last_event_that_fits_closes_the_batch_at_once() -> None:
    assert collect(LIMIT, Usage(2), 7, T0_MS + 1).due_at_ms == T0_MS + 1


def test_the_size_is_that_with_which_it_opened() -> None:
    assert collect(LIMIT, Usage(2, max_size=100), 7, T0_MS + 1).due_at_ms == T0_MS + 9


@pytest.mark.parametrize(("before", "closes"), [(BATCH_BYTES_MAX - 8, False), (BATCH_BYTES_MAX - 7, True)])
def test_ten_mebibytes_of_events_are_a_full_batch(before: int, closes: bool) -> None:
    taken = collect(LIMIT, Usage(1, size_bytes=before), 7, T0_MS + 1)
    assert taken.due_at_ms == (T0_MS + 1 if closes else T0_MS + 9)


def test_a_batch_takes_nothing_from_its_very_moment_on() -> None:
    assert is_due(Usage(1, due_at_ms=T0_MS), T0_MS)
    assert not is_due(Usage(1, due_at_ms=T0_MS), T0_MS - 1)


@pytest.mark.parametrize(
    ("condition", "data", "is_batched"),
    [
        (None, {}, True),
        ("event.data.small", {"small": True}, True),
        ("event.data.small", {"small": False}, False),
        ("event.data.small", {}, False),
        ("event.data.small", {"small": 1}, False),
        ("event.data.size < 10", {"size": {}}, False),
    ],
)
def test_an_event_that_does_not_meet_the_condition_runs_alone(
    condition: str | None, data: dict[str, object], is_batched: bool
) -> None:
    limit = Batch(max_size=3, timeout_ms=SECOND_MS, if_expression=condition)
    assert takes(limit, {"name": "a", "data": data}, T0_MS) is is_batched
