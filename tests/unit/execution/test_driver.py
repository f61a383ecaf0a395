"""Carrying calls: what is sent, what becomes of failures, and how many calls an app gets at a time."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from inngest_server.clock import Clock
from inngest_server.execution.driver import APP_CONNECTIONS, Call, HTTPDriver
from inngest_server.execution.transport import Response, ResponseTooLargeError, TransportError
from inngest_server.runs.facts import Answered, CallFailed, Exchange, Returned
from inngest_server.runs.records import ItemState
from inngest_server.runs.run import Content, Run
from inngest_server.wire import json
from inngest_server.wire.signature import verify
from tests.builders import FUNCTION_ID, RUN_ID, T0_MS, make_item, make_run_row
from tests.unit.runs.builders import EVENT_BODY

URL = "http://localhost:8000/api/inngest?fnId=shop-f&stepId=step"
KEY = "signkey-test-a1b2c3d4e5f60718293a4b5c6d7e8f900112233445566778899aabbccddeeff0"
HOST_S = 1_700_000_000


class StoppedClock(Clock):
    def now_ms(self) -> int:
        return T0_MS

    def host_s(self) -> int:
        return HOST_S

    def monotonic_s(self) -> float:
        return 0.0


class FakeTransport:
    """Keeps requests, and answers them when it is told to."""

    def __init__(self, *, holds: bool = False) -> None:
        self.requests: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.outcome: Response | Exception = Response(200, {"x-inngest-sdk": "py:v1"}, b'"done"')
        self.released = asyncio.Event()
        if not holds:
            self.released.set()

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        body_bytes_max: int,
    ) -> Response:
        self.requests.append((method, url, headers, body))
        await self.released.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Desk:
    """A driver with everything around it."""

    def __init__(self, transport: FakeTransport, **options: Any) -> None:
        self.transport = transport
        self.answers: asyncio.Queue[Answered] = asyncio.Queue()
        self.driver = HTTPDriver(
            transport,
            StoppedClock(),
            answered=self.answers.put_nowait,
            next_request_id=lambda: "request-1",
            **options,
        )

    async def answer(self) -> Answered:
        async with asyncio.timeout(5):
            return await self.answers.get()

    async def settle(self) -> None:
        """Let every task go as far as it can."""
        for _ in range(20):
            await asyncio.sleep(0)


def make_call(*, app_id: str = "app", event_body: bytes = EVENT_BODY, url: str = URL, **item: Any) -> Call:
    run = Run(make_run_row(), Content(event_body))
    row = make_item(**{"state": ItemState.SENT, "generation": 1, **item})
    run.items[row.item_id] = row
    return Call(run, row, app_id, url, FUNCTION_ID, 5, run.loaded.known)


async def test_a_call_is_a_post_with_everything_the_protocol_wants() -> None:
    desk = Desk(FakeTransport())
    desk.driver.send(make_call(attempt=2, generation=3))

    answer = await desk.answer()

    assert answer == Answered(RUN_ID, "item-1", 3, Returned(b'"done"'), Exchange(200, T0_MS, 0))
    ((method, url, headers, body),) = desk.transport.requests
    assert (method, url) == ("POST", URL)
    assert headers == {
        "Content-Type": "application/json",
        "X-Inngest-Server-Kind": "dev",
        "x-inngest-req-version": "-1",
        "X-Inngest-Step-ID": "step",
        "X-Run-ID": RUN_ID,
        "x-request-id": "request-1",
        "x-inngest-generation-id": "3",
        "x-inngest-job-id": "item-1",
        "account-id": "00000000-0000-4000-a000-000000000000",
    }
    ctx = json.parse(body)["ctx"]
    assert (ctx["attempt"], ctx["max_attempts"], ctx["request_id"]) == (2, 5, "request-1")
    await desk.driver.close()


async def test_a_targeted_call_names_its_step_in_url_and_header() -> None:
    desk = Desk(FakeTransport())
    desk.driver.send(make_call(kind="step", step_id="ab12"))
    await desk.answer()
    ((_, url, headers, body),) = desk.transport.requests
    assert url == URL.replace("stepId=step", "stepId=ab12")
    assert headers["X-Inngest-Step-ID"] == "ab12"
    assert json.parse(body)["ctx"]["step_id"] == "step"
    await desk.driver.close()


async def test_the_request_version_stands_in_header_and_body() -> None:
    desk = Desk(FakeTransport())
    call = make_call()
    call.run.loaded.version = 2
    desk.driver.send(call._replace(known=call.run.loaded.known))
    await desk.answer()
    ((_, _, headers, body),) = desk.transport.requests
    assert headers["x-inngest-req-version"] == "2"
    assert json.parse(body)["version"] == 2
    await desk.driver.close()


async def test_a_signed_call_is_canonical_and_signed_at_host_time() -> None:
    desk = Desk(FakeTransport(), signing_key=KEY, server_kind="cloud")
    desk.driver.send(make_call(event_body=b'{"name":"a","data":{"z":1.0,"b":2},"id":"e","ts":1,"user":{}}'))
    await desk.answer()
    ((_, _, headers, body),) = desk.transport.requests
    assert body == json.canonical(json.parse(body))
    assert headers["X-Inngest-Server-Kind"] == "cloud"
    verify(body, headers["X-Inngest-Signature"], KEY, HOST_S)
    await desk.driver.close()


async def test_integers_beyond_doubles_travel_exactly_and_are_signed_as_javascript_reads_them() -> None:
    desk = Desk(FakeTransport(), signing_key=KEY)
    body = b'{"data":{"n":12345678901234567890},"id":"e","name":"a","ts":1,"user":{}}'
    desk.driver.send(make_call(event_body=body))
    await desk.answer()
    ((_, _, headers, sent),) = desk.transport.requests
    assert b"12345678901234567890" in sent
    verify(json.canonical(json.parse(sent)), headers["X-Inngest-Signature"], KEY, HOST_S)
    await desk.driver.close()


@pytest.mark.parametrize(
    ("outcome", "code", "message"),
    [
        (TransportError("refused", "connect call failed"), "unreachable", "connection refused at"),
        (TransportError("timeout", ""), "unreachable", "no answer from"),
        (TransportError("tls", ""), "unsupported_protocol", "does not speak this protocol"),
        (ResponseTooLargeError(), "output_too_large", "exceeds the maximum size limit"),
        (RuntimeError("our own mistake"), "internal", "RuntimeError: our own mistake"),
        (Response(502, {}, b"Bad Gateway"), "http_status", "HTTP 502"),
    ],
    ids=repr,
)
async def test_every_failure_is_an_answer(outcome: Response | Exception, code: str, message: str) -> None:
    desk = Desk(FakeTransport())
    desk.transport.outcome = outcome
    desk.driver.send(make_call())

    answer = (await desk.answer()).answer

    assert isinstance(answer, CallFailed)
    assert (answer.code, answer.retriable) == (code, True)
    assert message in json.parse(answer.error)["message"]
    assert desk.driver.under_way == 0
    await desk.driver.close()


async def test_a_call_is_under_way_from_its_queueing_until_its_answer() -> None:
    desk = Desk(FakeTransport(holds=True))
    desk.driver.send(make_call(generation=2))
    assert desk.driver.is_sending("item-1", 2)
    assert not desk.driver.is_sending("item-1", 1)
    assert not desk.driver.is_sending("item-2", 2)

    desk.transport.released.set()
    await desk.answer()

    assert not desk.driver.is_sending("item-1", 2)
    await desk.driver.close()


async def test_an_app_gets_so_many_calls_at_a_time_and_another_app_its_own() -> None:
    desk = Desk(FakeTransport(holds=True), app_connections=2)
    for number in range(5):
        desk.driver.send(make_call(item_id=f"item-{number}"))
    desk.driver.send(make_call(app_id="other", item_id="item-9"))
    await desk.settle()
    assert len(desk.transport.requests) == 3

    desk.transport.released.set()
    answers = [await desk.answer() for _ in range(6)]

    assert {answer.item_id for answer in answers} == {f"item-{n}" for n in (0, 1, 2, 3, 4, 9)}
    assert APP_CONNECTIONS == 256
    await desk.driver.close()


async def test_workers_are_used_again() -> None:
    desk = Desk(FakeTransport(), app_connections=1)
    for number in range(3):
        desk.driver.send(make_call(item_id=f"item-{number}"))
        assert (await desk.answer()).item_id == f"item-{number}"
    await desk.driver.close()


@pytest.mark.parametrize("what", ["the run ended", "it was sent again"])
async def test_a_queued_call_that_is_no_longer_wanted_is_not_sent(what: str) -> None:
    desk = Desk(FakeTransport(holds=True), app_connections=1)
    desk.driver.send(make_call())
    stale = make_call(item_id="item-2")
    desk.driver.send(stale)
    if what == "the run ended":
        stale.run.items.clear()
    else:
        stale.run.items["item-2"] = stale.item._replace(generation=2)

    desk.transport.released.set()
    await desk.answer()
    await desk.settle()

    assert len(desk.transport.requests) == 1
    assert desk.driver.under_way == 0
    await desk.driver.close()


async def test_what_was_recalled_is_not_sent_and_what_was_sent_is_answered() -> None:
    desk = Desk(FakeTransport(holds=True), app_connections=1)
    desk.driver.send(make_call(item_id="sent"))
    await desk.settle()
    desk.driver.send(make_call(item_id="queued"))

    desk.driver.recall()

    assert desk.driver.is_sending("sent", 1)
    assert not desk.driver.is_sending("queued", 1)
    desk.transport.released.set()
    assert (await desk.answer()).item_id == "sent"
    await desk.settle()
    assert len(desk.transport.requests) == 1
    await desk.driver.close()


async def test_draining_waits_for_answers_and_starts_nothing_new() -> None:
    desk = Desk(FakeTransport(holds=True), app_connections=1)
    desk.driver.send(make_call(item_id="sent"))
    await desk.settle()
    desk.driver.send(make_call(item_id="queued"))

    drain = asyncio.create_task(desk.driver.drain(5.0))
    await desk.settle()
    desk.transport.released.set()

    assert await drain
    assert len(desk.transport.requests) == 1
    assert desk.driver.is_sending("queued", 1)  # The next start of the server sends it.
    await desk.driver.close()


async def test_draining_gives_up_at_its_deadline() -> None:
    desk = Desk(FakeTransport(holds=True))
    desk.driver.send(make_call())
    await desk.settle()
    assert not await desk.driver.drain(0.01)
    await desk.driver.close()


async def test_draining_an_idle_driver_is_done_at_once() -> None:
    desk = Desk(FakeTransport())
    assert await desk.driver.drain(60.0)
