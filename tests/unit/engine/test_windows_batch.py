"""Batched functions, from their events to their runs."""

import random
from typing import Any

import pytest

from inngest_server.engine import starts, windows
from inngest_server.engine.facts import EventsSent
from inngest_server.engine.options import EngineOptions, UndecidableError
from inngest_server.events.event import make_event, read_event
from inngest_server.events.records import EventRow
from inngest_server.execution.driver import Call
from inngest_server.flow_control import batch
from inngest_server.flow_control.records import WindowRow
from inngest_server.runs.records import BatchedEventRow, RunRow
from inngest_server.wire import json
from inngest_server.wire.ulid import timestamp_ms
from tests.builders import SECOND_MS, T0_MS
from tests.unit.engine.builders import Office, make_function
from tests.unit.runs.builders import make_op

CLICKED = "page/clicked"
FINISHED = "inngest/function.finished"


def store_of(**options: Any) -> dict[str, Any]:
    """A function that stores clicks, a hundred at a time or those of five seconds."""
    return make_function("store", CLICKED, batchEvents={"maxSize": 100, "timeout": "5s", **options})


async def post(office: Office, *data: dict[str, Any]) -> None:
    """Send events in one request."""
    now_ms = office.clock.now_ms()
    events = [
        make_event(
            read_event({"name": CLICKED, "data": one}),
            internal_id=office.engine.next_id(),
            received_at_ms=now_ms,
            repeatable=False,
        )
        for one in data
    ]
    reply = office.engine.ask_events(EventsSent(events))
    await office.settle()
    await reply


def events_of(call: Call) -> list[Any]:
    content = call.run.loaded
    return [json.parse(body)["data"]["n"] for body in (content.event_body, *content.further)]


def batches(office: Office) -> list[list[Any]]:
    """The events of each call that is out."""
    return [events_of(call) for call in office.desk.calls]


async def reload(office: Office) -> None:
    """As after a crash: what is in memory is forgotten, and loaded again."""
    await office.engine.start()
    await office.settle()


@pytest.mark.parametrize("at_a_time", [1, 70, 250])
@pytest.mark.parametrize("bytes_max", [0, 1_000_000], ids=["bodies are read", "bodies are kept"])
async def test_250_quick_events_are_batches_of_100_100_and_50(at_a_time: int, bytes_max: int) -> None:
    office = Office(EngineOptions(window_bytes_max=bytes_max))
    await office.open(store_of())
    for start in range(0, 250, at_a_time):
        await post(office, *[{"n": n} for n in range(start, min(start + at_a_time, 250))])
    assert batches(office) == [[*range(100)], [*range(100, 200)]]

    await office.advance(5 * SECOND_MS - 1)
    assert len(office.desk.calls) == 2
    await office.advance(1)

    assert batches(office)[2:] == [[*range(200, 250)]]
    assert office.storage._all(WindowRow) == []
    assert len(office.storage._all(RunRow)) == 3


async def test_the_timeout_counts_from_the_first_event() -> None:
    office = Office()
    await office.open(store_of())
    for n in range(5):
        await post(office, {"n": n})
        await office.advance(SECOND_MS)
    assert batches(office) == [[0, 1, 2, 3, 4]]
    assert office.clock.ms == T0_MS + 5 * SECOND_MS


async def test_keys_are_batched_apart() -> None:
    office = Office()
    await office.open(store_of(maxSize=2, key="event.data.user"))
    await post(office, *[{"n": n, "user": "ab"[n % 2]} for n in range(5)])
    assert batches(office) == [[0, 2], [1, 3]]
    await office.advance(5 * SECOND_MS)
    assert batches(office)[2:] == [[4]]


async def test_an_event_that_does_not_meet_the_condition_runs_at_once_and_alone() -> None:
    office = Office()
    await office.open(store_of(**{"if": "event.data.small"}))
    await post(office, {"n": 0, "small": True}, {"n": 1, "small": False}, {"n": 2}, {"n": 3, "small": "yes"})
    assert batches(office) == [[1], [2], [3]]
    assert [call.run.row.batch_id for call in office.desk.calls] == [None] * 3
    await office.advance(5 * SECOND_MS)
    assert batches(office)[3:] == [[0]]
    assert office.desk.calls[3].run.row.batch_id is not None


async def test_ten_mebibytes_close_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "BATCH_BYTES_MAX", 2_000)
    office = Office()
    await office.open(store_of())
    await post(office, *[{"n": n, "x": "x" * 700} for n in range(4)])
    assert batches(office) == [[0, 1, 2]]


