"""What happens when a batch cannot be stored, or a decision raises: nothing is lost, doubled or half done."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from inngest_server.engine import events, sending
from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import EventsSent
from inngest_server.engine.options import EngineOptions, EngineUnavailableError, UndecidableError
from inngest_server.events.event import make_event, read_event
from inngest_server.execution.driver import Call
from inngest_server.runs.facts import Answered, CancelRequested, Returned
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import (
    Batch,
    CommitResult,
    LivePage,
    Outcome,
    StorageError,
    StorageUnavailableError,
)
from inngest_server.storage.records import MessageRow
from tests.builders import HOUR_MS
from tests.unit.engine.builders import Office, make_function
from tests.unit.runs.builders import make_op

PLACED = "shop/order.placed"
FAILED = CommitResult(Outcome.FAILED, frozenset(), "no space left")


class Disk(MemoryStorage):
    """Fails as often as it is told, and keeps the batches that it was given."""

    def __init__(self) -> None:
        super().__init__(shard_count=4)
        self.failures: list[CommitResult | Exception] = []
        self.batches: list[Batch] = []
        self.while_loading: Any = None

    async def commit(self, batch: Batch) -> CommitResult:
        self.batches.append(batch)
        if not self.failures:
            return await super().commit(batch)
        failure = self.failures.pop(0)
        if isinstance(failure, Exception):
            raise failure
        return failure

    async def load(self, shards: Any) -> AsyncIterator[LivePage]:
        async for page in super().load(shards):
            if page.items and self.while_loading is not None:
                self.while_loading()
            yield page


def make_office(disk: Disk) -> Office:
    office = Office()
    office.storage = disk
    office.engine = Engine(disk, office.clock, random.Random(7))
    office.engine.driver = office.desk
    return office


def make_events(office: Office, name: str, data: dict[str, Any] | None = None) -> EventsSent:
    draft = read_event({"name": name, "data": data or {}})
    internal_id, now_ms = office.engine.next_id(), office.clock.now_ms()
    return EventsSent([make_event(draft, internal_id=internal_id, received_at_ms=now_ms, repeatable=False)])


@asynccontextmanager
async def running(office: Office) -> AsyncIterator[None]:
    task = asyncio.create_task(office.engine.run())
    try:
        async with asyncio.timeout(10):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def first_call_once_it_is_back(office: Office) -> Call:
    """Sends an event until it is accepted."""
    while not office.desk.calls:
        with suppress(EngineUnavailableError):
            await office.engine.ask_events(make_events(office, PLACED))
        await asyncio.sleep(0.01)
    return office.desk.calls[0]


async def test_who_waits_for_a_batch_that_does_not_fit_the_storage_is_told() -> None:
    disk = Disk()
    office = make_office(disk)
    await office.open(make_function("fulfil", PLACED))
    disk.failures = [StorageError("a row does not fit")] * 2
    async with running(office):
        with pytest.raises(UndecidableError, match="does not fit"):
            await office.engine.ask_events(make_events(office, PLACED))
        assert (await disk.counts()).events == 0
        assert office.engine.held == {}


async def test_who_waits_for_such_a_batch_is_told_also_if_a_read_fails_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = Office(EngineOptions(idle_contents_max=0))
    await office.open(make_function("fulfil", PLACED))
    await office.send(PLACED)
    [call] = office.desk.calls
    await office.report(call, make_op("Sleep", "s", name="1h"))
    office.engine.tell(CancelRequested(call.item.run_id, "api"))
    await office.engine.run_once()  # It waits for the content.

    async def get(self: MemoryStorage, *given: Any) -> Any:
        raise StorageUnavailableError("planted")

    async def commit(self: MemoryStorage, batch: Batch) -> CommitResult:
        await office.engine.load_once()
        raise StorageError("a row does not fit")

    monkeypatch.setattr(MemoryStorage, "get", get)
    monkeypatch.setattr(MemoryStorage, "commit", commit)
    reply = office.engine.ask_events(make_events(office, PLACED))
    await office.engine.run_once()
    assert isinstance(reply.exception(), EngineUnavailableError)


async def test_a_decision_that_raises_half_way_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = Disk()
    office = make_office(disk)
    await office.open(make_function("fulfil", PLACED))
    place = sending.place

    def broken(*given: Any) -> None:
        monkeypatch.setattr(sending, "place", place)
        raise ZeroDivisionError

    monkeypatch.setattr(sending, "place", broken)
    async with running(office):
        assert await office.engine.ask_events(make_events(office, PLACED))
        counts = await disk.counts()
        assert (counts.runs, counts.items, counts.events) == (1, 1, 1)


async def test_a_run_whose_change_raises_is_held_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = Disk()
    office = make_office(disk)
    await office.open(make_function("fulfil", PLACED))
    await office.send(PLACED)
    (call,) = office.desk.calls
    publish = events.publish

    def broken(*given: Any) -> None:
        monkeypatch.setattr(events, "publish", publish)
        raise ZeroDivisionError

    monkeypatch.setattr(events, "publish", broken)
    office.desk.calls.clear()
    async with running(office):
        office.engine.tell(
            Answered(call.item.run_id, call.item.item_id, call.item.generation, Returned(b"1"))
        )
        other = await first_call_once_it_is_back(office)
        assert list(office.engine.held) == [call.item.run_id]
        assert other.item.run_id != call.item.run_id
        assert (await office.row(call.item.run_id)).status == "Running"
        assert len(await disk.items_of_run(call.item.run_id)) == 1


async def test_an_answer_that_comes_while_rows_are_loaded_is_taken_and_not_lost() -> None:
    disk = Disk()
    office = make_office(disk)
    await office.open(make_function("fulfil", PLACED))
    await office.send(PLACED)
    (call,) = office.desk.calls
    office.desk.calls.clear()  # The app has answered.
    item = call.item
    disk.while_loading = lambda: office.engine.tell(
        Answered(item.run_id, item.item_id, item.generation, Returned(b'"done"'))
    )

    await office.engine.start()
    await office.settle()

    assert (await office.row(item.run_id)).status == "Completed"
    assert office.desk.calls == []


async def test_a_storage_that_refuses_every_commit_is_reopened_at_growing_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = Disk()
    office = make_office(disk)
    await office.open(make_function("fulfil", PLACED))
    await office.send(PLACED)
    office.desk.calls.clear()
    await office.engine.start()  # The call is lost, so there is something to commit.
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(delay_s: float) -> None:
        pauses.append(delay_s)
        await sleep(0)

    monkeypatch.setattr("inngest_server.engine.engine.asyncio.sleep", pause)
    disk.failures = [FAILED] * 6
    task = asyncio.create_task(office.engine.run())
    while not office.desk.calls:
        await sleep(0.001)
    task.cancel()
    assert pauses == [0.05, 0.1, 0.25, 0.5, 1.0, 1.0]


async def test_a_slot_whose_batch_failed_runs_after_the_reload() -> None:
    disk = Disk()
    office = make_office(disk)
    await office.open(make_function("nightly", None, triggers=[{"cron": "0 * * * *"}]))
    (row,) = office.engine.live.crons.values()
    office.clock.ms = row.fires_at_ms
    disk.failures = [FAILED]
    await office.engine.run_once()
    assert office.engine.failure == "no space left"

    await office.engine.start()
    await office.settle()

    assert len(office.desk.calls) == 1
    (row_after,) = office.engine.live.crons.values()
    assert row_after.next_slot_ms == row.next_slot_ms + HOUR_MS


async def test_stored_messages_about_an_event_share_its_one_body() -> None:
    disk = Disk()
    office = make_office(disk)
    await office.open(make_function("fulfil", PLACED))
    for _ in range(300):
        await office.send(PLACED)
        await office.report(
            office.desk.calls[-1], make_op("WaitForEvent", "w", opts={"event": "paid", "timeout": "1d"})
        )
    disk.batches.clear()
    paid = make_events(office, "paid", {"text": "x" * 10_000})
    office.engine.ask_events(paid)
    await office.engine.run_once()
    (batch,) = disk.batches
    messages = [row for row in batch.rows[MessageRow].values() if isinstance(row, MessageRow)]
    assert len(messages) <= 8, "one for many runs of a shard"
    assert sum(len(message.body) for message in messages) < 250 * 40

    await office.engine.run_once()  # Half of them; the stored messages are there until the last of theirs.
    disk.failures = [FAILED]
    await office.engine.run_once()  # None of them is taken.
    await office.engine.start()
    await office.settle()

    assert len(office.desk.calls) == 300
    memos = {office.run_of(call).loaded.memos["w"] for call in office.desk.calls}
    assert memos == {paid.events[0].body}


async def test_what_is_read_ahead_drops_nothing_that_is_not_durable_yet() -> None:
    office = Office(EngineOptions(idle_contents_max=1))
    await office.open(
        make_function("limited", "shop/limited", concurrency=1), make_function("other", "shop/other")
    )
    for _ in range(5):
        await office.send("shop/limited")
    await office.send("shop/other")
    other = office.call_of("shop-other")
    await office.report(other, make_op("Sleep", "s", name="1s"))
    first = office.call_of("shop-limited")
    office.desk.calls.remove(first)
    office.engine.tell(Answered(first.item.run_id, first.item.item_id, first.item.generation, Returned(b"1")))
    await office.engine.run_once()  # The next one has its slot, and waits to be read.
    office.clock.ms += 1_000
    commit, is_free = office.storage.commit, asyncio.Event()

    async def slow(batch: Batch) -> CommitResult:
        await is_free.wait()
        return await commit(batch)

    office.storage.commit = slow
    async with asyncio.TaskGroup() as group:
        group.create_task(office.engine.run_once())
        await asyncio.sleep(0)
        await office.engine.load_once()
        is_free.set()
    assert office.call_of("shop-other").run.content is not None
