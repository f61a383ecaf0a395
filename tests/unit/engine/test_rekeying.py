"""Which limits apply to runs that are there when a sync changes them."""

from typing import Any

import orjson
import pytest

from inngest_server.engine import rekeying
from inngest_server.engine.facts import EventsSent, Released, Synced
from inngest_server.events.event import make_event, read_event
from inngest_server.execution.driver import Call
from inngest_server.flow_control.records import RekeyRow, TermsRow
from inngest_server.runs.records import ItemRow
from tests.builders import HOUR_MS
from tests.conformance.actions import put
from tests.unit.engine.builders import Office, make_function, make_registration
from tests.unit.engine.test_slots import crash
from tests.unit.runs.builders import make_op

PLACED = "shop/order.placed"
BY_A = [{"limit": 1, "key": "event.data.a"}]
BY_B = [{"limit": 1, "key": "event.data.b"}]
BY_C = [{"limit": 1, "key": "event.data.c"}]


async def open_office(concurrency: Any, **options: Any) -> Office:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=concurrency, **options))
    return office


async def sync(office: Office, concurrency: Any, **options: Any) -> None:
    await office.sync(make_function("f", PLACED, concurrency=concurrency, **options))


async def send(office: Office, **data: Any) -> None:
    await office.send(PLACED, data)


def out(office: Office) -> list[Any]:
    return [call.run.loaded.event["data"]["n"] for call in office.desk.calls]


def call_of(office: Office, n: int) -> Call:
    (call,) = [call for call in office.desk.calls if call.run.loaded.event["data"]["n"] == n]
    return call


def slots_of(office: Office, call: Call) -> list[str]:
    (row,) = [row for row in office.storage._all(ItemRow) if row.item_id == call.item.item_id]
    return row.slots.split("\n")


def is_at_peace(office: Office) -> bool:
    live = office.engine.live
    return not (live.rekeys or live.rekeying or office.storage._all(RekeyRow))


async def test_numbers_alone_change_at_once_and_wake_who_may_go() -> None:
    office = await open_office(1)
    for n in range(4):
        await send(office, n=n)
    office.engine.tell(make_synced(3))
    await office.engine.run_once()
    assert out(office) == [0, 1, 2]
    assert is_at_peace(office)
    await sync(office, 1)
    await office.complete(call_of(office, 0))
    await office.complete(call_of(office, 1))
    assert out(office) == [2]
    await office.complete(call_of(office, 2))
    assert out(office) == [3]


def make_synced(concurrency: Any, **options: Any) -> Synced:
    return Synced(make_registration(make_function("f", PLACED, concurrency=concurrency, **options)))


async def test_who_holds_a_slot_under_the_old_key_holds_one_under_the_new_key_too() -> None:
    office = await open_office(BY_A)
    await send(office, n=0, a=1, b=1)
    await sync(office, BY_B)
    assert is_at_peace(office)
    await send(office, n=1, a=2, b=1)
    assert out(office) == [0]
    assert len(slots_of(office, call_of(office, 0))) == 2
    await crash(office)
    assert out(office) == [0]
    await office.complete(call_of(office, 0))
    assert out(office) == [1]
    assert len(slots_of(office, call_of(office, 1))) == 1


async def test_who_waits_under_the_old_key_waits_under_the_new_one_afterwards() -> None:
    office = await open_office(BY_A)
    for n in range(3):
        await send(office, n=n, a=1, b=n)
    assert out(office) == [0]
    await sync(office, BY_B)
    assert out(office) == [0, 1, 2]


async def test_until_all_are_re_keyed_an_item_needs_room_under_the_old_and_the_new_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rekeying, "RUNS_PER_SLICE", 1)
    office = await open_office(BY_A)
    await send(office, n=0, a=1, b=1)
    await send(office, n=1, a=2, b=2)
    run = office.run_of(call_of(office, 1))
    event_id = run.row.event_id
    run.content = None  # Its event has to be read first.
    office.engine.tell(make_synced(BY_B))
    await office.engine.run_once()
    assert not is_at_peace(office)

    for n, (a, b) in enumerate([(1, 9), (9, 1), (3, 3)], start=2):
        await send_now(office, n=n, a=a, b=b)
    # Neither who shares the old key of a run that is under way, nor who shares its new key.
    assert out_but(office, run) == [0, 4]
    await office.settle()
    assert is_at_peace(office)
    assert run.row.event_id == event_id
    assert sorted(out(office)) == [0, 1, 2, 4]  # The old key does not count any more.


