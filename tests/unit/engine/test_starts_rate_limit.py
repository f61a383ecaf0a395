"""Rate limits and idempotency, whatever starts the function, and over crashes."""

from typing import Any

import pytest

from inngest_server.engine import starts
from inngest_server.engine.events import Dropped
from inngest_server.engine.facts import CronDue, EventsSent, InvokeSent, Synced
from inngest_server.engine.loader import EVENTS_PER_READ
from inngest_server.engine.starts import note_key
from inngest_server.engine.windows import KEY_CHARS_SHOWN
from inngest_server.events.event import make_event, read_event
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.events.system import INVOKED
from inngest_server.runs.records import RunRow
from inngest_server.storage.protocol import StorageUnavailableError
from inngest_server.storage.records import MessageRow
from inngest_server.wire import json
from tests.builders import DAY_MS, HOUR_MS, SECOND_MS
from tests.unit.engine.aftermath import reload
from tests.unit.engine.builders import Office, make_function, make_registration
from tests.unit.runs.builders import make_op

PLACED, SHIPPED = "shop/order.placed", "shop/order.shipped"
ONE_A_MINUTE = {"limit": 1, "period": "1m"}
MINUTE_MS = 60 * SECOND_MS


async def make_office(**options: Any) -> Office:
    office = Office()
    await office.open(make_function("fulfil", PLACED, **(options or {"rateLimit": ONE_A_MINUTE})))
    return office


def make_sent(office: Office, event_id: str | None = None, count: int = 1, **data: Any) -> EventsSent:
    """One request with events, of an id that its client chose or of none."""
    fields = {"name": PLACED, "data": data, **({"id": event_id} if event_id else {})}
    now_ms = office.clock.now_ms()
    return EventsSent(
        [
            make_event(
                read_event(fields),
                internal_id=office.engine.next_id(),
                received_at_ms=now_ms,
                repeatable=event_id is not None,
            )
            for _ in range(count)
        ]
    )


async def ask(office: Office, fact: EventsSent) -> Any:
    reply = office.engine.ask_events(fact)
    await office.settle()
    return await reply


def rate_marks(office: Office) -> list[MarkRow]:
    return [row for row in office.storage._all(MarkRow) if row.key.startswith("rate/")]


async def test_what_is_too_many_starts_nothing_and_is_stored_and_counted() -> None:
    office = await make_office()
    first, second = await office.send(PLACED), await office.send(PLACED)

    [call] = office.desk.calls
    assert office.run_of(call).row.event_id == first
    assert await office.storage.runs_of_event(second) == []
    [stored] = await office.storage.get(EventRow, [second])
    assert stored.name == PLACED
    [tally] = office.engine.counters.days.values()
    assert tally["run_rate_limited", call.function_id, ""] == 1
    assert tally["run_scheduled", call.function_id, ""] == 1


async def test_an_event_that_was_dropped_says_by_what_and_until_when() -> None:
    office = await make_office(rateLimit={**ONE_A_MINUTE, "key": "event.data.user"})
    await office.send(PLACED, {"user": "ann"})
    await office.advance(SECOND_MS)
    second = await office.send(PLACED, {"user": "ann"})

    now_ms = office.clock.ms
    function = office.engine.functions.find("shop-fulfil")
    assert function is not None
    [note] = await office.storage.get(MarkRow, [note_key(second, function.id)])
    assert json.parse(note.value.encode()) == {
        "gate": "rateLimit",
        "at": now_ms,
        "until": now_ms - SECOND_MS + MINUTE_MS,
        "key": "ann",
    }
    assert note.expires_at_ms == now_ms + DAY_MS


async def test_events_of_one_request_and_of_one_batch_are_counted_one_by_one() -> None:
    office = await make_office(rateLimit={"limit": 20, "period": "1m"})
    replies = [office.engine.ask_events(make_sent(office, count=2)) for _ in range(3)]
    await office.settle()
    assert [await reply for reply in replies] == [True] * 3
    assert len(office.desk.calls) == 3


async def test_each_value_of_the_key_has_its_own_limit_and_false_has_none() -> None:
    office = await make_office(rateLimit={**ONE_A_MINUTE, "key": "event.data.user"})
    for user in ("ann", "bob", "ann", False, False, None, None):
        await office.send(PLACED, {"user": user})
    users = [call.run.loaded.event["data"]["user"] for call in office.desk.calls]
    assert users == ["ann", "bob", False, False, None]


