"""What a step does in one request, in asynchronous functions and in plain ones."""

import asyncio
import contextvars
import functools
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic
import pytest

import inngest
from inngest._engine.ids import StepIds, hash_step_id

from .builders import make_client, serve
from .driver import Server


def ops_of(server: Server, target: str = "step", attempt: int = 0, **ctx: Any) -> list[dict[str, Any]]:
    answer = server.call(server.request(target, attempt, **ctx))
    assert answer.status == 206, answer.text
    return json.loads(answer.text)


async def noop() -> None:
    """A step without a result."""


@pytest.mark.parametrize(
    ("text", "hashed"),
    [
        ("my-step-id", "e7d8a2f140845095749d60246ff1110c9d01d76a"),
        ("my-step-id:1", "f47c6228c581af870aa285200cf95ec3ac59bb6a"),
    ],
)
def test_ids_are_hashed_as_the_protocol_says(text: str, hashed: str) -> None:
    assert hash_step_id(text) == hashed


def test_repeated_ids_are_counted_and_skip_texts_in_use() -> None:
    ids = StepIds()

    texts = [ids.next(user_id).hashed for user_id in ("a", "a:1", "a", "a")]

    assert texts == [hash_step_id(text) for text in ("a", "a:1", "a:2", "a:3")]


def test_one_new_step_is_executed_at_once() -> None:
    async def fn(ctx: inngest.Context) -> None:
        await ctx.step.run("first", functools.partial(asyncio.sleep, 0, {"n": 1}))
        await ctx.step.run("second", noop)

    [op] = ops_of(serve(fn))

    assert (op["op"], op["displayName"], op["data"]) == ("StepRun", "first", {"n": 1})


def test_a_plan_only_request_executes_nothing() -> None:
    def fn(ctx: inngest.ContextSync) -> None:
        ctx.step.run("first", pytest.fail, "executed")

    [op] = ops_of(serve(fn), disable_immediate_execution=True)

    assert op["op"] == "StepPlanned"


def test_a_targeted_request_executes_that_step_alone() -> None:
    async def fn(ctx: inngest.Context) -> None:
        await asyncio.gather(
            ctx.step.run("a", pytest.fail, "executed"), ctx.step.run("b", asyncio.sleep, 0, "b")
        )

    [op] = ops_of(serve(fn), target=hash_step_id("b"))

    assert (op["op"], op["data"]) == ("StepRun", "b")


@pytest.mark.parametrize("is_async", [True, False])
def test_a_target_that_the_code_does_not_reach_says_what_it_reached(is_async: bool) -> None:
    async def fn(ctx: inngest.Context) -> None:
        await ctx.step.run("renamed", noop)

    def fn_sync(ctx: inngest.ContextSync) -> None:
        ctx.step.run("renamed", print)

    server = serve(fn if is_async else fn_sync)

    answer = server.call(server.request(hash_step_id("old")))

    body = json.loads(answer.text)
    assert (answer.status, body["name"]) == (500, "StepUnexpectedError")
    assert "'renamed'" in body["message"]
    assert "test_steps.py" in body["message"]
    assert "x-inngest-no-retry" not in answer.headers, "an older version may still answer"


def test_a_step_inside_a_step_is_refused_with_both_names() -> None:
    async def fn(ctx: inngest.Context) -> None:
        async def outer() -> None:
            await ctx.step.run("inner", noop)

        await ctx.step.run("outer", outer)

    [op] = ops_of(serve(fn))

    assert (op["op"], op["error"]["name"]) == ("StepFailed", "NestedStepError")
    assert "'inner'" in op["error"]["message"]
    assert "'outer'" in op["error"]["message"]


def test_a_failing_step_is_tried_again_and_then_failed() -> None:
    async def fn(ctx: inngest.Context) -> None:
        async def fail() -> None:
            raise LookupError("no such user")

        await ctx.step.run("find", fail)

    server = serve(fn)

    [early] = ops_of(server, attempt=0)
    [last] = ops_of(server, attempt=3)

    assert (early["op"], last["op"]) == ("StepError", "StepFailed")
    assert (last["error"]["name"], last["error"]["message"]) == ("LookupError", "no such user")
    assert "_shells" not in last["error"]["stack"], "the traceback begins with the user's code"


@pytest.mark.parametrize("is_async", [True, False])
def test_the_code_catches_a_failed_step_under_its_original_name(is_async: bool) -> None:
    def fail() -> None:
        raise LookupError("no such user")

    async def fn(ctx: inngest.Context) -> str:
        try:
            await ctx.step.run("find", fail)
        except inngest.StepError as error:
            return f"{error.name}: {error.message}"
        return "found"

    def fn_sync(ctx: inngest.ContextSync) -> str:
        try:
            ctx.step.run("find", fail)
        except inngest.StepError as error:
            return f"{error.name}: {error.message}"
        return "found"

    outcome = serve(fn if is_async else fn_sync).run()

    assert outcome.output == "LookupError: no such user"
    assert [op["op"] for op in outcome.ops] == ["StepError"] * 3 + ["StepFailed"]


