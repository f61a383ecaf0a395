"""How long a run may wait for its first request, and how long it may take then. Source: protocol 5.8."""

from enum import StrEnum
from typing import NamedTuple


class Timeout(StrEnum):
    """Which of the two bounds; at any moment at most one counts."""

    START = "start"
    FINISH = "finish"


class Deadline(NamedTuple):
    """The bound that counts now, and the moment at which it ends the run."""

    timeout: Timeout
    at_ms: int

    def has_passed(self, now_ms: int) -> bool:
        return now_ms >= self.at_ms


def deadline(*, start_by_ms: int | None, started_at_ms: int | None, finish_ms: int | None) -> Deadline | None:
    """The deadline of a run that has not ended, None without one.

    `start_by_ms` was settled when the run was made, `finish_ms` is the present duration from its first
    request, which was sent at `started_at_ms`, None before.
    """
    if started_at_ms is None:
        return Deadline(Timeout.START, start_by_ms) if start_by_ms is not None else None
    return Deadline(Timeout.FINISH, started_at_ms + finish_ms) if finish_ms is not None else None