async def test_a_limit_is_free_again_at_its_moment_and_not_before() -> None:
    office = await make_office()
    await office.send(PLACED)
    await office.advance(MINUTE_MS - 1)
    await office.send(PLACED)
    assert len(office.desk.calls) == 1
    await office.advance(1)
    await office.send(PLACED)
    assert len(office.desk.calls) == 2


async def test_how_far_a_limit_is_used_up_survives_a_restart() -> None:
    office = await make_office()
    await office.send(PLACED)
    await office.advance(MINUTE_MS - 1)
    await reload(office)
    office.desk.calls.clear()

    await office.send(PLACED)
    assert [call for call in office.desk.calls if call.item.losses == 0] == []


async def test_two_requests_that_were_read_before_either_was_stored_start_one_run() -> None:
    office = await make_office()
    replies = [office.engine.ask_events(make_sent(office)) for _ in range(2)]
    await office.engine.load_once()
    await office.settle()
    assert [await reply for reply in replies] == [True, True]
    assert len(office.desk.calls) == 1


async def test_a_request_that_was_read_long_ago_knows_what_was_decided_since() -> None:
    office = await make_office()
    late = make_sent(office)
    reply = office.engine.ask_events(late)
    await office.engine.load_once()  # It found nothing.
    early = make_sent(office)
    office.engine._events_inbox.appendleft(office.engine._events_inbox.pop())
    other = office.engine.ask_events(early)
    await office.settle()
    assert (await reply, await other) == (True, True)
    assert len(office.desk.calls) == 1


async def test_marks_of_limits_are_forgotten_when_they_say_nothing_any_more() -> None:
    office = await make_office()
    await office.send(PLACED)
    assert len(rate_marks(office)) == 1
    await office.advance(MINUTE_MS + 1)
    await office.send(SHIPPED)  # So that time is stored.
    while await office.storage.prune(0, 100):
        pass
    assert rate_marks(office) == []


async def test_a_duplicate_of_an_event_that_was_dropped_starts_nothing() -> None:
    office = await make_office()
    await office.send(PLACED)
    await ask(office, make_sent(office, "order-1"))
    await office.advance(2 * MINUTE_MS)

    await ask(office, make_sent(office, "order-1"))
    assert len(office.desk.calls) == 1
    await ask(office, make_sent(office, "order-2"))
    assert len(office.desk.calls) == 2


async def test_a_duplicate_uses_nothing_up() -> None:
    office = await make_office(rateLimit={"limit": 10, "period": "1m"})
    for _ in range(5):
        await ask(office, make_sent(office, "order-1"))
    await ask(office, make_sent(office, "order-2"))
    assert len(office.desk.calls) == 2


async def test_a_function_that_came_after_an_event_starts_on_its_duplicate() -> None:
    office = Office()
    await office.open(make_function("bill", PLACED))
    await ask(office, make_sent(office, "order-1"))
    await office.advance(1)
    await office.sync(make_function("bill", PLACED), make_function("fulfil", PLACED, rateLimit=ONE_A_MINUTE))
    await ask(office, make_sent(office, "order-1"))
    assert [call.function_id for call in office.desk.calls] == [
        call.function_id for call in (office.call_of("shop-bill"), office.call_of("shop-fulfil"))
    ]


async def test_a_limit_that_came_between_reading_and_deciding_is_read_then() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED, rateLimit={**ONE_A_MINUTE, "key": "event.data.a"}))
    await ask(office, make_sent(office, a="x", b="y"))
    reply = office.engine.ask_events(make_sent(office, a="z", b="y"))
    await office.engine.load_once()
    changed = make_function("fulfil", PLACED, rateLimit={**ONE_A_MINUTE, "key": "event.data.b"})
    office.engine.tell(Synced(make_registration(changed)))
    await office.settle()
    await reply
    await ask(office, make_sent(office, a="z", b="y"))

    assert len(office.desk.calls) == 2
    assert office.storage._all(MessageRow) == []


async def test_who_shortens_the_period_does_not_wait_for_the_end_of_the_old_one() -> None:
    office = await make_office(rateLimit={"limit": 1, "period": "24h"})
    await office.send(PLACED)
    await office.sync(make_function("fulfil", PLACED, rateLimit=ONE_A_MINUTE))
    for _ in range(2):
        await office.send(PLACED)
    assert len(office.desk.calls) == 2
    await office.advance(MINUTE_MS)
    await office.send(PLACED)
    assert len(office.desk.calls) == 3


