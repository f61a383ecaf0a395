"""Priority: what an expression comes to."""

from typing import Any

import pytest

from inngest_server.flow_control.priority import PRIORITY_LIMIT_S, priority_ms
from tests.builders import T0_MS


@pytest.mark.parametrize(
    ("run", "data", "expected_s"),
    [
        ("120", {}, 120),
        ("-60", {}, -60),
        ("event.data.plan == 'pro' ? 120 : 0", {"plan": "pro"}, 120),
        ("event.data.plan == 'pro' ? 120 : 0", {"plan": "free"}, 0),
        ("event.data.seconds", {"seconds": 7}, 7),
        ("event.data.seconds", {"seconds": 7.0}, 7),
        ("event.data.seconds", {"seconds": 7.5}, 0),
        ("event.data.seconds", {"seconds": "7"}, 0),
        ("event.data.seconds", {"seconds": True}, 0),
        ("event.data.seconds", {"seconds": None}, 0),
        ("event.data.seconds", {"seconds": [7]}, 0),
        ("event.data.seconds", {}, 0),
        ("1 / 0", {}, 0),
        ("1800", {}, 600),
        ("-1800", {}, -600),
        ("event.data.seconds", {"seconds": 1e300}, 600),
    ],
)
def test_whole_seconds_within_the_bounds_count(run: str, data: dict[str, Any], expected_s: int) -> None:
    assert priority_ms(run, {"data": data}, T0_MS) == expected_s * 1000


def test_a_server_may_have_wider_bounds() -> None:
    assert priority_ms("99999", {}, T0_MS, max_s=PRIORITY_LIMIT_S) == 43_200_000
