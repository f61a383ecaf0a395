"""The options of a function that hold runs back: their limits, reading and writing.

One class an option, after the table in protocol 2.7 and the ranges in decisions.md ("Server"). `read`
takes the option from the JSON of a function, `to_json` writes it as the newest official SDKs do.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from inngest_server.apps.fields import Fields, duration_text, is_object
from inngest_server.apps.problems import show

__all__ = [
    "BATCH_SIZE_DOCUMENTED_MAX",
    "BATCH_SIZE_MAX",
    "BATCH_SIZE_MIN",
    "BATCH_TIMEOUT_DOCUMENTED_MAX_MS",
    "BATCH_TIMEOUT_MAX_MS",
    "BATCH_TIMEOUT_MIN_MS",
    "CONCURRENCY_RUN_LIMITS_MAX",
    "CONCURRENCY_STEP_LIMITS_MAX",
    "DEBOUNCE_PERIOD_MAX_MS",
    "DEBOUNCE_PERIOD_MIN_MS",
    "DURATION_MAX_MS",
    "RATE_LIMIT_PERIOD_MAX_MS",
    "RATE_LIMIT_PERIOD_MIN_MS",
    "THROTTLE_PERIOD_MAX_MS",
    "THROTTLE_PERIOD_MIN_MS",
    "Batch",
    "ConcurrencyLevel",
    "ConcurrencyLimit",
    "ConcurrencyScope",
    "Debounce",
    "RateLimit",
    "Singleton",
    "SingletonMode",
    "Throttle",
    "Timeouts",
    "concurrency_to_json",
    "read_concurrency",
]

_SECOND_MS = 1_000
_DAY_MS = 86_400_000

CONCURRENCY_STEP_LIMITS_MAX = 2
CONCURRENCY_RUN_LIMITS_MAX = 1
THROTTLE_PERIOD_MIN_MS = _SECOND_MS
THROTTLE_PERIOD_MAX_MS = 7 * _DAY_MS
RATE_LIMIT_PERIOD_MIN_MS = _SECOND_MS
RATE_LIMIT_PERIOD_MAX_MS = _DAY_MS
DEBOUNCE_PERIOD_MIN_MS = _SECOND_MS
DEBOUNCE_PERIOD_MAX_MS = 7 * _DAY_MS
BATCH_SIZE_MIN = 2
BATCH_SIZE_DOCUMENTED_MAX = 100
BATCH_SIZE_MAX = 1_000
BATCH_TIMEOUT_MIN_MS = _SECOND_MS
BATCH_TIMEOUT_DOCUMENTED_MAX_MS = 60 * _SECOND_MS
BATCH_TIMEOUT_MAX_MS = 7 * _DAY_MS

DURATION_MAX_MS = 36_525 * _DAY_MS
"""A century: bounds the durations that no document bounds, so that a moment plus one stays a valid date."""


class ConcurrencyLevel(StrEnum):
    """How long a run holds a slot."""

    STEP = "step"
    """While a request of the run is in flight (protocol 5.15); every limit in the older spellings."""
    RUN = "run"
    """From start to end: the entries under `fn` in the newer spelling."""


class ConcurrencyScope(StrEnum):
    """Who shares the slots of a limit."""

    FN = "fn"
    ENV = "env"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """At most `limit` slots at once for each value of `key`; `limit` is 1 or more."""

    limit: int
    key: str | None = None
    scope: ConcurrencyScope = ConcurrencyScope.FN
    level: ConcurrencyLevel = ConcurrencyLevel.STEP

    def to_json(self) -> dict[str, object]:
        return _present(limit=self.limit, key=self.key, scope=self.scope.value)


def read_concurrency(function: Fields) -> tuple[ConcurrencyLimit, ...]:
    """Every spelling of `concurrency`: 5, an object, a list, or `{"fn": ..., "step": ...}` of these.

    A limit of 0, null or left out is unlimited: such an entry is checked and then dropped.
    """
    option = function.get("concurrency")
    if is_object(option):
        levels = Fields(option, function.findings, function.place("concurrency"))
        if levels.get("fn") is not None or levels.get("step") is not None:
            if levels.get("limit") is not None:
                levels.refuse("limit", "conflict", 'stands beside "fn" or "step"; move it into one of them')
            return _read_limits(levels, "fn", ConcurrencyLevel.RUN) + _read_limits(
                levels, "step", ConcurrencyLevel.STEP
            )
    return _read_limits(function, "concurrency", ConcurrencyLevel.STEP)


def concurrency_to_json(limits: tuple[ConcurrencyLimit, ...]) -> object:
    """The list spelling; the one with levels only where a limit of whole runs needs it."""
    runs = [limit.to_json() for limit in limits if limit.level is ConcurrencyLevel.RUN]
    steps = [limit.to_json() for limit in limits if limit.level is ConcurrencyLevel.STEP]
    return {"fn": runs, "step": steps} if runs else steps


def _read_limits(parent: Fields, name: str, level: ConcurrencyLevel) -> tuple[ConcurrencyLimit, ...]:
    option = parent.get(name)
    several = isinstance(option, list)
    entries: list[object] = cast("list[object]", option) if isinstance(option, list) else [option]
    if option is None:
        return ()
    most = CONCURRENCY_RUN_LIMITS_MAX if level is ConcurrencyLevel.RUN else CONCURRENCY_STEP_LIMITS_MAX
    if len(entries) > most:
        parent.refuse(name, "too_many", f"has {len(entries)} limits; at most {most} may stand here")
        entries = entries[:most]
    found: list[ConcurrencyLimit] = []
    for index, entry in enumerate(entries):
        place = f"{name}[{index}]" if several else name
        if is_object(entry):
            limit = _read_limit(Fields(entry, parent.findings, parent.place(place)), level)
        elif isinstance(entry, int | float) and not isinstance(entry, bool):
            # Wrapped so that the problem of a bad number names the place where it stands.
            count = Fields({place: entry}, parent.findings, parent.path).count(place)
            limit = ConcurrencyLimit(count, level=level) if count else None
        else:
            parent.refuse(place, "wrong_type", f"{show(entry)} is neither a number nor an object")
            limit = None
        if limit is not None:
            found.append(limit)
    return tuple(found)


def _read_limit(entry: Fields, level: ConcurrencyLevel) -> ConcurrencyLimit | None:
    limit = entry.count("limit")
    key = entry.expression("key")
    scope = ConcurrencyScope.FN
    text = entry.text("scope")
    if text is not None:
        try:
            scope = ConcurrencyScope(text)
        except ValueError:
            entry.refuse("scope", "unknown_value", f'{show(text)} is unknown; use "fn", "env" or "account"')
    if level is ConcurrencyLevel.RUN and scope is not ConcurrencyScope.FN:
        entry.refuse("scope", "conflict", f'{show(text)} cannot limit whole runs; put the entry into "step"')
    elif scope is not ConcurrencyScope.FN and entry.get("key") in (None, ""):
        entry.refuse(
            "key", "missing", f"is missing; scope {show(text)} needs one, such as \"'shared'\" for one queue"
        )
    return ConcurrencyLimit(limit, key, scope, level) if limit else None


@dataclass(frozen=True, slots=True)
class Throttle:
    """Delays starts: `burst` of them at once, then one per `period_ms / limit` (decisions.md)."""

    limit: int
    period_ms: int
    burst: int = 1
    key: str | None = None

    @classmethod
    def read(cls, function: Fields) -> "Throttle | None":
        """A limit of 0 or none counts as 1, a burst below 1 as 1."""
        if (option := function.child("throttle")) is None:
            return None
        return cls(
            limit=option.count("limit") or 1,
            period_ms=option.required_duration_ms(
                "period", minimum_ms=THROTTLE_PERIOD_MIN_MS, maximum_ms=THROTTLE_PERIOD_MAX_MS
            ),
            burst=option.count("burst") or 1,
            key=option.expression("key"),
        )

    def to_json(self) -> dict[str, object]:
        return _present(
            limit=self.limit, period=duration_text(self.period_ms), burst=self.burst, key=self.key
        )


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Drops starts beyond `limit` in `period_ms` (protocol 5.12)."""

    limit: int
    period_ms: int
    key: str | None = None

    @classmethod
    def read(cls, function: Fields) -> "RateLimit | None":
        if (option := function.child("rateLimit")) is None:
            return None
        if option.get("limit") is None:
            option.refuse("limit", "missing", "is missing; set the number of runs for each period")
        return cls(
            limit=option.count("limit", minimum=1) or 1,
            period_ms=option.required_duration_ms(
                "period", minimum_ms=RATE_LIMIT_PERIOD_MIN_MS, maximum_ms=RATE_LIMIT_PERIOD_MAX_MS
            ),
            key=option.expression("key"),
        )

    def to_json(self) -> dict[str, object]:
        return _present(limit=self.limit, period=duration_text(self.period_ms), key=self.key)


