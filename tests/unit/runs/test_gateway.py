"""Steps whose request the server makes: what one does to a run, from its opening to its memo."""

from typing import Any

import pytest

from inngest_server.runs.facts import CallFailed, CancelRequested, Fetched, Op
from inngest_server.runs.opcodes.gateway import (
    GatewayRequest,
    gateway_error,
    public_input,
    read_stored,
    shown_url,
)
from inngest_server.runs.records import ItemRow, ItemState, JournalKind
from inngest_server.runs.retry import LOSSES_PER_ATTEMPT
from inngest_server.runs.run import Limits
from inngest_server.wire import json
from tests.builders import RUN_ID
from tests.unit.runs.builders import Life, make_op, planned, ran

KEY = "sk-of-the-provider"
ANSWER = Fetched(b'{"choices":[1]}')


def infer(step_id: str = "ask", **opts: Any) -> Op:
    given = {
        "type": "step.ai.infer",
        "url": "https://user:pass@ai.example/v1/chat?key=in-the-query#part",
        "headers": {"x-more": "header-secret"},
        "auth_key": KEY,
        "format": "openai-chat",
        "body": {"model": "m", "messages": []},
        **opts,
    }
    return make_op("AIGateway", step_id, displayName="Ask", opts=given)


def fetch(step_id: str = "get", **opts: Any) -> Op:
    return make_op("Gateway", step_id, opts={"url": "https://api.example/", "method": "get", **opts})


def failure(
    code: str = "host_unreachable", *, retriable: bool = True, retry_after_ms: int | None = None
) -> CallFailed:
    return CallFailed(gateway_error("Gateway", "no answer"), code, retriable, retry_after_ms)


def request_of(life: Life, item: ItemRow) -> GatewayRequest:
    return read_stored(life.content.requests[item.step_id])


# The request.


def test_a_gateway_step_is_an_item_that_is_sent_at_once() -> None:
    life = Life()
    life.report(infer())
    (item,) = life.sent
    assert (item.kind, item.step_id, item.attempt, item.generation) == ("gateway", "ask", 0, 1)
    assert request_of(life, item) == GatewayRequest(
        url="https://user:pass@ai.example/v1/chat?key=in-the-query#part",
        method="POST",
        headers={"x-more": "header-secret"},
        body={"model": "m", "messages": []},
        format="openai-chat",
        auth_key=KEY,
    )


def test_what_may_be_shown_of_a_request_has_no_secret() -> None:
    life = Life()
    life.report(infer())
    (opened,) = life.entries(JournalKind.OPENED)
    assert opened.payload is not None
    shown = public_input(opened.payload)
    assert json.parse(shown) == {
        "url": "https://ai.example/v1/chat",
        "method": "POST",
        "format": "openai-chat",
        "body": {"model": "m", "messages": []},
    }
    assert KEY.encode() not in opened.meta
    assert KEY not in repr(request_of(life, life.sent[0]))


def test_an_address_that_cannot_be_read_is_not_shown() -> None:
    assert shown_url("http://[::1/?key=secret") == "an invalid address"


@pytest.mark.parametrize(
    ("opts", "method", "body"),
    [
        ({"method": "put", "body": "text"}, "PUT", "text"),
        ({"method": "", "body": None}, "POST", None),
        ({"method": None}, "POST", None),
    ],
    ids=repr,
)
def test_a_fetch_keeps_method_and_body(opts: dict[str, Any], method: str, body: str | None) -> None:
    life = Life()
    life.report(fetch(**opts))
    request = request_of(life, life.sent[0])
    assert (request.method, request.body, request.headers, request.is_ai) == (method, body, {}, False)


@pytest.mark.parametrize("code", ["AIGateway", "AiGateway", "aigateway"])
def test_the_opcode_is_known_in_any_case(code: str) -> None:
    life = Life()
    life.report(make_op(code, "ask", opts={"url": "https://ai.example/"}))
    assert [item.kind for item in life.sent] == ["gateway"]


@pytest.mark.parametrize(
    "op",
    [
        infer(url=None),
        infer(url=7),
        infer(headers=["x"]),
        infer(headers={"a": 1}),
        infer(headers={"a": "b\r\nc: d"}),
        infer(headers={"a b": "c"}),
        infer(auth_key=7),
        infer(auth_key="a\nb"),
        infer(format=[]),
        fetch(method="GET /"),
        fetch(method="X" * 33),
        fetch(body={"form": "data"}),
        fetch(url=""),
    ],
    ids=lambda op: str({key: value for key, value in op.opts.items() if key not in ("type", "body")})[-60:],
)
def test_a_request_that_cannot_be_made_is_a_failed_attempt_that_says_why(op: Op) -> None:
    life = Life()
    life.report(op)
    (tried,) = life.entries(JournalKind.TRIED)
    assert tried.payload is not None
    assert json.parse(tried.payload)["name"] == "malformed_op"
    assert KEY.encode() not in tried.payload
    assert [item.kind for item in life.queued] == ["discovery"]


