"""What every adapter does, whatever the framework: one suite over all of them."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

import inngest
from tests.sdk.frameworks.adapters import ADAPTERS, Adapter, Serving
from tests.sdk.frameworks.calls import (
    OTHER_KEY,
    SIGNING_KEY,
    call,
    functions_of,
    is_signed_with,
    signature,
    step_hash,
)
from tests.sdk.frameworks.exchange import Exchange, Message, Reply
from tests.sdk.frameworks.server import FakeServer


@contextlib.asynccontextmanager
async def serving(
    adapter: Adapter,
    server: FakeServer,
    *,
    is_async: bool,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Exchange]:
    """The usual functions, served by one adapter."""
    client = server.client(**settings)
    async with adapter.start(
        [Serving(client, functions_of(client, is_async=is_async), options or {})]
    ) as exchange:
        yield exchange


def json_of(reply: Reply) -> Any:
    assert reply.headers["content-type"].startswith("application/json"), reply
    return json.loads(reply.body)


async def test_a_get_tells_about_the_app(adapter: Adapter, server: FakeServer, is_async: bool) -> None:
    async with serving(adapter, server, is_async=is_async) as exchange:
        reply = await exchange(Message("GET"))

    assert reply.status == 200
    assert json_of(reply)["function_count"] == 3
    assert reply.headers["x-inngest-framework"] == adapter.framework
    assert reply.headers["x-inngest-sdk"].startswith("inngest-py:v")


async def test_a_head_gets_no_body(adapter: Adapter, server: FakeServer, is_async: bool) -> None:
    async with serving(adapter, server, is_async=is_async) as exchange:
        reply = await exchange(Message("HEAD"))

    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
async def test_another_method_is_refused(adapter: Adapter, server: FakeServer, method: str) -> None:
    async with serving(adapter, server, is_async=False) as exchange:
        reply = await exchange(Message(method))

    assert reply.status == 405


async def test_a_put_registers_the_address_it_came_to(
    adapter: Adapter, server: FakeServer, is_async: bool
) -> None:
    async with serving(adapter, server, is_async=is_async) as exchange:
        reply = await exchange(
            Message("PUT", "/api/inngest?deployId=d1", {"x-inngest-server-kind": b"dev"}, b"{}")
        )

    assert reply.status == 200, reply.body
    [registered] = server.registrations
    assert registered.target == "/fn/register?deployId=d1"
    assert registered.headers["x-inngest-framework"] == adapter.framework
    assert registered.headers["x-inngest-expected-server-kind"] == "dev"
    assert registered.body["framework"] == adapter.framework
    assert registered.body["url"].startswith(adapter.url)
    runtime = registered.body["functions"][0]["steps"]["step"]["runtime"]["url"]
    assert runtime == f"{adapter.url}?fnId=contract-add&stepId=step"


async def test_a_new_step_is_run_and_reported(adapter: Adapter, server: FakeServer, is_async: bool) -> None:
    async with serving(adapter, server, is_async=is_async) as exchange:
        reply = await exchange(call("add", {"a": 1, "b": 2}))

    assert reply.status == 206, reply.body
    [op] = json_of(reply)
    assert (op["op"], op["id"], op["data"]) == ("StepRun", step_hash("one"), 1)
    assert reply.headers["x-inngest-req-version"] == "2"


async def test_a_function_that_ends_gives_its_result(
    adapter: Adapter, server: FakeServer, is_async: bool
) -> None:
    async with serving(adapter, server, is_async=is_async) as exchange:
        reply = await exchange(call("add", {"a": 1, "b": 2}, steps={"one": 1}))

    assert (reply.status, json_of(reply)) == (200, {"sum": 3})


@pytest.mark.parametrize("for_good", [False, True])
async def test_an_error_of_the_function_reaches_the_server(
    adapter: Adapter, server: FakeServer, is_async: bool, for_good: bool
) -> None:
    async with serving(adapter, server, is_async=is_async) as exchange:
        reply = await exchange(call("fail", {"for_good": for_good}))

    assert reply.status in (400, 500)
    assert json_of(reply)["message"] == ("never" if for_good else "not today")
    assert reply.headers["x-inngest-sdk"]
    assert (reply.headers.get("x-inngest-no-retry") == "true") is for_good


async def test_a_call_of_an_unknown_function_names_the_known_ones(
    adapter: Adapter, server: FakeServer
) -> None:
    async with serving(adapter, server, is_async=False) as exchange:
        reply = await exchange(call("missing"))

    assert reply.status == 500
    assert "contract-missing" in json_of(reply)["message"]
    assert "contract-add" in json_of(reply)["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null"], ids=["empty", "broken", "list", "null"])
async def test_a_body_that_is_no_call_is_refused_with_a_reason(
    adapter: Adapter, server: FakeServer, body: bytes
) -> None:
    async with serving(adapter, server, is_async=False) as exchange:
        reply = await exchange(Message("POST", "/api/inngest?fnId=contract-add&stepId=step", {}, body))

    assert 400 <= reply.status <= 500
    assert json_of(reply)["message"]
    assert reply.headers["x-inngest-sdk"]


async def test_a_signed_call_is_answered_with_a_signature(
    adapter: Adapter, server: FakeServer, is_async: bool
) -> None:
    keys = {"is_production": True, "signing_key": SIGNING_KEY, "event_key": "none"}
    async with serving(adapter, server, is_async=is_async, **keys) as exchange:
        reply = await exchange(call("add", {"a": 1, "b": 2}, key=SIGNING_KEY))

    assert reply.status == 206, reply.body
    assert is_signed_with(SIGNING_KEY, reply.headers["x-inngest-signature"], reply.body)


async def test_a_signed_sync_can_be_answered_in_band(
    adapter: Adapter, server: FakeServer, is_async: bool
) -> None:
    keys = {"is_production": True, "signing_key": SIGNING_KEY, "event_key": "none"}
    body = json.dumps({"url": adapter.url}, separators=(",", ":")).encode()
    headers = {
        "x-inngest-signature": signature(SIGNING_KEY, body).encode(),
        "x-inngest-sync-kind": b"in_band",
    }
    async with serving(adapter, server, is_async=is_async, **keys) as exchange:
        reply = await exchange(Message("PUT", headers=headers, body=body))

    assert (reply.status, reply.headers["x-inngest-sync-kind"]) == (200, "in_band")
    assert json_of(reply)["framework"] == adapter.framework
    assert is_signed_with(SIGNING_KEY, reply.headers["x-inngest-signature"], reply.body)
    assert server.registrations == []


async def test_a_trust_probe_is_answered_with_nothing(adapter: Adapter, server: FakeServer) -> None:
    keys = {"is_production": True, "signing_key": SIGNING_KEY, "event_key": "none"}
    headers = {"x-inngest-signature": signature(SIGNING_KEY, b"").encode()}
    async with serving(adapter, server, is_async=False, **keys) as exchange:
        reply = await exchange(Message("POST", "/api/inngest?probe=trust", headers))

    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers["x-inngest-sdk"]


@pytest.mark.parametrize("key", [None, OTHER_KEY], ids=["unsigned", "other-key"])
async def test_in_production_nobody_else_can_call(
    adapter: Adapter, server: FakeServer, is_async: bool, key: str | None
) -> None:
    keys = {"is_production": True, "signing_key": SIGNING_KEY, "event_key": "none"}
    async with serving(adapter, server, is_async=is_async, **keys) as exchange:
        reply = await exchange(call("add", {"a": 1, "b": 2}, key=key))

    assert reply.status == 401
    assert "x-inngest-sdk" not in reply.headers
    assert reply.headers["x-inngest-sdk-handled"] == "true"


async def test_events_may_be_as_large_as_the_server_sends_them(
    adapter: Adapter, server: FakeServer, is_async: bool
) -> None:
    text = "x" * (5 * 1024 * 1024)  # More than the 4 MiB of protocol 0, and than most frameworks' own limits.
    async with serving(adapter, server, is_async=is_async) as exchange:
        reply = await exchange(call("size", {"text": text}))

    assert (reply.status, json_of(reply)) == (200, len(text))


async def test_a_header_that_is_no_utf_8_does_no_harm(adapter: Adapter, server: FakeServer) -> None:
    async with serving(adapter, server, is_async=False) as exchange:
        reply = await exchange(
            Message("GET", headers={"x-strange": b"\xff\xfe\xe9", "user-agent": b"caf\xe9"})
        )

    assert reply.status == 200


@pytest.mark.parametrize("adapter", [one for one in ADAPTERS if one.streams], ids=str, indirect=True)
async def test_a_streamed_answer_begins_while_the_function_runs(
    adapter: Adapter, server: FakeServer, is_async: bool
) -> None:
    """The function ends only after the client has seen the first part of the answer."""
    client = server.client()
    has_begun = threading.Event()

    @client.create_function(fn_id="slow", trigger=inngest.TriggerEvent(event="slow"))
    def slow(ctx: inngest.ContextSync) -> bool:
        return has_begun.wait(timeout=20)

    @client.create_function(fn_id="slow", trigger=inngest.TriggerEvent(event="slow"))
    async def slow_async(ctx: inngest.Context) -> bool:
        return await asyncio.to_thread(has_begun.wait, timeout=20)

    functions = [slow_async if is_async else slow]
    message = call("slow")
    message.on_chunk = lambda chunk: has_begun.set()
    async with adapter.start(
        [Serving(client, functions, {"streaming": inngest.Streaming.FORCE})]
    ) as exchange:
        reply = await exchange(message)

    assert reply.status == 201
    assert reply.headers["x-inngest-sdk"]
    answer = json.loads(reply.body)
    assert answer["status"] == 200
    assert json.loads(answer["body"]) is True


@pytest.mark.parametrize("adapter", [one for one in ADAPTERS if not one.streams], ids=str, indirect=True)
async def test_a_platform_that_cannot_stream_ignores_the_variable(
    adapter: Adapter, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INNGEST_STREAMING", "force")
    async with serving(adapter, server, is_async=False) as exchange:
        reply = await exchange(call("add", {"a": 1, "b": 2}))

    assert reply.status == 206


async def test_the_path_can_be_chosen(adapter: Adapter, server: FakeServer, is_async: bool) -> None:
    async with serving(adapter, server, is_async=is_async, options={"serve_path": "/jobs/run"}) as exchange:
        reply = await exchange(Message("PUT", "/jobs/run", {}, b"{}"))
        stepped = await exchange(call("add", {"a": 1, "b": 2}, path="/jobs/run"))

    assert (reply.status, stepped.status) == (200, 206)
    assert server.registrations[0].body["url"].startswith("http://app.test/jobs/run")


@pytest.mark.parametrize("adapter", [one for one in ADAPTERS if one.routes], ids=str, indirect=True)
async def test_the_path_can_come_from_a_variable(
    adapter: Adapter, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INNGEST_SERVE_PATH", "/from/variable")
    async with serving(adapter, server, is_async=False) as exchange:
        found = await exchange(Message("GET", "/from/variable"))
        usual = await exchange(Message("GET", "/api/inngest"))

    assert (found.status, usual.status) == (200, 404)


async def test_behind_a_proxy_the_outer_address_is_registered(adapter: Adapter, server: FakeServer) -> None:
    options = {"public_path": "/outside", "serve_origin": "https://proxy.example"}
    async with serving(adapter, server, is_async=False, options=options) as exchange:
        await exchange(Message("PUT", "/api/inngest", {}, b"{}"))

    assert server.registrations[0].body["url"].startswith("https://proxy.example/outside")


@pytest.mark.parametrize("adapter", [one for one in ADAPTERS if one.mounts], ids=str, indirect=True)
async def test_a_mounted_application_registers_its_prefix(
    adapter: Adapter, server: FakeServer, is_async: bool
) -> None:
    async with serving(adapter, server, is_async=is_async) as exchange:
        reply = await exchange(Message("PUT", "/inner/api/inngest", {}, b"{}", prefix="/inner"))

    assert reply.status == 200
    assert server.registrations[0].body["url"].startswith("http://app.test/inner/api/inngest")


@pytest.mark.parametrize("adapter", [one for one in ADAPTERS if one.mounts], ids=str, indirect=True)
async def test_the_prefix_is_kept_when_the_path_was_chosen(adapter: Adapter, server: FakeServer) -> None:
    async with serving(adapter, server, is_async=False, options={"serve_path": "/jobs"}) as exchange:
        await exchange(Message("PUT", "/inner/jobs", {}, b"{}", prefix="/inner"))

    assert server.registrations[0].body["url"].startswith("http://app.test/inner/jobs")


@pytest.mark.parametrize("adapter", [one for one in ADAPTERS if one.routes], ids=str, indirect=True)
async def test_only_its_own_path_is_answered(adapter: Adapter, server: FakeServer) -> None:
    async with serving(adapter, server, is_async=False) as exchange:
        replies = [await exchange(Message("GET", path)) for path in ("/", "/api", "/api/inngest/more")]

    assert [reply.status for reply in replies] == [404, 404, 404]


async def test_several_apps_live_in_one_application(
    adapter: Adapter, server: FakeServer, is_async: bool
) -> None:
    apps: list[Serving] = []
    for app_id in ("first", "second"):
        client = server.client(app_id=app_id)
        functions = functions_of(client, is_async=is_async)
        apps.append(Serving(client, functions, {"serve_path": f"/{app_id}"}))

    async with adapter.start(apps) as exchange:
        for app_id in ("first", "second"):
            reply = await exchange(call("add", {"a": 1, "b": 2}, path=f"/{app_id}", app_id=app_id))
            assert reply.status == 206, reply.body
            await exchange(Message("PUT", f"/{app_id}", {}, b"{}"))

    assert [one.body["appName"] for one in server.registrations] == ["first", "second"]


async def test_a_function_that_blocks_delays_no_other_request(adapter: Adapter, server: FakeServer) -> None:
    """The blocked call ends only after the other one was answered, or not at all."""
    client = server.client()
    other_was_answered = threading.Event()
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    @client.create_function(fn_id="block", trigger=inngest.TriggerEvent(event="block"))
    def block(ctx: inngest.ContextSync) -> bool:
        loop.call_soon_threadsafe(started.set)
        return other_was_answered.wait(timeout=20)

    # Beside an asynchronous one, as Django chooses the kind of its view by the functions.
    functions = [block, *functions_of(client, is_async=True)]
    async with adapter.start([Serving(client, functions)]) as exchange:
        blocked = asyncio.create_task(exchange(call("block")))
        await asyncio.wait_for(started.wait(), timeout=20)
        reply = await exchange(call("add", {"a": 1, "b": 2}))
        other_was_answered.set()

        assert reply.status == 206
        assert json_of(await blocked) is True


async def test_middleware_sees_the_request_of_the_framework(
    adapter: Adapter, server: FakeServer, is_async: bool
) -> None:
    seen: list[str] = []

    class Seeing(inngest.MiddlewareSync):
        def before_execution(self) -> None:
            seen.append(type(self.raw_request).__name__)

    async with serving(adapter, server, is_async=is_async, middleware=[Seeing]) as exchange:
        await exchange(call("add", {"a": 1, "b": 2}))

    assert seen == [adapter.raw]
