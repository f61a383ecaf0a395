"""The configuration of a function: what an SDK registered, read and judged.

Field by field after protocol 2.7, with the ranges of section 0 and decisions.md. The options that hold
runs back are in `options.py` and exported from here too.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from inngest_server.apps.fields import Fields, duration_text, is_object
from inngest_server.apps.options import (
    DURATION_MAX_MS,
    Batch,
    ConcurrencyLevel,
    ConcurrencyLimit,
    ConcurrencyScope,
    Debounce,
    RateLimit,
    Singleton,
    SingletonMode,
    Throttle,
    Timeouts,
    concurrency_to_json,
    read_concurrency,
)
from inngest_server.apps.problems import Findings, RegistrationInvalidError, show
from inngest_server.apps.urls import CONNECT_SCHEMES, InvalidAppURLError, normalize_app_url
from inngest_server.scheduling.cron import InvalidCronError, parse_cron
from inngest_server.wire.durations import InvalidDurationError, parse_duration_ms
from inngest_server.wire.json import canonical
from inngest_server.wire.times import find_rfc3339_ms

__all__ = [
    "CANCEL_MAX",
    "CRON_CHARS_MAX",
    "CRON_JITTER_MAX_MS",
    "CRON_JITTER_MIN_MS",
    "EVENT_NAME_CHARS_MAX",
    "IDEMPOTENCY_PERIOD_MS",
    "ID_CHARS_MAX",
    "RETRIES_DEFAULT",
    "RETRIES_MAX",
    "TRIGGERS_MAX",
    "Batch",
    "CancelOn",
    "ConcurrencyLevel",
    "ConcurrencyLimit",
    "ConcurrencyScope",
    "CronTrigger",
    "Debounce",
    "EventTrigger",
    "FunctionConfig",
    "RateLimit",
    "Singleton",
    "SingletonMode",
    "Throttle",
    "Timeouts",
    "Trigger",
]

RETRIES_DEFAULT = 4
RETRIES_MAX = 20
TRIGGERS_MAX = 10
EVENT_NAME_CHARS_MAX = 255
CRON_CHARS_MAX = 255
CRON_JITTER_MIN_MS = 1_000
CRON_JITTER_MAX_MS = 300_000
CANCEL_MAX = 5
ID_CHARS_MAX = 1_000
"""Ours, for ids of apps and functions: they travel in URLs, of which proxies take 2,000 characters."""
IDEMPOTENCY_PERIOD_MS = 86_400_000

_STEP = "step"
"""The key of the one step that official SDKs send."""


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """Starts the function on events called `event`; `shop/*` and `shop/order.*` match all that go on so."""

    event: str
    expression: str | None = None

    def to_json(self) -> dict[str, object]:
        written: dict[str, object] = {"event": self.event}
        return written if self.expression is None else {**written, "expression": self.expression}


@dataclass(frozen=True, slots=True)
class CronTrigger:
    """Starts the function by the clock; `cron` is the text as sent, time zone included."""

    cron: str
    jitter_ms: int = 0

    def to_json(self) -> dict[str, object]:
        written: dict[str, object] = {"cron": self.cron}
        return {**written, "jitter": duration_text(self.jitter_ms)} if self.jitter_ms else written


Trigger = EventTrigger | CronTrigger


@dataclass(frozen=True, slots=True)
class CancelOn:
    """Cancels the runs on whose behalf `event` arrives (protocol 5.7a).

    `timeout_text` is a valid duration or RFC 3339 moment, a duration when it reads as both; it is kept
    as text because only a run's start gives it a meaning.
    """

    event: str
    if_expression: str | None = None
    timeout_text: str | None = None

    def to_json(self) -> dict[str, object]:
        written: dict[str, object] = {"event": self.event}
        if self.if_expression is not None:
            written["if"] = self.if_expression
        if self.timeout_text is not None:
            written["timeout"] = self.timeout_text
        return written


@dataclass(frozen=True, slots=True)
class FunctionConfig:
    """A function as registered. Equal configurations behave alike: `raw` does not take part in `==`."""

    id: str
    """The composite slug `<app>-<function>`."""
    name: str
    url: str
    """Normalised; its scheme says whether the function is served or connected."""
    triggers: tuple[Trigger, ...] = ()
    """None at all for a function that is only invoked."""
    retries: int = RETRIES_DEFAULT
    concurrency: tuple[ConcurrencyLimit, ...] = ()
    """A run or step needs room in every one."""
    throttle: Throttle | None = None
    rate_limit: RateLimit | None = None
    """As configured; `effective_rate_limit` is what holds."""
    idempotency: str | None = None
    debounce: Debounce | None = None
    batch: Batch | None = None
    priority_key: str | None = None
    cancel: tuple[CancelOn, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)
    singleton: Singleton | None = None
    checkpoint: object = field(default=None, hash=False)
    """Any JSON, shown and otherwise unused."""
    raw: Mapping[str, object] = field(default_factory=dict[str, object], compare=False, repr=False)
    """The JSON as the SDK sent it, unknown keys included."""

    @property
    def max_attempts(self) -> int:
        return self.retries + 1

    @property
    def checksum(self) -> str:
        """SHA-256 hex, the same for equal configurations; internal, any stable hash would do."""
        return hashlib.sha256(canonical(self.to_json(), big_ints="exact")).hexdigest()

    @property
    def is_connected(self) -> bool:
        """Whether calls travel over a Connect worker's socket instead of HTTP."""
        return self.url.partition(":")[0] in CONNECT_SCHEMES

    @property
    def event_triggers(self) -> tuple[EventTrigger, ...]:
        return tuple(trigger for trigger in self.triggers if isinstance(trigger, EventTrigger))

    @property
    def cron_triggers(self) -> tuple[CronTrigger, ...]:
        return tuple(trigger for trigger in self.triggers if isinstance(trigger, CronTrigger))

    @property
    def effective_rate_limit(self) -> RateLimit | None:
        """The rate limit that holds: `idempotency` replaces `rate_limit` (5.15a), a batch ignores both."""
        if self.batch is not None:
            return None
        if self.idempotency is not None:
            return RateLimit(limit=1, period_ms=IDEMPOTENCY_PERIOD_MS, key=self.idempotency)
        return self.rate_limit

    @classmethod
    def from_json(cls, json: Mapping[str, object]) -> Self:
        """The configuration in its wire form: what an SDK sent, `raw` or the result of `to_json`.

        Raises:
            RegistrationInvalidError: with every problem at once.
        """
        findings = Findings()
        config = cls.read(json, findings)
        if findings.problems:
            raise RegistrationInvalidError(findings.problems)
        return config

    @classmethod
    def read(cls, json: Mapping[str, object], findings: Findings, path: str = "") -> Self:
        """As `from_json`, with problems and warnings added to `findings`.

        The result is only good when no problem was added.
        """
        function_id = Fields(json, Findings()).text("id")
        if function_id is not None:
            findings, path = findings.about(function_id), ""
        function = Fields(json, findings, path)
        function.required_text("id", 'set it to "<app>-<function>"')
        if function_id is not None and len(function_id) > ID_CHARS_MAX:
            function.refuse(
                "id",
                "too_long",
                f"has {len(function_id)} characters; at most {ID_CHARS_MAX} are allowed",
            )
        url, retries = _read_step(function)
        priority = function.child("priority")
        config = cls(
            id=function_id or "",
            name=function.text("name") or function_id or "",
            url=url,
            triggers=_read_triggers(function),
            retries=retries,
            concurrency=read_concurrency(function),
            throttle=Throttle.read(function),
            rate_limit=RateLimit.read(function),
            idempotency=function.expression("idempotency"),
            debounce=Debounce.read(function),
            batch=Batch.read(function),
            priority_key=None if priority is None else priority.expression("run"),
            cancel=_read_cancel(function),
            timeouts=Timeouts.read(function),
            singleton=Singleton.read(function),
            checkpoint=function.get("checkpoint"),
            raw=json,
        )
        _judge_combinations(config, function)
        return config

    def to_json(self) -> dict[str, object]:
        """The wire form, spelled as the newest official SDKs do; `from_json` reads it to an equal config."""
        options: dict[str, object] = {
            "idempotency": self.idempotency,
            "concurrency": concurrency_to_json(self.concurrency) or None,
            "throttle": self.throttle and self.throttle.to_json(),
            "rateLimit": self.rate_limit and self.rate_limit.to_json(),
            "debounce": self.debounce and self.debounce.to_json(),
            "batchEvents": self.batch and self.batch.to_json(),
            "priority": {"run": self.priority_key} if self.priority_key else None,
            "cancel": [cancel.to_json() for cancel in self.cancel] or None,
            "timeouts": self.timeouts.to_json() or None,
            "singleton": self.singleton and self.singleton.to_json(),
            "checkpoint": self.checkpoint,
        }
        step: dict[str, object] = {
            "id": _STEP,
            "name": _STEP,
            "runtime": {"type": "ws" if self.is_connected else "http", "url": self.url},
            "retries": {"attempts": self.retries},
        }
        return {
            "id": self.id,
            "name": self.name,
            "triggers": [trigger.to_json() for trigger in self.triggers],
            "steps": {_STEP: step},
            **{name: option for name, option in options.items() if option is not None},
        }