async def test_a_time_ahead_does_not_delay_a_batch() -> None:
    office = Office()
    await office.open(store_of(maxSize=2))
    for n in range(2):
        await office.send(CLICKED, {"n": n}, ts=T0_MS + 3_600_000)
    assert batches(office) == [[0, 1]]


async def test_a_run_on_a_batch_names_its_events_and_when_it_opened() -> None:
    office = Office()
    await office.open(store_of(maxSize=3))
    ids = [await office.send(CLICKED, {"n": n}) for n in range(2)]
    await office.advance(SECOND_MS)
    ids.append(await office.send(CLICKED, {"n": 2}))

    [call] = office.desk.calls
    row = await office.row(call.item.run_id)
    assert row.event_id == ids[0]
    assert await office.storage.batched_events([row.run_id]) == {row.run_id: ids[1:]}
    assert row.batch_id is not None
    assert timestamp_ms(row.batch_id) == T0_MS
    for internal_id in ids:
        assert [run.run_id for run in await office.storage.runs_of_event(internal_id)] == [row.run_id]


async def test_a_batch_that_was_dropped_from_memory_is_loaded_with_all_its_events() -> None:
    office = Office()
    await office.open(store_of(maxSize=3))
    await post(office, *[{"n": n} for n in range(3)])
    [call] = office.desk.calls
    await office.report(call, make_op("Sleep", "nap", opts={"duration": "1h"}))
    await reload(office)
    await office.advance(3_600_000)
    [call] = office.desk.calls
    assert events_of(call) == [0, 1, 2]
    assert list(call.run.loaded.memos) == ["nap"]


async def test_a_batch_whose_event_is_gone_is_held_and_not_called_with_the_rest() -> None:
    office = Office()
    await office.open(store_of(maxSize=2))
    await post(office, {"n": 0}, {"n": 1})
    [call] = office.desk.calls
    await office.report(call, make_op("Sleep", "nap", opts={"duration": "1h"}))
    [further] = office.storage._all(BatchedEventRow)
    office.storage._remove(EventRow, further.event_id)
    await reload(office)
    await office.advance(3_600_000)
    assert (office.desk.calls, list(office.engine.held)) == ([], [call.item.run_id])


async def test_the_end_of_a_batch_is_published_once_with_all_its_events() -> None:
    office = Office()
    await office.open(store_of(maxSize=2), make_function("audit", FINISHED))
    await post(office, {"n": 0}, {"n": 1})
    await office.complete(office.call_of("shop-store"))
    [call] = office.desk.calls
    data = call.run.loaded.event["data"]
    assert [event["data"]["n"] for event in data["events"]] == [0, 1]
    assert data["event"] == data["events"][0]


async def test_an_invocation_is_not_batched() -> None:
    office = Office()
    await office.open(store_of(), make_function("parent", "go"))
    await office.send("go", {})
    opts = {"function_id": "shop-store", "payload": {"data": {"n": 7}}}
    await office.report(office.call_of("shop-parent"), make_op("InvokeFunction", "child", opts=opts))
    assert batches(office) == [[7]]


async def test_the_same_request_again_adds_nothing_to_an_open_batch() -> None:
    office = Office()
    await office.open(store_of(maxSize=3))
    internal_id = office.engine.next_id()
    for _ in range(2):
        draft = read_event({"name": CLICKED, "data": {"n": 0}})
        event = make_event(draft, internal_id=internal_id, received_at_ms=T0_MS, repeatable=True)
        reply = office.engine.ask_events(EventsSent([event]))
        await office.settle()
        await reply
    await post(office, {"n": 1})
    await office.advance(5 * SECOND_MS)
    assert batches(office) == [[0, 1]]


async def test_two_events_with_one_id_are_two_in_a_batch() -> None:
    office = Office()
    await office.open(store_of(maxSize=3))
    for n in range(2):
        await office.send(CLICKED, {"n": n}, id="the-same")
    await office.advance(5 * SECOND_MS)
    assert batches(office) == [[0, 1]]


async def test_a_new_size_concerns_batches_that_open_after_the_sync() -> None:
    office = Office()
    await office.open(store_of(maxSize=3))
    await post(office, {"n": 0})
    await office.sync(store_of(maxSize=2, timeout="1h"))
    await post(office, {"n": 1})
    assert batches(office) == []
    await office.advance(5 * SECOND_MS)
    await post(office, {"n": 2}, {"n": 3})
    assert batches(office) == [[0, 1], [2, 3]]


