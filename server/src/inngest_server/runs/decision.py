"""What a decision consists of: rows to change, messages to other entities, acts for after the commit."""

from typing import Any, NamedTuple

import orjson

from inngest_server.runs.facts import Exchange
from inngest_server.runs.records import ItemRow, ItemState, JournalKind, JournalRow, RunRow, WaitRow
from inngest_server.runs.run import Run


class TellParent(NamedTuple):
    """Give the run that waits on `correlation_id` the memo of its invocation."""

    correlation_id: str
    memo: bytes


class StartChild(NamedTuple):
    """Start the function that a run invoked."""

    correlation_id: str
    function: str
    """Composite slug or function id, as the SDK sent it."""
    payload: dict[str, Any]
    """`data`, `v`, `user`, ... of the invocation."""
    expires_at_ms: int
    source_function_id: str
    step_name: str


class Publish(NamedTuple):
    """Publish a system event about a run that ended."""

    name: str
    run: RunRow
    trigger_body: bytes
    """The triggering event, as JSON."""
    error: bytes | None
    """Error object of a failed or cancelled run."""
    further: tuple[bytes, ...] = ()
    """The other events of a batch."""


Message = TellParent | StartChild | Publish


class CheckpointRefused(NamedTuple):
    """The checkpoint recorded nothing; `status` is the HTTP status that says why."""

    status: int
    message: str


def trace_of_item(item: ItemRow, exchange: Exchange | None = None) -> dict[str, Any]:
    """What entries say of the item that they came of, for the trace: see the keys in `run.py`.

    What goes without saying is left out, because it is stored with every step.
    """
    trace: dict[str, Any] = {
        "attempt": item.attempt,
        "gen": item.generation,
        "queued": item.queued_at_ms,
    }
    if not item.step_id:
        trace["item"] = item.item_id.partition(".")[2]
    if item.due_at_ms > item.queued_at_ms:
        trace["due"] = item.due_at_ms
    if item.state != ItemState.SENT:
        return trace
    trace["sent"] = item.sent_at_ms
    if item.slots and not item.losses:
        trace["slots"] = True
    if exchange is not None:
        if exchange.http_status:
            trace["http"] = exchange.http_status
        if exchange.began_ms > item.sent_at_ms:
            trace["began"] = exchange.began_ms
        trace["took"] = exchange.took_ms
    return trace


class Decision:
    """Changes in the order in which they apply, and what follows their commit.

    Built by one call of `decide` and read-only afterwards. Entries are numbered from where the run's journal
    stands, so a decision fits exactly the state it was made from.
    """

    __slots__ = (
        "_n",
        "answered",
        "ended",
        "gone_items",
        "gone_waits",
        "items",
        "journal",
        "messages",
        "refused",
        "row",
        "run",
        "trace",
        "waits",
    )

    def __init__(self, run: Run, answered: ItemRow | None = None, exchange: Exchange | None = None) -> None:
        self.run = run
        self.answered = answered
        """The item whose current dispatch is answered."""
        self.trace = trace_of_item(answered, exchange) if answered is not None else {}
        """What the entries that come of the answer say of its request."""
        self._n = run.content.next_n if run.content is not None else 0
        self.row: RunRow | None = None
        self.journal: list[JournalRow] = []
        self.items: list[ItemRow] = []
        """New and changed items; one that is due is sent or parked by the shell in the same batch."""
        self.waits: list[WaitRow] = []
        self.gone_items: list[str] = []
        self.gone_waits: list[str] = []
        self.messages: list[Message] = []
        self.refused: CheckpointRefused | None = None
        self.ended = False

    @property
    def next_n(self) -> int:
        return self._n

    def record(
        self,
        kind: JournalKind,
        step_id: str,
        now_ms: int,
        meta: dict[str, Any],
        payload: bytes | None = None,
    ) -> None:
        """Append an entry to the run's journal."""
        row, text = self.run.row, orjson.dumps(meta)
        self.journal.append(
            JournalRow(row.run_id, self._n, row.shard, kind.value, step_id, now_ms, text, payload)
        )
        self._n += 1
