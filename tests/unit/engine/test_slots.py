"""Slots of concurrency limits in the whole engine: who is sent, who waits, and what a crash leaves of it."""

from collections.abc import Sequence
from typing import Any

import pytest

from inngest_server.engine import sending
from inngest_server.engine.engine import FACTS_PER_BATCH
from inngest_server.engine.options import EngineOptions
from inngest_server.execution.driver import Call
from inngest_server.flow_control.parking import Parking
from inngest_server.flow_control.records import TermsRow
from inngest_server.runs.facts import Answered, CancelRequested, Returned
from inngest_server.runs.records import ItemRow, RunRow
from inngest_server.runs.run import Run
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import Batch, CommitResult
from tests.builders import HOUR_MS
from tests.unit.engine.builders import Office, make_function
from tests.unit.runs.builders import make_failure, make_op

PLACED = "shop/order.placed"
OTHER = "shop/other"


async def open_office(**options: Any) -> Office:
    office = Office()
    await office.open(make_function("f", PLACED, **options))
    return office


def runs_out(office: Office) -> list[int]:
    """Runs whose requests are out, as the position in which their events were sent."""
    return [call.run.loaded.event["data"]["n"] for call in office.desk.calls]


def live_runs(office: Office) -> list[Run]:
    return [run for shard in office.engine.live.shards.values() for run in shard.runs.values()]


async def send(office: Office, count: int, **data: Any) -> None:
    for n in range(count):
        await office.send(PLACED, {"n": n, **data})


async def crash(office: Office) -> None:
    """All that is in memory is lost, and what the apps were doing with it."""
    office.desk.recall()
    await office.engine.start()
    await office.settle()


def call_of(office: Office, n: int) -> Call:
    (call,) = [call for call in office.desk.calls if call.run.loaded.event["data"]["n"] == n]
    return call


# Runs.


async def test_a_limit_of_runs_is_held_from_start_to_end_also_asleep() -> None:
    office = await open_office(concurrency={"fn": [{"limit": 1}]})
    await send(office, 2)
    assert runs_out(office) == [0]

    await office.report(call_of(office, 0), make_op("Sleep", "s", name="1h"))
    assert runs_out(office) == []
    await office.advance(HOUR_MS)
    assert runs_out(office) == [0]
    await office.answer(call_of(office, 0), make_failure())
    assert runs_out(office) == []
    await office.advance(HOUR_MS)
    assert runs_out(office) == [0]

    await office.complete(call_of(office, 0))
    assert runs_out(office) == [1]
    await office.complete(call_of(office, 1))
    assert office.engine.live.slots.is_empty()
    assert office.storage._all(TermsRow) == []


async def test_a_run_and_its_requests_need_room_in_all_three_limits() -> None:
    steps = [{"limit": 2}, {"limit": 1, "key": "event.data.user"}]
    office = await open_office(concurrency={"fn": [{"limit": 3}], "step": steps})
    for n, user in enumerate("aabbc"):
        await office.send(PLACED, {"n": n, "user": user})
    assert runs_out(office) == [0, 2]

    await office.report(call_of(office, 0), make_op("Sleep", "s", name="1h"))
    assert runs_out(office) == [2, 4]  # The user who had nothing yet; three runs are under way now.
    await office.report(call_of(office, 4), make_op("Sleep", "s", name="1h"))
    assert runs_out(office) == [2]
    await office.complete(call_of(office, 2))
    assert runs_out(office) == [1]


async def test_the_slot_of_a_run_that_is_cancelled_goes_to_the_next() -> None:
    office = await open_office(concurrency={"fn": [{"limit": 1}]})
    await send(office, 3)
    asleep = call_of(office, 0)
    await office.report(asleep, make_op("Sleep", "s", name="1h"))
    office.engine.tell(CancelRequested(asleep.item.run_id, "api"))
    await office.settle()
    assert runs_out(office) == [1]


async def test_slots_of_runs_survive_a_crash() -> None:
    office = await open_office(concurrency={"fn": [{"limit": 2}]})
    await send(office, 4)
    await office.report(call_of(office, 0), make_op("Sleep", "s", name="1h"))
    await crash(office)
    assert runs_out(office) == [1]

    await office.complete(call_of(office, 1))
    assert runs_out(office) == [2]
    await crash(office)
    await office.complete(call_of(office, 2))
    assert runs_out(office) == [3]
    await office.advance(HOUR_MS)
    assert runs_out(office) == [3, 0]


# Shared counters.


