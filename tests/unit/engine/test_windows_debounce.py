"""Debounced functions, from their events to their runs."""

import tracemalloc
from typing import Any

import pytest
from structlog.testing import capture_logs

from inngest_server.engine import closing
from inngest_server.engine.facts import Released
from inngest_server.engine.options import EngineOptions
from inngest_server.engine.timers import Timers
from inngest_server.engine.windows import Windows
from inngest_server.events.records import EventRow
from inngest_server.execution.driver import Call
from inngest_server.flow_control.records import PauseRow, TermsRow, WindowRow
from inngest_server.runs.facts import CancelRequested
from inngest_server.runs.records import RunRow
from inngest_server.wire import json
from tests.builders import SECOND_MS, T0_MS, make_pause, make_ulid, make_window
from tests.unit.engine.builders import Office, make_function
from tests.unit.runs.builders import make_failure, make_op

SAVED = "doc/saved"
MINUTE_MS = 60 * SECOND_MS
PERIOD = {"period": "5m"}


def index_of(**debounce: Any) -> dict[str, Any]:
    """A function that indexes documents which were saved."""
    return make_function("index", SAVED, debounce={**PERIOD, **debounce})


def numbers(office: Office) -> list[int]:
    """`n` of the event of each call that is out."""
    return [call.run.loaded.event["data"]["n"] for call in office.desk.calls]


async def reload(office: Office) -> None:
    """As after a crash: what is in memory is forgotten, and loaded again."""
    await office.engine.start()
    await office.settle()


async def test_a_run_starts_exactly_one_period_after_the_last_event_and_with_it() -> None:
    office = Office()
    await office.open(index_of())
    await office.send(SAVED, {"n": 1})
    await office.advance(4 * MINUTE_MS)
    await office.send(SAVED, {"n": 2})

    await office.advance(5 * MINUTE_MS - 1)
    assert numbers(office) == []
    assert office.engine.live.timers.next_due_ms() == office.clock.ms + 1
    await office.advance(1)

    assert numbers(office) == [2]
    assert len(office.engine.live.windows) == 0
    assert office.storage._all(WindowRow) == []


async def test_an_event_a_minute_for_ten_minutes_is_one_run_at_the_timeout_with_the_last_one() -> None:
    office = Office()
    await office.open(index_of(timeout="10m"))
    for minute in range(10):
        await office.send(SAVED, {"n": minute})
        await office.advance(MINUTE_MS - 1)
        assert numbers(office) == []
        await office.advance(1)
    assert numbers(office) == [9]
    assert office.clock.ms == T0_MS + 10 * MINUTE_MS


async def test_an_event_with_an_older_time_restarts_the_period_and_never_replaces_a_newer_one() -> None:
    office = Office()
    await office.open(index_of())
    await office.send(SAVED, {"n": 1}, ts=T0_MS)
    await office.advance(MINUTE_MS)
    await office.send(SAVED, {"n": 2}, ts=T0_MS - 1)

    await office.advance(4 * MINUTE_MS)
    assert numbers(office) == []
    await office.advance(MINUTE_MS)
    assert numbers(office) == [1]


async def test_keys_are_debounced_apart_and_one_that_fails_counts_as_null() -> None:
    office = Office()
    await office.open(index_of(key="event.data.doc"))
    for n, doc in enumerate(["a", "b", "a", None]):
        await office.send(SAVED, {"n": n, **({"doc": doc} if doc else {})})
    await office.send(SAVED, {"n": 4, "doc": None})
    await office.advance(5 * MINUTE_MS)
    assert sorted(numbers(office)) == [1, 2, 4]


async def test_an_event_at_the_very_moment_opens_the_next_window() -> None:
    office = Office()
    await office.open(index_of())
    await office.send(SAVED, {"n": 1})
    office.clock.ms += 5 * MINUTE_MS
    await office.send(SAVED, {"n": 2})
    assert numbers(office) == [1]
    await office.advance(5 * MINUTE_MS)
    assert numbers(office) == [1, 2]


@pytest.mark.parametrize("is_reloaded", [False, True])
async def test_of_windows_that_close_at_one_moment_the_one_that_opened_first_is_first(
    is_reloaded: bool,
) -> None:
    office = Office()
    await office.open(index_of(key="event.data.n"))
    for n in range(20):
        await office.send(SAVED, {"n": n})
    if is_reloaded:
        await reload(office)
    await office.advance(5 * MINUTE_MS)
    assert numbers(office) == [*range(20)]


async def test_an_open_window_survives_a_crash_and_closes_at_its_moment() -> None:
    office = Office()
    await office.open(index_of(timeout="6m"))
    await office.send(SAVED, {"n": 1})
    await reload(office)
    await office.advance(4 * MINUTE_MS)
    await office.send(SAVED, {"n": 2})
    await reload(office)

    await office.advance(2 * MINUTE_MS - 1)
    assert numbers(office) == []
    await office.advance(1)
    assert numbers(office) == [2]


