"""Requests that steps have the server make, in the whole engine: restarts, slots, cancellation, secrets."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from inngest_server.engine.options import EngineOptions
from inngest_server.execution.driver import Call
from inngest_server.runs.facts import CallFailed, CancelRequested, Fetched
from inngest_server.runs.opcodes.gateway import GatewayRequest, gateway_error
from inngest_server.wire import json
from tests.builders import SECOND_MS
from tests.unit.engine.builders import Office, make_function
from tests.unit.runs.builders import make_op, planned, ran

PLACED = "shop/order.placed"
KEY = "sk-of-the-provider"
REQUEST = GatewayRequest(
    "https://ai.example/v1?key=in-the-query", "POST", {"x-more": "a"}, {"model": "m"}, "openai-chat", KEY
)
INFER = make_op(
    "AIGateway",
    "ask",
    opts={
        "url": REQUEST.url,
        "headers": REQUEST.headers,
        "auth_key": KEY,
        "format": REQUEST.format,
        "body": REQUEST.body,
    },
)


def make_failure() -> CallFailed:
    return CallFailed(gateway_error("AIGateway", "no answer"), "host_unreachable", True, None)


async def asking(**options: Any) -> Office:
    """A run whose step has the server make a request."""
    office = Office()
    await office.open(make_function("f", PLACED, **options))
    await office.send(PLACED)
    await office.report(office.call_of("shop-f"), INFER)
    return office


async def restart(office: Office) -> Call:
    """End the process and start another one; the call that it makes."""
    office.desk.calls.clear()
    await office.engine.start()
    await office.settle()
    return office.call_of("shop-f")


async def test_the_call_has_the_whole_request() -> None:
    office = await asking()
    call = office.call_of("shop-f")
    assert (call.item.is_gateway, call.item.step_id, call.request) == (True, "ask", REQUEST)


async def test_a_call_to_an_app_has_none() -> None:
    office = Office()
    await office.open(make_function("f", PLACED))
    await office.send(PLACED)
    assert office.call_of("shop-f").request is None


async def test_a_restart_in_mid_request_sends_it_again_and_uses_up_no_try() -> None:
    office = await asking()
    again = await restart(office)
    assert (again.request, again.item.attempt, again.item.generation) == (REQUEST, 0, 2)

    await office.answer(again, Fetched(b'{"choices":[1]}'))

    call = office.call_of("shop-f")
    assert call.item.kind == "discovery"
    assert office.run_of(call).loaded.memos == {"ask": b'{"data":{"choices":[1]}}'}
    await office.complete(call)
    assert (await office.storage.counts()).items == 0


async def test_a_restart_during_the_back_off_keeps_moment_and_attempt() -> None:
    office = await asking(retries=3)
    await office.answer(office.call_of("shop-f"), make_failure())
    await office.engine.start()
    await office.settle()
    assert office.desk.calls == []
    await office.advance(60 * SECOND_MS)
    call = office.call_of("shop-f")
    assert (call.request, call.item.attempt) == (REQUEST, 1)


async def test_a_restart_with_one_of_several_answered_asks_for_the_others_only() -> None:
    office = Office()
    await office.open(make_function("f", PLACED))
    await office.send(PLACED)
    fetch = make_op("Gateway", "get", opts={"url": "https://api.example/", "method": "GET"})
    await office.report(office.call_of("shop-f"), INFER, fetch, *planned("a"))
    calls = {call.item.step_id: call for call in office.desk.calls}
    await office.answer(calls["ask"], Fetched(b"1"))

    office.desk.calls.clear()
    await office.engine.start()
    await office.settle()

    calls = {call.item.step_id: call for call in office.desk.calls}
    assert calls.keys() == {"get", "a"}
    await office.answer(calls["get"], Fetched(b"2"))
    await office.report(calls["a"], ran("a", 3))
    call = office.call_of("shop-f")
    assert json.parse(b"[%b]" % b",".join(office.run_of(call).loaded.memos.values())) == [
        {"data": 1},
        {"data": 2},
        {"data": 3},
    ]


async def test_a_request_holds_a_slot_of_its_function() -> None:
    office = await asking(concurrency=1)
    asked = office.call_of("shop-f")
    await office.send(PLACED)
    assert office.desk.calls == [asked]

    await office.answer(asked, Fetched(b"1"))

    (call,) = office.desk.calls
    assert not call.item.is_gateway


async def test_the_answer_for_a_cancelled_run_is_dropped() -> None:
    office = await asking()
    call = office.call_of("shop-f")
    office.engine.tell(CancelRequested(call.item.run_id, "api"))
    await office.settle()
    await office.answer(call, Fetched(b"1"))
    assert office.engine.late_answers == 1
    assert (await office.row(call.item.run_id)).status == "Cancelled"


async def test_what_is_kept_of_a_waiting_run_counts_the_canonical_forms() -> None:
    office = Office(EngineOptions(idle_bytes_max=10_000))
    await office.open(make_function("f", PLACED))
    await office.send(PLACED)
    call = office.call_of("shop-f")
    run = office.run_of(call)
    run.loaded.canonical_bytes = 20_000  # As whoever signs does.
    await office.report(call, make_op("Sleep", "s", name="1h"))
    assert run.content is None


async def test_the_log_says_why_the_last_try_of_a_request_failed() -> None:
    office = await asking(retries=0)
    with capture_logs() as lines:
        await office.answer(office.call_of("shop-f"), make_failure())
    said = [(line["event"], line["attempt"], line["code"], line["error"]) for line in lines]
    assert said == [("run.try_failed", 0, "host_unreachable", "AIGatewayError")]


@pytest.mark.parametrize("retries", [0, 4])
async def test_no_secret_is_logged_or_given_to_the_app(retries: int) -> None:
    with capture_logs() as lines:
        office = await asking(retries=retries)
        await office.answer(office.call_of("shop-f"), make_failure())
        await office.advance(60 * SECOND_MS)
    assert KEY not in str(lines)
    assert KEY not in repr(office.desk.calls[0])
    run = office.run_of(office.desk.calls[0])
    assert all(KEY.encode() not in memo for memo in run.loaded.memos.values())
    assert KEY not in str(run.items)
