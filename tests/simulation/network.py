"""The simulated network between a node and the apps: slow, lossy, repeating, and at times no SDK at all."""

import asyncio
import hashlib
import hmac
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import parse_qs, urlsplit

import orjson

from inngest_server.execution.http1 import Headers, Response
from inngest_server.execution.transport import TransportError

from .apps import App, Request
from .auditor import Auditor
from .process import OWNER, Process

SIGNING_KEY = "7468697320697320612074657374206b6579"
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
SDK = Headers({"x-inngest-sdk": "x"})
PAGE = Headers({"content-type": "text/html"})
GARBAGE: dict[str, Response] = {
    "a proxy's page": Response(502, PAGE, HTML),
    "a page with 200": Response(200, PAGE, HTML),
    "an op without id": Response(206, SDK, b'[{"op":"StepRun"}]'),
    "an unknown op": Response(206, SDK, b'[{"op":"Teleport","id":"a"}]'),
    "a sleep without a moment": Response(206, SDK, b'[{"op":"Sleep","id":"a","name":"soon"}]'),
    "a sleep of centuries": Response(206, SDK, b'[{"op":"Sleep","id":"a","name":"9999999h"}]'),
    "a wait without timeout": Response(
        206, SDK, b'[{"op":"WaitForEvent","id":"a","name":"x","opts":{"timeout":7}}]'
    ),
    "an invocation of nothing": Response(206, SDK, b'[{"op":"InvokeFunction","id":"a","opts":{}}]'),
    "an error without an error": Response(206, SDK, b'[{"op":"StepError","id":"a"}]'),
    "ops that are a text": Response(206, SDK, b'"StepRun"'),
    "ops that are numbers": Response(206, SDK, b"[1, null]"),
    "options that are a list": Response(206, SDK, b'[{"op":"StepPlanned","id":"a","opts":[]}]'),
    "no JSON": Response(206, SDK, b"not json"),
    "JSON with a lone surrogate cut off": Response(206, SDK, b'[{"op":"StepRun","id":"a","data":"\\ud8'),
    "no body": Response(206, SDK, b""),
    "bytes that are no UTF-8": Response(206, SDK, b"[\xff\xfe]"),
    "an error that is a number": Response(500, SDK, b"7"),
    "a stream that broke off": Response(201, SDK, b"   {"),
    "a stream of blanks": Response(201, SDK, b"      "),
    "a stream without status": Response(201, SDK, b'  {"body":"{}"}'),
    "a stream that failed": Response(201, SDK, b'  {"error":"out of memory"}'),
    "a stream in a stream": Response(201, SDK, b' {"status":201,"body":"{}","headers":{}}'),
    "a stream with a page": Response(201, SDK, b' {"status":502,"body":"<html>","headers":{}}'),
}
"""Answers that no app should give. Each is a failed try, an ended run or an odd step, and no more."""
EMPTY = Response(206, Headers({"x-inngest-sdk": "x", "x-inngest-req-version": "2"}), b"[]")


@dataclass
class NetworkFaults:
    """Rates are per call."""

    refused: float = 0.0
    lost_answer: float = 0.0
    doubled: float = 0.0
    garbage: float = 0.0
    empty: float = 0.0
    busy: float = 0.0
    """429 or 503 with `Retry-After`."""
    hangs: float = 0.0
    """No answer before the time limit of a call."""
    slow: float = 0.0
    delay_s: float = 0.005


