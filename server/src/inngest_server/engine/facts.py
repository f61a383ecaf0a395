"""Facts that concern more than one run, and the envelope in which all facts wait."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from inngest_server.apps.registration import Registration
from inngest_server.events.event import Event
from inngest_server.events.records import EventRow
from inngest_server.runs.facts import Fact

if TYPE_CHECKING:
    from inngest_server.engine.work import Work


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
    asked: frozenset[str] = frozenset()
    """The runs that storage was asked for then."""
    stored: dict[str, EventRow] = field(default_factory=dict[str, EventRow])
    """Those that are stored already, by internal id: the same request came before."""

    @property
    def is_repeatable(self) -> bool:
        """Whether any of the events may have come before: then storage has to be asked."""
        return any(event.repeatable for event in self.events)

    def forget_read(self) -> None:
        """What was read of storage may be older than what is decided next; it is read again."""
        self.round, self.marks, self.run_ids, self.stored = 0, {}, None, {}
        self.asked = frozenset()


class InvokeSent(EventsSent):
    """A client invokes one function: its event starts that function alone, whatever its triggers."""

    __slots__ = ("function",)

    def __init__(self, function: str, event: Event) -> None:
        super().__init__([event])
        self.function = function
        """Composite slug or id."""


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
class AppDiscovered:
    """The server found the app at this URL by itself, and it has synced."""

    url: str


@dataclass(slots=True, eq=False)
class AppCameBack:
    """The app at this URL answers again; it could not be synced before."""

    url: str


@dataclass(slots=True, eq=False)
class AppAdded:
    """A client named the URL of an app that may not have announced itself yet."""

    url: str


@dataclass(slots=True, eq=False)
class AppMoved:
    """A client says that an app is at another URL now."""

    app_id: str
    url: str


@dataclass(slots=True, eq=False)
class AppDeleted:
    app_id: str


@dataclass(slots=True, eq=False)
class RunAgain:
    """A client wants another run of a function, on an event that started one before."""

    function_id: str
    event: EventRow
    """With its body."""
    cron: str | None
    cause: str
    """A fresh ULID: what the new run is caused by in place of its event."""


@dataclass(slots=True, eq=False)
class CronDue:
    cron_id: str


@dataclass(slots=True, eq=False)
class SignalSent:
    signal: str
    data: bytes


@dataclass(slots=True, eq=False)
class StandDown:
    """A run is held: what it keeps from others is given back."""

    run_id: str


@dataclass(slots=True, eq=False)
class Mending:
    """A repair, bound to what was read for it; its result says what was done."""

    decide: "Callable[[Work, int], str]"


@dataclass(slots=True, eq=False)
class Released:
    """Somebody wants a held run or schedule to be tried again."""

    entity: str


@dataclass(slots=True, eq=False)
class Ping:
    """Nothing happened; whether the loop answers is the question."""


NodeFact = (
    Ping
    | EventsSent
    | InvokeSent
    | Synced
    | AppRemoved
    | AppFailed
    | AppDiscovered
    | AppCameBack
    | AppAdded
    | AppMoved
    | AppDeleted
    | RunAgain
    | CronDue
    | SignalSent
    | StandDown
    | Released
    | Mending
)


@dataclass(slots=True, eq=False)
class Pending:
    """A fact that waits for its decision, and who waits for the answer."""

    fact: Fact | NodeFact
    reply: asyncio.Future[Any] | None = None
    message: tuple[int, int, int] | None = None
    """Key of the stored message that it came by."""
    result: Any = None
    tries: int = 0
    """How often its decision raised, so that nothing of its batch was kept."""

    def fail(self, error: Exception) -> None:
        """Tell who asked, if anybody waits for the answer."""
        if self.reply is not None and not self.reply.done():
            self.reply.set_exception(error)
