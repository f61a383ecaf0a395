"""What makes a function start: an event or the clock (protocol 2.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias, overload

from ._wire.durations import Duration, to_text, to_timedelta
from .errors import ConfigError, FunctionConfigInvalidError

__all__ = ["AnyTrigger", "Trigger", "TriggerCron", "TriggerEvent"]

EVENT_NAME_CHARS_MAX = 255
CRON_CHARS_MAX = 255
JITTER_MIN = timedelta(seconds=1)
JITTER_MAX = timedelta(minutes=5)
TRIGGERS_MAX = 10


@dataclass(kw_only=True, slots=True)
class TriggerEvent:
    """Starts the function on each event called `event` for which `expression` holds.

    `shop/*` and `shop/order.*` mean every event whose name goes on like that.
    """

    event: str
    expression: str | None = None

    def __post_init__(self) -> None:
        _check_text("TriggerEvent.event", self.event, EVENT_NAME_CHARS_MAX)
        if "*" in self.event and not (self.event.count("*") == 1 and self.event.endswith(("/*", ".*"))):
            raise FunctionConfigInvalidError(
                f'TriggerEvent.event {self.event!r} never matches: "*" goes last, after "/" or ".", as in '
                '"shop/*"'
            )
        if self.expression is not None:
            _check_text("TriggerEvent.expression", self.expression, None)

    def to_wire(self) -> dict[str, Any]:
        if self.expression is None:
            return {"event": self.event}
        return {"event": self.event, "expression": self.expression}


@dataclass(kw_only=True, slots=True)
class TriggerCron:
    """Starts the function by the clock: five fields, with a time zone before them if it is not UTC
    ("TZ=Europe/Paris 0 9 * * 1-5").

    `jitter`, one second to five minutes, delays each start by a random part of it.
    """

    cron: str
    jitter: Duration | None = None

    def __post_init__(self) -> None:
        _check_text("TriggerCron.cron", self.cron, CRON_CHARS_MAX)
        if self.jitter is not None:
            self._jitter(self.jitter)

    def _jitter(self, jitter: Duration) -> timedelta:
        try:
            duration = to_timedelta(jitter, what="TriggerCron.jitter")
        except ConfigError as error:
            raise FunctionConfigInvalidError(str(error)) from None
        if duration and not JITTER_MIN <= duration <= JITTER_MAX:
            raise FunctionConfigInvalidError(
                f"TriggerCron.jitter is {to_text(duration)}; it has to be 1s to 5m"
            )
        return duration

    def to_wire(self) -> dict[str, Any]:
        jitter = self._jitter(self.jitter) if self.jitter is not None else None
        return {"cron": self.cron, "jitter": to_text(jitter)} if jitter else {"cron": self.cron}


AnyTrigger: TypeAlias = TriggerEvent | TriggerCron


@overload
def Trigger(*, event: str, expression: str | None = None) -> TriggerEvent: ...
@overload
def Trigger(*, cron: str, jitter: Duration | None = None) -> TriggerCron: ...
def Trigger(
    *,
    event: str | None = None,
    cron: str | None = None,
    expression: str | None = None,
    jitter: Duration | None = None,
) -> AnyTrigger:
    """A `TriggerEvent` or a `TriggerCron`, as older guides write it."""
    if event is not None and cron is None and jitter is None:
        return TriggerEvent(event=event, expression=expression)
    if cron is not None and event is None and expression is None:
        return TriggerCron(cron=cron, jitter=jitter)
    raise FunctionConfigInvalidError(
        "a trigger is an event (with an expression, if any) or a cron (with a jitter, if any)"
    )


def triggers_to_wire(triggers: Sequence[AnyTrigger]) -> list[dict[str, Any]]:
    """The list of a function's triggers; empty for one that is only invoked.

    Raises:
        FunctionConfigInvalidError: no trigger, too many, or the same one twice.
    """
    if len(triggers) > TRIGGERS_MAX:
        raise FunctionConfigInvalidError(
            f"there are {len(triggers)} triggers; at most {TRIGGERS_MAX} are allowed"
        )
    written: list[dict[str, Any]] = []
    seen: list[object] = []
    for trigger in triggers:
        if not isinstance(trigger, TriggerEvent | TriggerCron):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise FunctionConfigInvalidError(
                "a trigger has to be inngest.TriggerEvent(...) or inngest.TriggerCron(...), not "
                f"{trigger!r:.100}"
            )
        # Jitter does not make two equal schedules differ.
        same = trigger.cron if isinstance(trigger, TriggerCron) else (trigger.event, trigger.expression)
        if same in seen:
            what = trigger.cron if isinstance(trigger, TriggerCron) else trigger.event
            raise FunctionConfigInvalidError(f"the trigger {what!r} is there twice; remove one")
        seen.append(same)
        written.append(trigger.to_wire())
    return written


def _check_text(what: str, value: object, chars_max: int | None) -> None:
    if not isinstance(value, str) or not value:
        raise FunctionConfigInvalidError(f"{what} has to be text that is not empty, not {value!r:.100}")
    if chars_max is not None and len(value) > chars_max:
        raise FunctionConfigInvalidError(
            f"{what} has {len(value)} characters; at most {chars_max} are allowed"
        )