@dataclass(frozen=True, slots=True)
class Debounce:
    """Starts once `period_ms` passed without an event, after `timeout_ms` in any case (protocol 5.11)."""

    period_ms: int
    key: str | None = None
    timeout_ms: int | None = None

    @classmethod
    def read(cls, function: Fields) -> "Debounce | None":
        if (option := function.child("debounce")) is None:
            return None
        return cls(
            period_ms=option.required_duration_ms(
                "period", minimum_ms=DEBOUNCE_PERIOD_MIN_MS, maximum_ms=DEBOUNCE_PERIOD_MAX_MS
            ),
            key=option.expression("key"),
            timeout_ms=option.duration_ms("timeout", minimum_ms=1, maximum_ms=DURATION_MAX_MS),
        )

    def to_json(self) -> dict[str, object]:
        return _present(
            period=duration_text(self.period_ms), key=self.key, timeout=_optional_duration(self.timeout_ms)
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """One run for up to `max_size` events, or those of `timeout_ms` since the first (protocol 5.10)."""

    max_size: int
    timeout_ms: int
    key: str | None = None
    if_expression: str | None = None

    @classmethod
    def read(cls, function: Fields) -> "Batch | None":
        """Beyond what is documented a batch is accepted up to our own bounds, with a warning."""
        if (option := function.child("batchEvents")) is None:
            return None
        if option.get("maxSize") is None:
            option.refuse("maxSize", "missing", f"is missing; set 2 to {BATCH_SIZE_DOCUMENTED_MAX} events")
        max_size = option.count("maxSize", minimum=BATCH_SIZE_MIN) or BATCH_SIZE_MIN
        if max_size > BATCH_SIZE_MAX:
            option.refuse("maxSize", "out_of_range", f"{max_size} is too large; use 2 to {BATCH_SIZE_MAX}")
        elif max_size > BATCH_SIZE_DOCUMENTED_MAX:
            option.warn(
                "maxSize",
                "beyond_documented",
                f"{max_size} is accepted here, other servers stop at {BATCH_SIZE_DOCUMENTED_MAX}",
            )
        timeout_ms = option.required_duration_ms(
            "timeout", minimum_ms=BATCH_TIMEOUT_MIN_MS, maximum_ms=BATCH_TIMEOUT_MAX_MS
        )
        if timeout_ms > BATCH_TIMEOUT_DOCUMENTED_MAX_MS:
            option.warn(
                "timeout",
                "beyond_documented",
                f"{duration_text(timeout_ms)} is accepted here, other servers stop at "
                f"{duration_text(BATCH_TIMEOUT_DOCUMENTED_MAX_MS)}",
            )
        return cls(max_size, timeout_ms, option.expression("key"), option.expression("if"))

    def to_json(self) -> dict[str, object]:
        written = _present(maxSize=self.max_size, timeout=duration_text(self.timeout_ms), key=self.key)
        return written if self.if_expression is None else {**written, "if": self.if_expression}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Cancels a run that waits longer than `start_ms`, or takes longer than `finish_ms` (protocol 5.8)."""

    start_ms: int | None = None
    finish_ms: int | None = None

    @classmethod
    def read(cls, function: Fields) -> "Timeouts":
        if (option := function.child("timeouts")) is None:
            return cls()
        return cls(
            start_ms=option.duration_ms("start", minimum_ms=1, maximum_ms=DURATION_MAX_MS),
            finish_ms=option.duration_ms("finish", minimum_ms=1, maximum_ms=DURATION_MAX_MS),
        )

    def to_json(self) -> dict[str, object]:
        return _present(start=_optional_duration(self.start_ms), finish=_optional_duration(self.finish_ms))


class SingletonMode(StrEnum):
    """What becomes of a second run with the same key."""

    SKIP = "skip"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Singleton:
    """One live run for each value of `key` (protocol 5.9)."""

    mode: SingletonMode
    key: str | None = None

    @classmethod
    def read(cls, function: Fields) -> "Singleton | None":
        """A mode left out is `skip`, which destroys nothing."""
        if (option := function.child("singleton")) is None:
            return None
        text = option.text("mode")
        mode = SingletonMode.SKIP
        if text is not None:
            try:
                mode = SingletonMode(text)
            except ValueError:
                option.refuse("mode", "unknown_value", f'{show(text)} is unknown; use "skip" or "cancel"')
        return cls(mode, option.expression("key"))

    def to_json(self) -> dict[str, object]:
        return _present(mode=self.mode.value, key=self.key)


def _present(**values: object) -> dict[str, object]:
    """The values that are there: no official SDK sends null."""
    return {name: value for name, value in values.items() if value is not None}


def _optional_duration(duration_ms: int | None) -> str | None:
    return None if duration_ms is None else duration_text(duration_ms)
