"""The simulated network between a node and the apps: slow, lossy, repeating, and at times no SDK at all."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import orjson

from inngest_server.execution.transport import Response, TransportError

from .apps import App, Request
from .auditor import Auditor

HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
GARBAGE = (
    Response(502, {"content-type": "text/html"}, HTML),
    Response(200, {"content-type": "text/html"}, HTML),
    Response(206, {"x-inngest-sdk": "x"}, b'[{"op":"StepRun"}]'),
    Response(206, {"x-inngest-sdk": "x"}, b'[{"op":"Teleport","id":"a"}]'),
    Response(206, {"x-inngest-sdk": "x"}, b'[{"op":"Sleep","id":"a","name":"soon"}]'),
    Response(206, {"x-inngest-sdk": "x"}, b"not json"),
    Response(206, {"x-inngest-sdk": "x"}, b""),
    Response(201, {"x-inngest-sdk": "x"}, b"   {"),
)
EMPTY = Response(206, {"x-inngest-sdk": "x", "x-inngest-req-version": "2"}, b"[]")


@dataclass
class NetworkFaults:
    """Rates are per call."""

    refused: float = 0.0
    lost_answer: float = 0.0
    doubled: float = 0.0
    garbage: float = 0.0
    empty: float = 0.0
    hangs: float = 0.0
    """No answer before the time limit of a call."""
    slow: float = 0.0
    delay_s: float = 0.005


class Network:
    """Carries requests of whichever node lives now to the apps, which live on when it dies."""

    def __init__(
        self,
        apps: Mapping[str, App],
        faults: NetworkFaults,
        chance: random.Random,
        auditor: Auditor,
        spawn: Callable[[Awaitable[None]], None],
        late: Callable[[Request, Response], None],
    ) -> None:
        self._apps = apps
        self._faults = faults
        self._chance = chance
        self._auditor = auditor
        self._spawn = spawn
        self._late = late
        self.faults = 0

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
        """The transport of every node's driver."""
        request = read_request(url, body)
        self._auditor.sending(request)
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._spawn(self._carry(request, url, answer, timeout_s))
        return await answer

    async def _pause(self) -> None:
        delay_s = self._chance.expovariate(1.0) * self._faults.delay_s
        if self._chance.random() < self._faults.slow:
            delay_s += self._chance.expovariate(0.1)
        await asyncio.sleep(delay_s)

    async def _carry(
        self, request: Request, url: str, answer: "asyncio.Future[Response]", timeout_s: float
    ) -> None:
        faults, draw = self._faults, self._chance.random()
        app = self._apps[urlsplit(url).netloc]
        await self._pause()
        for rate, fault in (
            (faults.refused, self._refuse),
            (faults.garbage, self._answer_garbage),
            (faults.empty, self._answer_nothing),
            (faults.lost_answer, self._lose),
            (faults.hangs, self._hang),
        ):
            if draw < rate:
                self.faults += 1
                self._auditor.call_failed(request.item_id, request.generation)
                await fault(request, app, answer, timeout_s)
                return
            draw -= rate
        if self._chance.random() < faults.doubled:
            self.faults += 1
            self._spawn(self._discard(request, app))
        response = await app.handle(request)
        await self._pause()
        if answer.cancelled():
            self._late(request, response)
        elif not answer.done():
            answer.set_result(response)

    async def _discard(self, request: Request, app: App) -> None:
        await self._pause()
        await app.handle(request)

    async def _refuse(self, request: Request, app: App, answer: "asyncio.Future[Response]", _: float) -> None:
        _fail(answer, TransportError("refused", ""))

    async def _answer_garbage(
        self, request: Request, app: App, answer: "asyncio.Future[Response]", _: float
    ) -> None:
        if not answer.done():
            answer.set_result(self._chance.choice(GARBAGE))

    async def _answer_nothing(
        self, request: Request, app: App, answer: "asyncio.Future[Response]", _: float
    ) -> None:
        if not answer.done():
            answer.set_result(EMPTY)

    async def _lose(self, request: Request, app: App, answer: "asyncio.Future[Response]", _: float) -> None:
        await app.handle(request)
        _fail(answer, TransportError("reset", ""))

    async def _hang(
        self, request: Request, app: App, answer: "asyncio.Future[Response]", timeout_s: float
    ) -> None:
        await app.handle(request)
        await asyncio.sleep(timeout_s)
        _fail(answer, TransportError("timeout", ""))


def _fail(answer: "asyncio.Future[Response]", error: TransportError) -> None:
    if not answer.done():
        answer.set_exception(error)


def read_request(url: str, body: bytes) -> Request:
    """A call request as an SDK reads it. Source: protocol 3."""
    parsed = orjson.loads(body)
    query = parse_qs(urlsplit(url).query)
    context = parsed["ctx"]
    target = query["stepId"][0]
    memos = parsed["steps"]
    return Request(
        run_id=context["run_id"],
        item_id=context["qi_id"],
        generation=context["generation_id"],
        attempt=context["attempt"],
        max_attempts=context["max_attempts"],
        function=query["fnId"][0],
        target="" if target == "step" else target,
        plan_only=context["disable_immediate_execution"],
        memos=memos,
        raw_memos={
            step_id: orjson.dumps(memo, option=orjson.OPT_SORT_KEYS) for step_id, memo in memos.items()
        },
        stack=context["stack"]["stack"],
        current=context["stack"]["current"],
        event=parsed["event"],
        body=body,
    )
