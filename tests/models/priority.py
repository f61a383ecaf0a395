"""Priority: a run queues as if it had been made so many seconds earlier, or later (priority guide, protocol
5.14).

It orders what waits and delays nothing (decisions). What is no integer counts as 0; beyond 600 seconds
either way is 600.
"""

from collections.abc import Mapping
from typing import Any

from tests.models.options import value_of

SECONDS_MAX = 600


def priority_ms(options: Mapping[str, Any] | None, data: Mapping[str, Any]) -> int:
    """By how much a run on this event goes ahead."""
    if not options:
        return 0
    value = value_of(options["run"], data)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        return 0
    return max(-SECONDS_MAX, min(SECONDS_MAX, int(value))) * 1_000