def _read_step(function: Fields) -> tuple[str, int]:
    """URL and retries: of the step called `step`, or of the only one there is."""
    steps = function.child("steps")
    if steps is None or not steps.json:
        if function.get("steps") in (None, {}):
            function.refuse("steps", "missing", 'has no step; send one called "step" with its runtime.url')
        return "", RETRIES_DEFAULT
    names = [name for name in steps.json if name.lower() == _STEP] or list(steps.json)
    if len(steps.json) > 1:
        function.warn(
            "steps", "several_steps", f"only {show(names[0])} is used; functions have one entry here"
        )
    step = steps.child(names[0])
    if step is None:
        if steps.get(names[0]) is None:
            steps.refuse(names[0], "missing", "is null; send an object with runtime.url")
        return "", RETRIES_DEFAULT
    runtime = step.child("runtime")
    if runtime is None:
        if step.get("runtime") is None:
            step.refuse("runtime", "missing", "is missing; send an object with the url of the function")
        return "", _read_retries(step, function)
    url = runtime.required_text("url", "set the absolute URL at which the function is called")
    try:
        url = normalize_app_url(url) if url else ""
    except InvalidAppURLError as error:
        runtime.refuse("url", "url_invalid", str(error))
    return url, _read_retries(step, function)


def _read_retries(step: Fields, function: Fields) -> int:
    """`steps.step.retries.attempts`, else the function's `retries`, else the default; clamped to 0..20."""
    for owner in (step, function):
        option = owner.get("retries")
        if is_object(option):
            owner, name = Fields(option, owner.findings, owner.place("retries")), "attempts"
        else:
            name = "retries"
        if owner.get(name) is None:
            continue
        retries = owner.count(name)
        if retries is not None and retries > RETRIES_MAX:
            owner.warn(name, "clamped", f"{retries} retries are more than allowed and count as {RETRIES_MAX}")
        return min(retries or 0, RETRIES_MAX)
    return RETRIES_DEFAULT