def out_but(office: Office, run: Any) -> list[int]:
    calls = [call for call in office.desk.calls if call.item.run_id != run.id]
    return [call.run.loaded.event["data"]["n"] for call in calls]


async def send_now(office: Office, **data: Any) -> None:
    """Send an event and decide it, without reading what others wait for."""
    draft = read_event({"name": PLACED, "data": data})
    event = make_event(
        draft,
        internal_id=office.engine.next_id(),
        received_at_ms=office.clock.now_ms(),
        repeatable=False,
    )
    office.engine.ask_events(EventsSent([event]))
    while await office.engine.run_once():
        pass


async def test_re_keying_begins_again_after_a_crash() -> None:
    office = await open_office(BY_A)
    await send(office, n=0, a=1, b=1)
    office.run_of(call_of(office, 0)).content = None
    office.engine.tell(make_synced(BY_B))
    await office.engine.run_once()
    (row,) = office.storage._all(RekeyRow)
    await crash(office)
    assert is_at_peace(office)
    await send(office, n=1, a=2, b=1)
    await send(office, n=2, a=1, b=2)
    assert out(office) == [0, 2]
    assert row.function_id == call_of(office, 0).function_id


async def test_a_further_sync_adds_to_it() -> None:
    office = await open_office(BY_A)
    await send(office, n=0, a=1, b=1, c=1)
    office.run_of(call_of(office, 0)).content = None
    office.engine.tell(make_synced(BY_B))
    await office.engine.run_once()
    office.engine.tell(make_synced(BY_C))
    await office.engine.run_once()
    (row,) = office.storage._all(RekeyRow)
    assert [one["concurrency"][0]["key"] for one in orjson.loads(row.limits)] == [
        "event.data.a",
        "event.data.b",
    ]
    # The run under way is counted by its first key alone so far; others by all three.
    for n, (a, b, c) in enumerate([(1, 9, 9), (9, 8, 8), (7, 8, 7), (7, 7, 8), (6, 6, 6)], start=1):
        await send_now(office, n=n, a=a, b=b, c=c)
    run = office.engine.live.find_run(office.desk.calls[0].item.run_id)
    assert out_but(office, run) == [2, 5]
    await office.settle()
    assert is_at_peace(office)
    assert sorted(out(office)) == [0, 1, 2, 3, 5]  # Only the last key counts, and 4 has that of 2.


async def test_a_limit_that_is_new_counts_who_is_under_way_already() -> None:
    office = await open_office(0)
    await send(office, n=0, a=1)
    await sync(office, BY_A)
    await send(office, n=1, a=1)
    await send(office, n=2, a=2)
    assert out(office) == [0, 2]


async def test_a_limit_that_is_gone_holds_nobody_and_is_not_kept() -> None:
    office = await open_office(BY_A)
    for n in range(3):
        await send(office, n=n, a=1)
    await sync(office, 0)
    assert out(office) == [0, 1, 2]
    assert is_at_peace(office)
    for n in range(3):
        await office.complete(call_of(office, n))
    assert office.engine.live.slots.is_empty()


async def test_a_changed_scope_is_another_counter() -> None:
    office = await open_office([{"limit": 1, "key": "'x'"}])
    await send(office, n=0)
    shared = [{"limit": 1, "key": "'x'", "scope": "env"}]
    await sync(office, shared)
    await office.sync(
        make_function("f", PLACED, concurrency=shared),
        make_function("g", "shop/g", concurrency=shared),
    )
    await office.send("shop/g", {"n": "g"})
    assert out(office) == [0]
    await office.complete(call_of(office, 0))
    assert out(office) == ["g"]