async def test_a_function_without_a_limit_reads_nothing_before_it_starts() -> None:
    office = await make_office(idempotency="event.data.id")
    await office.sync(make_function("fulfil", PLACED))
    reads = office.engine._loader.rounds
    await office.send(PLACED)
    assert (len(office.desk.calls), office.engine._loader.rounds) == (1, reads)


# Idempotency.


async def test_idempotency_starts_one_run_for_each_value_in_a_day() -> None:
    office = await make_office(idempotency="event.data.cart")
    for cart in ("c1", "c1", "c2", "c1"):
        await office.send(PLACED, {"cart": cart})
    assert len(office.desk.calls) == 2
    await office.advance(DAY_MS - 1)
    await office.send(PLACED, {"cart": "c1"})
    assert len(office.desk.calls) == 2
    await office.advance(1)
    await office.send(PLACED, {"cart": "c1"})
    assert len(office.desk.calls) == 3


async def test_idempotency_counts_the_runs_of_a_debounce_and_not_its_events() -> None:
    office = await make_office(idempotency="event.data.cart", debounce={"period": "10s"})
    for n in range(3):
        await office.send(PLACED, {"cart": "c1", "n": n})
    await office.advance(10 * SECOND_MS)
    [call] = office.desk.calls
    assert call.run.loaded.event["data"]["n"] == 2

    dropped = await office.send(PLACED, {"cart": "c1", "n": 3})
    await office.advance(10 * SECOND_MS)
    assert office.desk.calls == [call]
    [note] = [row for row in office.storage._all(MarkRow) if row.key.startswith(f"why/{dropped}/")]
    assert json.parse(note.value.encode())["gate"] == "idempotency"
    assert office.storage._all(MessageRow) == []


async def test_a_rate_limit_counts_the_events_of_a_debounce() -> None:
    office = await make_office(rateLimit=ONE_A_MINUTE, debounce={"period": "10s"})
    for n in range(3):
        await office.send(PLACED, {"n": n})
    await office.advance(10 * SECOND_MS)
    [call] = office.desk.calls
    assert call.run.loaded.event["data"]["n"] == 0


# What is not an event of a client.


async def invoke(office: Office, slug: str = "shop-fulfil", **data: Any) -> Any:
    now_ms = office.clock.now_ms()
    draft = read_event({"data": data}, name=INVOKED)
    event = make_event(draft, internal_id=office.engine.next_id(), received_at_ms=now_ms, repeatable=False)
    return await ask(office, InvokeSent(slug, event))


async def test_a_client_is_told_that_its_invocation_was_dropped() -> None:
    office = await make_office()
    [run_id] = [await invoke(office)]
    assert await office.row(run_id)
    assert await invoke(office) == Dropped("invoked function is rate limited")
    assert await invoke(office, "shop-nobody") is None


async def make_parent(office: Office) -> None:
    child = make_function("fulfil", PLACED, rateLimit=ONE_A_MINUTE)
    await office.open(make_function("parent", SHIPPED), child)
    await office.send(SHIPPED)
    call = office.call_of("shop-parent")
    await office.report(call, make_op("InvokeFunction", "child", opts={"function_id": "shop-fulfil"}))


def memo_of_child(office: Office) -> Any:
    return json.parse(office.call_of("shop-parent").run.loaded.memos["child"])


async def test_an_invoked_function_that_is_free_runs() -> None:
    office = Office()
    await make_parent(office)
    await office.complete(office.call_of("shop-fulfil"), b'"sent"')
    assert memo_of_child(office) == {"data": "sent"}
    assert office.storage._all(MessageRow) == []


async def test_a_parent_is_told_at_once_that_its_child_is_rate_limited() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED, rateLimit=ONE_A_MINUTE))
    await office.send(PLACED)
    await make_parent(office)
    error = {"name": "Error", "message": "invoked function is rate limited"}
    assert memo_of_child(office) == {"error": error}


