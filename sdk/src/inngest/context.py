"""What a function is called with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._engine.call import CallRequest
    from .events import Event
    from .group import Group, GroupSync
    from .step import Step, StepSync

__all__ = ["Context", "ContextSync"]


class _Context:
    """Open to further attributes: middleware hands dependencies over as `ctx.<name>`."""

    attempt: int
    """Number of this attempt, from 0; back at 0 after each step that is done."""
    event: Event
    """The event that started the run; the first one of a batch."""
    events: list[Event]
    """All events that started the run: more than one with `batch_events`."""
    job_id: str | None
    logger: Any
    """The client's logger, silent while stored steps are replayed."""
    request_id: str | None
    run_id: str

    def __init__(
        self,
        *,
        attempt: int,
        event: Event,
        events: list[Event],
        group: Any,
        job_id: str | None,
        logger: Any,
        request_id: str | None,
        run_id: str,
        step: Any,
    ) -> None:
        self.attempt = attempt
        self.event = event
        self.events = events
        self.group = group
        self.job_id = job_id
        self.logger = logger
        self.request_id = request_id
        self.run_id = run_id
        self.step = step

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of run {self.run_id}, attempt {self.attempt}>"

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


class Context(_Context):
    """What an asynchronous function is called with."""

    group: Group
    step: Step


class ContextSync(_Context):
    """What a plain function is called with."""

    group: GroupSync
    step: StepSync


class ReplayLogger:
    """The client's logger; while steps are replayed its messages are dropped: they were logged before."""

    __slots__ = ("_is_replaying", "_logger")

    def __init__(self, logger: Any, is_replaying: Callable[[], bool]) -> None:
        self._logger = logger
        self._is_replaying = is_replaying

    def __getattr__(self, name: str) -> Any:
        if name in _LOGGING and self._is_replaying():
            return _drop
        return getattr(self._logger, name)


_LOGGING = frozenset(
    ("debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log", "msg")
)


def _drop(*args: object, **kwargs: object) -> None:
    """Nothing: the first run of this line has logged it."""


def context_fields(call: CallRequest, logger: Any, step: Any, group: Any) -> dict[str, Any]:
    """Arguments of either context for a call request."""
    from .events import Event

    events = [Event.from_raw(raw) for raw in call.events]
    return {
        "attempt": call.attempt,
        "event": events[0],
        "events": events,
        "group": group,
        "job_id": call.job_id,
        "logger": logger,
        "request_id": call.request_id,
        "run_id": call.run_id,
        "step": step,
    }
