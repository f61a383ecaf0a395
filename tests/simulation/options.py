"""Flow control of simulated functions: valid mixes of rules, drawn, announced, and read by the auditor."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from tests.models.options import duration_ms

K = "event.data.k"
"""The one attribute that keys are made of: 0, 1 or 2, or missing."""
KEYS = ("", K)
SHARED_KEYS = (K, "'shared'")
"""Of buckets that functions share; the same text everywhere, so that they do."""
PRIORITY = "event.data.k == 1 ? 300 : (event.data.k == 2 ? -300 : 0)"
PRIORITIES_MS = {1: 300_000, 2: -300_000}
"""What it comes to, by `k`."""
BATCH_IF = "event.data.k != 2"
IDEMPOTENCY_MS = 86_400_000
RULES = ("steps", "steps", "runs", "throttle", "rate", "debounce", "batch", "singleton", "other")
"""What is drawn and changed as one; priority and timeouts are the others."""


@dataclass(frozen=True)
class Options:
    """Options of a function as it announces them; None or empty for what it does not have."""

    steps: tuple[dict[str, Any], ...] = ()
    """Limits of concurrency of requests, in the spelling of protocol 2.7."""
    runs: dict[str, Any] | None = None
    """The limit of concurrency of whole runs."""
    throttle: dict[str, Any] | None = None
    rate_limit: dict[str, Any] | None = None
    idempotency: str | None = None
    debounce: dict[str, Any] | None = None
    batch: dict[str, Any] | None = None
    priority: bool = False
    singleton: dict[str, Any] | None = None
    start_timeout: str = ""
    finish_timeout: str = ""

    def config(self) -> dict[str, Any]:
        timeouts = {"start": self.start_timeout, "finish": self.finish_timeout}
        steps = list(self.steps)
        options: dict[str, Any] = {
            "concurrency": {"fn": [self.runs], "step": steps} if self.runs else steps,
            "throttle": self.throttle,
            "rateLimit": self.rate_limit,
            "idempotency": self.idempotency,
            "debounce": self.debounce,
            "batchEvents": self.batch,
            "priority": {"run": PRIORITY} if self.priority else None,
            "singleton": self.singleton,
            "timeouts": {name: text for name, text in timeouts.items() if text},
        }
        return {name: option for name, option in options.items() if option}

    @property
    def starts_by_rules(self) -> bool:
        """Whether an event that matches may start nothing, or start it later."""
        return bool(self.rate_limit or self.idempotency or self.debounce or self.batch)


NO_OPTIONS = Options()


class OptionsMaker:
    """Draws options; most functions have few, so that each rule is met alone too.

    `rules` are those to choose from. Periods follow the pace of the world, so that limits are reached in it.
    """

    def __init__(self, chance: random.Random, *, pace_s: float, rules: Sequence[str] = RULES) -> None:
        self._chance = chance
        self._rules = rules
        self._period_s = max(2, min(int(pace_s * 12), 6 * 3600))

    def make(self) -> Options:
        """Options of a function as it is first announced."""
        options = self.change(Options())
        while self._chance.random() < 0.45:
            options = self.change(options)
        return options

    def change(self, options: Options) -> Options:
        """The options with one rule added, changed or removed."""
        chance = self._chance
        rule = chance.choice(self._rules)
        match rule:
            case "steps":
                changed = replace(options, steps=self._maybe(self._limits()) or ())
            case "runs":
                changed = replace(
                    options, runs=self._maybe({"limit": chance.choice((1, 1, 2))} | self._key())
                )
            case "throttle":
                changed = replace(options, throttle=self._maybe(self._throttle()))
            case "rate":
                draw = chance.random()
                limit = {"limit": chance.choice((1, 2, 12)), "period": self._period()} | self._key()
                changed = replace(
                    options,
                    rate_limit=limit if draw < 0.5 else None,
                    idempotency=K if 0.5 <= draw < 0.7 else None,
                )
            case "debounce":
                changed = replace(options, debounce=self._maybe(self._debounce()))
            case "batch":
                changed = replace(options, batch=self._maybe(self._batch()))
            case "singleton":
                mode = {"mode": chance.choice(("skip", "cancel"))}
                changed = replace(options, singleton=self._maybe(mode | self._key()))
            case _:
                changed = replace(
                    options,
                    priority=chance.random() < 0.6,
                    start_timeout=chance.choice(("", "", self._period())),
                    finish_timeout=chance.choice(("", "", "", self._period())),
                )
        if changed.batch and rule == "batch":  # What must not stand beside it. Source: protocol 2.7.
            return replace(changed, debounce=None, priority=False, singleton=None)
        return replace(changed, batch=None) if _excludes_batch(changed) else changed

    def _maybe(self, option: Any) -> Any:
        return option if self._chance.random() < 0.8 else None

    def _key(self) -> dict[str, str]:
        key = self._chance.choice(KEYS)
        return {"key": key} if key else {}

    def _period(self) -> str:
        """In whole seconds."""
        return f"{self._chance.choice((1, 1, 3)) * self._period_s}s"

    def _limits(self) -> tuple[dict[str, Any], ...]:
        chance = self._chance
        limits: list[dict[str, Any]] = []
        if chance.random() < 0.7:
            limits.append({"limit": chance.choice((1, 1, 2, 3))})
        if not limits or chance.random() < 0.4:
            limits.append({"limit": chance.choice((1, 1, 2)), "key": K})
        if chance.random() < 0.35:
            scope = chance.choice(("env", "account"))
            limits[-1] = {
                "limit": chance.choice((1, 2, 3)),
                "key": chance.choice(SHARED_KEYS),
                "scope": scope,
            }
        return tuple(limits)

    def _throttle(self) -> dict[str, Any]:
        chance = self._chance
        throttle = {"limit": chance.choice((1, 2, 4)), "period": self._period()} | self._key()
        burst = chance.choice((0, 1, 3))
        return throttle | ({"burst": burst} if burst else {})

    def _debounce(self) -> dict[str, Any]:
        debounce = {"period": self._period()} | self._key()
        return debounce | ({"timeout": f"{3 * self._period_s}s"} if self._chance.random() < 0.5 else {})

    def _batch(self) -> dict[str, Any]:
        batch: dict[str, Any] = {"maxSize": self._chance.choice((2, 3, 8)), "timeout": self._period()}
        batch |= self._key()
        return batch | ({"if": BATCH_IF} if self._chance.random() < 0.3 else {})


def _excludes_batch(options: Options) -> bool:
    return bool(options.batch and (options.debounce or options.priority or options.singleton))


# What the auditor makes of a stored configuration.


@dataclass(frozen=True)
class Limit:
    """A limit of concurrency."""

    limit: int
    key: str
    scope: str
    is_of_runs: bool


@dataclass(frozen=True)
class Pace:
    """A throttle or a rate limit: `capacity` at once, and one each `period_ms / limit`."""

    limit: int
    period_ms: int
    capacity: int
    key: str

    @property
    def interval_ms(self) -> Fraction:
        return Fraction(self.period_ms, self.limit)


@dataclass(frozen=True)
class Collects:
    """A debounce or a batch."""

    kind: str
    key: str
    period_ms: int
    timeout_ms: int | None
    """Of a debounce."""
    max_size: int
    has_if: bool


@dataclass(frozen=True)
class Rules:
    """The rules of a function, read without the server's code."""

    limits: tuple[Limit, ...] = ()
    throttle: Pace | None = None
    rate: Pace | None = None
    rate_counts_runs: bool = False
    """Whether it is judged when a debounce closes."""
    collects: Collects | None = None
    has_priority: bool = False
    singleton: tuple[str, str] | None = None
    """Mode and key."""
    start_ms: int | None = None
    finish_ms: int | None = None

    @property
    def counted(self) -> "Rules":
        """What decides where runs are counted, alone."""
        return Rules(limits=self.limits, throttle=self.throttle)


