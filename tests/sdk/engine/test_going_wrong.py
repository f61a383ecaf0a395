"""Code that does not let go, that is cancelled, or that changed since its run began."""

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import inngest
from inngest._engine.call import CallRequest
from inngest._engine.ids import hash_step_id
from inngest._shells.aio import execute
from inngest.errors import CallRequestError
from inngest.middleware import MiddlewareManager

from .builders import make_client, serve
from .driver import CheckpointApi, Server


async def one(value: Any) -> Any:
    return value


def store(server: Server, *names: str) -> None:
    for name in names:
        server.steps[hash_step_id(name)] = {"data": name}
        server.stack.append(hash_step_id(name))


def test_finally_blocks_and_context_managers_end_with_each_request() -> None:
    """Cleaning up runs in every request, as the code is left in every one; no step in it is executed."""
    log: list[str] = []

    @contextmanager
    def resource() -> Iterator[None]:
        log.append("open")
        try:
            yield
        finally:
            log.append("close")

    async def fn(ctx: inngest.Context) -> None:
        with resource():
            try:
                await ctx.step.run("a", one, 1)
                await ctx.step.run("b", one, 2)
            finally:
                await ctx.step.run("clean up", lambda: log.append("cleaned"))

    outcome = serve(fn).run()

    assert [op["displayName"] for op in outcome.ops] == ["a", "b", "clean up"]
    assert log.count("open") == log.count("close") == outcome.requests
    assert log.count("cleaned") == 1


def test_code_that_swallows_its_cancellation_is_left_and_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inngest._shells.aio.CANCEL_ROUND_S", 0.01)
    free = asyncio.Event()

    async def stubborn(ctx: inngest.Context) -> None:
        try:
            await ctx.step.run("a", one, 1)
        except asyncio.CancelledError:
            while not free.is_set():
                try:
                    await free.wait()
                except asyncio.CancelledError:
                    continue

    server = serve(stubborn)

    async def call() -> None:
        client = server.client
        middleware = MiddlewareManager(client, None, server.function)
        api: Any = CheckpointApi(lambda ops: 200)
        answer = await execute(
            server.function, server.request(), client=client, middleware=middleware, api=api
        )
        assert json.loads(answer.text)[0]["displayName"] == "a"
        free.set()
        await asyncio.sleep(0)

    asyncio.run(call())
    assert "do not catch CancelledError" in caplog.text


def test_a_bare_except_around_a_step_of_a_plain_function_changes_no_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fn(ctx: inngest.ContextSync) -> str:
        try:
            ctx.step.run("a", int, 1)
        except:  # noqa: E722
            return "swallowed"
        return "done"

    outcome = serve(fn).run()

    assert outcome.output == "done"
    assert "do not catch BaseException" in caplog.text


def test_a_request_that_is_given_up_cancels_the_step_under_way() -> None:
    seen: list[str] = []
    begun = asyncio.Event()

    async def fn(ctx: inngest.Context) -> None:
        async def long() -> None:
            seen.append("begun")
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        await ctx.step.run("long", long)

    server = serve(fn)

    async def call() -> None:
        client = server.client
        middleware = MiddlewareManager(client, None, server.function)
        api: Any = CheckpointApi(lambda ops: 200)
        request = execute(server.function, server.request(), client=client, middleware=middleware, api=api)
        task = asyncio.create_task(request)
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1, "nothing of the function is left"

    asyncio.run(call())
    assert seen == ["begun", "cancelled"]


def test_a_step_that_the_code_times_out_is_an_error_of_the_function() -> None:
    async def fn(ctx: inngest.Context) -> None:
        async with asyncio.timeout(0.01):
            await ctx.step.run("long", asyncio.sleep, 60)

    server = serve(fn)
    answer = server.call(server.request())

    assert (answer.status, json.loads(answer.text)["name"]) == (500, "TimeoutError")