async def test_only_the_window_that_was_added_to_longest_ago_is_dropped_from_memory() -> None:
    office = Office(EngineOptions(window_bytes_max=2 * (windows.EVENT_BYTES + 200)))
    await office.open(store_of(maxSize=3, key="event.data.user"))
    await post(office, {"n": 0, "user": "a"})
    await post(office, {"n": 1, "user": "b"})
    await post(office, {"n": 2, "user": "c"})
    missing = {window.key_value: len(window.missing) for window in office.engine.live.windows}
    assert missing == {"a": 1, "b": 0, "c": 0}

    await post(office, {"n": 3, "user": "a"}, {"n": 4, "user": "a"})
    assert batches(office) == [[0, 3, 4]]


async def test_a_body_that_is_dropped_while_the_others_are_read_is_not_lost() -> None:
    office = Office()
    await office.open(store_of())
    all_windows, storage = office.engine.live.windows, office.storage
    await post(office, {"n": 0})
    await reload(office)  # Its body is on disk alone, and that of the next one in memory too.
    await post(office, {"n": 1})
    assert [len(window.missing) for window in all_windows] == [1]
    salvage = storage.salvage

    async def salvaging(*arguments: Any) -> Any:
        found = await salvage(*arguments)
        all_windows._bytes_max = 0
        all_windows.trim()
        return found

    storage.salvage = salvaging  # type: ignore[method-assign]
    await office.advance(5 * SECOND_MS)
    assert batches(office) == [[0, 1]]


@pytest.mark.parametrize("seed", range(20))
async def test_no_event_is_lost_or_doubled_or_overtaken_whatever_happens(seed: int) -> None:
    draw = random.Random(seed)
    office = Office(EngineOptions(window_bytes_max=draw.choice((0, 3_000, 1_000_000))))
    sizes = draw.choices(range(2, 6), k=2)
    await office.open(store_of(maxSize=sizes[0], key="event.data.user"))
    n = 0
    for _ in range(40):
        match draw.randrange(10):
            case 0:
                await reload(office)
            case 1:
                await office.sync(store_of(maxSize=draw.choice(sizes), key="event.data.user"))
            case 2 | 3:
                await office.advance(draw.randrange(4_000))
            case _:
                count = draw.randrange(1, 8)
                await post(office, *[{"n": n + i, "user": draw.choice("abc")} for i in range(count)])
                n += count
    await office.advance(5 * SECOND_MS)

    got = batches(office)
    assert sorted(one for events in got for one in events) == list(range(n))
    assert all(events == sorted(events) for events in got)
    assert max(map(len, got)) <= max(sizes)
    assert office.storage._all(WindowRow) == []
    assert office.engine.live.windows.kept_bytes == 0


async def test_a_window_of_one_request_about_which_a_decision_raises_is_refused_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = Office()
    await office.open(store_of(maxSize=2), make_function("alone", CLICKED))
    begin = starts.begin

    def fail(*arguments: Any, **options: Any) -> Any:
        if options.get("batch_id"):
            raise RuntimeError("planted")
        return begin(*arguments, **options)

    monkeypatch.setattr(starts, "begin", fail)
    now_ms = office.clock.now_ms()
    events = [
        make_event(
            read_event({"name": CLICKED}),
            internal_id=office.engine.next_id(),
            received_at_ms=now_ms,
            repeatable=False,
        )
        for _ in range(2)
    ]
    reply = office.engine.ask_events(EventsSent(events))
    for _ in range(2):
        with pytest.raises(RuntimeError) as raised:
            await office.settle()
        office.clock.ms += 1  # So that another window would be opened.
        office.engine._decide_again(raised.value)
        await office.engine.start()
    await office.settle()
    with pytest.raises(UndecidableError):
        await reply
    assert office.engine.held == {}
    await post(office, {})
    assert len(office.desk.calls) == 1


async def test_a_batch_keeps_its_events_when_its_function_becomes_debounced_and_idempotent() -> None:
    office = Office()
    await office.open(store_of())
    await post(office, {"n": 1}, {"n": 2})

    await office.sync(make_function("store", CLICKED, debounce={"period": "1s"}, idempotency="event.data.n"))
    await office.advance(5 * SECOND_MS)

    assert batches(office) == [[1, 2]]
