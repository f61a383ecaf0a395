"""The working state of one decision about step results: what opcodes read and add to.

A decision must not change the run that it is made from, so a turn keeps what the opcodes of this answer have
added so far beside it.
"""

from typing import Any

from inngest_server.runs.decision import Decision, trace_of_item
from inngest_server.runs.errors import MalformedOpError, RunFailure
from inngest_server.runs.facts import CallFailed, Op
from inngest_server.runs.records import ItemRow, ItemState, JournalKind, WaitKind, WaitRow
from inngest_server.runs.run import Content, Limits, Moment, Run
from inngest_server.wire import json
from inngest_server.wire.shared import shared

TIMEOUT_MAX_MS = 366 * 24 * 3_600_000
"""Longest sleep or wait. Source: protocol 0."""
INPUT_BYTES_MAX = 256 * 1024
"""Of the arguments of a step; larger ones are not kept. They are read again whenever the run is loaded."""


class Turn:
    """One pass over the opcodes of an answer or a checkpoint, or over one memo that arrived."""

    __slots__ = (
        "content",
        "decision",
        "failed_op",
        "item",
        "moment",
        "opened",
        "output",
        "results",
        "retry",
        "run",
        "saved",
        "state_bytes",
        "trace",
        "wants_discovery",
    )

    def __init__(self, run: Run, moment: Moment, item: ItemRow | None, decision: Decision) -> None:
        self.run = run
        self.moment = moment
        self.item = item
        """The item that is being answered; None when its answer belongs to an older dispatch."""
        self.decision = decision
        self.content: Content = run.loaded
        self.saved: dict[str, None] = {}
        """Steps whose memo this turn recorded."""
        self.opened: dict[str, None] = {}
        self.results: list[str] = []
        """Steps that this turn reported a result for, recorded before or now."""
        self.state_bytes = self.content.state_bytes
        self.output: bytes | None = None
        """Result of the function, when the turn completed the run."""
        self.retry: CallFailed | None = None
        """The try of the answered item failed and may be repeated."""
        self.failed_op: Op | None = None
        """The step that made it fail."""
        self.wants_discovery = False
        self.trace: dict[str, Any] = {}
        """Part of each entry's meta: what it says of the answered request."""
        if decision.answered is not None:
            self.trace = decision.trace.copy()
        elif item is not None:
            self.trace = trace_of_item(item)

    @property
    def limits(self) -> Limits:
        return self.moment.limits

    def knows(self, step_id: str) -> bool:
        """Whether the step has a memo."""
        return step_id in self.content.memos or step_id in self.saved

    def is_open(self, step_id: str) -> bool:
        return step_id in self.content.opened or step_id in self.opened

    def save(self, step_id: str, memo: bytes, meta: dict[str, Any]) -> None:
        """Record a step's memo; the first one recorded wins and a later one only counts as a result.

        Raises:
            RunFailure: the memo, or the run's state with it, is too large.
        """
        self.results.append(step_id)
        if self.knows(step_id):
            if step_id in self.content.pending:
                self.record(JournalKind.TRIED, step_id, {"done": True})
            return
        limits = self.limits
        if len(memo) > limits.output_bytes_max:
            raise RunFailure(
                "output_too_large",
                f"step output size is greater than the limit: {len(memo)} bytes, "
                f"at most {limits.output_bytes_max}",
            )
        self.state_bytes += len(memo)
        if self.state_bytes > limits.state_bytes_max:
            raise RunFailure(
                "InngestErrStateOverflowed",
                f"The function run exceeded the state size limit of {limits.state_bytes_max} bytes.",
            )
        self.saved[step_id] = None
        self.record(JournalKind.MEMO, step_id, meta, memo)

    def record(
        self, kind: JournalKind, step_id: str, meta: dict[str, Any], payload: bytes | None = None
    ) -> None:
        """Append an entry that came of the answered request."""
        meta = {**meta, **self.trace}
        if self.item is not None and self.item.step_id not in ("", step_id):
            meta["item"] = self.item.step_id
        self.decision.record(kind, step_id, self.moment.now_ms, meta, payload)

    def is_new(self, op: Op) -> bool:
        """Whether the step is neither open nor done."""
        return not (self.knows(op.step_id) or self.is_open(op.step_id))

    def check_input(self, op: Op, size: int) -> None:
        """Return if a step's input, of so many bytes of JSON, is small enough.

        Raises:
            RunFailure: it is too large.
        """
        if size > self.limits.input_bytes_max:
            raise RunFailure(
                "input_too_large",
                f"the input of step {op.display_name!r} is too large: {size} bytes, "
                f"at most {self.limits.input_bytes_max}",
            )

    def open(self, op: Op, meta: dict[str, Any], payload: bytes | None = None) -> bool:
        """Record that a step was opened; False when it is already open or done, and nothing is to be done."""
        if not self.is_new(op):
            return False
        self.opened[op.step_id] = None
        if op.opts.get("parallelMode") == "race":
            meta = {**meta, "race": True}
        meta = {"op": op.code, "name": op.display_name, **meta}
        self.record(JournalKind.OPENED, op.step_id, meta, payload)
        return True

    def is_forsaken(self, op: Op) -> bool:
        """Whether the step was planned before and has neither a memo nor an item any more."""
        planned = self.content.opened.get(op.step_id) == op.code and not self.knows(op.step_id)
        item_id = f"{self.run.id}.{op.step_id}"
        # Asked for each planned step of each answer, and there may be a thousand.
        return (
            planned
            and item_id not in self.run.items
            and all(item.item_id != item_id for item in self.decision.items)
        )

    def enqueue(self, kind: str, step_id: str = "") -> None:
        """Add an item that is due now. Its id follows from the step, or from where the journal stands."""
        now_ms = self.moment.now_ms
        if not self.decision.journal:
            # Nothing else of this answer is worth an entry, and each item needs one to be named by.
            self.record(JournalKind.TRIED, "", {"asked": True})
        self.decision.items.append(
            ItemRow(
                item_id=f"{self.run.id}.{step_id or self.decision.next_n - 1}",
                shard=self.run.row.shard,
                run_id=self.run.id,
                kind=kind,
                step_id=step_id,
                stack_index=0 if kind == "step" else len(self.content.memos) + len(self.saved),
                attempt=0,
                generation=0,
                losses=0,
                state=ItemState.QUEUED.value,
                queued_at_ms=now_ms,
                due_at_ms=now_ms,
                sent_at_ms=0,
                slots="",
            )
        )

    def wait(
        self,
        op: Op,
        kind: WaitKind,
        fires_at_ms: int,
        *,
        name: str = "",
        expression: str = "",
        captured: bytes = b"[]",
    ) -> None:
        """Add a wait for an opened step.

        Raises:
            RunFailure: it would last longer than a run may wait.
        """
        now_ms = self.moment.now_ms
        if fires_at_ms - now_ms > TIMEOUT_MAX_MS:
            raise RunFailure(
                "InngestErrTimeoutTooLong",
                f"step {op.display_name!r} would wait until {fires_at_ms} ms since 1970; "
                "at most 366 days are allowed",
            )
        self.decision.waits.append(
            WaitRow(
                wait_id=f"{self.run.id}.{op.step_id}",
                shard=self.run.row.shard,
                run_id=self.run.id,
                step_id=op.step_id,
                kind=kind.value,
                name=shared(name),
                expression=shared(expression),
                captured=captured,
                opened_at_ms=now_ms,
                fires_at_ms=max(fires_at_ms, now_ms),
            )
        )


def input_text(op: Op) -> bytes | None:
    """The arguments that the SDK shows for a step, as a JSON array; None without any, or with too many.

    They are kept for people alone: the SDK has them.
    """
    given = op.opts.get("input")
    if not isinstance(given, list) or not given:
        return None
    text = json.dumps(given)
    return text if len(text) <= INPUT_BYTES_MAX else None


def require(value: object, op: Op, field: str) -> str:
    """A text field that the opcode cannot do without.

    Raises:
        MalformedOpError: it is missing or not a text.
    """
    if not isinstance(value, str) or not value:
        raise MalformedOpError(f"{op.code} of step {op.display_name!r} needs the text {field}, got {value!r}")
    return value
