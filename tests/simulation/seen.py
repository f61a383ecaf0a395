"""What the auditor remembers of a world."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from inngest_server.events.records import EventRow
from inngest_server.runs.records import RunRow, WaitRow

from .options import Rules


@dataclass
class Client:
    """An event that a client was told is stored."""

    internal_id: str
    began: int


@dataclass
class StoredEvent:
    row: EventRow
    seq: int
    decided_ms: int
    k: Any
    duplicate: bool
    first: str
    """Internal id of the first event of its id."""


@dataclass
class Wait:
    row: WaitRow
    opened: int
    closed: int = 0
    how: str = ""
    """`event`, `timeout`, `child`, `signal`, `sleep`, or `end` with its run."""
    event: str = ""
    """Internal id of the event that ended it."""


@dataclass
class Run:
    row: RunRow
    k: Any
    born: int
    memos: dict[str, bytes] = field(default_factory=dict)
    entries: int = 0
    items: set[str] = field(default_factory=set)
    waits: set[str] = field(default_factory=set)
    ended: int = 0
    last_sent: int = 0
    """When a request of it was last decided to be sent."""
    event_seen: bytes | None = None
    sleeps: dict[str, int] = field(default_factory=dict)
    """Step id to the moment before which it must not be over."""
    signals: set[str] = field(default_factory=set)
    """Names of signals that its code wants to wait for."""
    further: list[str] = field(default_factory=list)
    """Internal ids of the other events of its batch, in order."""
    started: int = 0
    """When its first request was sent."""
    earlier_ms: int = 0
    """By how much its priority moves it forward in a line."""
    start_by_ms: int | None = None
    """Before which its first request must be sent."""
    is_of_window: bool = False
    """Made of what a debounce or batch had collected."""
    is_unclear: bool = False
    """Made in the batch of a sync: nobody knows by which options."""
    lock: tuple[str, str] | None = None
    """The singleton that it holds: its function and the value of the key."""


@dataclass
class Registered:
    """A function as the last committed sync left it."""

    slug: str
    event: str | None
    expression: str | None
    max_attempts: int
    """The most that any version of it had."""
    rules: Rules
    url: str
    """Where it is called, without the query."""
    url_before: str
    cancels: bool
    jitters: bool
    active: bool
    changed: int
    among_others: bool
    """Whether other registrations may have been decided in the same batch, which the disk never saw."""

    def wants(self, name: str, data: dict[str, Any]) -> bool:
        """Whether an event starts it, by its trigger."""
        return self.event == name and _is_true(self.expression, data)


def _is_true(expression: str | None, data: dict[str, Any]) -> bool:
    """The few expressions that simulated triggers have, read without the server's own code."""
    if not expression:
        return True
    path, _, value = expression.partition(" == ")
    return data.get(path.removeprefix("event.data.")) == orjson.loads(value.replace("'", '"'))


class Asked(NamedTuple):
    """A `Retry-After`: the moment by the machine's clock at that time, how long that is, and when it came."""

    until_ms: int
    wait_ms: int
    true_ms: int


@dataclass
class Dispatch:
    attempt: int
    due_ms: int
    urls: set[str] | None
    """Where it may go: to the URL of the last sync, or that before if both were decided together; None for
    anywhere, since more of them may have been."""
    seen: int = 0
    failed: bool = False
    asked: Asked | None = None
    """Whether the app asked not to be called again so soon."""


def plain(text: bytes) -> bytes:
    """One form for all texts of the same JSON value."""
    return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)
