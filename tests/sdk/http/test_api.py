"""Calls to the server besides events and registration: checkpoints, state, anything else."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

import inngest
from inngest._http.api import Api
from inngest._wire import signature
from inngest.errors import ApiError
from tests.sdk.http.asking import FALLBACK_KEY, KEY
from tests.sdk.http.server import Server

pytestmark = pytest.mark.usefixtures("no_backoff")
RUN_ID = "01HZ0000000000000000000000"


def api_of(client: inngest.Inngest) -> Api:
    return client._api


class Caller:
    """An `Api` whose asynchronous or blocking half is called."""

    def __init__(self, api: Api, *, is_async: bool) -> None:
        self.api = api
        self._is_async = is_async

    async def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self._is_async:
            return await getattr(self.api, name)(*args, **kwargs)
        return getattr(self.api, f"{name}_sync")(*args, **kwargs)


@pytest.fixture
async def call(server: Server, is_async: bool) -> AsyncIterator[Caller]:
    client = inngest.Inngest(
        app_id="app", base_url=server.url, signing_key=KEY, signing_key_fallback=FALLBACK_KEY, env="branch"
    )
    yield Caller(api_of(client), is_async=is_async)
    await client.aclose()


@pytest.mark.parametrize("body", ['{"a":"é"}', '{"a":"é"}'.encode(), {"a": "é"}])
async def test_a_checkpoint_is_posted_with_the_bearer(body: Any, call: Caller, server: Server) -> None:
    status = await call("checkpoint", RUN_ID, body)

    (asked,) = server.asked
    assert status == 200
    assert (asked.method, asked.target) == ("POST", f"/v1/checkpoint/{RUN_ID}/async")
    assert asked.json() == {"a": "é"}
    assert asked.headers["authorization"] == f"Bearer {signature.bearer_of(KEY)}"
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["x-inngest-env"] == "branch"


@pytest.mark.parametrize(
    ("answers", "status", "tries"),
    [
        ([(409, {"error": "stale"})], 409, 1),
        ([(400, {})], 400, 1),
        ([(503, {}), (0, ""), (200, "")], 200, 3),
        ([(500, {})], 500, 5),
        ([(0, "")], 0, 5),
        ([(401, ""), (200, "")], 200, 2),
        ([(401, "")], 401, 2),
    ],
)
async def test_a_checkpoint_gives_the_status_of_its_last_try(
    answers: Any, status: int, tries: int, call: Caller, server: Server
) -> None:
    server.answers = [*answers]

    assert await call("checkpoint", RUN_ID, "{}") == status
    assert len(server.asked) == tries


async def test_a_checkpoint_that_reaches_nobody_is_status_0(is_async: bool) -> None:
    client = inngest.Inngest(app_id="app", is_production=False, base_url="http://127.0.0.1:1")

    assert await Caller(api_of(client), is_async=is_async)("checkpoint", RUN_ID, "{}") == 0
    await client.aclose()


async def test_checkpoints_keep_one_connection(call: Caller, server: Server) -> None:
    for _ in range(5):
        await call("checkpoint", RUN_ID, "{}")

    assert server.connections == 1


async def test_a_connection_that_the_server_has_closed_is_replaced(call: Caller, server: Server) -> None:
    server.answers = [(200, ""), (0, ""), (200, "")]

    assert [await call("checkpoint", RUN_ID, "{}") for _ in range(2)] == [200, 200]


async def test_state_is_fetched_with_the_bearer(call: Caller, server: Server) -> None:
    server.answers = [(200, {"hash": {"data": 1}}), (200, [{"name": "a"}])]

    assert await call("fetch_memos", RUN_ID) == {"hash": {"data": 1}}
    assert await call("fetch_events", RUN_ID) == [{"name": "a"}]
    assert [asked.target for asked in server.asked] == [
        f"/v0/runs/{RUN_ID}/actions",
        f"/v0/runs/{RUN_ID}/batch",
    ]
    assert all("authorization" in asked.headers for asked in server.asked)


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        ((410, {"error": "the run is over", "status": 410}), 410, "the run is over"),
        ((500, "plain text"), 500, "plain text"),
        ((200, "[]"), 200, r"actions"),
        ((0, ""), None, "could not get"),
    ],
)
async def test_state_that_is_not_there_is_an_error(
    answer: Any, status: int | None, message: str, call: Caller, server: Server
) -> None:
    server.answers = [answer]

    with pytest.raises(ApiError, match=message) as caught:
        await call("fetch_memos", RUN_ID)
    assert caught.value.status == status


async def test_anything_else_is_asked_with_the_bearer(call: Caller, server: Server) -> None:
    server.answers = [(201, {"jwt": "x"})]

    answer = await call("request", "POST", "/v1/realtime/token", json=[{"topic": "t"}])

    (asked,) = server.asked
    assert (answer.status, answer.json(), answer.is_ok) == (201, {"jwt": "x"}, True)
    assert (asked.method, asked.target, asked.json()) == ("POST", "/v1/realtime/token", [{"topic": "t"}])
    assert "authorization" in asked.headers


async def test_a_dev_server_is_called_without_a_key_or_with_a_bad_one(server: Server, is_async: bool) -> None:
    for key in (None, "no hex"):
        client = inngest.Inngest(app_id="app", is_production=False, base_url=server.url, signing_key=key)
        assert await Caller(api_of(client), is_async=is_async)("checkpoint", RUN_ID, "{}") == 200
        await client.aclose()

    assert all("authorization" not in asked.headers for asked in server.asked)


def test_one_client_is_used_from_several_loops_and_threads(server: Server) -> None:
    client = inngest.Inngest(app_id="app", is_production=False, base_url=server.url)
    api = api_of(client)
    statuses: list[int] = []

    async def some() -> None:
        statuses.extend(await asyncio.gather(*(api.checkpoint(RUN_ID, "{}") for _ in range(5))))
        await api.aclose()

    def in_thread() -> None:
        asyncio.run(some())
        statuses.append(api.checkpoint_sync(RUN_ID, "{}"))

    threads = [threading.Thread(target=in_thread) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    client.close()

    assert statuses == [200] * 24


def test_a_loop_that_ends_takes_its_connections_with_it(server: Server) -> None:
    """Nobody closes the client here; a socket left open would be reported when it is freed."""
    client = inngest.Inngest(app_id="app", is_production=False, base_url=server.url, event_key="k")
    server.answers = [(200, {"ids": ["1"], "status": 200})]

    async def once() -> None:
        await api_of(client).checkpoint(RUN_ID, "{}")
        await client.send(inngest.Event(name="a"))

    for _ in range(3):
        asyncio.run(once())
        gc.collect()

    assert server.connections == 6
    client.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_certificates_are_read_once_and_only_when_some_are_needed(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take longer to read than many calls, and a program may make an event loop for each call."""
    import httpx

    real, reads = httpx.create_ssl_context, list[None]()
    monkeypatch.setattr(httpx, "create_ssl_context", lambda: reads.append(None) or real())
    client = inngest.Inngest(app_id="app", is_production=False, base_url=f"{scheme}://127.0.0.1:1")

    for _ in range(3):
        asyncio.run(api_of(client).request("GET", "/x"))
    api_of(client).request_sync("GET", "/x")
    client.close()

    assert len(reads) == (1 if scheme == "https" else 0)
