"""Our own mistakes, planted: each concerns one run, schedule or request, and all others go on."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from inngest_server.engine import crons, events, loader
from inngest_server.engine import engine as engine_module
from inngest_server.engine.engine import SLICE_S, Engine
from inngest_server.engine.facts import Released
from inngest_server.engine.held import EntityHeldError
from inngest_server.engine.loader import Loader
from inngest_server.engine.options import EngineOptions, UndecidableError
from inngest_server.engine.work import TOLD_OF_EVENT_MAX
from inngest_server.events.records import EventRow
from inngest_server.execution.driver import Call
from inngest_server.runs.facts import Answered, CancelRequested, DamageFound, EventArrived, Returned
from inngest_server.runs.records import JournalRow, RunRow
from inngest_server.runs.run import Content
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import Batch, CommitResult, CorruptDataError, Storage, StorageError
from inngest_server.storage.records import MessageRow
from inngest_server.wire import json
from tests.builders import HOUR_MS
from tests.unit.engine.builders import Office, make_function
from tests.unit.engine.test_reload import first_call_once_it_is_back, make_events, running
from tests.unit.runs.builders import make_op, make_reported

PLACED = "shop/order.placed"
LIMITED = {"concurrency": [{"limit": 1}]}


def break_decisions(monkeypatch: pytest.MonkeyPatch, is_bad: Callable[[Any], bool]) -> None:
    """Let every decision about such a fact raise, until `monkeypatch.undo`."""
    decide = engine_module.decide

    def broken(run: Any, fact: Any, moment: Any) -> Any:
        if is_bad(fact):
            raise ZeroDivisionError("planted")
        return decide(run, fact, moment)

    monkeypatch.setattr(engine_module, "decide", broken)


async def held_office(monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Office, Call]:
    """A run whose answer could not be decided; decisions work again."""
    office = Office()
    await office.open(make_function("fulfil", PLACED, **options))
    await office.send(PLACED, {"id": 1})
    call = office.desk.calls[0]
    with monkeypatch.context() as planted:
        break_decisions(planted, lambda fact: isinstance(fact, Answered))
        await office.complete(call)
    assert list(office.engine.held) == [call.item.run_id]
    return office, call


async def until(is_so: Callable[[], Any]) -> None:
    """Return as soon as it is so; `running` bounds the time."""
    while True:
        if is_so():
            return
        await asyncio.sleep(0.01)


async def ask(office: Office, fact: Any) -> Any:
    reply = office.engine.ask(fact)
    await office.settle()
    return await reply


# Held runs.


async def test_a_held_run_says_why_and_since_when(monkeypatch: pytest.MonkeyPatch) -> None:
    office, call = await held_office(monkeypatch)
    (held,) = office.engine.held.values()
    assert (held.kind, held.reason, held.since_ms) == (
        "run",
        "ZeroDivisionError: planted",
        office.clock.ms,
    )
    assert (await office.row(call.item.run_id)).status == "Running"


async def test_a_held_run_gives_its_slot_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    office, call = await held_office(monkeypatch, **LIMITED)
    await office.send(PLACED, {"id": 2})
    (other,) = office.desk.calls
    assert other.item.run_id != call.item.run_id
    [item] = await office.storage.items_of_run(call.item.run_id)
    assert (item.state, item.slots) == ("queued", "")


async def test_a_held_run_gives_what_it_has_until_its_end_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office, held = await held_office(monkeypatch, concurrency={"fn": [{"limit": 1}]})
    run_id = held.item.run_id

    await office.send(PLACED, {"id": 2})

    [call] = office.desk.calls
    assert call.item.run_id != run_id
    office.engine.tell(Released(run_id))
    await office.settle()
    await office.complete(call)
    assert office.engine.live.slots.held_by(run_id), "it has them again"


async def test_a_held_run_keeps_its_slot_while_its_app_works(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED, **LIMITED))
    await office.send(PLACED)
    (call,) = office.desk.calls
    await office.send(PLACED)
    break_decisions(monkeypatch, lambda fact: isinstance(fact, DamageFound))
    with pytest.raises(EntityHeldError):
        await ask(office, DamageFound(call.item.run_id, "planted"))
    assert office.desk.calls == [call]

    await office.complete(call)

    (other,) = office.desk.calls
    assert other.item.run_id != call.item.run_id


async def test_a_held_run_that_waited_for_a_slot_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED, **LIMITED))
    first, second, third = [await office.send(PLACED, {"id": number}) for number in range(3)]
    (call,) = office.desk.calls
    ids = {event: (await office.storage.runs_of_event(event))[0].run_id for event in (first, second, third)}
    assert call.item.run_id == ids[first]
    break_decisions(monkeypatch, lambda fact: isinstance(fact, DamageFound))
    with pytest.raises(EntityHeldError):
        await ask(office, DamageFound(ids[second], "planted"))

    await office.complete(call)

    (last,) = office.desk.calls
    assert last.item.run_id == ids[third]


async def test_a_run_that_is_held_as_it_is_sent_keeps_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its request is made once the batch is durable, after the decision that sets the run aside."""
    office = Office()
    await office.open(make_function("fulfil", PLACED, **LIMITED))
    await office.send(PLACED)
    await office.send(PLACED)
    [call] = office.desk.calls
    office.desk.calls.clear()
    item, answer = call.item, make_reported(make_op("StepRun", "a", data=1))
    break_decisions(monkeypatch, lambda fact: isinstance(fact, DamageFound))
    office.engine.tell(Answered(item.run_id, item.item_id, item.generation, answer))
    office.engine.tell(DamageFound(item.run_id, "planted"))
    await office.settle()
    assert [call.item.run_id for call in office.desk.calls] == [item.run_id]


