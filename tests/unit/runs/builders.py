"""A run that is lived through fact by fact, as the engine does it, but without storage, slots or network."""

from typing import Any

from inngest_server.runs import finish
from inngest_server.runs.decide import decide, send, started
from inngest_server.runs.decision import Decision, Message, Publish, StartChild, TellParent
from inngest_server.runs.errors import RunFailure
from inngest_server.runs.facts import (
    Answer,
    Answered,
    CallFailed,
    Checkpointed,
    Fact,
    ItemDue,
    ItemLost,
    Op,
    Reported,
    Returned,
    WaitExpired,
)
from inngest_server.runs.opcodes.registry import parse_ops
from inngest_server.runs.records import ItemRow, ItemState, JournalKind, JournalRow, WaitKind, WaitRow
from inngest_server.runs.run import Content, Limits, Moment, Run
from inngest_server.wire import json
from tests.builders import RUN_ID, SECOND_MS, T0_MS, make_item, make_run_row

EVENT_BODY = b'{"data":{"a":1},"id":"evt-1","name":"shop/order.placed","ts":1790000000000,"user":{}}'
DEFAULT_LIMITS = Limits()


def make_op(code: str, step_id: str = "", **fields: Any) -> Op:
    """An opcode as an app's JSON spells it: `make_op("StepRun", "a", data=1)`."""
    return parse_ops([{"op": code, "id": step_id, **fields}])[0]


def planned(*step_ids: str, mode: str | None = None) -> list[Op]:
    opts = {"parallelMode": mode} if mode else None
    return [make_op("StepPlanned", step_id, opts=opts) for step_id in step_ids]


def ran(step_id: str, data: Any = None, **fields: Any) -> Op:
    return make_op("StepRun", step_id, data=data, **fields)


def make_error(message: str = "boom", **extra: Any) -> dict[str, Any]:
    return {"name": "Error", "message": message, **extra}


def make_failure(*, retriable: bool = True, retry_after_ms: int | None = None) -> CallFailed:
    """The function raised."""
    return CallFailed(json.dumps(make_error()), "function_error", retriable, retry_after_ms)


def make_reported(
    *ops: Op, version: int | None = 2, no_retry: bool = False, retry_after_ms: int | None = None
) -> Reported:
    return Reported(ops, version, no_retry, retry_after_ms)