def read_rules(config: Mapping[str, Any]) -> Rules:
    """The rules in a function's JSON. Source: protocol 2.7 and 5."""
    concurrency = config.get("concurrency") or []
    levels = concurrency if isinstance(concurrency, dict) else {"step": concurrency}
    limits = tuple(
        Limit(one["limit"], one.get("key", ""), one.get("scope", "fn"), level == "fn")
        for level in ("step", "fn")
        for one in levels.get(level) or ()
    )
    throttle, debounce, batch = config.get("throttle"), config.get("debounce"), config.get("batchEvents")
    rate, idempotency, singleton = config.get("rateLimit"), config.get("idempotency"), config.get("singleton")
    timeouts = config.get("timeouts") or {}
    pace = None
    if batch is None and idempotency is not None:
        pace = Pace(1, IDEMPOTENCY_MS, 1, idempotency)
    elif batch is None and rate is not None:
        limit = rate["limit"]
        pace = Pace(limit, duration_ms(rate["period"]), limit // 10 + 1, rate.get("key", ""))
    collects = None
    if batch is not None:
        collects = Collects(
            "batch",
            batch.get("key", ""),
            duration_ms(batch["timeout"]),
            None,
            batch["maxSize"],
            "if" in batch,
        )
    elif debounce is not None:
        timeout_ms = duration_ms(debounce["timeout"]) if "timeout" in debounce else None
        collects = Collects(
            "debounce", debounce.get("key", ""), duration_ms(debounce["period"]), timeout_ms, 0, False
        )
    return Rules(
        limits=limits,
        throttle=throttle
        and Pace(
            throttle["limit"],
            duration_ms(throttle["period"]),
            max(throttle.get("burst", 1), 1),
            throttle.get("key", ""),
        ),
        rate=pace,
        rate_counts_runs=idempotency is not None and debounce is not None and batch is None,
        collects=collects,
        has_priority=bool(config.get("priority")),
        singleton=singleton and (singleton["mode"], singleton.get("key", "")),
        start_ms=duration_ms(timeouts["start"]) if "start" in timeouts else None,
        finish_ms=duration_ms(timeouts["finish"]) if "finish" in timeouts else None,
    )


def value_of(key: str, k: Any) -> str:
    """The value of a key, as text, for a run or event with that `data.k`; empty without a key."""
    if not key:
        return ""
    return "shared" if key == "'shared'" else repr(k)
