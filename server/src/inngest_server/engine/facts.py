"""Facts that concern more than one run, and the envelope in which all facts wait."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from inngest_server.apps.registration import Registration
from inngest_server.engine.messages import StartAsked
from inngest_server.events.event import Event
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.jobs.filter import RunFilter
from inngest_server.jobs.progress import Undecided
from inngest_server.jobs.records import JobKind
from inngest_server.runs.facts import Fact
from inngest_server.runs.seed import Seed

if TYPE_CHECKING:
    from inngest_server.engine.rekeying import Progress
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
    paused_run_ids: frozenset[str] = frozenset()
    """Those among `run_ids` that were skipped because their function was paused."""
    asked_marks: frozenset[str] = frozenset()
    """Keys of rate limits that were read with the marks; one that is not in `marks` has none."""
    stored: dict[str, EventRow] = field(default_factory=dict[str, EventRow])
    """Those that are stored already, by internal id: the same request came before."""

    @property
    def is_repeatable(self) -> bool:
        """Whether any of the events may have come before: then storage has to be asked."""
        return any(event.repeatable for event in self.events)

    def forget_read(self) -> None:
        """What was read of storage may be older than what is decided next; it is read again."""
        self.round, self.marks, self.run_ids, self.stored = 0, {}, None, {}
        self.asked, self.asked_marks, self.paused_run_ids = frozenset(), frozenset(), frozenset()


class InvokeSent(EventsSent):
    """A client invokes one function: its event starts that function alone, whatever its triggers."""

    __slots__ = ("function",)

    def __init__(self, function: str, event: Event) -> None:
        super().__init__([event])
        self.function = function
        """Composite slug or id."""


@dataclass(slots=True, eq=False)
class StartDue:
    """A stored start goes on, once it was read how far its rate limit is used up."""

    asked: StartAsked
    event: Event
    round: int = 0
    """Number of the read that found `marks`."""
    marks: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    asked_marks: frozenset[str] = frozenset()
    """As of `EventsSent`."""


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
    """A client wants another run of a function, on the events that started one before.

    The result is its id, None if the function is not there any more.
    """

    function_id: str
    events: tuple[EventRow, ...]
    """With their bodies: one, or all of its batch."""
    is_batch: bool
    cron: str | None
    original_run_id: str
    origin: str
    """What the new run is caused by in place of its event: the first run, and a ULID or the client's key."""
    seed: Seed | None = None
    """What it begins with, of a fork."""
    mark: str = ""
    """Key of the mark under which it is found when the client asks again; empty without one."""


@dataclass(slots=True, eq=False)
class FunctionPaused:
    """A client wants no further runs of a function; the result is its `PauseRow`, None if there is none."""

    function: str
    """Composite slug or id."""
    cancels: bool
    """Whether the runs that are there are cancelled now instead of held."""


@dataclass(slots=True, eq=False)
class FunctionResumed:
    """A client wants a paused function to go on; the result is a `Resumed`, None if there is none."""

    function: str
    """Composite slug or id."""


@dataclass(slots=True, eq=False)
class PauseExpired:
    """The runs that a paused function had were held long enough."""

    function_id: str


@dataclass(slots=True, eq=False)
class FinishChanged:
    """A sync changed how long runs of a function may take; the timers of its runs are set anew."""

    function_id: str
    shards: list[int]
    """Those whose runs are still to be looked at."""
    run_ids: list[str]
    """What is left of the present one."""


@dataclass(slots=True, eq=False)
class JobAsked:
    """A client wants something done to many runs. The result is the `JobRow`, or a `jobs.JobRefusal`."""

    job_id: str
    """A fresh ULID."""
    kind: JobKind
    function: str
    """Composite slug or id."""
    name: str
    filter: RunFilter
    rate_per_s: int = 0


class Again(NamedTuple):
    """A run that is to be started again, with what it needs."""

    run_id: str
    cron: str | None
    events: tuple[EventRow, ...]
    """With their bodies: one, or all of its batch."""
    is_batch: bool
    """A batch may be one of a single event."""


@dataclass(slots=True, eq=False)
class JobSlice:
    """What was read for the next slice of a job. The result is its new row, None if it came late."""

    job_id: str
    cursor_before: str
    cursor: str
    seen: int
    run_ids: tuple[str, ...] = ()
    """To be cancelled."""
    again: tuple[Again, ...] = ()
    undecided: tuple[Undecided, ...] = ()
    is_last: bool = False


@dataclass(slots=True, eq=False)
class JobDeleted:
    """A client wants a job stopped; the result is the `JobRow`, None if it does not run."""

    job_id: str


@dataclass(slots=True, eq=False)
class WindowDue:
    """The moment of a window came, or it is full."""

    window_id: str
    read: dict[str, EventRow] | None = None
    """Events of it that memory lacked, by internal id; None until they were read."""


@dataclass(slots=True, eq=False)
class SlotsFreed:
    """More items can get slots than were given some in one go."""


@dataclass(slots=True, eq=False)
class MeterDue:
    """The moment of a throttle came: it may open for another run, or be as if it was never used."""

    bucket: str


@dataclass(slots=True, eq=False)
class RekeyNext:
    """A function's limits are counted elsewhere now: further runs of it are looked at."""

    function_id: str
    progress: "Progress"


@dataclass(slots=True, eq=False)
class RunRekeyed:
    """A run that holds slots is to hold them under the present names too."""

    run_id: str
    function_id: str


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
class ClockKept:
    """Where a virtual clock stands is to survive a restart."""

    row: MarkRow


@dataclass(slots=True, eq=False)
class Ping:
    """Nothing happened; whether the loop answers is the question."""


NodeFact = (
    Ping
    | ClockKept
    | EventsSent
    | InvokeSent
    | StartDue
    | Synced
    | AppRemoved
    | AppFailed
    | AppDiscovered
    | AppCameBack
    | AppAdded
    | AppMoved
    | AppDeleted
    | RunAgain
    | FunctionPaused
    | FunctionResumed
    | PauseExpired
    | FinishChanged
    | JobAsked
    | JobSlice
    | JobDeleted
    | CronDue
    | SlotsFreed
    | MeterDue
    | RekeyNext
    | RunRekeyed
    | WindowDue
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
