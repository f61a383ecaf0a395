"""Facts that concern more than one run, and the envelope in which all facts wait."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from inngest_server.apps.registration import Registration
from inngest_server.events.event import Event
from inngest_server.events.records import EventRow
from inngest_server.runs.facts import Fact


@dataclass(slots=True, eq=False)
class EventsSent:
    """Events that a client sent. What storage knows of their ids is read before they are decided."""

    events: list[Event]
    round: int = 0
    """Number of the read that found `marks`."""
    marks: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    """Internal id of the first event with that id, and when its mark expires."""
    run_ids: frozenset[str] | None = None
    """Which of the runs that duplicates would start exist; None until somebody had to know."""
    stored: dict[str, EventRow] = field(default_factory=dict[str, EventRow])
    """Those that are stored already, by internal id: the same request came before."""


@dataclass(slots=True, eq=False)
class InvokeSent:
    """A client invokes one function."""

    function: str
    event: Event


@dataclass(slots=True, eq=False)
class Synced:
    """An app announced its functions."""

    registration: Registration


@dataclass(slots=True, eq=False)
class AppRemoved:
    url: str


@dataclass(slots=True, eq=False)
class AppFailed:
    """An app could not be synced; `error` is for people."""

    url: str
    error: str


@dataclass(slots=True, eq=False)
class CronDue:
    cron_id: str


@dataclass(slots=True, eq=False)
class SignalSent:
    signal: str
    data: bytes


@dataclass(slots=True, eq=False)
class Ping:
    """Nothing happened; whether the loop answers is the question."""


NodeFact = Ping | EventsSent | InvokeSent | Synced | AppRemoved | AppFailed | CronDue | SignalSent


@dataclass(slots=True, eq=False)
class Pending:
    """A fact that waits for its decision, and who waits for the answer."""

    fact: Fact | NodeFact
    reply: asyncio.Future[Any] | None = None
    message: tuple[int, int, int] | None = None
    """Key of the stored message that it came by."""
    result: Any = None