async def test_a_window_that_came_due_while_no_server_ran_closes_at_once() -> None:
    office = Office()
    await office.open(index_of())
    await office.send(SAVED, {"n": 1})
    office.clock.ms += 60 * MINUTE_MS
    await reload(office)
    assert numbers(office) == [1]


async def test_events_that_memory_does_not_keep_are_read_when_their_window_closes() -> None:
    office = Office(EngineOptions(window_bytes_max=0))
    await office.open(index_of())
    await office.send(SAVED, {"n": 1})
    assert office.engine.live.windows.kept_bytes == 0

    office.clock.ms += 5 * MINUTE_MS
    await office.engine.run_once()  # It is due, and its event is wanted of the loader.
    assert numbers(office) == []
    await office.send(SAVED, {"n": 2})  # Meanwhile another one opens.

    assert numbers(office) == [1]
    assert len(office.engine.live.windows) == 1
    await office.advance(5 * MINUTE_MS)
    assert numbers(office) == [1, 2]


async def test_a_window_whose_read_was_under_way_in_a_crash_closes_once() -> None:
    office = Office(EngineOptions(window_bytes_max=0))
    await office.open(index_of())
    await office.send(SAVED, {"n": 1})
    office.clock.ms += 5 * MINUTE_MS
    await office.engine.run_once()
    await reload(office)
    assert numbers(office) == [1]
    assert len(office.storage._all(RunRow)) == 1


async def test_an_event_that_is_lost_leaves_nothing_behind_but_a_line_in_the_log() -> None:
    office = Office(EngineOptions(window_bytes_max=0))
    await office.open(index_of())
    event_id = await office.send(SAVED, {"n": 1})
    office.storage._remove(EventRow, event_id)
    with capture_logs() as logs:
        await office.advance(5 * MINUTE_MS)
    assert [line["event"] for line in logs] == ["engine.window_events_lost"]
    assert (office.desk.calls, office.storage._all(WindowRow)) == ([], [])


async def test_a_window_is_one_row_per_commit_however_many_events_it_takes() -> None:
    office = Office()
    await office.open(index_of())
    batches: list[int] = []
    commit = office.storage.commit

    async def counting(batch: Any) -> Any:
        batches.append(len(batch.rows.get(WindowRow, {})))
        return await commit(batch)

    office.storage.commit = counting
    for n in range(3):
        await office.send(SAVED, {"n": n})
    assert batches == [1, 1, 1]


def test_an_open_debounce_takes_less_than_a_kilobyte_with_its_timer() -> None:
    """Without the body of its event, which has a bound of its own."""
    count = 5_000
    windows, timers = Windows(0), Timers(lambda _: True)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        windows.load([make_row(n) for n in range(count)], timers)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(windows) == count
    assert (after - before) / count < 1_024


def make_row(n: int) -> WindowRow:
    """A stored window of the key `n`, whose texts are its own."""
    return make_window(
        f"{make_ulid(n)}.{n:016x}",
        key_value=f"a document with the number {n}",
        event_ids=make_ulid(n),
        opened_at_ms=T0_MS + n,
        due_at_ms=T0_MS + MINUTE_MS + n,
        deadline_ms=T0_MS + 2 * MINUTE_MS + n,
        newest_ts_ms=T0_MS - n,
    )


# What a sync, a pause or a mistake changes.


async def test_a_new_period_concerns_windows_that_open_after_the_sync() -> None:
    office = Office()
    await office.open(index_of())
    await office.send(SAVED, {"n": 1})
    await office.sync(index_of(period="1h"))
    await office.send(SAVED, {"n": 2})
    await office.advance(5 * MINUTE_MS)
    assert numbers(office) == [2]

    await office.send(SAVED, {"n": 3})
    await office.advance(5 * MINUTE_MS)
    assert numbers(office) == [2]
    await office.advance(55 * MINUTE_MS)
    assert numbers(office) == [2, 3]


async def test_a_window_closes_at_its_moment_though_the_function_debounces_no_more() -> None:
    office = Office()
    await office.open(index_of())
    await office.send(SAVED, {"n": 1})
    await office.sync(make_function("index", SAVED))
    await office.send(SAVED, {"n": 2})
    assert numbers(office) == [2]
    await office.advance(5 * MINUTE_MS)
    assert numbers(office) == [2, 1]


async def ended(office: Office) -> tuple[str, str]:
    """Status of the only run, and why it was skipped."""
    [row] = office.storage._all(RunRow)
    [entry] = (await office.storage.journals([row.run_id]))[row.run_id]
    return row.status, json.parse(entry.meta)["reason"]


async def test_a_window_of_a_removed_function_ends_in_a_skipped_run() -> None:
    office = Office()
    await office.open(index_of())
    await office.send(SAVED, {"n": 1})
    await office.sync(make_function("another", "other"))
    assert office.storage._all(RunRow) == []
    await office.advance(5 * MINUTE_MS)
    assert await ended(office) == ("Skipped", "FunctionRemoved")


