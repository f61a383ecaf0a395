"""Runs that are started again: in one batch with what they take over, under the rules of their function."""

import random
from typing import Any

import pytest

from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import FunctionPaused, RunAgain
from inngest_server.engine.options import EngineUnavailableError
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.execution.driver import Call
from inngest_server.runs.records import ItemRow, JournalKind, JournalRow, RunRow
from inngest_server.runs.seed import Seed, SeedEntry
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import Batch, CommitResult, Outcome
from inngest_server.wire import json
from tests.unit.engine.builders import Office, make_function

PLACED = "shop/order.placed"
SEED = Seed(
    [
        SeedEntry(JournalKind.MEMO, "load", {"op": "StepRun", "name": "load", "kept": "r"}, b'{"data":1}'),
        SeedEntry(JournalKind.MEMO, "ask", {"op": "StepRun", "name": "ask", "edited": "r"}, b'{"data":2}'),
    ]
)


class Disk(MemoryStorage):
    """Keeps the batches that it was given, and fails when told."""

    def __init__(self) -> None:
        super().__init__(shard_count=4)
        self.batches: list[Batch] = []
        self.fails = False

    async def commit(self, batch: Batch) -> CommitResult:
        self.batches.append(batch)
        if self.fails:
            self.fails = False
            return CommitResult(Outcome.FAILED, frozenset(), "no space left")
        return await super().commit(batch)


class Branch(Office):
    """An office whose disk can be looked at, with one run to start again."""

    def __init__(self) -> None:
        super().__init__()
        self.storage = self.disk = Disk()
        self.engine = Engine(self.disk, self.clock, random.Random(7))
        self.engine.driver = self.desk

    async def again(self, call: Call, seed: Seed | None = SEED, **changes: Any) -> str | None:
        """Start the run of a call again; the new one's id."""
        reply = self.engine.ask(await self.fact(call, seed, **changes))
        await self.settle()
        return await reply

    async def fact(self, call: Call, seed: Seed | None = SEED, **changes: Any) -> RunAgain:
        row = await self.row(call.item.run_id)
        ids = [row.event_id, *(await self.storage.batched_events([row.run_id])).get(row.run_id, [])]
        events = {event.internal_id: event for event in await self.storage.get(EventRow, ids)}
        fields: dict[str, Any] = {
            "function_id": row.function_id,
            "events": tuple(events[one] for one in ids),
            "is_batch": row.batch_id is not None,
            "cron": row.cron,
            "original_run_id": row.run_id,
            "origin": f"{row.run_id}/{self.engine.next_id()}",
            "seed": seed,
        }
        return RunAgain(**{**fields, **changes})

    def call_to(self, run_id: str | None) -> Call:
        [call] = [call for call in self.desk.calls if call.item.run_id == run_id]
        return call


async def opened(**options: Any) -> tuple[Branch, Call]:
    office = Branch()
    await office.open(make_function("fulfil", PLACED, **options))
    await office.send(PLACED, {"id": 7})
    return office, office.desk.calls[0]


async def test_a_fork_and_all_it_begins_with_are_one_batch() -> None:
    office, call = await opened()
    office.disk.batches.clear()

    run_id = await office.again(call, mark="again/key")

    (batch,) = office.disk.batches
    assert [(entry.run_id, entry.n) for entry in batch.journal] == [(run_id, 1), (run_id, 2)]
    (row,) = batch.rows[RunRow].values()
    assert isinstance(row, RunRow)
    assert (row.run_id, row.original_run_id, row.parent) == (run_id, call.item.run_id, None)
    (item,) = batch.rows[ItemRow].values()
    assert isinstance(item, ItemRow)
    assert (item.state, item.stack_index) == ("sent", 2)
    (mark,) = batch.rows[MarkRow].values()
    assert isinstance(mark, MarkRow)
    assert mark.value == run_id
    assert list(office.call_to(run_id).run.loaded.memos) == ["load", "ask"]


async def test_a_fork_that_could_not_be_stored_was_never_there() -> None:
    office, call = await opened()
    office.disk.fails = True
    fact = await office.fact(call)

    reply = office.engine.ask(fact)
    await office.settle()

    with pytest.raises(EngineUnavailableError):
        await reply
    await office.engine.start()
    await office.settle()
    counts = await office.storage.counts()
    assert (counts.runs, counts.live_runs, counts.items) == (1, 1, 1)
    assert [one.item.run_id for one in office.desk.calls] == [call.item.run_id]
    office.call_to(await office.again(call))


async def test_a_fork_goes_on_after_a_restart() -> None:
    office, call = await opened()
    run_id = await office.again(call)
    before = office.call_to(run_id).run.loaded
    office.desk.calls.clear()

    await office.engine.start()
    await office.settle()

    after = office.call_to(run_id).run.loaded
    assert after is not before
    assert (after.memos, after.next_n) == (before.memos, before.next_n + 1)


async def test_a_run_on_a_batch_is_started_again_with_all_its_events() -> None:
    office = Branch()
    await office.open(make_function("fulfil", PLACED, batchEvents={"maxSize": 3, "timeout": "10s"}))
    for number in range(3):
        await office.send(PLACED, {"number": number})
    (call,) = office.desk.calls

    run_id = await office.again(call, seed=None)

    assert run_id is not None
    first, second = await office.row(call.item.run_id), await office.row(run_id)
    assert (second.event_id, second.event_name) == (first.event_id, first.event_name)
    assert second.batch_id not in (None, first.batch_id)
    content = office.call_to(run_id).run.loaded
    bodies = [content.event_body, *content.further]
    assert [json.parse(body)["data"]["number"] for body in bodies] == [0, 1, 2]
    batched = await office.storage.batched_events([first.run_id, run_id])
    assert batched[run_id] == batched[first.run_id]


async def test_a_fork_of_a_paused_function_is_skipped_and_takes_nothing_over() -> None:
    office, call = await opened()
    reply = office.engine.ask(FunctionPaused("shop-fulfil", cancels=False))
    await office.settle()
    await reply

    run_id = await office.again(call)

    assert run_id is not None
    row = await office.row(run_id)
    assert (row.status, row.original_run_id) == ("Skipped", call.item.run_id)
    journal: list[JournalRow] = (await office.storage.journals([run_id]))[run_id]
    assert [entry.kind for entry in journal] == [JournalKind.ENDED]


async def test_a_fork_waits_for_a_slot_as_any_run() -> None:
    office, call = await opened(concurrency=[{"limit": 1}])
    run_id = await office.again(call)
    assert [one.item.run_id for one in office.desk.calls] == [call.item.run_id]
    await office.complete(call)
    assert list(office.call_to(run_id).run.loaded.memos) == ["load", "ask"]


async def test_a_function_that_is_gone_starts_nothing() -> None:
    office, call = await opened()
    fact = await office.fact(call)
    await office.sync(make_function("other", PLACED))
    reply = office.engine.ask(fact)
    await office.settle()
    assert await reply is None
    assert office.engine.live.run_count() == 1


async def test_an_event_that_retention_forgot_meanwhile_is_stored_again() -> None:
    office, call = await opened()
    fact = await office.fact(call)
    office.disk._rows[EventRow].clear()
    reply = office.engine.ask(fact)
    await office.settle()
    await reply
    assert len(await office.storage.get(EventRow, [fact.events[0].internal_id])) == 1
