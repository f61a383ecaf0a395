"""Making the requests of gateway steps: over the network of this machine, and with a network that fails."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web

from inngest_server.execution.driver import Call, HTTPDriver
from inngest_server.execution.gateway import Drivers, GatewayDriver
from inngest_server.execution.http1 import Headers, Response
from inngest_server.execution.reach import Reach
from inngest_server.execution.transport import (
    FETCH_REDIRECTS_MAX,
    FinalResponse,
    HTTPTransport,
    ResponseTooLargeError,
    TransportError,
)
from inngest_server.runs.facts import Answered, CallFailed, Fetched
from inngest_server.runs.opcodes.gateway import GatewayRequest
from inngest_server.runs.records import ItemState
from inngest_server.runs.run import Content, Run
from inngest_server.wire import json
from tests.builders import FUNCTION_ID, make_item, make_run_row
from tests.unit.execution.test_driver import FakeTransport, StoppedClock
from tests.unit.execution.test_transport import Handler, echo, redirecting, serving
from tests.unit.runs.builders import EVENT_BODY

KEY = "sk-of-the-provider"


class FakeFetcher:
    """Keeps requests, and answers them when it is told to."""

    def __init__(self, *, holds: bool = False) -> None:
        self.requests: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.outcome: Response | Exception = Response(200, Headers(), b'{"ok":true}')
        self.released = asyncio.Event()
        if not holds:
            self.released.set()

    async def fetch(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        body_bytes_max: int,
    ) -> FinalResponse:
        self.requests.append((method, url, headers, body))
        await self.released.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return FinalResponse(self.outcome, url)


class Desk:
    """A driver with everything around it."""

    def __init__(self, fetcher: Any, **options: Any) -> None:
        self.answers: asyncio.Queue[Answered] = asyncio.Queue()
        self.driver = GatewayDriver(fetcher, StoppedClock(), answered=self.answers.put_nowait, **options)

    async def answer(self) -> Answered:
        async with asyncio.timeout(5):
            return await self.answers.get()


def make_call(url: str, *, ai: bool = False, method: str = "POST", body: Any = None, **item: Any) -> Call:
    run = Run(make_run_row(), Content(EVENT_BODY))
    sent = {"state": ItemState.SENT, "generation": 1, "kind": "gateway", "step_id": "ask"}
    row = make_item(**{**sent, **item})
    run.items[row.item_id] = row
    request = GatewayRequest(url, method, {"x-mine": "1"}, body, None, "")
    if ai:
        request = GatewayRequest(url, "POST", {}, body or {}, "openai-chat", KEY)
    return Call(run, row, "app", "", FUNCTION_ID, 5, run.loaded.known, request)


# With a real server.


async def ask(handler: Handler, path: str = "/", **call: Any) -> Answered:
    transport = HTTPTransport(Reach.LOCAL, Reach.LOCAL)
    desk = Desk(transport)
    async with serving(handler) as url:
        desk.driver.send(make_call(url + path, **call))
        answered = await desk.answer()
    await desk.driver.close()
    await transport.close()
    return answered


async def test_an_ai_request_arrives_with_its_key_and_its_answer_is_the_result() -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.headers["Authorization"], await request.json()))
        return web.json_response({"choices": [1]})

    answered = await ask(handler, ai=True, body={"model": "m"})
    assert seen == [("POST", f"Bearer {KEY}", {"model": "m"})]
    assert answered.answer == Fetched(b'{"choices": [1]}')
    assert answered.exchange is not None
    assert answered.exchange.http_status == 200


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_a_plain_request_arrives_as_it_was_given(method: str) -> None:
    answered = await ask(echo, "/x?q=1", method=method, body="text")
    assert isinstance(answered.answer, Fetched)
    fetched = json.parse(answered.answer.data)
    seen = json.parse(fetched["body"].encode())
    assert (fetched["status_code"], fetched["url"].endswith("/x?q=1")) == (200, True)
    assert (seen["method"], seen["path"], seen["query"], seen["body"]) == (method, "/x", {"q": "1"}, "text")
    assert seen["headers"]["x-mine"] == "1"
    assert seen["headers"]["accept-encoding"] == "gzip, br"


@pytest.mark.parametrize(("method", "length"), [("GET", None), ("POST", "0")])
async def test_only_a_method_that_expects_a_body_says_that_there_is_none(
    method: str, length: str | None
) -> None:
    transport = HTTPTransport()
    async with serving(echo) as url:
        seen = await fetched(transport, method, url, {}, b"")
    await transport.close()
    assert seen["headers"].get("content-length") == length


async def test_the_answer_to_head_has_headers_and_no_body() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 100_000_000, headers={"X-There": "1"})

    answered = await ask(handler, method="HEAD")
    assert isinstance(answered.answer, Fetched)
    fetched = json.parse(answered.answer.data)
    assert (fetched["status_code"], fetched["body"], fetched["headers"]["x-there"]) == (200, "", "1")


async def test_a_host_that_does_not_listen_is_a_failed_try() -> None:
    transport = HTTPTransport(Reach.LOCAL, Reach.LOCAL)
    desk = Desk(transport)
    desk.driver.send(make_call("http://127.0.0.1:9/path?key=secret"))
    answer = (await desk.answer()).answer
    await desk.driver.close()
    await transport.close()
    assert isinstance(answer, CallFailed)
    assert (answer.code, answer.retriable) == ("host_unreachable", True)
    assert json.parse(answer.error) == {
        "name": "GatewayError",
        "message": "Error making gateway request: connection refused by http://127.0.0.1:9/path",
    }


# Redirects.


async def fetched(
    transport: HTTPTransport, method: str, url: str, headers: dict[str, str], body: bytes
) -> Any:
    response, final = await transport.fetch(method, url, headers, body, timeout_s=5.0, body_bytes_max=10_000)
    return {**json.parse(response.body), "url": final}


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (302, "PUT", "PUT"),
        (303, "PUT", "GET"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
        (302, "GET", "GET"),
    ],
)
async def test_redirects_are_followed_as_browsers_do(status: int, method: str, then: str) -> None:
    transport = HTTPTransport()
    async with serving(redirecting(status, "/there?extra=1")) as url:
        seen = await fetched(transport, method, f"{url}/start?q=1", {"Content-Type": "text/plain"}, b"text")
        assert seen["url"] == f"{url}/there?extra=1"
    await transport.close()
    assert (seen["method"], seen["path"], seen["query"]) == (then, "/there", {"extra": "1"})
    assert seen["body"] == ("text" if then == method else "")
    assert ("content-type" in seen["headers"]) == (then == method)


async def test_another_host_gets_no_header_that_may_be_a_key() -> None:
    transport = HTTPTransport()
    given = {"Authorization": "a", "x-api-key": "b", "Cookie": "c", "X-Mine": "d", "Accept": "text/html"}
    async with serving(echo) as there, serving(redirecting(307, f"{there}/x")) as here:
        seen = await fetched(transport, "POST", f"{here}/start", given, b"")
    await transport.close()
    assert seen["headers"]["accept"] == "text/html"
    assert not {"authorization", "x-api-key", "cookie", "x-mine"} & seen["headers"].keys()


async def test_the_same_host_gets_them() -> None:
    transport = HTTPTransport()
    async with serving(redirecting(307, "/there")) as url:
        seen = await fetched(transport, "POST", f"{url}/start", {"Authorization": "a"}, b"")
    await transport.close()
    assert seen["headers"]["authorization"] == "a"


@pytest.mark.parametrize("location", ["/start", "file:///etc/passwd", "http://[::1"])
async def test_a_redirect_without_end_or_to_nowhere_is_a_failure(location: str) -> None:
    requests = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        return web.Response(status=302, headers={"Location": location})

    transport = HTTPTransport()
    async with serving(handler) as url:
        with pytest.raises(TransportError):
            await transport.fetch("GET", f"{url}/start", {}, b"", timeout_s=5.0, body_bytes_max=10)
    await transport.close()
    assert requests == (FETCH_REDIRECTS_MAX + 1 if location == "/start" else 1)


async def test_the_client_may_name_itself() -> None:
    transport = HTTPTransport()
    async with serving(echo) as url:
        own = await fetched(transport, "GET", url, {}, b"")
        given = await fetched(transport, "GET", url, {"user-agent": "mine", "accept-encoding": "zstd"}, b"")
    await transport.close()
    assert own["headers"]["user-agent"] == "inngest-server"
    assert given["headers"]["user-agent"] == "mine"
    assert given["headers"]["accept-encoding"] == "gzip, br"


# With a network that fails.


@pytest.mark.parametrize(
    ("outcome", "code", "retriable"),
    [
        (TransportError("reset", ""), "host_unreachable", True),
        (TransportError("out_of_reach", "because"), "address_refused", False),
        (ResponseTooLargeError(), "output_too_large", False),
        (RuntimeError(f"our own mistake with {KEY}"), "internal", True),
        (Response(500, Headers(), b"oops"), "http_status", True),
    ],
    ids=repr,
)
async def test_every_failure_is_an_answer_without_a_secret(
    outcome: Response | Exception, code: str, retriable: bool
) -> None:
    fetcher = FakeFetcher()
    fetcher.outcome = outcome
    desk = Desk(fetcher)
    desk.driver.send(make_call(f"https://ai.example/?key={KEY}", ai=True))
    answer = (await desk.answer()).answer
    assert isinstance(answer, CallFailed)
    assert (answer.code, answer.retriable) == (code, retriable)
    assert json.parse(answer.error)["name"] == "AIGatewayError"
    assert KEY.encode() not in answer.error
    assert desk.driver.under_way == 0


async def test_a_host_gets_so_many_requests_at_a_time_and_another_its_own() -> None:
    fetcher = FakeFetcher(holds=True)
    desk = Desk(fetcher, connections=2)
    for number in range(4):
        desk.driver.send(make_call("https://slow.example/", item_id=f"item-{number}"))
    desk.driver.send(make_call("https://fast.example/", item_id="item-9"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert [url for _, url, _, _ in fetcher.requests] == ["https://slow.example/"] * 2 + [
        "https://fast.example/"
    ]
    fetcher.released.set()
    assert {(await desk.answer()).item_id for _ in range(5)} == {f"item-{n}" for n in (0, 1, 2, 3, 9)}


async def test_nothing_is_left_of_a_host_that_is_not_asked_any_more() -> None:
    desk = Desk(FakeFetcher())
    for number in range(3):
        desk.driver.send(make_call(f"https://host-{number}.example/", item_id=f"item-{number}"))
        await desk.answer()
    await asyncio.sleep(0)
    assert (desk.driver._queues, desk.driver._workers) == ({}, set())


# Both drivers as one.


async def test_each_item_goes_to_its_driver_and_both_are_drained() -> None:
    transport, fetcher = FakeTransport(holds=True), FakeFetcher(holds=True)
    answers: asyncio.Queue[Answered] = asyncio.Queue()
    apps = HTTPDriver(
        transport, StoppedClock(), answered=answers.put_nowait, next_request_id=lambda: "request-1"
    )
    drivers = Drivers(apps, GatewayDriver(fetcher, StoppedClock(), answered=answers.put_nowait))
    gateway_call = make_call("https://api.example/", item_id="a")
    app_call = make_call("", item_id="b", kind="step")._replace(url="http://app.example/?stepId=step")
    for call in (gateway_call, app_call):
        drivers.send(call)
        assert drivers.is_sending(call.item.item_id, 1)
    for _ in range(10):
        await asyncio.sleep(0)
    assert (len(transport.requests), len(fetcher.requests), drivers.under_way) == (1, 1, 2)
    assert drivers.calls_by_app() == {"app": (1, 0)}
    drivers.recall()  # Both are under way.

    draining = asyncio.create_task(drivers.drain(5.0))
    transport.released.set()
    fetcher.released.set()
    assert await draining
    assert {answers.get_nowait().item_id for _ in range(2)} == {"a", "b"}
    await drivers.close()