@pytest.mark.parametrize("is_async", [True, False])
def test_leaving_the_process_is_an_error_of_the_function(is_async: bool) -> None:
    async def fn(ctx: inngest.Context) -> None:
        raise SystemExit(3)

    def fn_sync(ctx: inngest.ContextSync) -> None:
        ctx.step.run("leave", exit, 3)

    server = serve(fn if is_async else fn_sync)
    answer = server.call(server.request())

    assert "raised SystemExit: 3" in answer.text


def test_an_error_whose_text_cannot_be_made_is_reported_all_the_same() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    async def fn(ctx: inngest.Context) -> None:
        raise Broken

    server = serve(fn)
    body = json.loads(server.call(server.request()).text)

    assert body["name"] == "Broken"
    assert "cannot be made" in body["message"]


@pytest.mark.parametrize("is_async", [True, False])
def test_a_renamed_step_is_named_with_its_line_and_the_run_goes_on(
    is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def fn(ctx: inngest.Context) -> str:
        await ctx.step.run("reserve", one, 1)
        await ctx.step.run("charge-card", one, 2)
        return "done"

    def fn_sync(ctx: inngest.ContextSync) -> str:
        ctx.step.run("reserve", int, 1)
        ctx.step.run("charge-card", int, 2)
        return "done"

    server = serve(fn if is_async else fn_sync)
    store(server, "reserve", "charge")

    with caplog.at_level(logging.WARNING):
        outcome = server.run()

    assert outcome.output == "done"
    assert "'charge-card'" in caplog.text
    assert "is new to this run" in caplog.text
    assert "stored step 2 of 2" in caplog.text
    assert "stored after 'reserve'" in caplog.text
    assert f"{__file__}:" in caplog.text


def test_a_vanished_step_is_warned_of_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async def fn(ctx: inngest.Context) -> None:
        await ctx.step.run("a", one, 1)

    server = serve(fn)
    store(server, "a", "gone")

    with caplog.at_level(logging.WARNING):
        server.run()

    assert "ended without asking for stored step 2 of 2" in caplog.text


def test_log_lines_of_replayed_code_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async def fn(ctx: inngest.Context) -> None:
        ctx.logger.info("begin")
        await ctx.step.run("a", one, 1)
        ctx.logger.info("between")
        await ctx.step.sleep("z", 1000)
        ctx.logger.info("end")

    with caplog.at_level(logging.INFO):
        serve(fn, make_client(checkpointing=False)).run()

    assert [record.message for record in caplog.records] == ["begin", "between", "end"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "the body must be a JSON object"),
        ({}, "ctx must be a JSON object"),
        ({"ctx": {}, "event": []}, "'event' of the body"),
        ({"ctx": {"attempt": 0}, "event": {"name": "e"}}, "'run_id'"),
        ({"ctx": {"attempt": 1.5, "run_id": "r"}, "event": {}}, "'attempt' of ctx must be an integer"),
        ({"ctx": {"attempt": True, "run_id": "r"}, "event": {}}, "'attempt' of ctx must be an integer"),
        ({"ctx": {"attempt": 0, "run_id": "r", "stack": {"stack": [1]}}, "event": {}}, "ctx.stack.stack"),
        ({"ctx": {"attempt": 0, "run_id": "r"}, "event": {}, "events": [3]}, "'events' of the body"),
    ],
)
def test_a_body_that_is_no_call_request_says_where(body: object, said: str) -> None:
    with pytest.raises(CallRequestError) as caught:
        CallRequest.parse(body, {})

    assert said in str(caught.value)


def test_python_names_a_step_that_nobody_awaits() -> None:
    async def fn(ctx: inngest.Context) -> str:
        ctx.step.run("charge", one, 1)  # type: ignore[unused-coroutine]
        return "done"

    with pytest.warns(RuntimeWarning, match="coroutine 'step charge' was never awaited"):
        outcome = serve(fn).run()

    assert outcome.ops == []
