"""What an explanation is made from: copies of rows, and how far limits are used, as of one moment.

Gathered by the engine (`engine/explaining.py`), which knows all of it in memory; nothing here changes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from inngest_server.apps.config import FunctionConfig
from inngest_server.explain.gate import Holder
from inngest_server.flow_control.concurrency import Counted
from inngest_server.flow_control.parking import Place
from inngest_server.flow_control.records import PauseRow, TermsRow, WindowKind
from inngest_server.flow_control.throttle import Rate, Throttled
from inngest_server.runs.records import ItemRow, ItemState, JournalRow, RunRow, WaitKind, WaitRow


class AppView(NamedTuple):
    """An app as the server knows it."""

    url: str
    error: str
    """Why its last sync failed; empty when it did not."""
    archived_at_ms: int | None
    calls_waiting: int | None = None
    """Calls that wait for one of its connections; None where nobody counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionView:
    """A function as it is registered now."""

    id: str
    slug: str
    config: FunctionConfig
    app: AppView
    created_at_ms: int
    archived_at_ms: int | None
    limits: Sequence[Counted] = ()
    """Of concurrency, the present ones first; those of former configurations while runs count by them."""
    throttles: Sequence[Throttled] = ()
    pause: PauseRow | None = None


class EventView(NamedTuple):
    """The event that a run is on."""

    internal_id: str
    event_id: str
    name: str
    ts_ms: int
    received_at_ms: int
    body: dict[str, Any]


class Usage(NamedTuple):
    """How far a bucket is used; what is in it depends on its kind."""

    limit: int | None
    """None where nothing is limited any more."""
    held: int
    holders: Sequence[Holder]
    """The first of them."""
    rate: Rate | None = None
    """Of a throttle."""
    tat_ns: int = 0
    unsent: int = 0
    """Starts that a throttle was granted to and that were not sent yet."""


class SetAside(NamedTuple):
    """The engine decides nothing about it: see `engine/held.py`."""

    reason: str
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSnapshot:
    """A run and everything that it may wait for."""

    now_ms: int
    row: RunRow
    function: FunctionView
    event: EventView | None
    """None when it cannot be read any more."""
    journal: Sequence[JournalRow] = ()
    is_live: bool = True
    terms: TermsRow | None = None
    items: Sequence[ItemRow] = ()
    waits: Sequence[WaitRow] = ()
    place: Place | None = None
    """Of the item in question, if it is parked: where it stands in line."""
    buckets: Sequence[str] = ()
    """Those in which the run's next request needs room, or the item in question waits for room."""
    usages: Mapping[str, Usage] = field(default_factory=dict[str, Usage])
    """By bucket."""
    unreached: frozenset[str] = frozenset()
    """Items that wait for their next try because the app could not be reached."""
    set_aside: SetAside | None = None
    children: Mapping[str, str] = field(default_factory=dict[str, str])
    """The unfinished run that it invoked, by the wait for it: of several that of `first_wait`."""
    waits_for_connection: bool = False
    """Whether the request of the item in question is sent, and all connections to where it goes are taken."""
    batch_size: int = 0
    """Events of a run on a batch."""


_FIRST = {ItemState.SENT: 0, ItemState.PARKED: 1, ItemState.QUEUED: 2}


def in_question(items: Iterable[ItemRow]) -> ItemRow | None:
    """The item of a run that is explained, which is furthest; None where there is no work."""
    return min(
        items, key=lambda item: (_FIRST[ItemState(item.state)], item.due_at_ms, item.item_id), default=None
    )


def first_wait(waits: Iterable[WaitRow], kind: WaitKind) -> WaitRow | None:
    """The wait of a kind that is explained, which is over first; None where there is none."""
    return min((wait for wait in waits if wait.kind == kind), key=lambda wait: wait.fires_at_ms, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowView:
    """A window that collects events."""

    kind: WindowKind
    opened_at_ms: int
    due_at_ms: int
    deadline_ms: int | None
    period_ms: int
    newest_ts_ms: int
    count: int
    max_size: int
    size_bytes: int
    key_value: str
    has_event: bool
    """Whether the event is among those of which a run will be made."""
    newest_event_id: str
    """Internal id of the last one that it keeps."""


class StartedRun(NamedTuple):
    """A run that an event led to."""

    row: RunRow
    skip_reason: str = ""
    blocked_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSnapshot:
    """An event, the functions that it concerns, and what is known of what became of it."""

    now_ms: int
    event: EventView
    run_id: str | None
    """Of the run that a system event tells of."""
    first_id: str | None
    """Internal id of the first event with its id; None where that is forgotten, or it has none of its own."""
    functions: Sequence[FunctionView]
    """Those with a trigger of its name or a run of it, and the one that it invokes."""
    others: Sequence[tuple[str, FunctionConfig]] = ()
    """Slugs and configurations of all others that are in use."""
    runs: Mapping[str, Sequence[StartedRun]]
    """By function."""
    notes: Mapping[str, Mapping[str, Any]]
    """By function, why it was not started: see `engine.starts.note_key`."""
    windows: Mapping[str, WindowView]
    """By function: the window that has the event, else the one that its key has open."""
