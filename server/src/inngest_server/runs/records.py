"""Rows that a run consists of, as storage keeps them and decisions change them.

Every row is an immutable tuple whose fields are the columns, in order; `shard` is the writer that owns it.
A run is:

* one `RunRow`, history: what lists filter by, written when the run is made, first sent, and ended;
* `JournalRow`s, append-only: everything that happened; the run's state is a fold of them (`run.py`);
* live rows, which exist only while they are a reason to wake: `ItemRow`s (work to send or sent) and
  `WaitRow`s (something to wait for, with its timer).

Moments are epoch milliseconds. Payloads are JSON as it came, validated on arrival.
"""

from enum import StrEnum
from typing import NamedTuple


class RunStatus(StrEnum):
    """Where a run stands; the value is what the REST API shows."""

    SCHEDULED = "Scheduled"
    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"

    @property
    def has_ended(self) -> bool:
        return self not in (RunStatus.SCHEDULED, RunStatus.RUNNING)


class RunRow(NamedTuple):
    """What lists and lookups need to know of a run. Key: `run_id`."""

    run_id: str
    shard: int
    function_id: str
    function_version: int
    event_id: str
    """Internal id of the (first) triggering event."""
    event_name: str
    cron: str | None
    parent: str | None
    """Correlation id `<parent run>.<step id>` of an invoked run."""
    status: str
    created_at_ms: int
    started_at_ms: int | None
    ended_at_ms: int | None
    output: bytes | None
    """Result of a completed run, error object of a failed one."""
    batch_id: str | None = None
    """Of a run on a batch of events, of which `event_id` is the first."""
    original_run_id: str | None = None
    """The run of which this one is a rerun, a replay or a fork."""
    priority_ms: int = 0
    """By how much earlier than it was made the run takes its place among those that wait."""


class BatchedEventRow(NamedTuple):
    """A further event of a run on a batch. Key: (`run_id`, `n`), `n` from 1: the run's row has the first."""

    run_id: str
    n: int
    shard: int
    event_id: str
    """Internal."""


class JournalKind(StrEnum):
    """What an entry records. Only `MEMO` and `OPENED` change what the next request carries."""

    MEMO = "memo"
    OPENED = "opened"
    TRIED = "tried"
    SENT_AGAIN = "sent_again"
    ENDED = "ended"
    LOST = "lost"
    """Stands for an entry that a repair found damaged or missing, in the journal of a run that has ended."""


class JournalRow(NamedTuple):
    """One thing that happened to a run. Key: (`run_id`, `n`), `n` from 1 without gaps."""

    run_id: str
    n: int
    shard: int
    kind: str
    step_id: str
    at_ms: int
    meta: bytes
    """Small JSON object; keys in `run.py`."""
    payload: bytes | None


def opened_mark(op: str) -> bytes:
    """What stands in the `meta` of an entry that opened a step of an opcode, and in no other entry's."""
    return b'"op":"%b"' % op.encode()


class ItemState(StrEnum):
    QUEUED = "queued"
    """Waits for `due_at_ms`."""
    PARKED = "parked"
    """Waits for slots, since `due_at_ms`."""
    SENT = "sent"
    """Handed to the driver; its answer is awaited."""


class ItemRow(NamedTuple):
    """Due or sent work of a run; stable across retries. Key: `item_id`, which is also the job id."""

    item_id: str
    shard: int
    run_id: str
    kind: str
    """`discovery`, `recheck` (a discovery after an empty answer) or `step` (targeted); `gateway` is no call
    to the app but the request that a step has the server make."""
    step_id: str
    """Hashed id that a targeted request names, or for which the server makes a request; empty otherwise."""
    stack_index: int
    """Position of the step whose completion scheduled this request; 0 at the start."""
    attempt: int
    generation: int
    """How many times it has been sent."""
    losses: int
    """Sends in a row whose outcome is unknown because the owner went away."""
    state: str
    queued_at_ms: int
    due_at_ms: int
    sent_at_ms: int
    slots: str
    """Names of the buckets it holds, one a line."""

    @property
    def is_gateway(self) -> bool:
        return self.kind == "gateway"


class WaitKind(StrEnum):
    SLEEP = "sleep"
    EVENT = "event"
    SIGNAL = "signal"
    INVOKE = "invoke"
    CANCEL = "cancel"


class WaitRow(NamedTuple):
    """Something a run waits for, and the moment at which it stops waiting. Key: `wait_id`."""

    wait_id: str
    """`<run id>.<step id>`: the correlation id of an invocation too."""
    shard: int
    run_id: str
    step_id: str
    kind: str
    name: str
    """Event name, signal name or invoked function; empty for a sleep."""
    expression: str
    captured: bytes
    """JSON array of the values that the expression takes from the run's own event."""
    opened_at_ms: int
    fires_at_ms: int