def test_a_non_retriable_error_in_a_step_is_caught_as_either_kind() -> None:
    async def fn(ctx: inngest.Context) -> list[str]:
        def fail() -> None:
            raise inngest.NonRetriableError("never")

        caught: list[str] = []
        for kind in (inngest.StepError, inngest.NonRetriableError):
            try:
                await ctx.step.run("fail", fail)
            except kind as error:
                caught.append(str(error))
        return caught

    server = serve(fn)
    answer = server.call(server.request())

    assert answer.headers == {"x-inngest-no-retry": "true"}
    assert server.run().output == ["never", "never"]


@pytest.mark.parametrize(
    ("after", "header"),
    [(timedelta(minutes=2), "120"), (1500, "2"), ("1h", "3600")],
)
def test_a_step_chooses_the_time_of_its_next_try(after: Any, header: str) -> None:
    async def fn(ctx: inngest.Context) -> None:
        def fail() -> None:
            raise inngest.RetryAfterError("later", after)

        await ctx.step.run("fail", fail)

    server = serve(fn)
    answer = server.call(server.request())

    assert json.loads(answer.text)[0]["op"] == "StepError"
    assert answer.headers == {"retry-after": header}


def test_an_uncaught_step_error_fails_the_run_without_a_retry() -> None:
    async def fn(ctx: inngest.Context) -> None:
        await ctx.step.run("fail", int, "x")

    async def group(ctx: inngest.Context) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ctx.step.run("fail", int, "x"))

    for handler in (fn, group):
        outcome = serve(handler).run()
        assert outcome.error is not None
        assert (outcome.error["code"], outcome.error["name"]) == ("step_errored", "ValueError")
        assert [op["op"] for op in outcome.ops if op["op"] == "StepFailed"] == ["StepFailed"]


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), {"when": datetime.now(UTC)}])
def test_a_result_without_a_json_form_fails_the_step_and_says_how_to_mend_it(value: object) -> None:
    async def fn(ctx: inngest.Context) -> None:
        await ctx.step.run("odd", lambda: value)

    [op] = ops_of(serve(fn))

    assert (op["op"], op["error"]["name"]) == ("StepFailed", "OutputUnserializableError")
    assert "step 'odd' of 'app-fn'" in op["error"]["message"]
    assert "JSON" in op["error"]["message"]


def test_a_function_that_returns_a_coroutine_is_told_of_the_missing_await() -> None:
    async def fn(ctx: inngest.Context) -> Any:
        return noop()

    server = serve(fn)
    answer = server.call(server.request())

    assert answer.status == 500
    assert "`await` is missing" in json.loads(answer.text)["message"]


class User(pydantic.BaseModel):
    name: str
    since: datetime


def test_typed_results_are_the_same_in_the_first_request_and_in_a_replay() -> None:
    seen: list[list[User]] = []

    async def fn(ctx: inngest.Context) -> User:
        user = User(name="Ann", since=datetime(2026, 1, 1, tzinfo=UTC))
        users = await ctx.step.run("load", lambda: [user], output_type=list[User])
        seen.append(users)
        await ctx.step.sleep("nap", 1000)
        return users[0]

    client = make_client(serializer=inngest.PydanticSerializer())

    outcome = serve(fn, client, output_type=User).run()

    assert [type(users[0]) for users in seen] == [User, User]
    assert seen[0] == seen[1]
    assert outcome.output == {"name": "Ann", "since": "2026-01-01T00:00:00Z"}


def test_the_code_sees_after_a_checkpoint_what_a_replay_sees() -> None:
    seen: list[object] = []

    async def fn(ctx: inngest.Context) -> None:
        seen.append(await ctx.step.run("make", lambda: {1: (2, 3)}))
        await ctx.step.run("next", noop)

    serve(fn, make_client()).run()
    serve(fn, make_client(checkpointing=False)).run()

    assert seen == [{"1": [2, 3]}] * len(seen)


