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
* `edited`   on an opened step: its payload is the input that its first request brings along

Other keys are for the trace (`traces/`), which does without those that an old journal lacks. What an entry
says of the step:

* `op`, `name`, `until`, `event`, `if`, `signal`, `function`: what it is, and what it waits for
* `input`    on a memo: the step's arguments, a text of JSON (a planned step has them as its payload)
* `since`, `timeout`, `event`, `child`: since when it waited, and what ended that: the time, an event, a run
* `kept`     on a memo: taken over from this run, which executed the step
* `edited`   on a memo: given in place of the result that the step had in this run
* `opened`   on either of them: what the step waited for, and from which moment (`at`)

and of the request that it came of (`decision.trace_of_item`):

* `item`, `gen`, `attempt`: which one. Without `item` it is the one that is targeted at the entry's own step
* `queued`, `due`, `sent`, `slots`: when; `due` only if later than queued, `slots` if it had to get some since
* `http`, `began`, `took`: status of the answer; when the request left, if later than sent; its milliseconds
* `goes_on`  a checkpoint: the request is not answered yet
* `lost`     it is given up: the result came by an older one
* `code`, `next`: why it failed, and when it is tried again; on a memo: why the step failed for good
* `asked`, `empty`: it brought nothing that is worth an entry of its own
* `status`, `reason`, `open`: how the run ended, and the items that were not answered then, with their `state`
"""

from typing import Any, NamedTuple

import orjson

from inngest_server.flow_control.records import TermsRow
from inngest_server.runs.records import ItemRow, JournalKind, JournalRow, RunRow, WaitRow
from inngest_server.runs.row_map import RowMap
from inngest_server.wire import json

GATEWAY_OPS = frozenset({"AIGateway", "Gateway"})
"""Opcodes whose opening entry has a request of the server as its payload: `opcodes/gateway.py`."""

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
        "canonical_bytes",
        "canonical_further",
        "event_body",
        "further",
        "inputs",
        "memos",
        "next_n",
        "opened",
        "pending",
        "plan_only",
        "races",
        "request_bytes",
        "requests",
        "state_bytes",
        "version",
    )

    def __init__(self, event_body: bytes, further: tuple[bytes, ...] = ()) -> None:
        self.event_body = event_body
        self.further = further
        """The other events of a batch, in the order in which they came."""
        self.memos: dict[str, bytes] = {}
        """Step id to memo as it is sent, in completion order: its keys are the stack."""
        self.inputs: dict[str, bytes] = {}
        """What is sent in place of a memo for a step that is executed with an edited input."""
        self.opened: dict[str, str] = {}
        """Opcode of each step that was planned or waits, and has no memo."""
        self.requests: dict[str, bytes] = {}
        """What the server requests for each open gateway step; holds secrets."""
        self.request_bytes = 0
        """Of all that the journal has, those of finished steps too."""
        self.pending: set[str] = set()
        self.races: set[str] = set()
        self.plan_only = False
        self.version = UNDECIDED
        self.state_bytes = 0
        self.next_n = 1
        self.canonical: dict[str, bytes] = {}
        """Canonical forms of parts, filled by whoever signs; never stored."""
        self.canonical_further: tuple[bytes, ...] | None = () if not further else None
        """The same of `further`."""
        self.canonical_bytes = 0
        """Size of those that are not the stored bytes themselves."""
        self._event: dict[str, Any] | None = None

    @classmethod
    def remains(cls, event_body: bytes | None, entries: int) -> "Content":
        """What is left of a run that cannot be read: enough to end it.

        `entries` is the number of the last entry of its journal, so that its end comes after it.
        """
        content = cls(event_body or b"null")
        content.next_n = entries + 1
        return content

    @property
    def event(self) -> dict[str, Any]:
        """The triggering event, parsed on first use."""
        if self._event is None:
            self._event = json.parse_kept(self.event_body)
        return self._event  # type: ignore[return-value]

    @property
    def size_bytes(self) -> int:
        """Roughly what it takes of memory, without what `forget_parsed` gives back."""
        requests = sum([len(request) for request in self.requests.values()])
        further = sum([len(body) for body in self.further]) if self.further else 0
        return len(self.event_body) + further + self.state_bytes + self.canonical_bytes + requests

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
            self.requests.pop(step_id, None)
            if b'"late":true' not in meta:
                self.pending.discard(step_id)
        if entry.kind == JournalKind.OPENED:
            parsed = orjson.loads(meta)
            self.opened[step_id] = parsed["op"]
            if parsed["op"] in GATEWAY_OPS and entry.payload is not None:
                self.requests[step_id] = entry.payload
                self.request_bytes += len(entry.payload)
            elif "edited" in parsed and entry.payload is not None:
                self.inputs[step_id] = b'{"input":' + entry.payload + b"}"
                self.state_bytes += len(self.inputs[step_id])
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

    __slots__ = ("content", "items", "row", "terms", "waits")

    def __init__(self, row: RunRow, content: Content | None = None, terms: TermsRow | None = None) -> None:
        self.row = row
        self.terms = terms
        self.items = RowMap[ItemRow]()
        self.waits = RowMap[WaitRow]()
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
    input_bytes_max: int = 4 * 1024 * 1024
    requests_bytes_max: int = 128 * 1024 * 1024
    """Of all gateway requests of a run together: its journal, which has them, is read as a whole."""
    captured_bytes_max: int = 64 * 1024
    """Of the values that a wait keeps of the run's own event: all open waits are in memory."""


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
    shift_ms: int = 0
    """What to add to an instant that an app took from its own clock, to have it in domain time."""