class Life:
    """A run and everything that its decisions led to. Begins with its first request sent."""

    def __init__(
        self,
        *,
        event_body: bytes = EVENT_BODY,
        event_name: str = "shop/order.placed",
        parent: str | None = None,
        max_attempts: int = 5,
        limits: Limits = DEFAULT_LIMITS,
        retry_interval_ms: int | None = None,
        jitter: float = 0.0,
        waits: tuple[WaitRow, ...] = (),
    ) -> None:
        self.now_ms = T0_MS
        self.run = Run(make_run_row(event_name=event_name, parent=parent), Content(event_body))
        self.event_body = event_body
        self.max_attempts = max_attempts
        self.limits = limits
        self.retry_interval_ms = retry_interval_ms
        self.jitter = jitter
        self.journal: list[JournalRow] = []
        self.messages: list[Message] = []
        self.dispatches: list[ItemRow] = []
        """Every item as it was when it was sent."""
        self.signals: dict[str, str] = {}
        """Who waits for a signal, in other runs too."""
        self.has_ended = False
        self.run.waits.update({wait.wait_id: wait for wait in waits})
        self._place(make_item(f"{RUN_ID}.0"))

    # What is there.

    @property
    def content(self) -> Content:
        return self.run.loaded

    @property
    def memos(self) -> dict[str, Any]:
        return {step_id: json.parse(memo) for step_id, memo in self.content.memos.items()}

    @property
    def stack(self) -> list[str]:
        return list(self.content.memos)

    @property
    def status(self) -> str:
        return self.run.row.status

    @property
    def output(self) -> Any:
        assert self.run.row.output is not None
        return json.parse(self.run.row.output)

    @property
    def sent(self) -> list[ItemRow]:
        """Items whose answer is awaited, oldest first."""
        return [item for item in self.run.items.values() if item.state == ItemState.SENT]

    @property
    def queued(self) -> list[ItemRow]:
        return [item for item in self.run.items.values() if item.state == ItemState.QUEUED]

    @property
    def discoveries(self) -> list[ItemRow]:
        """Awaited items that ask for whatever comes next."""
        return [item for item in self.sent if item.kind != "step"]

    @property
    def targets(self) -> list[str]:
        return [item.step_id for item in self.sent if item.kind == "step"]

    def of_step(self, step_id: str) -> ItemRow:
        return next(item for item in self.run.items.values() if item.step_id == step_id)

    def wait_of(self, step_id: str) -> WaitRow:
        return next(wait for wait in self.run.waits.values() if wait.step_id == step_id)

    def entries(self, kind: JournalKind) -> list[JournalRow]:
        return [entry for entry in self.journal if entry.kind == kind]

    @property
    def children(self) -> list[StartChild]:
        return [message for message in self.messages if isinstance(message, StartChild)]

    @property
    def published(self) -> list[str]:
        return [message.name for message in self.messages if isinstance(message, Publish)]

    @property
    def told_parent(self) -> list[TellParent]:
        return [message for message in self.messages if isinstance(message, TellParent)]

    @property
    def keeps_a_reason_to_wake(self) -> bool:
        waits = [wait for wait in self.run.waits.values() if wait.kind != WaitKind.CANCEL]
        return bool(self.run.items or waits)

    # What happens.

    def take(self, fact: Fact) -> Decision:
        """Decide a fact and take the decision in."""
        if self.has_ended:
            return Decision(self.run)  # The shell finds no run and drops the fact.
        decision = decide(self.run, fact, self._moment())
        self._apply(decision)
        return decision

    def answer(self, answer: Answer, item: ItemRow | None = None) -> Decision:
        """Answer an item as it is now: the only sent one, unless told."""
        if item is None:
            (item,) = self.sent
        return self.take(Answered(RUN_ID, item.item_id, item.generation, answer))

    def report(self, *ops: Op, item: ItemRow | None = None, **reported: Any) -> Decision:
        return self.answer(make_reported(*ops, **reported), item)

    def report_step(self, op: Op, **reported: Any) -> Decision:
        """Answer the targeted item of the op's own step."""
        return self.report(op, item=self.of_step(op.step_id), **reported)

    def checkpoint(self, *ops: Op, generation: int | None = None, item_id: str | None = None) -> Decision:
        (item,) = self.sent
        used = item.generation if generation is None else generation
        return self.take(Checkpointed(RUN_ID, item_id or item.item_id, used, ops))

    def complete(self, output: bytes = b'"done"') -> Decision:
        return self.answer(Returned(output))

    def lose(self, item: ItemRow | None = None) -> Decision:
        """The server restarts while the item is sent."""
        if item is None:
            (item,) = self.sent
        return self.take(ItemLost(RUN_ID, item.item_id, item.generation))

    def expire(self, step_id: str) -> Decision:
        """Go to the moment of a step's wait, and let it fire."""
        wait = self.wait_of(step_id)
        self.now_ms = max(self.now_ms, wait.fires_at_ms)
        return self.take(WaitExpired(RUN_ID, wait.wait_id))

    def send_due(self) -> None:
        """Go to the moment of the first queued item, and let it be sent."""
        item = min(self.queued, key=lambda item: item.due_at_ms)
        self.now_ms = max(self.now_ms, item.due_at_ms)
        self.take(ItemDue(RUN_ID, item.item_id))

    def replace_dispatch(self, item: ItemRow | None = None) -> ItemRow:
        """Send an item again, and return it as it was: its answer belongs to an older generation now."""
        if item is None:
            (item,) = self.sent
        self.lose(item)
        return item

    def pass_time(self, ms: int = SECOND_MS) -> None:
        self.now_ms += ms

    def reloaded(self) -> Content:
        """The content that the journal alone gives."""
        content = Content(self.event_body)
        for entry in self.journal:
            content.fold(entry)
        return content

    def _moment(self) -> Moment:
        return Moment(
            self.now_ms,
            self.jitter,
            "shop-fulfil",
            self.max_attempts,
            self.retry_interval_ms,
            self.limits,
            self.signals.get,
        )

    def _apply(self, decision: Decision) -> None:
        run = self.run
        for entry in decision.journal:
            run.loaded.fold(entry)
        self.journal += decision.journal
        if decision.row is not None:
            run.row = decision.row
        for wait_id in decision.gone_waits:
            wait = run.waits.pop(wait_id)
            if wait.kind == WaitKind.SIGNAL and self.signals.get(wait.name) == wait_id:
                del self.signals[wait.name]
        for wait in decision.waits:
            run.waits[wait.wait_id] = wait
            if wait.kind == WaitKind.SIGNAL:
                self.signals[wait.name] = wait.wait_id
        for item_id in decision.gone_items:
            del run.items[item_id]
        self.messages += decision.messages
        if decision.ended:
            assert not self.has_ended, "a run ended twice"
            self.has_ended = True
        for item in decision.items:
            if not self.has_ended:
                self._place(item)

    def _place(self, item: ItemRow) -> None:
        run = self.run
        run.items[item.item_id] = item
        if item.state == ItemState.SENT or item.due_at_ms > self.now_ms:
            return
        try:
            sent = send(run, item, self._moment(), "")
        except RunFailure as failure:
            decision = Decision(run)
            finish.fail(run, decision, self._moment(), failure.error)
            self._apply(decision)
            return
        run.items[item.item_id] = sent
        self.dispatches.append(sent)
        if run.row.started_at_ms is None:
            run.row = started(run.row, self.now_ms)
