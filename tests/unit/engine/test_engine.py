"""Entities that act on each other: events, waits, invocations, limits, and the memory of idle runs."""

from typing import Any

import pytest
import structlog

from inngest_server.engine.facts import SignalSent
from inngest_server.engine.options import EngineOptions
from inngest_server.events.records import EventRow
from inngest_server.execution.driver import Call
from inngest_server.runs.facts import CancelRequested
from inngest_server.wire import json
from tests.builders import HOUR_MS, SECOND_MS
from tests.unit.engine.builders import Office, make_function
from tests.unit.runs.builders import make_error, make_failure, make_op, planned, ran

PLACED = "shop/order.placed"


def invoke(function_id: str, **opts: Any) -> Any:
    opts = {"function_id": function_id, "payload": {"data": {"x": 1}}, **opts}
    return make_op("InvokeFunction", "child", displayName="Call child", opts=opts)


async def open_parent(office: Office, *others: dict[str, Any]) -> Call:
    """A running parent whose first call waits for an answer."""
    await office.open(make_function("parent", PLACED), *others)
    await office.send(PLACED, {"id": 1})
    return office.call_of("shop-parent")


def memo_of_child(office: Office, parent: Call) -> Any:
    return json.parse(office.run_of(parent).loaded.memos["child"])


# Invocations.


async def test_an_invoked_function_gets_the_payload_and_its_parent_the_result() -> None:
    office = Office()
    parent = await open_parent(office, make_function("child"))
    await office.report(parent, invoke("shop-child", timeout="1h"))

    child = office.call_of("shop-child")
    event = office.run_of(child).loaded.event
    assert event["name"] == "inngest/function.invoked"
    assert event["data"].pop("_inngest") == {
        "fn_id": "shop-child",
        "correlation_id": f"{parent.item.run_id}.child",
        "expire": office.clock.ms + HOUR_MS,
        "gid": "child",
        "name": "Call child",
        "source_app_id": parent.app_id,
        "source_fn_id": parent.function_id,
        "source_fn_v": 1,
    }
    assert event["data"] == {"x": 1}

    await office.complete(child, b'{"ok":true}')

    assert memo_of_child(office, parent) == {"data": {"ok": True}}
    assert office.call_of("shop-parent").item.stack_index == 1


async def test_a_function_is_invoked_by_its_id_too() -> None:
    office = Office()
    parent = await open_parent(office, make_function("child"))
    function = office.engine.functions.find("shop-child")
    assert function is not None
    await office.report(parent, invoke(function.id))
    assert office.call_of("shop-child")


async def test_a_failed_child_gives_its_parent_the_error() -> None:
    office = Office()
    parent = await open_parent(office, make_function("child", retries=0))
    await office.report(parent, invoke("shop-child"))
    await office.answer(office.call_of("shop-child"), make_failure(retriable=False))
    assert memo_of_child(office, parent) == {"error": {"name": "Error", "message": "boom"}}


async def test_a_cancelled_child_gives_its_parent_an_error() -> None:
    office = Office()
    parent = await open_parent(office, make_function("child"))
    await office.report(parent, invoke("shop-child"))
    office.engine.tell(CancelRequested(office.call_of("shop-child").item.run_id, "api"))
    await office.settle()
    error = memo_of_child(office, parent)["error"]
    assert (error["name"], error["message"]) == ("Error", "Function cancelled")


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (invoke("shop-nobody"), "could not find function with ID: shop-nobody"),
        (invoke("shop-child", payload={"data": [1]}), "event data must be an object"),
        (invoke("shop-child", payload={"ts": 1.5}), "whole milliseconds"),
        (invoke("shop-child", payload={"data": {}, "id": 7}), "event id must be a text"),
    ],
    ids=["unknown function", "bad data", "bad time", "bad id"],
)
async def test_an_invocation_that_cannot_start_tells_its_parent_at_once(op: Any, message: str) -> None:
    office = Office()
    parent = await open_parent(office, make_function("child"))

    await office.report(parent, op)

    error = memo_of_child(office, parent)["error"]
    assert error["name"] == "Error"
    assert message in error["message"]
    assert office.run_of(parent).waits == {}
    assert office.call_of("shop-parent")