@pytest.mark.parametrize("scope", ["env", "account"])
async def test_functions_with_different_limits_share_one_counter(scope: str) -> None:
    """Features-2, 2-CON-08: each is gated by its own number."""
    office = Office()
    await office.open(
        *[
            make_function(
                name, f"shop/{name}", concurrency={"limit": limit, "scope": scope, "key": "'openai'"}
            )
            for name, limit in (("small", 2), ("large", 4))
        ]
    )
    for _ in range(5):
        await office.send("shop/small")
    assert len(office.desk.calls) == 2
    for _ in range(5):
        await office.send("shop/large")
    assert len(office.desk.calls) == 4

    await office.complete(office.desk.calls[0])
    slugs = [call.run.row.event_name for call in office.desk.calls]
    assert slugs == ["shop/small", "shop/large", "shop/large", "shop/large"]
    for call in list(office.desk.calls):
        await office.complete(call)
        assert len(office.desk.calls) <= 4
    await crash(office)
    assert len(office.desk.calls) <= 4
    while office.desk.calls:
        await office.complete(office.desk.calls[0])
    assert office.engine.live.run_count() == 0
    assert office.engine.live.slots.is_empty()


async def test_runs_of_two_functions_take_turns_at_a_shared_slot() -> None:
    office = Office()
    limit = {"limit": 1, "scope": "env", "key": "'one'"}
    await office.open(
        make_function("busy", "shop/busy", concurrency=limit),
        make_function("rare", "shop/rare", concurrency=limit),
    )
    for _ in range(20):
        await office.send("shop/busy")
    for _ in range(3):
        await office.send("shop/rare")
    served: list[str] = []
    while office.desk.calls:
        (call,) = office.desk.calls
        served.append(call.run.row.event_name)
        await office.complete(call)
    assert served[:7] == ["shop/busy"] + ["shop/busy", "shop/rare"] * 3 or served[:7] == [
        "shop/busy",
        *["shop/rare", "shop/busy"] * 3,
    ]
    assert len(served) == 23


# Who waits.


@pytest.mark.parametrize(
    "op",
    [
        make_op("Sleep", "s", name="1h"),
        make_op("WaitForEvent", "w", opts={"event": "none", "timeout": "1h"}),
        make_op("InvokeFunction", "i", opts={"function_id": "shop-child", "payload": {}}),
    ],
    ids=lambda op: op.code,
)
async def test_a_run_that_waits_holds_no_slot_of_requests(op: Any) -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=1), make_function("child", "child"))
    await send(office, 2)
    await office.report(call_of(office, 0), op)
    assert runs_out_of(office, "shop-f") == [1]


def runs_out_of(office: Office, slug: str) -> list[int]:
    function = office.engine.functions.find(slug)
    assert function is not None
    return [
        call.run.loaded.event["data"]["n"] for call in office.desk.calls if call.function_id == function.id
    ]


async def test_an_older_run_goes_on_before_a_younger_one_starts() -> None:
    """Features-2, 2-CON-09."""
    office = await open_office(concurrency=1)
    await send(office, 3)
    await office.report(call_of(office, 0), make_op("StepRun", "a", data=1))
    assert runs_out(office) == [0]
    await office.complete(call_of(office, 0))
    assert runs_out(office) == [1]


async def test_a_waiter_that_is_cancelled_leaves_the_queue_and_the_next_one_goes() -> None:
    office = await open_office(concurrency=1)
    await send(office, 3)
    items = sorted(office.storage._all(ItemRow), key=lambda item: item.item_id)
    (parked, _) = [item for item in items if item.state == "parked"]
    first = call_of(office, 0)
    waiters = {
        run.loaded.event["data"]["n"]: run.id
        for shard in office.engine.live.shards.values()
        for run in shard.runs.values()
    }
    office.engine.tell(CancelRequested(waiters[1], "api"))
    await office.settle()
    await office.complete(first)
    assert runs_out(office) == [2]
    assert parked.run_id in waiters.values()