class Network:
    """Carries requests of whichever node lives now to the apps, which live on when it dies.

    An app at another URL than before may be found at its old one too, or not.
    """

    def __init__(
        self,
        apps: Mapping[str, App],
        faults: NetworkFaults,
        chance: random.Random,
        auditor: Auditor,
        spawn: Callable[[Awaitable[None]], None],
        late: Callable[[Request, Response], None],
        now_ms: Callable[[], int],
        seen: Counter[str],
        *,
        is_signed: bool,
    ) -> None:
        self.apps = dict(apps)
        """By host and port."""
        self._faults = faults
        self._chance = chance
        self._auditor = auditor
        self._spawn = spawn
        self._late = late
        self._now_ms = now_ms
        self._seen = seen
        self._is_signed = is_signed

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
        owner = OWNER.get()
        self._auditor.sending(request, is_replaced=owner is not None and owner.is_replaced)
        if self._is_signed:
            self._seen["app: signed call"] += 1
            if not _is_signature_good(headers.get("X-Inngest-Signature", ""), body):
                self._auditor.note(f"the call of {request.item_id} has a wrong signature")
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._spawn(self._carry(request, url, answer, timeout_s, owner))
        return await answer

    async def _pause(self) -> None:
        delay_s = self._chance.expovariate(1.0) * self._faults.delay_s
        if self._chance.random() < self._faults.slow:
            delay_s += self._chance.expovariate(0.1)
        await asyncio.sleep(delay_s)

    async def _carry(
        self,
        request: Request,
        url: str,
        answer: "asyncio.Future[Response]",
        timeout_s: float,
        owner: Process | None,
    ) -> None:
        faults, draw = self._faults, self._chance.random()
        await self._pause()
        app = self.apps.get(urlsplit(url).netloc)
        if app is None:  # It moved away.
            self._auditor.call_failed(request.item_id, request.generation)
            _fail(answer, TransportError("refused", ""))
            return
        for rate, situation, fault in (
            (faults.refused, "network: refused", self._refuse),
            (faults.garbage, "", self._answer_garbage),
            (faults.empty, "network: empty answer", self._answer_nothing),
            (faults.lost_answer, "network: answer lost", self._lose),
            (faults.busy, "", self._be_busy),
            (faults.hangs, "network: hangs", self._hang),
        ):
            if draw < rate:
                if situation:
                    self._seen[situation] += 1
                self._auditor.call_failed(request.item_id, request.generation)
                await fault(request, app, answer, timeout_s)
                return
            draw -= rate
        if self._chance.random() < faults.doubled:
            self._seen["network: request doubled"] += 1
            self._spawn(self._discard(request, app))
        response = await app.handle(request)
        await self._pause()
        if answer.cancelled():
            stopped = self._chance.random() < 0.3
            self._late(request, app.stop(request) if stopped else response)
        elif not answer.done():
            if owner is not None and owner.is_paused:
                self._seen["process: late answer to a paused process"] += 1
            answer.set_result(response)

    async def _discard(self, request: Request, app: App) -> None:
        await self._pause()
        await app.handle(request)

    async def _refuse(self, request: Request, app: App, answer: "asyncio.Future[Response]", _: float) -> None:
        _fail(answer, TransportError("refused", ""))

    async def _answer_garbage(
        self, request: Request, app: App, answer: "asyncio.Future[Response]", _: float
    ) -> None:
        name = self._chance.choice(list(GARBAGE))
        self._seen[f"garbage: {name}"] += 1
        if not answer.done():
            answer.set_result(GARBAGE[name])

    async def _be_busy(
        self, request: Request, app: App, answer: "asyncio.Future[Response]", _: float
    ) -> None:
        """Ask to come back later: in seconds, or by a date, which has whole seconds."""
        seconds = self._chance.choice((2, 45, 900))
        if self._chance.random() < 0.5:
            self._seen["network: Retry-After in seconds"] += 1
            retry_after, wait_ms = str(seconds), 1000 * seconds
        else:
            self._seen["network: Retry-After as a date"] += 1
            wait_ms = 1000 * seconds - self._now_ms() % 1000
            date = datetime.fromtimestamp((self._now_ms() + wait_ms) / 1000, UTC)
            retry_after = format_datetime(date, usegmt=True)
        until_ms = self._now_ms() + wait_ms
        self._auditor.asked_to_wait(request.item_id, request.generation, until_ms, wait_ms)
        headers = Headers({"retry-after": retry_after})
        if not answer.done():
            answer.set_result(Response(self._chance.choice((429, 503)), headers, b"busy"))

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


def _is_signature_good(header: str, body: bytes) -> bool:
    """Checked as an SDK does, without the server's own code. Source: protocol 6.2."""
    signed_at, _, signature = header.removeprefix("t=").partition("&s=")
    canonical = orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
    expected = hmac.new(SIGNING_KEY.encode(), canonical + signed_at.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature)


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
        use_api=context["use_api"],
        url=url,
    )