async def test_an_archived_function_cannot_be_invoked() -> None:
    office = Office()
    parent = await open_parent(office, make_function("child"))
    await office.sync(make_function("parent", PLACED))
    await office.report(parent, invoke("shop-child"))
    assert "could not find" in memo_of_child(office, parent)["error"]["message"]


async def test_the_result_of_a_child_after_the_timeout_is_ignored() -> None:
    office = Office()
    parent = await open_parent(office, make_function("child"))
    await office.report(parent, invoke("shop-child", timeout="1s"))
    child = office.call_of("shop-child")
    await office.advance(2 * SECOND_MS)
    assert memo_of_child(office, parent)["error"]["name"] == "InngestInvokeTimeoutError"

    await office.complete(child)

    assert memo_of_child(office, parent)["error"]["name"] == "InngestInvokeTimeoutError"


# Waits and cancellations.


async def test_an_event_ends_the_wait_for_it_and_no_other() -> None:
    office = Office()
    call = await open_parent(office)
    match = "event.data.id == async.data.id"
    opts = {"event": "shop/paid", "timeout": "1h", "if": match}
    await office.report(call, make_op("WaitForEvent", "w", opts=opts))

    await office.send("shop/paid", {"id": 2})
    assert office.desk.calls == []
    internal_id = await office.send("shop/paid", {"id": 1})

    (row,) = await office.storage.get(EventRow, [internal_id])
    assert office.run_of(call).loaded.memos["w"] == row.body


@pytest.mark.parametrize("skew_ms", [-HOUR_MS, HOUR_MS])
async def test_an_event_of_a_client_whose_clock_is_wrong_wakes_and_cancels(skew_ms: int) -> None:
    office = Office()
    await office.open(
        make_function("waiter", PLACED), make_function("victim", PLACED, cancel=[{"event": "stop"}])
    )
    await office.send(PLACED)
    call, victim = office.call_of("shop-waiter"), office.call_of("shop-victim")
    await office.report(call, make_op("WaitForEvent", "w", opts={"event": "stop", "timeout": "1h"}))

    await office.send_seeded("stop", office.clock.ms + skew_ms)

    assert "w" in office.run_of(call).loaded.memos
    assert (await office.row(victim.item.run_id)).status == "Cancelled"


async def test_the_event_that_started_a_run_does_not_cancel_it() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, cancel=[{"event": PLACED}]))
    await office.send(PLACED)
    first = office.call_of("shop-f")

    await office.send(PLACED)

    assert (await office.row(first.item.run_id)).status == "Cancelled"
    assert office.engine.live.run_count() == 1


async def test_the_answer_of_a_cancelled_run_is_dropped_and_counted() -> None:
    office = Office()
    call = await open_parent(office)
    office.engine.tell(CancelRequested(call.item.run_id, "api"))
    await office.settle()

    await office.complete(call)

    assert (await office.row(call.item.run_id)).status == "Cancelled"
    assert office.engine.late_answers == 1


# Limits.


def running(office: Office) -> int:
    return len(office.desk.calls)


async def test_calls_wait_for_the_slots_of_their_limit() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=2))
    for _ in range(5):
        await office.send(PLACED)
    assert running(office) == 2

    await office.report(office.desk.calls[0], make_op("Sleep", "s", name="1h"))

    assert running(office) == 2  # A sleeping run holds no slot.
    await office.complete(office.desk.calls[0])
    await office.complete(office.desk.calls[0])
    assert running(office) == 2


async def test_a_call_that_waits_for_its_retry_holds_no_slot() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=1))
    await office.send(PLACED)
    await office.send(PLACED)
    first = office.desk.calls[0]
    await office.answer(first, make_failure())
    assert [call.item.run_id for call in office.desk.calls] != [first.item.run_id]
    assert running(office) == 1