async def test_a_run_that_is_released_before_it_gave_back_its_work_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED, **LIMITED))
    await office.send(PLACED)
    [parked] = await office.storage.runs_of_event(await office.send(PLACED))
    [call] = office.desk.calls
    break_decisions(monkeypatch, lambda fact: isinstance(fact, DamageFound))
    office.engine.tell(DamageFound(parked.run_id, "planted"))
    assert await ask(office, Released(parked.run_id))
    await office.complete(call)
    assert [call.item.run_id for call in office.desk.calls] == [parked.run_id]


async def test_a_held_run_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    office, call = await held_office(monkeypatch)
    assert await ask(office, CancelRequested(call.item.run_id, "api")) == call.item.run_id
    assert (await office.row(call.item.run_id)).status == "Cancelled"
    assert office.engine.held == {}
    assert await office.storage.items_of_run(call.item.run_id) == []


async def test_a_released_run_is_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    office, call = await held_office(monkeypatch)
    assert await ask(office, Released(call.item.run_id))
    (again,) = office.desk.calls
    assert (again.item.item_id, again.item.generation) == (call.item.item_id, call.item.generation + 1)
    await office.complete(again)
    assert (await office.row(call.item.run_id)).status == "Completed"
    assert not await ask(office, Released(call.item.run_id))


async def test_a_message_to_a_held_run_is_decided_once_it_is_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    await office.send(PLACED)
    wait = make_op("WaitForEvent", "w", opts={"event": "paid", "timeout": "1d"})
    await office.report(office.desk.calls[0], wait)
    (run,) = [run for shard in office.engine.live.shards.values() for run in shard.runs.values()]
    run.content = None  # So that the event comes as a message, which is stored.
    with monkeypatch.context() as planted:
        break_decisions(planted, lambda fact: isinstance(fact, EventArrived))
        await office.send("paid")
    assert list(office.engine.held) == [run.id]
    assert len(office.storage._all(MessageRow)) == 1

    assert await ask(office, Released(run.id))

    (call,) = office.desk.calls
    assert list(office.run_of(call).loaded.memos) == ["w"]
    assert office.storage._all(MessageRow) == []


async def test_the_timer_of_a_held_run_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    await office.send(PLACED)
    await office.report(office.desk.calls[0], make_op("Sleep", "nap", opts={"duration": "1h"}))
    (run,) = [run for shard in office.engine.live.shards.values() for run in shard.runs.values()]
    break_decisions(monkeypatch, lambda fact: isinstance(fact, DamageFound))
    with pytest.raises(EntityHeldError):
        await ask(office, DamageFound(run.id, "planted"))
    await office.advance(2 * HOUR_MS)
    assert office.desk.calls == []

    assert await ask(office, Released(run.id))

    assert list(office.run_of(office.desk.calls[0]).loaded.memos) == ["nap"]


async def test_a_held_run_stays_held_when_memory_is_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    office, call = await held_office(monkeypatch, **LIMITED)
    await office.engine.start()
    await office.settle()
    assert list(office.engine.held) == [call.item.run_id]
    assert office.desk.calls == []


