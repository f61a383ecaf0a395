"""Streamed answers: signs of life, the envelope at the end, and clients that go away."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

import inngest
from inngest._http.handler import Handler
from inngest._http.messages import Response
from inngest._wire import signature
from tests.sdk.http.asking import KEY, Asker, call, call_body, double_step, request, said


@pytest.fixture
async def client() -> AsyncIterator[inngest.Inngest]:
    made = inngest.Inngest(app_id="app", is_production=False)
    yield made
    await made.aclose()


def streaming(client: inngest.Inngest, function: Any) -> Handler:
    handler = Handler(client, [function], framework="test", streaming=inngest.Streaming.FORCE)
    handler.stream_interval_s = 0.01
    return handler


@pytest.mark.parametrize("is_async_function", [True, False])
async def test_a_streamed_answer_ends_with_what_it_would_have_been(
    is_async_function: bool, is_async: bool, client: inngest.Inngest
) -> None:
    function = double_step(client, is_async=is_async_function)
    asker = Asker(streaming(client, function), is_async=is_async)

    response = await asker.ask(call(body=call_body(steps={"one": {"data": 5}})))
    *alive, last = await asker.read(response)

    assert (response.status, response.body) == (201, b"")
    assert response.headers["x-inngest-sdk"].startswith("inngest-py:v")
    assert set(alive) == {b" "}
    envelope = json.loads(last)
    assert (envelope["status"], envelope["body"]) == (200, "10")
    assert envelope["headers"]["x-inngest-req-version"] == "2"


async def test_signs_of_life_come_until_the_function_is_done(client: inngest.Inngest, is_async: bool) -> None:
    enough = threading.Event()

    @client.create_function(fn_id="fn", event="a")
    def slow(ctx: inngest.ContextSync) -> str:
        enough.wait(30)
        return "done"

    asker = Asker(streaming(client, slow), is_async=is_async)
    response = await asker.ask(call())
    chunks: list[bytes] = []
    if is_async:
        async for chunk in cast(AsyncIterator[bytes], response.stream):
            chunks.append(chunk)
            if len(chunks) == 4:
                enough.set()
    else:
        for chunk in cast(Any, response.stream):
            chunks.append(chunk)
            if len(chunks) == 4:
                enough.set()

    assert set(chunks[:-1]) == {b" "}
    assert len(chunks) >= 5
    assert json.loads(chunks[-1])["body"] == '"done"'


async def test_a_failure_is_in_the_envelope(client: inngest.Inngest, is_async: bool) -> None:
    @client.create_function(fn_id="fn", event="a")
    def failing(ctx: inngest.ContextSync) -> None:
        raise inngest.NonRetriableError("no")

    asker = Asker(streaming(client, failing), is_async=is_async)
    last = (await asker.read(await asker.ask(call())))[-1]

    envelope = json.loads(last)
    assert (envelope["status"], envelope["headers"]["x-inngest-no-retry"]) == (500, "true")
    assert json.loads(envelope["body"])["message"] == "no"


async def test_what_is_refused_is_not_streamed(client: inngest.Inngest, is_async: bool) -> None:
    asker = Asker(streaming(client, double_step(client, is_async=True)), is_async=is_async)

    assert (await asker.ask(call("app-other"))).status == 500
    assert (await asker.ask(request("GET"))).status == 200


async def test_the_envelope_of_a_signed_call_is_signed(is_async: bool) -> None:
    client = inngest.Inngest(app_id="app", signing_key=KEY)
    asker = Asker(streaming(client, double_step(client, is_async=is_async)), is_async=is_async)

    envelope = json.loads((await asker.read(await asker.ask(call(key=KEY))))[-1])

    header = envelope["headers"]["x-inngest-signature"]
    assert signature.verify(header, envelope["body"].encode(), [KEY], now_s=time.time()) == KEY
    await client.aclose()


# Requests that are given up.


class Waiting:
    """A function that waits for ever, and notes its cancellation."""

    def __init__(self, client: inngest.Inngest) -> None:
        self.began = asyncio.Event()
        self.ended: list[str] = []

        async def wait(ctx: inngest.Context) -> None:
            try:
                self.began.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.ended.append("cancelled")
                raise

        self.function = client.create_function(fn_id="fn", event="a")(wait)


async def test_a_cancelled_request_cancels_the_function(client: inngest.Inngest) -> None:
    waiting = Waiting(client)
    handler = Handler(client, [waiting.function], framework="test")
    task: asyncio.Task[Response] = asyncio.create_task(handler.handle(call()))
    await waiting.began.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert waiting.ended == ["cancelled"]


async def test_a_closed_stream_cancels_the_function(client: inngest.Inngest) -> None:
    waiting = Waiting(client)
    response = await streaming(client, waiting.function).handle(call())
    stream = cast(Any, response.stream)
    assert await anext(stream) == b" "
    await waiting.began.wait()

    await stream.aclose()

    assert waiting.ended == ["cancelled"]


async def test_a_stream_that_nobody_reads_runs_nothing(client: inngest.Inngest) -> None:
    waiting = Waiting(client)
    response = await streaming(client, waiting.function).handle(call())

    await cast(Any, response.stream).aclose()
    await asyncio.sleep(0)

    assert not waiting.began.is_set()


def test_a_client_that_is_closed_cancels_what_runs_in_its_background() -> None:
    """As at the end of a process: a thread of a WSGI server waits for an asynchronous function."""
    client = inngest.Inngest(app_id="app", is_production=False)
    began, ended = threading.Event(), list[str]()

    @client.create_function(fn_id="fn", event="a")
    async def wait(ctx: inngest.Context) -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    handler = Handler(client, [wait], framework="test")
    answered: list[Response] = []
    thread = threading.Thread(target=lambda: answered.append(handler.handle_sync(call())))
    thread.start()
    assert began.wait(30)
    client.close()
    thread.join(30)

    assert ended == ["cancelled"]
    # Not the function's failure: the server tries again, at another process.
    assert answered[0].status == 500
    assert "shutting down" in said(answered[0])["message"]


async def test_a_background_loop_that_died_is_replaced(
    client: inngest.Inngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    @client.create_function(fn_id="fn", event="a")
    async def interrupted(ctx: inngest.Context) -> str:
        if ctx.event.data.get("interrupt"):
            raise KeyboardInterrupt
        return "fine"

    handler = Handler(client, [interrupted], framework="test")
    died = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda args: died.set())

    first = handler.handle_sync(call(body=call_body(event={"data": {"interrupt": True}})))
    second = handler.handle_sync(call())

    assert (first.status, second.status, said(second)) == (500, 200, "fine")
    # Or the thread's end would be reported in another test.
    assert await asyncio.to_thread(died.wait, 30)


async def test_requests_share_the_background_loop(client: inngest.Inngest) -> None:
    """So that what one request made on its loop is still good in the next one."""

    @client.create_function(fn_id="fn", event="a")
    async def loop_id(ctx: inngest.Context) -> int:
        return id(asyncio.get_running_loop())

    handler = Handler(client, [loop_id], framework="test")

    ids = {said(handler.handle_sync(call())) for _ in range(3)}

    assert len(ids) == 1
    assert ids != {id(asyncio.get_running_loop())}
