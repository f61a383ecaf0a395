"""A run in memory, and how its state follows from its journal.

Everything that outlives a request is in rows. `Content` is what the next request carries: it is a fold of
the journal and nothing else, so loading a run and having lived through it give the same state. An entry
changes it only through its kind, step id, payload and these keys of its `meta`:

* `v`        the request version that the SDK chose
* `plan`     whether later requests ask for planning only (protocol 4.6)
* `pending`  hashed ids of the parallel steps that must all be done before the next discovery
* `race`     on an opened step: its completion alone is enough for a discovery
* `late`     on a memo: it came by a replaced request; the step stays pending until its current request
             is answered
* `done`     a pending step whose memo was already there has now been answered

Other keys (`op`, `name`, `attempt`, `queued`, `sent`, `until`, ...) are for the trace.
"""

from typing import Any, NamedTuple

import orjson

from inngest_server.runs.records import ItemRow, JournalKind, JournalRow, RunRow, WaitRow
from inngest_server.wire import json

UNDECIDED = -1
"""Request version of a run whose SDK has not chosen one."""


class Known(NamedTuple):
    """What a request may say of a content: as it stood when the request was decided.

    The content itself runs ahead of the disk, and a request may be composed while a later commit is
    under way.
    """

    memos: int
    """How many, from the first on."""
    plan_only: bool
    version: int


class Content:
    """What the next request of a run carries. Changed by `fold` only."""

    __slots__ = (
        "_event",
        "canonical",
        "event_body",
        "memos",
        "next_n",
        "opened",
        "pending",
        "plan_only",
        "races",
        "state_bytes",
        "version",
    )

    def __init__(self, event_body: bytes) -> None:
        self.event_body = event_body
        self.memos: dict[str, bytes] = {}
        """Step id to memo as it is sent, in completion order: its keys are the stack."""
        self.opened: dict[str, str] = {}
        """Opcode of each step that was planned or waits, and has no memo."""
        self.pending: set[str] = set()
        self.races: set[str] = set()
        self.plan_only = False
        self.version = UNDECIDED
        self.state_bytes = 0
        self.next_n = 1
        self.canonical: dict[str, bytes] = {}
        """Canonical forms of parts, filled by whoever signs; never stored."""
        self._event: dict[str, Any] | None = None

    @property
    def event(self) -> dict[str, Any]:
        """The triggering event, parsed on first use."""
        if self._event is None:
            self._event = json.parse_kept(self.event_body)
        return self._event  # type: ignore[return-value]

    @property
    def known(self) -> Known:
        return Known(len(self.memos), self.plan_only, self.version)

    def forget_parsed(self) -> None:
        """Give back what can be made again from the bytes."""
        self._event = None

    def fold(self, entry: JournalRow) -> None:
        """Take in one entry; entries come once each and in order."""
        assert entry.n == self.next_n, f"{entry.run_id}: entry {entry.n} after {self.next_n - 1}"
        self.next_n += 1
        meta = entry.meta
        step_id = entry.step_id
        if entry.kind == JournalKind.MEMO:
            payload = entry.payload
            assert payload is not None
            self.memos[step_id] = payload
            self.state_bytes += len(payload)
            self.opened.pop(step_id, None)
            if b'"late":true' not in meta:
                self.pending.discard(step_id)
        if entry.kind == JournalKind.OPENED:
            parsed = orjson.loads(meta)
            self.opened[step_id] = parsed["op"]
            self._fold_meta(step_id, parsed)
        # Most entries carry none of the keys that matter; looking for their text is cheaper than parsing.
        elif b'"v":' in meta or b'"plan":' in meta or b'"done":' in meta:
            self._fold_meta(step_id, orjson.loads(meta))

    def _fold_meta(self, step_id: str, meta: dict[str, Any]) -> None:
        if "v" in meta:
            self.version = meta["v"]
        if "plan" in meta:
            self.plan_only = meta["plan"]
        if meta.get("race"):
            self.races.add(step_id)
        if "done" in meta:
            self.pending.discard(step_id)
        if "pending" in meta:
            # The entry that opens a parallel group may itself be one of its results.
            self.pending.update(pending_id for pending_id in meta["pending"] if pending_id not in self.memos)


class Run:
    """An unfinished run: its row, its live rows, and its content while that is in memory."""

    __slots__ = ("content", "items", "row", "waits")

    def __init__(self, row: RunRow, content: Content | None = None) -> None:
        self.row = row
        self.items: dict[str, ItemRow] = {}
        self.waits: dict[str, WaitRow] = {}
        self.content = content

    @property
    def id(self) -> str:
        return self.row.run_id

    @property
    def loaded(self) -> Content:
        """The content, which the shell has loaded before it asks for a decision."""
        assert self.content is not None, f"{self.row.run_id}: content is not loaded"
        return self.content


class Limits(NamedTuple):
    """Hard limits of a run. Source: protocol 0 and 4.8."""

    steps_max: int = 1000
    ops_per_response_max: int = 1000
    state_bytes_max: int = 32 * 1024 * 1024
    output_bytes_max: int = 4 * 1024 * 1024


class Moment(NamedTuple):
    """What a decision may know besides the run and the fact."""

    now_ms: int
    jitter: float
    """In [0, 1)."""
    function_slug: str
    max_attempts: int
    retry_interval_ms: int | None
    """Constant back-off of the server's `--retry-interval`, if set."""
    limits: Limits
    signal_holder: Any = None
    """`(signal name) -> wait id | None`: who waits for a signal now."""