async def test_runs_that_sleep_get_their_slots_of_runs_under_the_new_key() -> None:
    office = await open_office({"fn": BY_A})
    await send(office, n=0, a=1, b=1)
    await office.report(call_of(office, 0), make_op("Sleep", "s", name="1h"))
    await sync(office, {"fn": BY_B})
    assert is_at_peace(office)
    await send(office, n=1, a=2, b=1)
    await send(office, n=2, a=1, b=2)
    assert out(office) == [2]
    await crash(office)
    assert out(office) == [2]
    (_, row) = sorted(office.storage._all(TermsRow), key=lambda row: len(row.slots))
    assert len(row.slots.split("\n")) == 2
    await office.advance(HOUR_MS)
    await office.complete(call_of(office, 0))
    assert sorted(out(office)) == [1, 2]


async def test_a_limit_of_runs_that_is_new_counts_runs_that_are_under_way() -> None:
    office = await open_office(0)
    await send(office, n=0)
    await office.report(call_of(office, 0), make_op("Sleep", "s", name="1h"))
    await sync(office, {"fn": [{"limit": 1}]})
    await send(office, n=1)
    assert out(office) == []
    await office.advance(HOUR_MS)
    await office.complete(call_of(office, 0))
    assert out(office) == [1]


async def test_runs_that_are_not_started_wait_under_the_new_key_of_the_throttle() -> None:
    throttle = {"limit": 1, "period": "10s"}
    office = await open_office(0, throttle={**throttle, "key": "event.data.a"})
    for n in range(3):
        await send(office, n=n, a=1, b=n % 2)
    assert out(office) == [0]
    await sync(office, 0, throttle={**throttle, "key": "event.data.b"})
    assert is_at_peace(office)
    assert sorted(out(office)) == [0, 1, 2]  # The start of the first one used nothing under the new key.
    await send(office, n=3, a=5, b=0)
    assert len(out(office)) == 3
    await office.advance(10_000)
    assert len(out(office)) == 4


async def test_a_run_that_ends_while_its_event_is_read_does_not_hold_it_up() -> None:
    office = await open_office(BY_A)
    await send(office, n=0, a=1, b=1)
    call = call_of(office, 0)
    office.run_of(call).content = None
    office.engine.tell(make_synced(BY_B))
    await office.engine.run_once()
    await office.complete(call)
    assert is_at_peace(office)
    assert office.engine.live.slots.is_empty()


async def test_a_run_that_is_held_does_not_hold_it_up() -> None:
    office = await open_office(BY_A)
    await send(office, n=0, a=1, b=1)
    run = office.run_of(call_of(office, 0))
    office.engine._work.hold(run.id, "run", "for the test", office.clock.ms)
    await office.settle()
    await sync(office, BY_B)
    assert is_at_peace(office)


async def test_a_run_that_was_held_is_re_keyed_when_it_is_released() -> None:
    office = await open_office({"fn": BY_A})
    await send(office, n=0, a=1, b=1)
    call = call_of(office, 0)
    await office.report(call, make_op("Sleep", "s", name="1h"))
    office.engine._work.hold(call.item.run_id, "run", "for the test", office.clock.ms)
    await office.settle()
    await sync(office, {"fn": BY_B})
    office.engine.tell(Released(call.item.run_id))
    await office.settle()

    await send(office, n=1, a=2, b=1)
    assert out(office) == []
    await send(office, n=2, a=2, b=2)
    assert out(office) == [2]


@pytest.mark.parametrize("limits", [b"", b"7", b"[7]"])
async def test_former_limits_that_are_damaged_count_for_nothing(limits: bytes) -> None:
    office = await open_office(BY_A)
    await send(office, n=0, a=1)
    [function] = office.engine.functions.all()
    await put(office.storage, RekeyRow(function.id, function.row.shard, limits))
    await crash(office)
    assert is_at_peace(office)
    await send(office, n=1, a=1)
    assert out(office) == [0]
