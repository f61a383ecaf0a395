"""A run's journal read as what happened to its steps and to its requests.

A *try* is a stretch in the life of an item: it ends where something of it was recorded, and the next one
begins there. So a request that stores two steps by checkpoints and then returns has three tries, and one that
failed and is repeated has two, the second one beginning with its back-off. The times of a try are those that
stand in the entries which it led to; nothing follows from the order of entries but their order.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import orjson

from inngest_server.runs.decision import trace_of_item
from inngest_server.runs.records import ItemRow, ItemState, JournalKind, JournalRow, RunRow, RunStatus
from inngest_server.traces.payloads import ERROR_PREFIX, RAW_RESULTS
from inngest_server.traces.span import Phase

FIRST = "0"
"""Name of the item that a run begins with."""


class Piece(NamedTuple):
    """Time that something took; pieces of different things may overlap."""

    phase: Phase
    start_ms: int
    end_ms: int


@dataclass(slots=True, eq=False)
class Try:
    """See the module."""

    start_ms: int
    end_ms: int
    pieces: list[Piece]
    scheduled_ms: int
    sent_ms: int | None
    generation: int
    is_open: bool
    """It goes on, or went on when the run ended."""
    goes_on: bool = False
    """It ended with a checkpoint: its request went on."""
    http_status: int | None = None
    steps: list[str] = field(default_factory=list[str])
    """Whose result it brought."""
    failed_step: str = ""
    """Whose error made it fail; empty where that is not known."""
    code: str = ""
    """Of a failed one."""
    error_n: int | None = None
    has_next: bool = False
    has_ended_run: bool = False

    @property
    def has_failed(self) -> bool:
        return bool(self.code)

    def rest(self) -> "Try":
        """What is left of it after its steps: its very end."""
        return replace(self, start_ms=self.end_ms, scheduled_ms=self.end_ms, sent_ms=self.end_ms, pieces=[])


@dataclass(slots=True, eq=False)
class ItemLog:
    """What an item went through."""

    name: str
    """The last part of its id: a step id where it is targeted, a number otherwise."""
    tries: list[Try] = field(default_factory=list[Try])
    generation: int = 0
    """The latest one that is known to be over."""
    _since_ms: int = 0
    _next_ms: int | None = None
    _scheduled_ms: int = 0
    _sent_ms: int | None = None
    _pieces: list[Piece] = field(default_factory=list[Piece])

    @property
    def is_targeted(self) -> bool:
        # No step id is a number; those of requests that old servers recorded begin with @.
        return not (self.name.isdigit() or self.name.startswith("@"))

    def reach(self, meta: dict[str, Any], at_ms: int, *, is_open: bool = False) -> Try:
        """The try that was over at a moment, when an entry or a live row said `meta` of the item."""
        generation = meta.get("gen", 0)
        last = self.tries[-1] if self.tries and not is_open else None
        key = at_ms, generation, bool(meta.get("goes_on"))
        if last is not None and (last.end_ms, last.generation, last.goes_on) == key and not self._pieces:
            return last  # Another entry of the same answer.
        start_ms = self._pass(meta, at_ms, meta.get("lost", False))
        found = Try(
            start_ms=start_ms,
            end_ms=at_ms,
            pieces=self._pieces,
            scheduled_ms=max(start_ms, self._scheduled_ms),
            sent_ms=self._sent_ms,
            generation=generation,
            is_open=is_open,
            goes_on=bool(meta.get("goes_on")),
        )
        self.tries.append(found)
        self._pieces, self._next_ms, self._sent_ms, self._scheduled_ms = [], None, None, 0
        if not meta.get("goes_on") and not is_open:
            self.generation = max(self.generation, generation)
        return found

    def lose(self, meta: dict[str, Any], at_ms: int) -> None:
        """The request was lost, and its try goes on with another one."""
        self._pass(meta, at_ms, is_lost=True)
        self.generation = max(self.generation, meta.get("gen", 0))

    def knows_end_of(self, item: ItemRow) -> bool:
        """Whether the journal, which was read later, has the answer that a row waits for.

        A step that lost its item gets another one of the same name, whose generations begin again.
        """
        is_over = item.state == ItemState.SENT and item.generation <= self.generation
        return is_over and item.queued_at_ms < self._since_ms

    def fail(self, next_ms: int | None) -> None:
        self._next_ms, self._scheduled_ms = next_ms, next_ms or 0

    def _pass(self, meta: dict[str, Any], at_ms: int, is_lost: bool) -> int:
        """Add what the time since the last entry was spent on; returns where the try begins."""
        # Of a try that is not the first, or that goes on after its request was lost, the item is older.
        start_ms = min(max(meta["queued"], self._since_ms), at_ms)
        if self._since_ms == 0:
            self._scheduled_ms = meta.get("due", 0)
        cursor_ms = start_ms
        for phase, until_ms in self._phases(meta, at_ms, is_lost):
            until_ms = min(max(until_ms, cursor_ms), at_ms)
            if until_ms > cursor_ms:
                self._pieces.append(Piece(phase, cursor_ms, until_ms))
            cursor_ms = until_ms
        sent_ms = meta.get("sent")
        if sent_ms is not None and self._sent_ms is None:
            self._sent_ms = min(max(sent_ms, start_ms), at_ms)
        begun_ms = self._pieces[0].start_ms if self._pieces else start_ms
        self._since_ms = at_ms
        return begun_ms

    def _phases(self, meta: dict[str, Any], at_ms: int, is_lost: bool) -> Iterable[tuple[Phase, int]]:
        """What the item did, in order, each until a moment."""
        due_ms = meta.get("due", meta["queued"])
        sent_ms = meta.get("sent")
        if self._next_ms is not None:
            yield Phase.BACKOFF, self._next_ms
        # Only a run begins at a moment that lies ahead; others are due later because they were put back.
        is_first = self.name == FIRST and self._next_ms is None
        yield (Phase.DELAYED if is_first else Phase.QUEUED), due_ms
        needs_slots = meta.get("state") == ItemState.PARKED or "slots" in meta
        yield (Phase.SLOTS if needs_slots else Phase.QUEUED), at_ms if sent_ms is None else sent_ms
        if is_lost:
            yield Phase.LOST, at_ms
            return
        began_ms = meta.get("began", sent_ms or at_ms)
        yield Phase.CONNECTING, began_ms
        # Checkpoints and old servers do not say how long it took, nor does a request under way.
        ended_ms = max(began_ms, sent_ms or 0) + meta["took"] if "took" in meta else at_ms
        yield Phase.REQUEST, ended_ms
        yield Phase.DECIDING, at_ms


@dataclass(slots=True, eq=False)
class StepLog:
    """What is recorded of a step."""

    step_id: str
    opcode: str = ""
    name: str = ""
    opened_ms: int | None = None
    opened: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the entry that opened it says."""
    input_n: int | None = None
    memo_n: int | None = None
    memo_ms: int | None = None
    memo: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the entry with its result says."""
    is_error: bool = False
    tries: list[Try] = field(default_factory=list[Try])


class History:
    """What rows tell of a run: its end, its steps, and its items, in the order in which they appear."""

    def __init__(
        self, row: RunRow, journal: Iterable[JournalRow], items: Iterable[ItemRow], now_ms: int
    ) -> None:
        self.row = row
        self.steps: dict[str, StepLog] = {}
        self.items: dict[str, ItemLog] = {}
        self.status = RunStatus(row.status)
        self.ended_ms = row.ended_at_ms
        self.reason = ""
        """Why it was cancelled or skipped."""
        self.late: list[Try] = []
        """Of requests that brought results after they had been given up."""
        self._lost: dict[tuple[str, int], int] = {}
        """When lost requests were sent."""
        last_ms = row.created_at_ms
        for entry in journal:
            last_ms = max(last_ms, entry.at_ms)
            self._read(entry)
        self.end_ms = max(last_ms, now_ms) if self.ended_ms is None else max(last_ms, self.ended_ms)
        """Its end, or now. Rows read one after the other, or on another node, may be ahead of the clock."""
        if self.ended_ms is not None:
            self.ended_ms = self.end_ms
            return
        for item in items:
            log = self._log(item.item_id.partition(".")[2])
            if not log.knows_end_of(item):
                self._read_live({**trace_of_item(item), "item": log.name, "state": item.state})

    def _read(self, entry: JournalRow) -> None:
        meta: dict[str, Any] = orjson.loads(entry.meta)
        item_name = self._item_name(entry, meta)
        kind = entry.kind
        if kind == JournalKind.SENT_AGAIN:
            if item_name is not None:
                self._log(item_name).lose(meta, entry.at_ms)
                self._lost[item_name, meta["gen"]] = meta["sent"]
            return
        found = self._log(item_name).reach(meta, entry.at_ms) if item_name is not None else None
        if found is not None and "http" in meta:
            found.http_status = meta["http"]
        match kind:
            case JournalKind.OPENED:
                self._read_opened(entry, meta)
            case JournalKind.MEMO:
                self._read_memo(entry, meta, found)
            case JournalKind.TRIED:
                if found is not None and item_name is not None and "code" in meta:
                    self._read_failed(entry, meta, found, item_name)
            case JournalKind.ENDED:
                self._read_ended(entry, meta, found)
            case _:
                pass  # What later servers record.

    def _item_name(self, entry: JournalRow, meta: dict[str, Any]) -> str | None:
        """The item that an entry came of; None if it came of none."""
        if "queued" not in meta:
            return None
        if "gen" in meta:
            return meta.get("item") or entry.step_id
        # Old servers: a step that was planned has an item of its own, and each other try counts as one.
        step = self.steps.get(entry.step_id)
        if step is not None and step.opened.get("op") == "StepPlanned" and entry.kind != JournalKind.OPENED:
            return entry.step_id
        return f"@{meta['queued']}"

    def _log(self, name: str) -> ItemLog:
        log = self.items.get(name)
        if log is None:
            log = self.items[name] = ItemLog(name)
        return log

    def step(self, step_id: str) -> StepLog:
        step = self.steps.get(step_id)
        if step is None:
            step = self.steps[step_id] = StepLog(step_id)
        return step

    def _read_opened(self, entry: JournalRow, meta: dict[str, Any]) -> None:
        step = self.step(entry.step_id)
        step.opcode, step.name = meta.get("op", ""), meta.get("name") or step.name
        step.opened_ms, step.opened = entry.at_ms, meta
        if entry.payload is not None:
            step.input_n = entry.n

    def _read_memo(self, entry: JournalRow, meta: dict[str, Any], found: Try | None) -> None:
        step = self.step(entry.step_id)
        step.opcode = meta.get("op") or step.opcode
        step.name = meta.get("name") or step.name
        step.memo_n, step.memo_ms, step.memo = entry.n, entry.at_ms, meta
        if "opened" in meta:
            step.opened = meta["opened"]  # By another run: no time of this one went to it.
        step.is_error = step.opcode not in RAW_RESULTS and (entry.payload or b"").startswith(ERROR_PREFIX)
        if "input" in meta:
            step.input_n = entry.n
        if found is not None:
            found.steps.append(entry.step_id)
        elif meta.get("late"):
            sent_ms = self._lost.get((meta.get("item", ""), meta.get("gen", 0)))
            if sent_ms is not None:
                # A request that had been given up brought it.
                request = Piece(Phase.REQUEST, sent_ms, entry.at_ms)
                late = Try(sent_ms, entry.at_ms, [request], sent_ms, sent_ms, meta["gen"], is_open=False)
                step.tries.append(late)
                self.late.append(late)

    def _read_failed(self, entry: JournalRow, meta: dict[str, Any], found: Try, item_name: str) -> None:
        found.code = meta["code"]
        found.error_n = entry.n if entry.payload is not None else None
        found.has_next = "next" in meta
        self._log(item_name).fail(meta.get("next"))
        if entry.step_id:
            found.failed_step = entry.step_id
            step = self.step(entry.step_id)
            step.name = step.name or meta.get("name", "")
        if found.code == "call_lost":
            found.pieces = [
                piece._replace(phase=Phase.LOST) if piece.phase is Phase.REQUEST else piece
                for piece in found.pieces
            ]

    def _read_ended(self, entry: JournalRow, meta: dict[str, Any], found: Try | None) -> None:
        self.status = RunStatus(meta.get("status", self.status))
        self.ended_ms = entry.at_ms
        self.reason = meta.get("reason", "")
        self.end_ms = entry.at_ms
        if found is not None:
            found.has_ended_run = True
        for item_meta in meta.get("open", ()):
            self._read_live(item_meta)

    def _read_live(self, meta: dict[str, Any]) -> None:
        """An item that is not answered now, or was not when the run ended."""
        self._log(meta["item"]).reach(meta, self.end_ms, is_open=True)
