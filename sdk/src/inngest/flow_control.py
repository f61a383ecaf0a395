"""Options that hold runs back, bundle them or end them; each knows its form on the wire (protocol 2.7).

What the server would refuse is refused here already, where the line that is wrong can be named. Every
duration is milliseconds as an integer, a `timedelta`, or text such as "5m".
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Any, Literal

from ._wire.durations import Duration, to_text, to_timedelta
from .errors import ConfigError, FunctionConfigInvalidError

__all__ = [
    "Batch",
    "Cancel",
    "Checkpointing",
    "Concurrency",
    "Debounce",
    "Priority",
    "RateLimit",
    "Singleton",
    "Throttle",
    "Timeouts",
]

_MOMENT = timedelta(milliseconds=1)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_CENTURY = timedelta(days=36_525)
BATCH_SIZE_MIN = 2
BATCH_SIZE_MAX = 1_000
CONCURRENCY_STEP_LIMITS_MAX = 2
CONCURRENCY_RUN_LIMITS_MAX = 1


@dataclass(kw_only=True, slots=True)
class Batch:
    """One run for many events: up to `max_size`, or those within `timeout` of the first.

    Events of one batch share the value of `key`; those for which `if_exp` is false get a run of their own.
    """

    max_size: int
    timeout: Duration | None = None
    key: str | None = None
    if_exp: str | None = None

    def __post_init__(self) -> None:
        _check_count("Batch.max_size", self.max_size, BATCH_SIZE_MIN, BATCH_SIZE_MAX)
        if self.timeout is None:
            raise FunctionConfigInvalidError(
                'Batch needs a timeout: how long it waits to be full, such as "5s"'
            )
        _check_duration("Batch.timeout", self.timeout, _SECOND, _WEEK)
        _check_expressions("Batch", key=self.key, if_exp=self.if_exp)

    def to_wire(self) -> dict[str, Any]:
        # The reference server's reader of this one field knows no days.
        timeout = (
            None if self.timeout is None else to_text(_duration("Batch.timeout", self.timeout), largest="h")
        )
        return _present({"maxSize": self.max_size, "timeout": timeout, "key": self.key, "if": self.if_exp})


@dataclass(kw_only=True, slots=True)
class Cancel:
    """Ends a run when `event` arrives and `if_exp` holds (`event` is the trigger, `async` the new event).

    With a `timeout`, only events within that time of the run's start count.
    """

    event: str
    if_exp: str | None = None
    timeout: Duration | None = None

    def __post_init__(self) -> None:
        _check_text("Cancel.event", self.event)
        _check_duration("Cancel.timeout", self.timeout, _MOMENT, _CENTURY)
        _check_expressions("Cancel", if_exp=self.if_exp)

    def to_wire(self) -> dict[str, Any]:
        timeout = None if self.timeout is None else _wire_duration("Cancel.timeout", self.timeout)
        return _present({"event": self.event, "if": self.if_exp, "timeout": timeout})


@dataclass(slots=True)
class Concurrency:
    """At most `limit` steps at once for each value of `key`.

    `scope` says who shares the limit: this function ("fn"), every function of the environment ("env") or of
    the account ("account"); the last two need a `key`.
    """

    limit: int
    _: KW_ONLY
    key: str | None = None
    scope: Literal["account", "env", "fn"] | None = None

    def __post_init__(self) -> None:
        _check_count("Concurrency.limit", self.limit, 0)
        _check_expressions("Concurrency", key=self.key)
        if self.scope not in (None, "account", "env", "fn"):
            raise FunctionConfigInvalidError(
                f'Concurrency.scope has to be "fn", "env" or "account", not {self.scope!r}'
            )
        if self.scope in ("account", "env") and not self.key:
            raise FunctionConfigInvalidError(
                f'Concurrency(scope="{self.scope}") needs a key, which names what is shared, such as '
                "key=\"'openai'\""
            )

    def to_wire(self) -> dict[str, Any]:
        return _present({"limit": self.limit, "key": self.key, "scope": self.scope})


ConcurrencyOption = (
    int | Concurrency | list[Concurrency] | dict[str, int | Concurrency | list[Concurrency] | None]
)
"""A number, one or several limits on steps, or `{"fn": limits on whole runs, "step": limits on steps}`."""


def concurrency_to_wire(option: ConcurrencyOption) -> list[dict[str, Any]] | dict[str, list[dict[str, Any]]]:
    """Limits on steps as a list, as every server takes them; with levels only when whole runs are limited.

    Raises:
        FunctionConfigInvalidError: another type, too many limits, or a shared limit on whole runs.
    """
    if not isinstance(option, dict):
        return _limits("concurrency", option, CONCURRENCY_STEP_LIMITS_MAX)
    unknown = option.keys() - {"fn", "step"}
    if unknown:
        raise FunctionConfigInvalidError(
            f'concurrency has the key {sorted(unknown)[0]!r}; use "fn" (limits on runs) and "step" (on steps)'
        )
    runs = _limits('concurrency["fn"]', option.get("fn"), CONCURRENCY_RUN_LIMITS_MAX)
    steps = _limits('concurrency["step"]', option.get("step"), CONCURRENCY_STEP_LIMITS_MAX)
    if any(one.get("scope", "fn") != "fn" for one in runs):
        raise FunctionConfigInvalidError(
            "a limit on whole runs holds for one function; put one with another scope into "
            'concurrency["step"]'
        )
    return {"fn": runs, "step": steps} if runs else steps


def _limits(what: str, option: object, most: int) -> list[dict[str, Any]]:
    if option is None:
        return []
    entries: list[Any] = [*option] if isinstance(option, list | tuple) else [option]
    if len(entries) > most:
        raise FunctionConfigInvalidError(f"{what} has {len(entries)} limits; at most {most} may stand here")
    return [_limit(what, entry).to_wire() for entry in entries]


def _limit(what: str, entry: object) -> Concurrency:
    if isinstance(entry, Concurrency):
        return entry
    if isinstance(entry, int) and not isinstance(entry, bool):
        return Concurrency(entry)
    raise FunctionConfigInvalidError(
        f"{what} has to be a number or inngest.Concurrency(...), not {entry!r:.100}"
    )


@dataclass(kw_only=True, slots=True)
class Debounce:
    """Starts a run once `period` has passed without a further event of the same `key`.

    The run sees the last event. It starts after `timeout` in any case.
    """

    period: Duration
    key: str | None = None
    timeout: Duration | None = None

    def __post_init__(self) -> None:
        _check_duration("Debounce.period", self.period, _SECOND, _WEEK)
        _check_duration("Debounce.timeout", self.timeout, _MOMENT, _CENTURY)
        _check_expressions("Debounce", key=self.key)

    def to_wire(self) -> dict[str, Any]:
        timeout = None if self.timeout is None else _wire_duration("Debounce.timeout", self.timeout)
        period = _wire_duration("Debounce.period", self.period)
        return _present({"period": period, "key": self.key, "timeout": timeout})


@dataclass(kw_only=True, slots=True)
class Priority:
    """Which of two waiting runs starts first: the expression `run` counts as seconds of head start."""

    run: str

    def __post_init__(self) -> None:
        _check_text("Priority.run", self.run)

    def to_wire(self) -> dict[str, Any]:
        return {"run": self.run}


@dataclass(kw_only=True, slots=True)
class RateLimit:
    """At most `limit` starts in `period` for each value of `key`; events beyond it start nothing."""

    limit: int
    period: Duration
    key: str | None = None

    def __post_init__(self) -> None:
        _check_count("RateLimit.limit", self.limit, 1)
        _check_duration("RateLimit.period", self.period, _SECOND, _DAY)
        _check_expressions("RateLimit", key=self.key)

    def to_wire(self) -> dict[str, Any]:
        period = _wire_duration("RateLimit.period", self.period)
        return _present({"limit": self.limit, "period": period, "key": self.key})


@dataclass(kw_only=True, slots=True)
class Singleton:
    """One run at a time for each value of `key`: a second one is skipped, or cancels the first."""

    mode: Literal["skip", "cancel"]
    key: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("skip", "cancel"):
            raise FunctionConfigInvalidError(
                f'Singleton.mode has to be "skip" or "cancel", not {self.mode!r}'
            )
        _check_expressions("Singleton", key=self.key)

    def to_wire(self) -> dict[str, Any]:
        return _present({"mode": self.mode, "key": self.key})


@dataclass(kw_only=True, slots=True, init=False)
class Throttle:
    """Delays starts: `burst` of them at once, then `limit` in each `period`, for each value of `key`.

    `count` is another name of `limit`.
    """

    limit: int
    period: Duration
    burst: int
    key: str | None

    def __init__(
        self,
        *,
        limit: int | None = None,
        period: Duration,
        burst: int | None = 1,
        key: str | None = None,
        count: int | None = None,
    ) -> None:
        if (limit is None) == (count is None):
            raise FunctionConfigInvalidError(
                "Throttle needs a limit (or a count, which is the same; not both)"
            )
        self.limit = limit if limit is not None else count if count is not None else 1
        self.period = period
        self.burst = 1 if burst is None else burst
        self.key = key
        _check_count("Throttle.limit", self.limit, 1)
        _check_count("Throttle.burst", self.burst, 0)
        _check_duration("Throttle.period", period, _SECOND, _WEEK)
        _check_expressions("Throttle", key=key)

    @property
    def count(self) -> int:
        return self.limit

    def to_wire(self) -> dict[str, Any]:
        period = _wire_duration("Throttle.period", self.period)
        return _present({"limit": self.limit, "period": period, "burst": self.burst, "key": self.key})


@dataclass(kw_only=True, slots=True)
class Timeouts:
    """Cancels a run that waits longer than `start` for its first step, or takes longer than `finish`."""

    start: Duration | None = None
    finish: Duration | None = None

    def __post_init__(self) -> None:
        _check_duration("Timeouts.start", self.start, _MOMENT, _CENTURY)
        _check_duration("Timeouts.finish", self.finish, _MOMENT, _CENTURY)

    def to_wire(self) -> dict[str, Any]:
        return _present(
            {
                "start": None if self.start is None else _wire_duration("Timeouts.start", self.start),
                "finish": None if self.finish is None else _wire_duration("Timeouts.finish", self.finish),
            }
        )


@dataclass(kw_only=True, slots=True, init=False)
class Checkpointing:
    """How many steps one request runs: results go to the server while the code goes on (protocol 7.5).

    After `max_runtime` the next step is left to a new request. Results are sent one by one, or
    `buffered_steps` of them together: fewer calls, and as many steps to repeat when the process dies.
    """

    max_runtime: timedelta
    buffered_steps: int

    def __init__(self, *, max_runtime: Duration = timedelta(seconds=10), buffered_steps: int = 1) -> None:
        self.max_runtime = _duration("Checkpointing.max_runtime", max_runtime)
        self.buffered_steps = buffered_steps
        _check_count("Checkpointing.buffered_steps", buffered_steps, 1, 1_000)

    @classmethod
    def of(cls, option: bool | Checkpointing) -> Checkpointing | None:
        """What the option of a client or function means; None is off."""
        if isinstance(option, Checkpointing):
            return option
        if option is True or option is False:
            return cls() if option else None
        raise ConfigError(
            f"checkpointing has to be True, False or inngest.Checkpointing(...), not {option!r:.100}"
        )

    def to_wire(self) -> dict[str, Any]:
        return {"batch_steps": self.buffered_steps, "max_runtime": to_text(self.max_runtime, largest="s")}


def _duration(what: str, value: Duration) -> timedelta:
    try:
        return to_timedelta(value, what=what)
    except ConfigError as error:
        raise FunctionConfigInvalidError(str(error)) from None


def _wire_duration(what: str, value: Duration) -> str:
    return to_text(_duration(what, value))


def _check_duration(what: str, value: Duration | None, least: timedelta, most: timedelta) -> None:
    if value is None:
        return
    duration = _duration(what, value)
    if not least <= duration <= most:
        hint = "; a bare number is milliseconds" if isinstance(value, int) else ""
        raise FunctionConfigInvalidError(
            f"{what} is {to_text(duration)}; it has to be {to_text(least)} to {to_text(most)}{hint}"
        )


def _check_count(what: str, value: object, least: int, most: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise FunctionConfigInvalidError(f"{what} has to be an integer, not {value!r:.100}")
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        raise FunctionConfigInvalidError(f"{what} is {value}; it has to be {bounds}")


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise FunctionConfigInvalidError(f"{what} has to be text that is not empty, not {value!r:.100}")


def _check_expressions(where: str, **expressions: object) -> None:
    for name, expression in expressions.items():
        if expression is not None:
            _check_text(f"{where}.{name}", expression)


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what is not set: official servers take no null here."""
    return {name: value for name, value in fields.items() if value is not None}