async def test_two_limits_with_the_same_key_are_taken_and_given_back_once() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=[{"limit": 1}, {"limit": 3}]))
    for _ in range(3):
        await office.send(PLACED)
        assert running(office) == 1
    for _ in range(3):
        await office.complete(office.desk.calls[0])
    assert running(office) == 0
    assert office.engine.failure is None
    assert office.engine.held == {}


async def test_a_raised_limit_starts_who_waited() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=1))
    for _ in range(4):
        await office.send(PLACED)
    await office.sync(make_function("f", PLACED, concurrency=3))
    assert running(office) == 3


async def test_a_limit_that_is_gone_starts_everybody() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=1))
    for _ in range(4):
        await office.send(PLACED)
    await office.sync(make_function("f", PLACED))
    assert running(office) == 4


async def test_a_new_key_is_enforced_for_who_waited_under_the_old_one() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, concurrency=[{"limit": 1, "key": "event.data.a"}]))
    for _ in range(4):
        await office.send(PLACED, {"a": 1, "b": 2})
    assert running(office) == 1

    await office.sync(make_function("f", PLACED, concurrency=[{"limit": 2, "key": "event.data.b"}]))

    assert running(office) == 2  # The one of before counts under the new key too.


# Memory.


async def test_a_run_that_was_just_sent_keeps_its_content_however_old_it_is() -> None:
    office = Office(EngineOptions(idle_contents_max=1))
    await office.open(make_function("f", PLACED), make_function("g", "shop/other"))
    await office.send(PLACED)
    sleeper = office.call_of("shop-f")
    await office.report(sleeper, make_op("Sleep", "s", name="1s"))
    await office.send("shop/other")
    other = office.call_of("shop-g")

    # In one batch the second run falls asleep, and the first, by then the oldest idle one, is sent.
    office.clock.ms += 2 * SECOND_MS
    await office.report(other, make_op("Sleep", "s", name="1h"))

    call = office.call_of("shop-f")
    assert office.run_of(call).content is not None
    assert call.run.content is not None


async def test_an_idle_run_that_was_dropped_from_memory_goes_on_from_its_journal() -> None:
    office = Office(EngineOptions(idle_contents_max=0))
    call = await open_parent(office)
    await office.report(call, ran("a", 1), make_op("Sleep", "s", name="1h"))
    discovery = office.call_of("shop-parent")
    await office.report(discovery, make_op("None"))
    assert office.run_of(call).content is None

    await office.advance(2 * HOUR_MS)

    content = office.run_of(call).loaded
    assert list(content.memos) == ["a", "s"]
    await office.complete(office.call_of("shop-parent"))
    assert (await office.row(call.item.run_id)).status == "Completed"


async def test_nothing_live_is_left_when_all_runs_have_ended() -> None:
    office = Office()
    parent = await open_parent(office, make_function("child", cancel=[{"event": "shop/stop"}]))
    await office.report(parent, invoke("shop-child"))
    await office.complete(office.call_of("shop-child"))
    await office.complete(office.call_of("shop-parent"))
    counts = await office.storage.counts()
    assert (counts.live_runs, counts.items, counts.waits) == (0, 0, 0)
    assert len(office.engine.live.waits) == 0


# What the log says.


async def test_failed_tries_and_failed_runs_are_logged_without_their_messages() -> None:
    office = Office()
    await office.open(make_function("f", PLACED, retries=1))
    await office.send(PLACED)
    with structlog.testing.capture_logs() as lines:
        await office.answer(office.call_of("shop-f"), make_failure())
        await office.advance(HOUR_MS)
        await office.answer(office.call_of("shop-f"), make_failure())

    said = [(line["event"], line["function"], line["error"]) for line in lines]
    assert said == [
        ("run.try_failed", "shop-f", "Error"),
        ("run.try_failed", "shop-f", "Error"),
        ("run.failed", "shop-f", "Error"),
    ]
    assert "boom" not in str(lines)


