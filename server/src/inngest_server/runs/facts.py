"""What can happen to a run: facts, in the past tense, and the answers that some of them carry."""

from typing import Any, NamedTuple

from inngest_server.flow_control.timeouts import Timeout


class Op(NamedTuple):
    """One opcode object of an answer; only documented keys are read. Source: protocol 4.4."""

    code: str
    """Spelled as `OPCODES` spells it, whatever the app's case."""
    step_id: str
    display_name: str
    name: str
    """Legacy argument: a duration, an event or a signal name."""
    data: bytes
    """JSON text of `data`; `null` where absent."""
    error: bytes | None
    """JSON object; None where absent or null."""
    opts: dict[str, Any]


class Reported(NamedTuple):
    """The app reported opcodes (206, or a checkpoint)."""

    ops: tuple[Op, ...]
    version: int | None
    """Request version that the SDK answered with; None without the header."""
    no_retry: bool
    retry_after_ms: int | None


class Returned(NamedTuple):
    """The function returned (200)."""

    output: bytes


class CallFailed(NamedTuple):
    """The function raised, or no usable answer came."""

    error: bytes
    """JSON object with at least `name` and `message`."""
    code: str
    """Stable code of what went wrong; `function_error` when the user's code raised."""
    retriable: bool
    retry_after_ms: int | None


class Fetched(NamedTuple):
    """The request that a gateway item stands for succeeded."""

    data: bytes
    """JSON text: the step's result."""


Answer = Reported | Returned | CallFailed | Fetched


class Exchange(NamedTuple):
    """How the request of an answer went: for the trace, and for nothing else."""

    http_status: int
    """0 where no response came."""
    began_ms: int
    """When the request left; before that it may have waited for a connection."""
    took_ms: int


class Answered(NamedTuple):
    """An answer to the dispatch `generation` of an item arrived."""

    run_id: str
    item_id: str
    generation: int
    answer: Answer
    exchange: Exchange | None = None


class Checkpointed(NamedTuple):
    """The app stored step results in the middle of a request. Source: protocol 7.5."""

    run_id: str
    item_id: str
    generation: int
    """0 where the SDK does not say."""
    ops: tuple[Op, ...]


class ItemDue(NamedTuple):
    """The moment of a queued item came, or the slots of a parked one were granted."""

    run_id: str
    item_id: str


class ItemLost(NamedTuple):
    """The owner changed while the item was sent: its answer will not come."""

    run_id: str
    item_id: str
    generation: int


class AppReached(NamedTuple):
    """An item waits for its next try because its app did not answer; now the app does."""

    run_id: str
    item_id: str


class WaitExpired(NamedTuple):
    """The moment of a wait came first."""

    run_id: str
    wait_id: str


class EventArrived(NamedTuple):
    """An event that the wait was for."""

    run_id: str
    wait_id: str
    internal_id: str
    body: bytes


class SignalArrived(NamedTuple):
    run_id: str
    wait_id: str
    signal: str
    """Its name. The wait has it no more if another one replaced it while its run was loaded."""
    data: bytes


class ChildEnded(NamedTuple):
    """The invoked run ended, or could not be started. `memo` is the wrapper that the parent's step gets."""

    run_id: str
    wait_id: str
    memo: bytes
    child_run_id: str = ""
    """Empty where no run was started."""


class CancelRequested(NamedTuple):
    run_id: str
    reason: str
    """What the journal shows: `api`, `event <id>`, `timeout`."""


class TimedOut(NamedTuple):
    """A timeout of the run passed at `due_ms`."""

    run_id: str
    timeout: Timeout
    due_ms: int


class StallFound(NamedTuple):
    """An examination found that nothing may ever wake the run."""

    run_id: str
    is_work_lost: bool
    """Whether some of its work had to be removed: then what is left may be waiting for that."""


class DamageFound(NamedTuple):
    """What is stored of the run cannot be read any more, so it cannot go on."""

    run_id: str
    detail: str


Ending = CancelRequested | DamageFound
"""What ends a run whatever state it is in, even when nothing of it can be read."""

Fact = (
    Answered
    | Checkpointed
    | ItemDue
    | ItemLost
    | AppReached
    | WaitExpired
    | EventArrived
    | SignalArrived
    | ChildEnded
    | CancelRequested
    | TimedOut
    | StallFound
    | DamageFound
)