def test_an_input_that_is_too_large_fails_the_run() -> None:
    life = Life(limits=Limits(input_bytes_max=1000))
    life.report(fetch(body="x" * 1000))
    assert (life.status, life.output["name"]) == ("Failed", "input_too_large")


def test_all_requests_of_a_run_together_are_bounded_also_after_a_restart() -> None:
    life = Life(limits=Limits(requests_bytes_max=1500))
    life.report(fetch("a", body="x" * 500))
    life.answer(Fetched(b"1"))
    assert life.reloaded().request_bytes == life.content.request_bytes > 500
    life.report(fetch("b", body="x" * 500))
    life.answer(Fetched(b"1"))
    life.report(fetch("c", body="x" * 500))
    assert (life.status, life.output["name"]) == ("Failed", "input_too_large")


@pytest.mark.parametrize(
    "op",
    [
        make_op("InvokeFunction", "call", opts={"function_id": "shop-f", "payload": {"data": "x" * 1000}}),
        ran("a", opts={"input": ["x" * 1000]}),
        planned("a")[0]._replace(opts={"input": ["x" * 1000]}),
    ],
    ids=lambda op: op.code,
)
def test_an_input_of_any_step_is_bounded(op: Op) -> None:
    life = Life(limits=Limits(input_bytes_max=1000))
    life.report(op)
    assert (life.status, life.output["name"]) == ("Failed", "input_too_large")


def test_a_checkpoint_with_a_large_input_is_refused() -> None:
    life = Life(limits=Limits(input_bytes_max=1000))
    decision = life.checkpoint(ran("a", opts={"input": ["x" * 1000]}))
    assert decision.refused is not None
    assert decision.refused.status == 413


@pytest.mark.parametrize("op", [infer(), fetch()], ids=lambda op: op.code)
def test_a_checkpoint_may_not_open_one(op: Op) -> None:
    life = Life()
    decision = life.checkpoint(op)
    assert decision.refused is not None
    assert decision.refused.status == 400
    assert life.content.opened == {}


# The answer.


@pytest.mark.parametrize("version", [1, 2])
def test_the_answer_is_the_memo_and_the_run_goes_on(version: int) -> None:
    life = Life()
    life.report(infer(), version=version)
    life.answer(ANSWER)
    assert life.memos == {"ask": {"data": {"choices": [1]}}}
    assert [item.kind for item in life.sent] == ["discovery"]
    assert life.content.requests == {}
    assert life.reloaded().requests == {}


def test_a_failed_try_is_repeated_and_the_next_one_decides() -> None:
    life = Life()
    life.report(fetch())
    life.answer(failure())
    (item,) = life.queued
    assert (item.kind, item.attempt, item.due_at_ms - life.now_ms) == ("gateway", 1, 15_000)
    life.send_due()
    life.answer(Fetched(b'"ok"'))
    assert life.memos == {"get": {"data": "ok"}}


def test_the_provider_says_when_to_try_again() -> None:
    life = Life()
    life.report(fetch())
    life.answer(failure(retry_after_ms=7_000))
    assert life.queued[0].due_at_ms - life.now_ms == 7_000


@pytest.mark.parametrize("attempts", [1, 3])
def test_the_last_failure_is_the_steps_error_and_not_the_runs(attempts: int) -> None:
    life = Life(max_attempts=attempts)
    life.report(fetch())
    for _ in range(attempts - 1):
        life.answer(failure())
        life.send_due()
    life.answer(failure())
    assert life.memos == {
        "get": {"error": {"name": "GatewayError", "message": "Error making gateway request: no answer"}}
    }
    assert life.status == "Running"
    assert [item.kind for item in life.sent] == ["discovery"]
    assert len(life.entries(JournalKind.TRIED)) == attempts - 1


def test_a_failure_that_cannot_get_better_is_not_repeated() -> None:
    life = Life()
    life.report(fetch())
    life.answer(failure("address_refused", retriable=False))
    assert life.memos["get"]["error"]["name"] == "GatewayError"


def test_an_answer_that_is_too_large_is_the_steps_error() -> None:
    life = Life(limits=Limits(output_bytes_max=500))
    life.report(infer())
    life.answer(Fetched(b'"' + b"x" * 500 + b'"'))
    assert life.memos["ask"]["error"] == {
        "name": "AIGatewayError",
        "message": "Error making AI request: the response takes 511 bytes, at most 500 are kept",
    }


def test_an_answer_beyond_the_runs_state_fails_the_run() -> None:
    life = Life(limits=Limits(state_bytes_max=10))
    life.report(infer())
    life.answer(ANSWER)
    assert (life.status, life.output["name"]) == ("Failed", "InngestErrStateOverflowed")