@pytest.mark.parametrize("op", ["StepError", "StepFailed"])
async def test_the_last_try_of_a_step_is_logged_though_its_error_may_be_caught(op: str) -> None:
    office = Office()
    await office.open(make_function("f", PLACED, retries=0))
    await office.send(PLACED)
    with structlog.testing.capture_logs() as lines:
        await office.report(office.call_of("shop-f"), make_op(op, "pay", error=make_error(name="CardError")))
        await office.complete(office.call_of("shop-f"))

    assert [{**line, "run_id": ""} for line in lines] == [
        {
            "event": "run.try_failed",
            "log_level": "warning",
            "function": "shop-f",
            "run_id": "",
            "attempt": 0,
            "code": "step_error",
            "error": "CardError",
        }
    ]


async def test_an_invocation_that_failed_is_logged_by_the_run_that_failed_only() -> None:
    office = Office()
    parent = await open_parent(office, make_function("child", retries=0))
    await office.report(parent, invoke("shop-child"))
    with structlog.testing.capture_logs() as lines:
        await office.answer(office.call_of("shop-child"), make_failure())

    assert [(line["event"], line["function"]) for line in lines] == [
        ("run.try_failed", "shop-child"),
        ("run.failed", "shop-child"),
    ]


async def test_an_event_as_deep_as_allowed_reaches_the_failure_handler() -> None:
    office = Office()
    handler = make_function("fulfil-failure", "inngest/function.failed")
    await office.open(make_function("fulfil", PLACED), handler)
    data: dict[str, Any] = {}
    for _ in range(json.DEPTH_MAX - 2):
        data = {"a": data}
    await office.send(PLACED, data)

    await office.answer(office.call_of("shop-fulfil"), make_failure(retriable=False))

    assert office.run_of(office.call_of("shop-fulfil-failure")).loaded.event["data"]["event"]["data"] == data


# Signals.


async def send_signal(office: Office, name: str) -> str | None:
    """The run that got it."""
    reply = office.engine.ask(SignalSent(name, b"1"))
    await office.settle()
    return await reply


async def test_a_replaced_signal_wait_stays_replaced_after_a_restart() -> None:
    office = Office()
    await office.open(make_function("old", "old"), make_function("new", "new"))
    signal: dict[str, Any] = {"signal": "go", "timeout": "1h"}
    await office.send("old")
    await office.report(office.call_of("shop-old"), make_op("WaitForSignal", "w", opts=signal))
    await office.send("new")
    new = office.call_of("shop-new")
    await office.report(new, make_op("WaitForSignal", "w", opts={**signal, "conflict": "replace"}))
    assert await send_signal(office, "go") == new.item.run_id

    await office.engine.start()

    assert await send_signal(office, "go") is None
    await office.advance(2 * HOUR_MS)
    assert office.run_of(office.call_of("shop-old")).loaded.memos == {"w": b"null"}


async def test_a_run_that_reports_its_replaced_signal_wait_again_goes_on() -> None:
    office = Office()
    await office.open(make_function("old", "old"), make_function("new", "new"))
    signal: dict[str, Any] = {"signal": "go", "timeout": "1h"}
    wait = make_op("WaitForSignal", "w", opts=signal)
    await office.send("old")
    await office.report(office.call_of("shop-old"), wait, *planned("a", mode="race"))
    await office.send("new")
    replacing = make_op("WaitForSignal", "w", opts={**signal, "conflict": "replace"})
    await office.report(office.call_of("shop-new"), replacing)

    await office.report(office.call_of("shop-old"), ran("a", opts={"parallelMode": "race"}))
    discovery = office.call_of("shop-old")
    await office.report(discovery, wait)

    assert (await office.row(discovery.item.run_id)).status == "Running"