async def test_a_paused_function_collects_events_and_its_window_ends_in_a_skipped_run() -> None:
    office = Office()
    await office.open(index_of())
    [function] = office.engine.functions.all()
    pause = make_pause(function.id, cancel_at_ms=None)
    office.storage._put(pause)
    office.engine.live.pauses[function.id] = pause
    await office.send(SAVED, {"n": 1})
    assert office.storage._all(RunRow) == []
    await office.advance(5 * MINUTE_MS)
    assert await ended(office) == ("Skipped", "FunctionPaused")
    assert office.storage._all(PauseRow) == [pause]


async def test_a_window_about_which_a_decision_raises_is_held_alone_until_it_is_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = Office()
    await office.open(index_of(key="event.data.doc"))
    await office.send(SAVED, {"n": 1, "doc": "a"})

    def raise_(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("planted")

    office.clock.ms += 5 * MINUTE_MS
    with monkeypatch.context() as planted:
        planted.setattr(closing.starts, "begin", raise_)
        with pytest.raises(ZeroDivisionError):
            await office.settle()
    await reload(office)
    [held] = office.engine.held
    assert office.engine.held[held].kind == "window"
    await office.send(SAVED, {"n": 2, "doc": "a"})
    await office.advance(5 * MINUTE_MS)
    assert numbers(office) == [2]

    office.engine.tell(Released(held))
    await office.settle()
    assert numbers(office) == [2, 1]


# Invocations.


def call_child(n: int) -> Any:
    opts = {"function_id": "shop-index", "payload": {"data": {"n": n}}, "timeout": "1d"}
    return make_op("InvokeFunction", "child", displayName="Index", opts=opts)


async def open_parents(office: Office, count: int, *functions: dict[str, Any]) -> list[Call]:
    """Parents that all invoke the debounced function, the last one with the newest event."""
    await office.open(make_function("parent", "go"), *functions)
    parents: list[Call] = []
    for n in range(count):
        await office.send("go", {"n": n})
        [call] = office.desk.calls
        await office.report(call, call_child(n))
        parents.append(call)
    return parents


def results(office: Office) -> list[Any]:
    """What the invocations of the parents gave, of the calls that tell their next step."""
    return [json.parse(call.run.loaded.memos["child"]) for call in office.desk.calls]


async def test_all_callers_get_the_result_of_the_one_run_though_the_server_crashed_twice() -> None:
    office = Office()
    await open_parents(office, 3, index_of())
    await reload(office)
    await office.advance(5 * MINUTE_MS)
    assert numbers(office) == [2]
    await reload(office)

    await office.complete(office.call_of("shop-index"), b'{"ok":true}')

    assert results(office) == [{"data": {"ok": True}}] * 3
    assert office.storage._all(TermsRow) == []


async def test_all_callers_learn_that_the_one_run_failed() -> None:
    office = Office()
    await open_parents(office, 2, make_function("index", SAVED, debounce=PERIOD, retries=0))
    await office.advance(5 * MINUTE_MS)
    await office.answer(office.call_of("shop-index"), make_failure(retriable=False))
    assert [result["error"]["message"] for result in results(office)] == ["boom"] * 2


async def test_all_callers_learn_that_the_one_run_was_cancelled() -> None:
    office = Office()
    await open_parents(office, 2, index_of())
    await office.advance(5 * MINUTE_MS)
    call = office.call_of("shop-index")
    office.desk.calls.remove(call)
    office.engine.tell(CancelRequested(call.item.run_id, "api"))
    await office.settle()
    assert [result["error"]["message"] for result in results(office)] == ["Function cancelled"] * 2


async def test_all_callers_learn_that_the_one_run_was_skipped() -> None:
    office = Office()
    await open_parents(office, 2, index_of())
    await office.sync(make_function("parent", "go"))
    await office.advance(5 * MINUTE_MS)
    assert [list(result) for result in results(office)] == [["error"]] * 2


async def test_a_caller_gets_the_result_of_a_run_that_an_event_made_newer() -> None:
    office = Office()
    await open_parents(office, 1, index_of())
    await office.send(SAVED, {"n": 7})
    await office.advance(5 * MINUTE_MS)
    assert numbers(office) == [7]
    await office.complete(office.call_of("shop-index"), b"7")
    assert results(office) == [{"data": 7}]


async def test_callers_of_an_event_that_is_lost_are_told() -> None:
    office = Office(EngineOptions(window_bytes_max=0))
    await open_parents(office, 1, index_of())
    [window] = office.engine.live.windows
    office.storage._remove(EventRow, window.event_ids[0])
    await office.advance(5 * MINUTE_MS)
    assert [list(result) for result in results(office)] == [["error"]]