async def test_a_slot_that_is_free_is_taken_without_being_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a limit that is not reached costs no write."""
    office = await open_office(concurrency={"fn": [{"limit": 9}], "step": [{"limit": 9}]})
    states: list[str] = []
    commit = MemoryStorage.commit

    async def watched(self: MemoryStorage, batch: Batch) -> CommitResult:
        states.extend(row.state for row in batch.rows.get(ItemRow, {}).values() if isinstance(row, ItemRow))
        return await commit(self, batch)

    monkeypatch.setattr(MemoryStorage, "commit", watched)
    await send(office, 3)
    assert states == ["sent"] * 3


async def test_functions_without_limits_never_come_near_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    office = await open_office()
    for name in ("take", "park", "is_granted", "is_waiting"):
        monkeypatch.setattr(Parking, name, None)
    await send(office, 2)
    await office.report(call_of(office, 0), make_op("StepRun", "a", data=1))
    await office.complete(call_of(office, 0))
    await office.complete(call_of(office, 1))
    assert office.engine.live.run_count() == 0
    assert office.engine.held == {}


async def test_a_crash_leaves_everybody_where_they_were() -> None:
    office = await open_office(concurrency=[{"limit": 2}, {"limit": 1, "key": "event.data.user"}])
    for n, user in enumerate("aabbc"):
        await office.send(PLACED, {"n": n, "user": user})
    assert runs_out(office) == [0, 2]
    await crash(office)
    assert sorted(runs_out(office)) == [0, 2]
    served: list[int] = []
    while office.desk.calls:
        assert len(office.desk.calls) <= 2
        users = [call.run.loaded.event["data"]["user"] for call in office.desk.calls]
        assert len(users) == len(set(users))
        call = office.desk.calls[0]
        served.append(call.run.loaded.event["data"]["n"])
        await office.complete(call)
        await crash(office)
    assert sorted(served) == [0, 1, 2, 3, 4]
    assert office.engine.live.slots.is_empty()


async def test_a_crash_between_grant_and_sending_lets_the_waiter_go_afterwards() -> None:
    """Its content had to be read first, and that never came to an end."""
    office = await open_office(concurrency=1)
    await send(office, 2)
    for shard in office.engine.live.shards.values():
        for run in shard.runs.values():
            if run.row.started_at_ms is None:
                run.content = None
    holder = call_of(office, 0)
    office.desk.calls.remove(holder)
    office.engine.tell(
        Answered(holder.item.run_id, holder.item.item_id, holder.item.generation, Returned(b"1"))
    )
    await office.engine.run_once()
    assert office.desk.calls == []
    await crash(office)
    assert runs_out(office) == [1]


async def test_rows_of_an_older_server_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their buckets have the names that step limits of a function have still."""
    office = await open_office(concurrency=[{"limit": 1, "key": "event.data.user"}])
    await send(office, 2, user="ann")
    function = office.engine.functions.find("shop-f")
    assert function is not None
    names = {row.slots for row in office.storage._all(ItemRow)}
    (name,) = names
    assert name.startswith(f"{function.id}/")
    assert [len(part) for part in name.split("/")] == [36, 16, 16]
    await crash(office)
    assert runs_out(office) == [0]
    await office.complete(call_of(office, 0))
    assert runs_out(office) == [1]


async def test_many_who_may_go_at_once_go_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    slices: list[int] = []
    grant = Parking.grant

    def watched(self: Parking, now_ms: int, at_most: int) -> list[str]:
        granted = grant(self, now_ms, at_most)
        slices.append(len(granted))
        return granted

    office = await open_office(concurrency=1)
    await send(office, 250)
    monkeypatch.setattr(Parking, "grant", watched)
    await office.sync(make_function("f", PLACED, concurrency=1000))
    assert len(office.desk.calls) == 250
    assert [count for count in slices if count] == [25] * 9 + [24]
    assert sending.GRANTS_PER_SLICE == 25


# Functions that are gone.


async def test_runs_of_a_removed_function_that_wait_to_start_are_skipped_and_others_finish() -> None:
    office = await open_office(concurrency=1)
    await send(office, 3)
    call = call_of(office, 0)
    await office.sync(make_function("g", OTHER))
    rows = sorted(office.storage._all(RunRow), key=lambda row: row.run_id)
    assert sorted(row.status for row in rows) == ["Running", "Skipped", "Skipped"]
    assert office.storage._all(TermsRow) == []
    await office.report(call, make_op("StepRun", "a", data=1))
    await office.complete(office.desk.calls[0])
    assert (await office.row(call.item.run_id)).status == "Completed"
    assert office.engine.live.slots.is_empty()


async def test_runs_that_waited_too_long_do_not_pass_on_a_slot_without_end_in_one_batch() -> None:
    office = await open_office(concurrency=1, timeouts={"start": "10s"})
    await send(office, 600)
    [call] = office.desk.calls
    office.clock.ms += 10_000
    office.desk.calls.clear()
    office.engine.tell(Answered(call.item.run_id, call.item.item_id, call.item.generation, Returned(b"1")))
    batches: list[int] = []
    while office.engine.live.item_counts.total():
        before = office.engine.facts_decided
        assert await office.engine.run_once()
        batches.append(office.engine.facts_decided - before)
    assert max(batches) <= sending.GRANTS_PER_BATCH + FACTS_PER_BATCH
    assert office.engine.live.slots.is_empty()


async def test_runs_that_wait_long_are_read_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office(EngineOptions(idle_contents_max=40))
    await office.open(make_function("f", PLACED, concurrency=1))
    await send(office, 200)
    assert sum(run.content is not None for run in live_runs(office)) <= 41
    reads: list[int] = []
    journals = MemoryStorage.journals

    async def counted(self: MemoryStorage, run_ids: Sequence[str]) -> Any:
        reads.append(len(run_ids))
        return await journals(self, run_ids)

    monkeypatch.setattr(MemoryStorage, "journals", counted)
    for n in range(200):
        [call] = office.desk.calls
        assert call.run.loaded.event["data"]["n"] == n
        await office.answer(call, Returned(b"1"))
    assert live_runs(office) == []
    assert len(reads) < 20