def test_an_answer_after_the_run_was_cancelled_does_nothing() -> None:
    life = Life()
    life.report(infer())
    (item,) = life.sent
    life.take(CancelRequested(RUN_ID, "api"))
    life.answer(ANSWER, item)
    assert life.status == "Cancelled"
    assert not life.entries(JournalKind.MEMO)


# Several steps.


@pytest.mark.parametrize(("version", "discoveries"), [(1, 1), (2, 0)])
def test_parallel_requests_and_steps_are_awaited_together(version: int, discoveries: int) -> None:
    life = Life()
    life.report(*planned("a"), infer("b"), fetch("c"), version=version)
    assert sorted((item.kind, item.step_id) for item in life.sent) == [
        ("gateway", "b"),
        ("gateway", "c"),
        ("step", "a"),
    ]
    life.answer(ANSWER, life.of_step("b"))
    assert len([item for item in life.sent if item.kind == "discovery"]) == discoveries
    life.answer(Fetched(b"null"), life.of_step("c"))
    life.report_step(ran("a"), version=version)
    assert [item for item in life.sent if item.kind == "discovery"]
    assert set(life.memos) == {"a", "b", "c"}


def test_one_that_races_asks_for_a_discovery_alone() -> None:
    life = Life()
    life.report(
        infer("a", parallelMode="race"), make_op("Sleep", "b", name="1h", opts={"parallelMode": "race"})
    )
    life.answer(ANSWER, life.of_step("a"))
    assert [item.kind for item in life.sent] == ["discovery"]


def test_a_step_that_is_reported_again_is_not_requested_again() -> None:
    life = Life()
    life.report(infer("a"), fetch("b"), version=1)
    life.answer(ANSWER, life.of_step("a"))
    (discovery,) = [item for item in life.sent if item.kind == "discovery"]
    life.report(fetch("b"), item=discovery, version=1)
    assert [(item.kind, item.step_id, item.generation) for item in life.sent] == [("gateway", "b", 1)]


# Losses.


def test_a_step_whose_work_is_gone_is_requested_again_as_it_was() -> None:
    """A repair removed the item of a damaged database and asks the app what comes next."""
    life = Life()
    life.report(infer("a"), fetch("b"), version=1)
    del life.run.items[life.of_step("a").item_id]
    life.answer(Fetched(b"1"), life.of_step("b"))
    (discovery,) = life.sent
    life.report(infer("a", auth_key="another"), item=discovery, version=1)
    (item,) = life.sent
    assert (item.kind, item.step_id, request_of(life, item).auth_key) == ("gateway", "a", KEY)


def test_a_lost_request_is_sent_again_and_uses_up_no_try() -> None:
    life = Life()
    life.report(infer())
    life.lose()
    (item,) = life.sent
    assert (item.kind, item.attempt, item.generation, item.state) == ("gateway", 0, 2, ItemState.SENT)
    assert life.reloaded().requests == life.content.requests
    life.answer(ANSWER)
    assert life.memos == {"ask": {"data": {"choices": [1]}}}


def test_so_many_losses_are_a_failed_try_of_the_step() -> None:
    life = Life(max_attempts=1)
    life.report(infer())
    for _ in range(LOSSES_PER_ATTEMPT):
        life.lose()
    assert life.memos["ask"]["error"]["name"] == "AIGatewayError"
    assert [item.kind for item in life.sent] == ["discovery"]


def test_the_first_answer_counts_though_the_request_was_sent_again() -> None:
    life = Life()
    life.report(infer())
    before = life.replace_dispatch()
    life.answer(Fetched(b'"first"'), before)
    assert life.memos == {"ask": {"data": "first"}}
    assert life.keeps_a_reason_to_wake
    life.answer(Fetched(b'"second"'))
    assert life.memos == {"ask": {"data": "first"}}
    assert [item.kind for item in life.sent] == ["discovery"]


def test_a_failure_of_a_replaced_request_does_nothing() -> None:
    life = Life(max_attempts=1)
    life.report(infer())
    before = life.replace_dispatch()
    life.answer(failure(), before)
    assert life.memos == {}
    assert [item.generation for item in life.sent] == [2]


# What a wait keeps.


def test_a_wait_that_would_keep_much_of_the_event_fails_the_run() -> None:
    body = json.dumps(
        {"data": {"text": "x" * 2000}, "id": "e", "name": "shop/order.placed", "ts": 1, "user": {}}
    )
    life = Life(event_body=body, limits=Limits(captured_bytes_max=1000))
    life.report(
        make_op("WaitForEvent", "w", opts={"event": "e", "timeout": "1h", "if": "event.data == async.data"})
    )
    assert (life.status, life.output["name"]) == ("Failed", "captured_too_large")


def test_the_size_of_a_content_counts_requests_and_canonical_forms() -> None:
    life = Life()
    before = life.content.size_bytes
    life.report(fetch(body="x" * 500))
    assert life.content.size_bytes - before == len(life.content.requests["get"]) > 500
    life.content.canonical_bytes = 77
    assert life.content.size_bytes - before == len(life.content.requests["get"]) + 77