async def test_functions_on_the_end_of_runs_are_limited_too() -> None:
    office = Office()
    watcher = make_function("watch", "inngest/function.finished", rateLimit=ONE_A_MINUTE)
    await office.open(make_function("fulfil", PLACED), watcher)
    for _ in range(3):
        await office.send(PLACED)
    fulfil = office.engine.functions.find("shop-fulfil")
    assert fulfil is not None
    for call in [call for call in office.desk.calls if call.function_id == fulfil.id]:
        await office.complete(call)
    assert office.call_of("shop-watch")
    assert office.storage._all(MessageRow) == []


async def test_schedules_are_limited_too() -> None:
    office = Office()
    hourly = make_function("fulfil", rateLimit={"limit": 1, "period": "90m"})
    hourly["triggers"] = [{"cron": "0 * * * *"}]
    await office.open(hourly)
    runs = []
    for _ in range(4):
        await office.advance(HOUR_MS)
        runs.append(len(office.storage._all(RunRow)))
    assert runs == [1, 1, 2, 2]
    assert [row.cron for row in office.storage._all(RunRow)] == ["0 * * * *"] * 2


async def test_a_start_that_waits_for_a_reading_survives_a_crash_and_comes_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = Office()
    hourly = make_function("fulfil", rateLimit={"limit": 1, "period": "90m"})
    hourly["triggers"] = [{"cron": "0 * * * *"}]
    await office.open(hourly)
    [cron_id] = office.engine.live.crons
    office.clock.ms += HOUR_MS
    office.engine.tell(CronDue(cron_id))
    await office.engine.run_once()
    assert (len(office.storage._all(MessageRow)), office.desk.calls) == (1, [])

    async def broken(*_: Any) -> Any:
        raise StorageUnavailableError("the disk is gone")

    with monkeypatch.context() as planted:
        planted.setattr(office.storage, "get", broken)
        while await office.engine.run_once() or await office.engine.load_once():
            if office.engine.failure:
                break
    assert office.engine.failure
    await reload(office)

    [call] = office.desk.calls
    assert call.run.row.cron == "0 * * * *"
    assert call.run.row.created_at_ms == office.clock.ms
    assert office.storage._all(MessageRow) == []
    await reload(office)
    assert len(office.storage._all(RunRow)) == 1


async def test_a_key_that_asks_for_the_time_is_read_and_decided_as_of_one_moment() -> None:
    office = await make_office(rateLimit={**ONE_A_MINUTE, "key": "now()"})
    reply = office.engine.ask_events(make_sent(office))
    worked, rounds = True, 0
    while worked:
        office.clock.ms += 1
        worked = await office.engine.load_once()
        office.clock.ms += 1
        worked = await office.engine.run_once() or worked
        rounds += 1
        assert rounds < 10
    await reply
    assert (len(office.desk.calls), office.storage._all(MessageRow)) == (1, [])


async def test_what_was_read_for_a_decision_that_raised_is_forgotten_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = await make_office()

    def fail(*_: Any) -> None:
        raise RuntimeError("planted")

    with monkeypatch.context() as planted:
        planted.setattr(starts, "begin", fail)
        reply = office.engine.ask_events(make_sent(office))
        await office.engine.load_once()
        with pytest.raises(RuntimeError) as raised:
            await office.engine.run_once()
    office.engine._decide_again(raised.value)
    assert office.engine._work.reading is None
    await office.engine.start()
    await office.settle()
    await reply
    assert len(office.desk.calls) == 1


async def test_of_the_value_of_a_key_no_more_is_kept_than_people_read() -> None:
    office = await make_office(rateLimit={**ONE_A_MINUTE, "key": "event.data.user"})
    for _ in range(2):
        last = await office.send(PLACED, {"user": "a" * 10_000})
    [function] = office.engine.functions.all()
    [note] = await office.storage.get(MarkRow, [note_key(last, function.id)])
    assert json.parse(note.value.encode())["key"] == "a" * KEY_CHARS_SHOWN


async def test_large_requests_are_not_read_all_at_once() -> None:
    office = await make_office(rateLimit={**ONE_A_MINUTE, "key": "event.data.user"})
    half = EVENTS_PER_READ // 2
    replies = [office.engine.ask_events(make_sent(office, count=half, user=n)) for n in range(3)]
    await office.engine.load_once()
    await office.engine.run_once()
    await office.engine.run_once()
    assert [reply.done() for reply in replies] == [True, True, False]
    await office.settle()
    assert (await replies[2], len(office.desk.calls)) == (True, 3)
