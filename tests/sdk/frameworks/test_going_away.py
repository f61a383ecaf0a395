"""A client that goes away: the call is cancelled, and what it began is cleaned up."""

import asyncio
import contextlib

import pytest

import inngest
from tests.sdk.frameworks.adapters import ADAPTERS, Adapter, Serving
from tests.sdk.frameworks.calls import call
from tests.sdk.frameworks.exchange import ASGIExchange, SocketExchange
from tests.sdk.frameworks.server import FakeServer

CANCELLING = [one for one in ADAPTERS if one.cancels]


@pytest.mark.parametrize("streaming", [inngest.Streaming.DISABLE, inngest.Streaming.FORCE])
@pytest.mark.parametrize("adapter", CANCELLING, ids=str, indirect=True)
async def test_a_client_that_goes_away_cancels_the_function(
    adapter: Adapter, server: FakeServer, streaming: inngest.Streaming
) -> None:
    client = server.client()
    started, cleaned_up = asyncio.Event(), asyncio.Event()

    @client.create_function(fn_id="wait", trigger=inngest.TriggerEvent(event="wait"))
    async def wait(ctx: inngest.Context) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    options = {"streaming": streaming}
    async with adapter.start([Serving(client, [wait], options)]) as exchange:
        if isinstance(exchange, SocketExchange):
            async with exchange.sent(call("wait")):
                await asyncio.wait_for(started.wait(), timeout=20)
        else:
            assert isinstance(exchange, ASGIExchange)
            gone = asyncio.Event()
            calling = asyncio.create_task(exchange(call("wait"), gone))
            await asyncio.wait_for(started.wait(), timeout=20)
            gone.set()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await asyncio.wait_for(calling, timeout=20)
        await asyncio.wait_for(cleaned_up.wait(), timeout=20)


@pytest.mark.parametrize("adapter", CANCELLING, ids=str, indirect=True)
async def test_the_application_serves_on_after_a_client_went_away(
    adapter: Adapter, server: FakeServer
) -> None:
    client = server.client()
    started = asyncio.Event()

    @client.create_function(fn_id="wait", trigger=inngest.TriggerEvent(event="wait"))
    async def wait(ctx: inngest.Context) -> str:
        if ctx.event.data.get("for_ever"):
            started.set()
            await asyncio.Event().wait()
        return "here"

    async with adapter.start([Serving(client, [wait])]) as exchange:
        if isinstance(exchange, SocketExchange):
            async with exchange.sent(call("wait", {"for_ever": True})):
                await asyncio.wait_for(started.wait(), timeout=20)
        else:
            assert isinstance(exchange, ASGIExchange)
            gone = asyncio.Event()
            calling = asyncio.create_task(exchange(call("wait", {"for_ever": True}), gone))
            await asyncio.wait_for(started.wait(), timeout=20)
            gone.set()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await asyncio.wait_for(calling, timeout=20)
        reply = await exchange(call("wait"))

    assert (reply.status, reply.body) == (200, b'"here"')