async def test_a_held_schedule_fires_once_it_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()
    await office.open(make_function("nightly", None, triggers=[{"cron": "0 * * * *"}]))
    fire = crons.fire

    def broken(*given: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(crons, "fire", broken)
    (row,) = office.engine.live.crons.values()
    office.clock.ms = row.fires_at_ms
    async with running(office):
        await until(lambda: office.engine.held and not office.engine.failure)
        ((cron_id, held),) = office.engine.held.items()
        assert held.kind == "cron"
        monkeypatch.setattr(crons, "fire", fire)
        assert await office.engine.ask(Released(cron_id))
        await until(lambda: office.desk.calls)


# Runs that cannot be read.


class Damaged(MemoryStorage):
    """Cannot read the bodies of some events."""

    def __init__(self) -> None:
        super().__init__(shard_count=4)
        self.bad: set[str] = set()

    async def get(self, kind: Any, keys: Any) -> Any:
        if kind is EventRow and not self.bad.isdisjoint(keys):
            raise CorruptDataError("planted")
        return await super().get(kind, keys)

    async def salvage(self, kind: Any, keys: Any) -> Any:
        rows = await super().get(kind, keys)
        return [row._replace(body=b"") if kind is EventRow and row[0] in self.bad else row for row in rows]


async def damaged_run(**options: Any) -> tuple[Office, RunRow]:
    """A run that sleeps, whose event cannot be read any more."""
    office = Office()
    office.storage = storage = Damaged()
    office.engine = Engine(storage, office.clock, random.Random(7))
    office.engine.driver = office.desk
    await office.open(make_function("fulfil", PLACED, **options))
    internal_id = await office.send(PLACED)
    await office.report(office.desk.calls[0], make_op("Sleep", "nap", opts={"duration": "1h"}))
    [row] = await storage.runs_of_event(internal_id)
    storage.bad.add(internal_id)
    run = office.engine.live.find_run(row.run_id)
    assert run is not None
    run.content = None
    return office, row


async def test_a_run_that_cannot_be_read_is_held_and_can_be_cancelled() -> None:
    office, row = await damaged_run()
    await office.advance(2 * HOUR_MS)
    assert office.engine.held[row.run_id].reason == loader.UNREADABLE

    assert await ask(office, CancelRequested(row.run_id, "api")) == row.run_id

    assert (await office.row(row.run_id)).status == "Cancelled"
    journal = (await office.storage.journals([row.run_id]))[row.run_id]
    assert [entry.n for entry in journal] == list(range(1, len(journal) + 1))
    assert journal[-1].kind == "ended"
    assert office.engine.held == {}


async def test_a_run_that_cannot_be_read_fails_with_the_reason_when_it_is_given_up() -> None:
    office, row = await damaged_run()
    assert await ask(office, DamageFound(row.run_id, "its event is damaged"))
    ended = await office.row(row.run_id)
    assert (ended.status, json.parse(ended.output or b"")["name"]) == ("Failed", "data_damaged")


async def test_a_content_that_cannot_be_made_holds_one_run_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    for number in range(3):
        await office.send(PLACED, {"id": number})
    for call in list(office.desk.calls):
        await office.report(call, make_op("Sleep", f"nap{call.item.run_id}", opts={"duration": "1h"}))
    runs = [run for shard in office.engine.live.shards.values() for run in shard.runs.values()]
    for run in runs:
        run.content = None
    bad, fold = runs[1].id, Content.fold

    def broken(self: Content, entry: JournalRow) -> None:
        if entry.run_id == bad:
            raise MemoryError
        fold(self, entry)

    monkeypatch.setattr(Content, "fold", broken)
    await office.advance(2 * HOUR_MS)
    assert list(office.engine.held) == [bad]
    assert sorted(call.item.run_id for call in office.desk.calls) == sorted({run.id for run in runs} - {bad})


# Requests that cannot be decided.


async def test_of_several_events_only_the_one_that_cannot_be_decided_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    accept, tries = events.accept, list[str]()

    def broken(work: Any, event: Any, *rest: Any) -> None:
        accept(work, event, *rest)  # So that half of it is in memory.
        if event.name == "bad":
            tries.append(event.name)
            raise ZeroDivisionError

    monkeypatch.setattr(events, "accept", broken)
    async with running(office):
        replies = [
            office.engine.ask_events(make_events(office, name)) for name in (PLACED, "bad", PLACED, PLACED)
        ]
        results = await asyncio.gather(*replies, return_exceptions=True)
    assert [isinstance(result, UndecidableError) for result in results] == [False, True, False, False]
    assert len(tries) == 2
    counts = await office.storage.counts()
    assert (counts.events, counts.runs) == (3, 3)


class Strict(MemoryStorage):
    """Does not take a run of some event, as a database whose schema it does not fit."""

    def __init__(self) -> None:
        super().__init__(shard_count=4)
        self.is_unfit: Callable[[Any], bool] = lambda row: False
        self.refused = 0

    async def commit(self, batch: Batch) -> CommitResult:
        rows = [row for rows in batch.rows.values() for row in rows.values()]
        if any(map(self.is_unfit, [*rows, *batch.journal])):
            self.refused += 1
            raise StorageError("datatype mismatch")
        return await super().commit(batch)


async def strict_office() -> tuple[Office, Strict]:
    office = Office()
    office.storage = storage = Strict()
    office.engine = Engine(storage, office.clock, random.Random(7))
    office.engine.driver = office.desk
    await office.open(make_function("fulfil", PLACED))
    return office, storage


async def test_a_row_that_never_fits_holds_its_run_and_all_others_go_on() -> None:
    office, storage = await strict_office()
    for number in range(5):
        await office.send(PLACED, {"id": number})
    calls, office.desk.calls = office.desk.calls, []
    bad = calls[2].item.run_id
    storage.is_unfit = lambda row: isinstance(row, JournalRow) and row.run_id == bad
    async with running(office):
        for call in calls:
            item = call.item
            office.engine.tell(Answered(item.run_id, item.item_id, item.generation, Returned(b"1")))
        await until(lambda: office.engine.held and office.engine.live.run_count() == 1)
        assert list(office.engine.held) == [bad]
        refused = storage.refused
        await office.engine.ask_events(make_events(office, PLACED))
    assert storage.refused == refused
    assert (await office.row(bad)).status == "Running"


async def test_an_event_whose_row_never_fits_is_refused_alone() -> None:
    office, storage = await strict_office()
    storage.is_unfit = lambda row: isinstance(row, EventRow) and row.name == "bad"
    async with running(office):
        replies = [office.engine.ask_events(make_events(office, name)) for name in ("fine", "bad", PLACED)]
        results = await asyncio.gather(*replies, return_exceptions=True)
    assert [isinstance(result, UndecidableError) for result in results] == [False, True, False]
    assert (await storage.counts()).events == 2


# Loops that outlive mistakes.


async def test_a_start_that_raises_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    catalogue = MemoryStorage.catalogue
    mistakes = [MemoryError(), KeyError("planted")]

    async def broken(self: Storage) -> Any:
        if mistakes:
            raise mistakes.pop()
        return await catalogue(self)  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryStorage, "catalogue", broken)
    async with running(office):
        office.engine._fail("planted")
        await until(lambda: not office.engine.failure)
        assert await office.engine.ask_events(make_events(office, PLACED))
    assert mistakes == []