def _read_triggers(function: Fields) -> tuple[Trigger, ...]:
    entries = function.children("triggers")
    if len(entries) > TRIGGERS_MAX:
        function.refuse(
            "triggers", "too_many", f"has {len(entries)} entries; at most {TRIGGERS_MAX} are allowed"
        )
    seen: set[object] = set()
    triggers: list[Trigger] = []
    for entry in entries[:TRIGGERS_MAX]:
        trigger = _read_trigger(entry)
        if trigger is None:
            continue
        # Jitter does not make two equal schedules differ: the text alone decides (protocol 2.7).
        same = trigger.cron if isinstance(trigger, CronTrigger) else trigger
        if same in seen:
            what = trigger.cron if isinstance(trigger, CronTrigger) else trigger.event
            function.findings.refuse(entry.path, "duplicate", f"{show(what)} is there twice; remove one")
        seen.add(same)
        triggers.append(trigger)
    return tuple(triggers)


def _read_trigger(entry: Fields) -> Trigger | None:
    event, cron = entry.text("event"), entry.text("cron")
    if event is not None and cron is not None:
        entry.refuse("cron", "conflict", "stands beside an event; make two triggers of them")
        return None
    if event is not None:
        _judge_event_name(entry, event)
        return EventTrigger(event, entry.expression("expression"))
    if cron is not None:
        _judge_cron(entry, cron)
        if entry.get("jitter") in (0, "0"):
            return CronTrigger(cron)
        jitter_ms = entry.duration_ms("jitter", minimum_ms=CRON_JITTER_MIN_MS, maximum_ms=CRON_JITTER_MAX_MS)
        return CronTrigger(cron, jitter_ms or 0)
    if entry.get("event") in (None, "") and entry.get("cron") in (None, ""):
        entry.refuse("event", "missing", "is missing; a trigger needs an event or a cron")
    return None


