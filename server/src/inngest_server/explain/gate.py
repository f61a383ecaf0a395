"""What an explanation consists of: gates in the order in which they are passed, each with a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from inngest_server.wire.times import format_rfc3339

HOLDERS_MAX = 20
"""Named of those that use up a limit."""

LABELS = {
    "set_aside": "Not set aside",
    "stored": "Event stored",
    "matched": "Trigger matched",
    "duplicate": "First of its id",
    "batch": "Batch",
    "rate_limit": "Rate limit",
    "idempotency": "Idempotency",
    "debounce": "Debounce",
    "archived": "Function registered",
    "paused": "Pause of the function",
    "singleton": "Singleton",
    "run": "Run made",
    "scheduled": "Scheduled time",
    "priority": "Priority and place",
    "throttle": "Throttle",
    "concurrency": "Concurrency",
    "concurrency:run": "Concurrency of runs",
    "concurrency:account": "Concurrency of requests in the account",
    "concurrency:env": "Concurrency of requests in the environment",
    "concurrency:step": "Concurrency of requests",
    "app": "App reachable",
    "backoff": "Last try and back-off",
    "request": "Request",
    "timeouts": "Timeouts",
    "cancelled": "Not cancelled",
    "siblings": "Parallel steps",
    "sleep": "Sleep",
    "event": "Event waited for",
    "signal": "Signal waited for",
    "invoke": "Invoked function",
    "work": "Something to wake it",
}
"""All gates by id, in the order in which they are passed."""


class Verdict(StrEnum):
    """How a gate stands."""

    PASS = "pass"
    """It is open, or was passed."""
    BLOCK = "block"
    """It is shut until somebody else does something, or was shut for good."""
    WAIT = "wait"
    """It opens by itself: at a moment, or when what is under way ends."""
    SKIP = "skip"
    """It is not on the way: not configured, not for what caused the run, or not reached."""
    UNKNOWN = "unknown"
    """Nothing that is stored says; about an unfinished run that is a fault."""

    @property
    def holds_back(self) -> bool:
        return self in (Verdict.BLOCK, Verdict.WAIT, Verdict.UNKNOWN)


class Fact(NamedTuple):
    k: str
    v: str | int | float | bool | None
    unit: str = ""
    """`time` for a moment as RFC 3339, else of a number: `ms`, `s`, `bytes`."""


def moment(name: str, at_ms: int) -> Fact:
    return Fact(name, format_rfc3339(at_ms), "time")


class Holder(NamedTuple):
    """Who holds a slot."""

    run: str
    step: str
    """Hashed id of the step that its request is for; empty where it is for none, or the run holds it."""
    since_ms: int | None
    function: str = ""
    """Slug."""

    def to_json(self) -> dict[str, Any]:
        return {"run": self.run, "step": self.step, "since": _time(self.since_ms), "function": self.function}


class Action(NamedTuple):
    """What somebody can do about it: a request to this server."""

    id: str
    label: str
    confirm: bool
    """Whether to ask first: it cannot be undone."""
    method: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Something that a run or an event passes; times in epoch milliseconds."""

    id: str
    """A key of `LABELS`, with `:2` and so on behind it where there are several."""
    verdict: Verdict
    says: str = ""
    """A clause for people, without a subject: `waits for ...`."""
    since_ms: int | None = None
    eta_ms: int | None = None
    """When it opens, at the latest; None where that is not known, and `ends` says what would open it."""
    ends: str = ""
    """What opens it: `when ...`."""
    facts: Sequence[Fact] = ()
    key: str | None = None
    """Value of the limit's key."""
    limit: int | None = None
    used: int | None = None
    position: int | None = None
    """Place in the line, from 1; beyond `flow_control.parking.AHEAD_MAX` one more than that."""
    holders: Sequence[Holder] = ()
    link: str | None = None
    """Path of what it is about."""
    actions: Sequence[Action] = ()
    """What would open it."""

    @property
    def label(self) -> str:
        """Its name for people."""
        name, _, number = self.id.rpartition(":")
        return LABELS[name if number.isdigit() else self.id]

    def to_json(self) -> dict[str, Any]:
        optional = {"key": self.key, "limit": self.limit, "used": self.used, "position": self.position}
        return {
            "id": self.id,
            "label": self.label,
            "verdict": self.verdict.value,
            "says": self.says,
            "since": _time(self.since_ms),
            "eta": _time(self.eta_ms),
            "ends": self.ends,
            "facts": [fact._asdict() for fact in self.facts],
            **{name: value for name, value in optional.items() if value is not None},
            "holders": [holder.to_json() for holder in self.holders],
            "link": self.link,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a run is where it is."""

    run: str
    at_ms: int
    state: str
    summary: str
    """One sentence."""
    gates: Sequence[Gate]
    actions: Sequence[Action] = ()

    @property
    def blocking(self) -> Gate | None:
        """The one that holds the run back, or kept it from starting: the first that is not open."""
        return first_shut(self.gates)

    def to_json(self) -> dict[str, Any]:
        blocking = self.blocking
        return {
            "run": self.run,
            "at": _time(self.at_ms),
            "state": self.state,
            "summary": self.summary,
            "blocking": blocking.id if blocking is not None else None,
            "eta": _time(blocking.eta_ms) if blocking is not None else None,
            "ends": blocking.ends if blocking is not None else "",
            "actions": [action._asdict() for action in self.actions],
            "gates": [gate.to_json() for gate in self.gates],
        }


def first_shut(gates: Sequence[Gate]) -> Gate | None:
    """The first gate that holds back; None when all are open."""
    return next((gate for gate in gates if gate.verdict.holds_back), None)


def _time(ms: int | None) -> str | None:
    return format_rfc3339(ms) if ms is not None else None