async def test_a_loader_that_raises_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    load_once = Loader.load_once

    async def broken(self: Loader) -> bool:
        monkeypatch.setattr(Loader, "load_once", load_once)
        raise MemoryError

    monkeypatch.setattr(Loader, "load_once", broken)
    async with running(office):
        await until(lambda: office.engine.failure)
        await first_call_once_it_is_back(office)


# Slices.


async def test_a_batch_takes_no_further_fact_once_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    for number in range(20):
        office.engine.ask_events(make_events(office, PLACED, {"id": number}))
    moments = iter(range(1000))
    monkeypatch.setattr(office.clock, "monotonic_s", lambda: next(moments) * SLICE_S / 4)
    before = office.engine.facts_decided
    await office.engine.run_once()
    assert office.engine.facts_decided - before == 4


async def test_an_event_that_ends_many_waits_is_told_to_a_few_at_a_time() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    runs = 3 * TOLD_OF_EVENT_MAX
    for number in range(runs):
        await office.send(PLACED, {"id": number})
        wait = make_op("WaitForEvent", "w", opts={"event": "paid", "timeout": "1d"})
        await office.report(office.desk.calls[-1], wait)
    office.desk.calls.clear()
    office.engine.ask_events(make_events(office, "paid"))
    before = office.engine.facts_decided
    await office.engine.run_once()
    assert office.engine.facts_decided - before == 1 + TOLD_OF_EVENT_MAX
    await office.settle()
    assert len(office.desk.calls) == runs
    assert office.storage._all(MessageRow) == []


async def test_a_damaged_run_that_is_next_in_line_holds_up_none_before_or_after_it() -> None:
    office = Office(EngineOptions(idle_contents_max=0))
    await office.open(make_function("fulfil", PLACED, **LIMITED))
    for _ in range(4):
        await office.send(PLACED)
    [call] = office.desk.calls
    first, second, third = office.engine.live.slots.waiting_of(call.function_id)
    journals = office.storage.journals

    async def damaged(run_ids: Sequence[str]) -> dict[str, list[JournalRow]]:
        if second[:26] in run_ids:
            raise CorruptDataError("planted")
        return await journals(run_ids)

    office.storage.journals = damaged
    await office.complete(call)
    [call] = office.desk.calls
    assert call.item.item_id == first
    await office.complete(call)
    assert [call.item.item_id for call in office.desk.calls] == [third]
    assert list(office.engine.held) == [second[:26]]
