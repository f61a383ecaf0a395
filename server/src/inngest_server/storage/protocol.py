"""What a storage backend does: keep rows, change them in atomic batches, answer history queries.

Backends hold no rule of the product: no conditions, arithmetic or time inside a batch. Every call may be
repeated. Errors are `StorageError`s; whatever a backend's library raises stays behind it.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar

from inngest_server.apps.records import AppRow, CronRow, FunctionRow
from inngest_server.events.records import EventRow
from inngest_server.flow_control.records import MeterRow, PauseRow, RekeyRow, TermsRow, WindowRow
from inngest_server.jobs.records import JobRow
from inngest_server.runs.records import ItemRow, JournalRow, RunRow, WaitRow
from inngest_server.storage.records import Key, MessageRow, Row, key_of

RowT = TypeVar("RowT", bound=Row)

DAMAGED = b""
"""What `salvage` gives in place of a payload that changed on disk; none that was stored is ever empty."""

FILTER_VALUES_MAX = 10_000
"""Of each set in a query."""
SCAN_ROWS = 1_000
SCAN_BYTES = 8 * 1024 * 1024
"""Of payloads in a page; the row that goes beyond is its last."""


class StorageError(Exception):
    """Storage did not do what was asked; nothing was changed by a read.

    StorageError
    ├── StorageUnavailableError     full disk, I/O error, locked database: may work again later
    ├── CorruptDataError            stored bytes do not match their checksum
    └── IncompatibleStorageError    made by a newer version, or not ours; starting is refused
    """

    code = "storage_error"


class StorageUnavailableError(StorageError):
    code = "storage_unavailable"


class CorruptDataError(StorageError):
    code = "storage_corrupt"


class IncompatibleStorageError(StorageError):
    code = "storage_incompatible"


class Outcome(StrEnum):
    DONE = "done"
    FAILED = "failed"
    """Nothing was changed."""
    UNKNOWN = "unknown"
    """The storage cannot tell; the caller must forget what it knows and load again."""


class CommitResult(NamedTuple):
    outcome: Outcome
    stale: frozenset[int]
    """Shards whose epoch was not the current one: their part changed nothing."""
    detail: str
    """Why it failed, for logs and `/health`; empty when done."""


class Batch:
    """Changes that become durable together. The last change of a key in a batch wins.

    `epochs` names the shards that the batch writes to and the epoch their owner believes in. `now_ms` is the
    domain time of the latest decision; storage keeps the highest it has seen.
    """

    __slots__ = ("epochs", "gone", "journal", "messages", "now_ms", "rows")

    def __init__(self) -> None:
        self.epochs: dict[int, int] = {}
        self.rows: dict[type[Row], dict[Key, Row]] = {}
        self.gone: dict[type[Row], dict[Key, int]] = {}
        self.journal: list[JournalRow] = []
        self.messages: list[MessageRow] = []
        self.now_ms = 0

    def put(self, row: Row) -> None:
        """Insert the row, or replace the one with its key; not for journal rows and messages.

        What a row says about its cause never changes while it exists: the function and the event of a run,
        the name of an event.
        """
        kind, key = type(row), key_of(row)
        gone = self.gone.get(kind)
        if gone is not None:
            gone.pop(key, None)
        rows = self.rows.get(kind)
        if rows is None:
            rows = self.rows[kind] = {}
        rows[key] = row

    def remove(self, kind: type[Row], key: Key, shard: int) -> None:
        """Remove the row with that key, if there is one."""
        rows = self.rows.get(kind)
        if rows is not None:
            rows.pop(key, None)
        gone = self.gone.get(kind)
        if gone is None:
            gone = self.gone[kind] = {}
        gone[key] = shard

    def is_empty(self) -> bool:
        return not (self.journal or self.messages or any(self.rows.values()) or any(self.gone.values()))


@dataclass(frozen=True, slots=True)
class LivePage:
    """A part of the live rows of the shards asked for.

    What runs are judged by comes before them, and a run before its terms, items and waits.
    """

    pauses: Sequence[PauseRow] = ()
    rekeys: Sequence[RekeyRow] = ()
    meters: Sequence[MeterRow] = ()
    runs: Sequence[RunRow] = ()
    terms: Sequence[TermsRow] = ()
    items: Sequence[ItemRow] = ()
    waits: Sequence[WaitRow] = ()
    crons: Sequence[CronRow] = ()
    windows: Sequence[WindowRow] = ()
    jobs: Sequence[JobRow] = ()
    """Those that have not ended."""

    def rows(self) -> "list[Row]":
        """All of them."""
        return [
            *self.pauses,
            *self.rekeys,
            *self.meters,
            *self.runs,
            *self.terms,
            *self.items,
            *self.waits,
            *self.crons,
            *self.windows,
            *self.jobs,
        ]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every app and function ever registered, the archived ones too."""

    apps: Sequence[AppRow]
    functions: Sequence[FunctionRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """Which events a list shows, newest first by internal id; what is None does not narrow it.

    The time in an internal id is the moment that bounds compare, so order, bounds, cursor and count agree.
    """

    limit: int
    after: str | None = None
    """Internal id of the last event of the page before; not looked at when counting."""
    from_ms: int | None = None
    """Inclusive."""
    until_ms: int | None = None
    """Exclusive."""
    names: frozenset[str] | None = None
    """At most `FILTER_VALUES_MAX`, as every set of a query."""
    include_internal: bool = True
    """Whether events whose name begins with `inngest/` are shown."""
    with_bodies: bool = True
    """Without, `body` is None in every row, and a page of large events costs nothing."""


class RunOrder(StrEnum):
    """The moment by which runs are ordered and bounded; a run that does not have it yet is not shown."""

    QUEUED = "queued"
    """The time in the run's id: when what caused it arrived. So the order is that of the ids."""
    STARTED = "started"
    ENDED = "ended"


class RunCursor(NamedTuple):
    """The place of a run in a list."""

    moment_ms: int
    """By which the list is ordered; of no meaning, and 0, in the order of ids."""
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuery:
    """Which runs a list shows, newest first; what is None does not narrow it, an empty set shows nothing."""

    limit: int
    order: RunOrder = RunOrder.QUEUED
    ascending: bool = False
    """Oldest first. Runs of one moment are in the order of their ids, in the same direction."""
    after: RunCursor | None = None
    """Place of the last run of the page before; not looked at when counting."""
    from_ms: int | None = None
    """Inclusive, of the moment that `order` names."""
    until_ms: int | None = None
    """Exclusive, of the same."""
    statuses: frozenset[str] | None = None
    function_ids: frozenset[str] | None = None
    event_id: str | None = None
    """Internal id of the event that started the run."""
    with_outputs: bool = True
    """Without, `output` is None in every row, and a page of large outputs costs nothing."""

    def place_of(self, row: RunRow) -> RunCursor:
        """Where the list goes on after a run that it shows."""
        return RunCursor(self.moment_of(row) or 0, row.run_id)

    def moment_of(self, row: RunRow) -> int | None:
        """By which the list orders the run: 0 in the order of ids, None if it does not show the run."""
        match self.order:
            case RunOrder.QUEUED:
                return 0
            case RunOrder.STARTED:
                return row.started_at_ms
            case RunOrder.ENDED:
                return row.ended_at_ms


class FoundRun(NamedTuple):
    """A run with the event that started it, for who searches in their contents."""

    run: RunRow
    event: EventRow | None
    """None when it is gone, as between two slices of pruning."""


class RunHistory(NamedTuple):
    """A run and all that is stored of it, as of one moment."""

    run: RunRow
    journal: Sequence[JournalRow]
    """By number."""
    items: Sequence[ItemRow]
    """By id; none of an ended run."""
    waits: Sequence[WaitRow]
    """By id; none of an ended run."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows a storage holds, for tests and audits."""

    live_runs: int
    items: int
    waits: int
    marks: int
    runs: int
    events: int
    journal: int


class Storage(Protocol):
    """Where rows live. One instance serves one node; its methods are called from one event loop."""

    @property
    def shard_count(self) -> int:
        """Number of shards, fixed when the database was made. Known after `open`."""
        ...

    @property
    def description(self) -> str:
        """What and how durable, for people: `SQLite .inngest/main.db, synchronous=FULL`."""
        ...

    async def open(self) -> None:
        """Make the storage ready: create or migrate the schema. May be called again after a failure.

        Raises:
            IncompatibleStorageError: made by a newer version or by something else.
            StorageUnavailableError: cannot be opened now.
        """
        ...

    async def close(self) -> None:
        """Release what is held. Afterwards only `open` may be called."""
        ...

    async def acquire(self, shards: Iterable[int], owner: str, until_ms: int) -> dict[int, int]:
        """Take or keep shards for `owner` until a host time; returns the epoch of each that was got.

        A shard held by another owner whose lease has not passed `until_ms` of its own is left out only if
        the other is alive in the sense of the backend; the embedded backends have one owner and always grant.
        Every grant has a higher epoch than all before.
        """
        ...

    async def release(self, epochs: dict[int, int]) -> None:
        """Give shards up; ignored where the epoch is not the current one."""
        ...

    async def domain_time_ms(self) -> int:
        """The highest `now_ms` ever committed; 0 in a new database."""
        ...

    def load(self, shards: Iterable[int]) -> AsyncIterator[LivePage]:
        """All live rows of the shards, in the order that `LivePage` tells. Reads no payloads of runs."""
        ...

    async def catalogue(self) -> Catalogue: ...

    async def get(self, kind: type[RowT], keys: Sequence[Key]) -> list[RowT]:
        """The rows that exist among those keys, in no order; not for journal rows.

        Raises:
            CorruptDataError: a payload does not match its checksum.
        """
        ...

    async def journals(self, run_ids: Sequence[str]) -> dict[str, list[JournalRow]]:
        """The journals of runs, each by number; a run without entries is left out.

        Raises:
            CorruptDataError: an entry does not match its checksum, or a number is missing.
        """
        ...

    async def batched_events(self, run_ids: Sequence[str]) -> dict[str, list[str]]:
        """Internal ids of the further events of runs on batches, in order; other runs are left out."""
        ...

    async def histories(self, run_ids: Sequence[str]) -> dict[str, RunHistory]:
        """Those of the runs that exist, by id, all as of one moment: nothing of a commit without the rest.

        Raises:
            CorruptDataError: as `get` and `journals`.
        """
        ...

    async def runs_that_opened(self, run_ids: Sequence[str], op: str) -> frozenset[str]:
        """Those of the runs in which a step of that opcode was opened; reads no payloads."""
        ...

    async def salvage(self, kind: type[RowT], keys: Sequence[Key]) -> list[RowT]:
        """As `get`, for repairs: a damaged row comes too, with `DAMAGED` in place of its payloads."""
        ...

    async def salvage_journal(self, run_id: str) -> list[JournalRow]:
        """What is left of a run's journal: as `salvage`, and where a number is missing there is a gap."""
        ...

    async def commit(self, batch: Batch) -> CommitResult:
        """Make a batch durable: every shard's part as a whole or not at all.

        A shard whose epoch in the batch is not the current one is `stale` and its part changes nothing:
        rows of that shard, removals for it, messages from it. May be called again with the same batch.
        Never raises for what the disk does.

        Raises:
            StorageError: a row has a value of the wrong type; repeating the commit would not help.
        """
        ...

    async def subscribers(self, names: Sequence[str]) -> dict[str, list[int]]:
        """The shards registered for each event name."""
        ...

    async def messages(self, shard: int, limit: int) -> list[MessageRow]:
        """Untaken messages of a shard, by sender and number."""
        ...

    async def list_events(self, query: EventQuery) -> list[EventRow]: ...

    async def count_events(self, query: EventQuery) -> int:
        """How many events the list has on all its pages."""
        ...

    def scan_events(self, query: EventQuery) -> AsyncIterator[Sequence[EventRow]]:
        """The list in pages of at most `SCAN_ROWS` rows, and of little more than `SCAN_BYTES`, until `limit`.

        For a search that looks into each row, so payloads always come. Each page is a read of its own: what
        comes or goes meanwhile may be seen or not, and who stops asking stops the reading.
        """
        ...

    async def list_runs(self, query: RunQuery) -> list[RunRow]: ...

    async def count_runs(self, query: RunQuery) -> int:
        """How many runs the list has on all its pages."""
        ...

    def scan_runs(self, query: RunQuery) -> AsyncIterator[Sequence[FoundRun]]:
        """As `scan_events`; each run comes with its event."""
        ...

    async def runs_of_event(self, internal_id: str) -> list[RunRow]:
        """Runs that the event started, alone or as one of a batch, oldest first."""
        ...

    async def runs_of_events(self, internal_ids: Sequence[str]) -> dict[str, list[RunRow]]:
        """The same for many events, by event, without the outputs; an event without runs is left out."""
        ...

    async def list_jobs(self, *, limit: int, after: str | None = None) -> list[JobRow]:
        """Jobs, newest first; `after` is the id of the last job of the page before."""
        ...

    async def items_of_run(self, run_id: str) -> list[ItemRow]:
        """The items whose ids begin with `<run id>.`, by id."""
        ...

    async def prune(self, before_ms: int, limit: int) -> int:
        """Forget a slice of the past; returns how many rows went. Zero says that nothing is left to forget.

        At most `limit` runs (each with its whole journal), `limit` events and `limit` marks go at a time.

        What goes: runs that ended before the moment with their journals, events received before it that no
        unfinished run and no kept run refers to, marks that expired before `domain_time_ms`. Jobs
        that ended before it go with the runs, `limit` at a time too.
        """
        ...

    async def oldest_ms(self) -> int | None:
        """When the first of the ended runs ended, or the first event by id was received, whichever is less.

        None when there is neither.
        """
        ...

    async def used_bytes(self) -> int:
        """Bytes that rows and indexes take, without free room in the file; in memory an estimate. Cheap."""
        ...

    async def counts(self) -> Counts:
        """Exact at some moment. Looks at every row: never on a path that a server uses."""
        ...
