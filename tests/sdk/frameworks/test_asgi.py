"""What plain ASGI adds to the contract: the rest of an application, mounting, and servers that differ."""

import asyncio
from typing import Any

import inngest.asgi
from tests.sdk.frameworks.calls import async_functions, call
from tests.sdk.frameworks.exchange import ASGIExchange, Message, scope_of
from tests.sdk.frameworks.server import FakeServer

Event = dict[str, Any]


def app_of(server: FakeServer, **options: Any) -> Any:
    client = server.client()
    return inngest.asgi.serve(client, async_functions(client), **options)


async def conversation(app: Any, scope: Event, *received: Event) -> list[Event]:
    """What an application sends when it receives these events and then nothing more."""
    sent: list[Event] = []
    events = list(received)

    async def receive() -> Event:
        if not events:
            raise RuntimeError("nothing more will come")
        return events.pop(0)

    async def send(event: Event) -> None:
        sent.append(event)

    await app(scope, receive, send)
    return sent


async def test_lifespan_is_acknowledged(server: FakeServer) -> None:
    sent = await conversation(
        app_of(server), {"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
    )

    assert [event["type"] for event in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_websockets_are_closed(server: FakeServer) -> None:
    sent = await conversation(
        app_of(server), {"type": "websocket", "path": "/"}, {"type": "websocket.connect"}
    )

    assert [event["type"] for event in sent] == ["websocket.close"]


async def test_everything_else_goes_to_the_other_application(server: FakeServer) -> None:
    seen: list[str] = []

    async def other(scope: Event, receive: Any, send: Any) -> None:
        seen.append(f"{scope['type']} {scope.get('path')}")

    app = app_of(server, app=other)
    await app({"type": "lifespan"}, None, None)
    await app(scope_of(Message("GET", "/elsewhere")), None, None)
    reply = await ASGIExchange(app)(Message("GET"))

    assert seen == ["lifespan None", "http /elsewhere"]
    assert reply.status == 200


async def test_mounted_at_a_path_of_its_own_it_answers_there(server: FakeServer) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    exchange = ASGIExchange(Starlette(routes=[Mount("/jobs", app_of(server))]))

    for target in ("/jobs/", "/jobs/api/inngest"):
        assert (await exchange(Message("PUT", target, {}, b"{}"))).status == 200
    urls = [one.body["url"] for one in server.registrations]
    assert urls == ["http://app.test/jobs/", "http://app.test/jobs/api/inngest"]


async def test_a_server_that_leaves_the_prefix_out_of_the_path_is_understood(server: FakeServer) -> None:
    scope = scope_of(Message("PUT", "/api/inngest", {}, b"{}", prefix="/inner"))

    await conversation(app_of(server), scope, {"type": "http.request", "body": b"{}"})

    assert server.registrations[0].body["url"] == "http://app.test/inner/api/inngest"


async def test_without_a_host_header_the_address_of_the_socket_counts(server: FakeServer) -> None:
    scope = {**scope_of(Message("PUT", body=b"{}")), "headers": [], "server": ("10.0.0.1", 8000)}

    await conversation(app_of(server), scope, {"type": "http.request", "body": b"{}"})

    assert server.registrations[0].body["url"] == "http://10.0.0.1:8000/api/inngest"


async def test_a_client_that_leaves_inside_the_body_is_not_answered(server: FakeServer) -> None:
    part = {"type": "http.request", "body": b"{", "more_body": True}

    sent = await conversation(app_of(server), scope_of(call("add")), part, {"type": "http.disconnect"})

    assert sent == []


async def test_a_server_that_cannot_tell_of_disconnects_is_served(server: FakeServer) -> None:
    message = call("add", {"a": 1, "b": 2}, steps={"one": 1})

    # `conversation` raises at the next `receive`.
    sent = await conversation(
        app_of(server), scope_of(message), {"type": "http.request", "body": message.body}
    )

    assert [event.get("status") for event in sent] == [200, None]


async def test_a_caller_that_repeats_the_body_for_ever_is_served(server: FakeServer) -> None:
    message = call("add", {"a": 1, "b": 2})
    sent: list[Event] = []

    async def receive() -> Event:
        return {"type": "http.request", "body": message.body}

    async def send(event: Event) -> None:
        await asyncio.sleep(0)  # So that the watch for the client's leaving has its turn.
        sent.append(event)

    await app_of(server)(scope_of(message), receive, send)

    assert [event.get("status") for event in sent] == [206, None]


async def test_a_client_that_leaves_inside_the_answer_makes_no_error(server: FakeServer) -> None:
    message = call("add", {"a": 1, "b": 2})
    app = app_of(server, streaming=inngest.Streaming.FORCE)
    sent: list[str] = []

    async def receive() -> Event:
        return {"type": "http.request", "body": message.body}

    async def send(event: Event) -> None:
        sent.append(event["type"])
        if len(sent) == 2:
            raise OSError("the client has gone")

    await app(scope_of(message), receive, send)

    assert sent == ["http.response.start", "http.response.body"]


async def test_a_request_that_its_own_server_cancels_stays_cancelled(server: FakeServer) -> None:
    client = server.client()
    started = asyncio.Event()

    @client.create_function(fn_id="wait", trigger=inngest.TriggerEvent(event="wait"))
    async def wait(ctx: inngest.Context) -> None:
        started.set()
        await asyncio.Event().wait()

    exchange = ASGIExchange(inngest.asgi.serve(client, [wait]))
    calling = asyncio.create_task(exchange(call("wait")))
    await asyncio.wait_for(started.wait(), timeout=20)

    calling.cancel()
    await asyncio.wait([calling])

    assert calling.cancelled()


async def test_escapes_in_the_path_are_kept(server: FakeServer) -> None:
    exchange = ASGIExchange(app_of(server, serve_path="/größe 100%"))

    await exchange(Message("PUT", "/gr%C3%B6%C3%9Fe%20100%25", {}, b"{}"))

    assert (
        server.registrations[0]
        .body["functions"][0]["steps"]["step"]["runtime"]["url"]
        .startswith("http://app.test/gr%C3%B6%C3%9Fe%20100%25?")
    )