def test_sleeps_and_waits_are_reported_with_their_options() -> None:
    async def fn(ctx: inngest.Context) -> None:
        step = ctx.step
        await asyncio.gather(
            step.sleep("s1", timedelta(days=2)),
            step.sleep_until("s2", datetime(2030, 1, 1, tzinfo=UTC)),
            step.wait_for_event("w", event="paid", if_exp="event.data.id == async.data.id", timeout="1h"),
            step.wait_for_event("m", {"event": "paid", "match": "data.id", "timeout": "24h"}),
            step.wait_for_signal("g", signal="go", timeout=5000, on_conflict="replace"),
            step.invoke_by_id("i", function_id="other", data={"n": 1}, timeout=timedelta(hours=1)),
            step.fetch("f", "https://example.com/x", method="post", json={"a": 1}),
        )

    ops = {op["displayName"]: op for op in ops_of(serve(fn))}

    assert (ops["s1"]["op"], ops["s1"]["opts"]["duration"]) == ("Sleep", "2d")
    assert ops["s2"]["name"] == "2030-01-01T00:00:00.000Z"
    assert (ops["w"]["name"], ops["w"]["opts"]["timeout"]) == ("paid", "1h")
    assert ops["w"]["opts"]["if"] == "event.data.id == async.data.id"
    assert ops["m"]["opts"]["if"] == "event.data.id == async.data.id"
    assert ops["g"]["opts"] == {"signal": "go", "timeout": "5s", "conflict": "replace"}
    assert ops["i"]["opts"] == {
        "function_id": "app-other",
        "payload": {"data": {"n": 1}},
        "timeout": "1h",
    }
    assert (ops["f"]["op"], ops["f"]["opts"]["method"]) == ("Gateway", "POST")
    assert ops["f"]["opts"]["body"] == '{"a":1}'


@pytest.mark.parametrize("is_async", [True, False])
def test_what_the_server_did_comes_back_as_what_the_code_expects(is_async: bool) -> None:
    memos: dict[str, Any] = {
        "WaitForEvent": {"name": "paid", "data": {"n": 1}, "user": {}, "id": "e", "ts": 5},
        "WaitForSignal": {"data": {"signal": "go", "data": 7}},
        "Gateway": {"data": {"url": "u", "headers": {"a": "b"}, "body": "[1]", "status_code": 404}},
        "InvokeFunction": {"error": {"name": "Oops", "message": "child failed"}},
        "Sleep": None,
    }
    seen: list[Any] = []

    async def fn(ctx: inngest.Context) -> None:
        seen.append(await ctx.step.wait_for_event("w", event="paid", timeout=1000))
        seen.append(await ctx.step.wait_for_signal("g", signal="go", timeout=1000))
        seen.append(await ctx.step.fetch("f", "http://example.com"))
        seen.append(await ctx.step.sleep("z", 1000))
        try:
            await ctx.step.invoke_by_id("i", function_id="x")
        except inngest.StepError as error:
            seen.append((error.name, error.message))

    def fn_sync(ctx: inngest.ContextSync) -> None:
        seen.append(ctx.step.wait_for_event("w", event="paid", timeout=1000))
        seen.append(ctx.step.wait_for_signal("g", signal="go", timeout=1000))
        seen.append(ctx.step.fetch("f", "http://example.com"))
        seen.append(ctx.step.sleep("z", 1000))
        try:
            ctx.step.invoke_by_id("i", function_id="x")
        except inngest.StepError as error:
            seen.append((error.name, error.message))

    server = serve(fn if is_async else fn_sync)
    server.resolve = lambda op: memos[op["op"]]
    server.run()

    event, signal, response, slept, failure = seen[-5:]
    assert (event.name, event.data, event.ts) == ("paid", {"n": 1}, 5)
    assert signal == inngest.ReceivedSignal("go", 7)
    assert (response.status_code, response.is_success, response.json()) == (404, False, [1])
    assert slept is None
    assert failure == ("Oops", "child failed")


def test_an_edited_input_replaces_the_arguments_of_its_step() -> None:
    async def fn(ctx: inngest.Context) -> None:
        await ctx.step.run("double", lambda number: number * 2, 4)

    server = serve(fn)
    server.steps[hash_step_id("double")] = {"input": [21]}

    [op] = ops_of(server, target=hash_step_id("double"))

    assert op["data"] == 42


def test_steps_keep_context_variables_of_the_branch_they_are_in() -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")

    async def fn(ctx: inngest.Context) -> Any:
        async def branch(name: str) -> str:
            tenant.set(name)
            return await ctx.step.run(name, lambda: tenant.get())

        return await asyncio.gather(branch("ann"), branch("bob"))

    assert serve(fn).run().output == ["ann", "bob"]


def test_an_argument_that_is_no_function_is_refused_with_its_place() -> None:
    async def fn(ctx: inngest.Context) -> None:
        await ctx.step.run("called", noop())  # type: ignore[arg-type]

    server = serve(fn)
    body = json.loads(server.call(server.request()).text)

    assert "without calling it" in body["message"]
    assert "test_steps.py" in body["message"]


def test_a_handler_that_blocks_the_loop_is_told_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inngest._shells.aio.BLOCKED_S", 0.0)

    async def fn(ctx: inngest.Context) -> None:
        await ctx.step.run("count", lambda: sum(range(1000)))

    with caplog.at_level(logging.WARNING):
        ops_of(serve(fn))

    assert "kept the event loop" in caplog.text
    assert "asyncio.to_thread" in caplog.text