def _judge_event_name(entry: Fields, name: str) -> None:
    if len(name) > EVENT_NAME_CHARS_MAX:
        entry.refuse(
            "event",
            "too_long",
            f"{show(name)} has {len(name)} characters; at most {EVENT_NAME_CHARS_MAX} are allowed",
        )
    # After `/` or `.` only: matching then tries a handful of prefixes and never scans (protocol 2.7).
    if "*" in name and not (name.count("*") == 1 and name.endswith(("/*", ".*"))):
        entry.refuse(
            "event",
            "wildcard_invalid",
            f'{show(name)} never matches; "*" goes last, after "/" or ".", as in "shop/*" or "shop/order.*"',
        )


def _judge_cron(entry: Fields, cron: str) -> None:
    if len(cron) > CRON_CHARS_MAX:
        entry.refuse("cron", "too_long", f"has {len(cron)} characters; at most {CRON_CHARS_MAX} are allowed")
        return
    try:
        parse_cron(cron)
    except InvalidCronError as error:
        entry.refuse("cron", "cron_invalid", str(error))


def _read_cancel(function: Fields) -> tuple[CancelOn, ...]:
    entries = function.children("cancel")
    if len(entries) > CANCEL_MAX:
        function.refuse("cancel", "too_many", f"has {len(entries)} entries; at most {CANCEL_MAX} are allowed")
    cancels: list[CancelOn] = []
    for entry in entries[:CANCEL_MAX]:
        event = entry.required_text("event", "name the event that cancels")
        expression = entry.expression("if", restricted=True)
        timeout = entry.text("timeout")
        if timeout is not None:
            _judge_timeout(entry, timeout)
        cancels.append(CancelOn(event, expression, timeout))
    return tuple(cancels)


def _judge_timeout(entry: Fields, text: str) -> None:
    """A duration, tried first, or an RFC 3339 moment (protocol 0.1)."""
    try:
        timeout_ms = parse_duration_ms(text)
    except InvalidDurationError:
        if find_rfc3339_ms(text) is None:
            entry.refuse(
                "timeout",
                "timeout_invalid",
                f'{show(text)} is neither a duration nor a moment; write for example "1h" or '
                '"2030-01-31T12:00:00Z"',
            )
        return
    if not 0 < timeout_ms <= DURATION_MAX_MS:
        bounds = f"above 0 and up to {duration_text(DURATION_MAX_MS)}"
        entry.refuse("timeout", "out_of_range", f"{show(text)} is out of range; use a duration {bounds}")


def _judge_combinations(config: FunctionConfig, function: Fields) -> None:
    """Which options exclude each other (protocol 2.7, features-2 9e, decisions.md)."""
    if config.batch is not None:
        beside_batch = {
            "cancel": bool(config.cancel),
            "debounce": config.debounce is not None,
            "priority": config.priority_key is not None,
            "singleton": config.singleton is not None,
        }
        for name in _names(beside_batch):
            function.refuse(name, "conflict", "cannot stand beside batchEvents; remove one of the two")
        ignored = {"idempotency": config.idempotency is not None, "rateLimit": config.rate_limit is not None}
        for name in _names(ignored):
            function.warn(name, "ignored", "has no effect beside batchEvents")
        if any(limit.key is not None for limit in config.concurrency):
            function.warn("concurrency", "first_event_only", "in a batch its key sees the first event only")
    elif config.idempotency is not None and config.rate_limit is not None:
        function.warn("rateLimit", "ignored", "has no effect beside idempotency, which replaces it")
    if config.singleton is not None and config.concurrency:
        function.warn("concurrency", "caution", "singleton already lets one run at a time through")


def _names(flags: Mapping[str, bool]) -> Iterable[str]:
    return (name for name, is_set in flags.items() if is_set)
