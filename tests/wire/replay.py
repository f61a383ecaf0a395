"""Plays a recorded exchange against an engine in this process, at the recorded time and without sockets.

What came from outside is repeated as it was: requests of the app and of the user, and the app's answers. What
the server did is compared: the requests to the app, and the answers to those who asked.
"""

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from inngest_server.api.context import Context
from inngest_server.api.router import Router
from inngest_server.api.table import route_table
from inngest_server.apps.app_error import AppError
from inngest_server.clock import Clock
from inngest_server.engine.engine import Engine
from inngest_server.engine.options import EngineOptions
from inngest_server.execution.driver import HTTPDriver
from inngest_server.execution.transport import Response
from inngest_server.settings import ServerKind, Settings
from inngest_server.storage.memory import MemoryStorage
from tests.wire.normal import Bindings, MismatchError, kept_headers, unpacked

QUIET_ROUNDS = 12
"""Rounds of the event loop without work after which every task waits for us."""
TIMERS_MAX = 200
SHARDS = 8

Entry = Mapping[str, Any]


class ReplayClock(Clock):
    """Shows the recorded time."""

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        return self.at_ms

    def host_s(self) -> int:
        return self.at_ms // 1000

    def monotonic_s(self) -> float:
        return self.at_ms / 1000

    def advance_to(self, at_ms: int) -> None:
        self.at_ms = max(self.at_ms, at_ms)


@dataclass(slots=True, eq=False)
class Sent:
    """A request of the engine that has no answer yet."""

    request: dict[str, Any]
    answer: "asyncio.Future[Response]"


class RecordedApp:
    """The transport: it keeps what is sent until the recording has an answer to it."""

    def __init__(self) -> None:
        self.waiting: list[Sent] = []

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
        parts = urlsplit(url)
        request = {
            "method": method,
            "path": parts.path,
            "query": dict(parse_qsl(parts.query)),
            "headers": kept_headers({name.lower(): value for name, value in headers.items()}),
            "body": {"json": json.loads(body)},
        }
        sent = Sent(request, asyncio.get_running_loop().create_future())
        self.waiting.append(sent)
        return await sent.answer


class NoSyncer:
    async def sync(self, url: str) -> AppError | None:
        raise AssertionError(f"nothing was recorded for a PUT to {url}")


class Headers(dict[str, str]):
    """Looked up without regard to case, as the real transport's are."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.lower(), default)


class Replay:
    """An engine and its HTTP surface over the memory model, driven entry by entry."""

    def __init__(self, at_ms: int) -> None:
        self.clock = ReplayClock(at_ms)
        self.bindings = Bindings()
        self.app = RecordedApp()
        self._under_way: dict[int, Sent] = {}
        storage = MemoryStorage(shard_count=SHARDS)
        self.engine = Engine(
            storage, self.clock, random.Random(1), options=EngineOptions(retry_interval_ms=1000)
        )
        self._driver = HTTPDriver(
            self.app, self.clock, answered=self.engine.tell, next_request_id=self.engine.next_id
        )
        self.engine.driver = self._driver
        settings = Settings(kind=ServerKind.DEV)
        context = Context(settings, self.engine, storage, NoSyncer(), self.clock, "0")
        self._router = Router(context, route_table())

    async def start(self) -> None:
        await self.engine.start()

    async def close(self) -> None:
        for sent in self.app.waiting:
            sent.answer.cancel()
        await self._driver.close()

    async def play(self, entries: list[Entry], begun_at_ms: int) -> None:
        """Repeat the inputs and compare the outputs, one by one.

        Raises:
            MismatchError: the server did something else than when it was recorded.
        """
        for number, entry in enumerate(entries):
            self.clock.advance_to(begun_at_ms + entry["at_ms"])
            try:
                if entry["kind"] == "request" and entry["to"] == "app":
                    self._under_way[entry["number"]] = await self._expect(entry)
                elif entry["kind"] == "response" and entry["to"] == "app":
                    await self._answer(entry)
                elif entry["kind"] == "request":
                    answer = next(one for one in entries[number:] if one.get("of") == entry["number"])
                    await self._request(entry, answer)
            except MismatchError as error:
                raise MismatchError(f"entry {number}: {error}") from error
        await self._settle()
        if self.app.waiting:
            raise MismatchError(f"never recorded: {[_title(sent.request) for sent in self.app.waiting]}")

    async def register(self, request: Entry) -> None:
        """Announce the app's functions as it did."""
        status, answer = await self._serve(
            "POST", request["path"], request["headers"], _encoded(request["body"])
        )
        assert status == 200, answer

    async def slugs(self, registration: Mapping[str, Any]) -> dict[str, str]:
        """Internal to composite ids of the app's functions."""
        app = registration.get("appName") or registration["appname"]
        listed = await self.get(f"/v1/apps/{app}/functions")
        return {function["internal_id"]: function["id"] for function in listed}

    async def get(self, path: str) -> Any:
        """The body of an answer of our own surface."""
        status, body = await self._serve("GET", path, {}, None)
        assert status == 200, (path, status, body)
        return body["data"] if isinstance(body, dict) and "metadata" in body else body

    async def _expect(self, entry: Entry) -> Sent:
        """The recorded request, once the engine has sent it; time goes on while nothing else happens."""
        recorded = {name: unpacked(entry[name]) for name in ("method", "path", "query", "headers", "body")}
        mismatch: MismatchError | None = None
        for _ in range(TIMERS_MAX):
            await self._settle()
            for sent in self.app.waiting:
                trial = self.bindings.copy()
                try:
                    trial.unify(recorded, sent.request)
                except MismatchError as error:
                    if sent.request["query"] == self.bindings.filled(recorded["query"]):
                        mismatch = MismatchError(f"{_title(sent.request)}: {error}")
                    continue
                self.bindings = trial
                self.app.waiting.remove(sent)
                return sent
            due_at_ms = self.engine.live.timers.next_due_ms()
            if due_at_ms is None or mismatch is not None:
                break
            self.clock.advance_to(due_at_ms)
        if mismatch is None:
            waiting = [_title(sent.request) for sent in self.app.waiting]
            mismatch = MismatchError(f"expected {_title(recorded)}, but only {waiting} is sent")
        raise mismatch

    async def _answer(self, entry: Entry) -> None:
        sent = self._under_way.pop(entry["of"])
        headers = Headers(entry["headers"])
        body = _encoded(self.bindings.filled(unpacked(entry["body"])))
        sent.answer.set_result(Response(entry["status"], headers, body))
        await self._settle()

    async def _request(self, entry: Entry, answer: Entry) -> None:
        """A request to the server: it is served now, its recorded answer compared."""
        path = self.bindings.filled(entry["path"])
        if entry["query"]:
            path = f"{path}?{urlencode(entry['query'])}"
        body = self.bindings.filled(unpacked(entry["body"]))
        status, served = await self._serve(
            entry["method"], path, entry["headers"], _encoded(body) if body is not None else None
        )
        self.bindings.unify(
            {"status": answer["status"], "body": unpacked((answer["body"] or {}).get("json"))},
            {"status": status, "body": served},
            f"{entry['method']} {entry['path']}",
        )

    async def _serve(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, Any]:
        scope = {
            "type": "http",
            "method": method,
            "path": path.partition("?")[0],
            "raw_path": path.partition("?")[0].encode(),
            "query_string": path.partition("?")[2].encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body or b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        serving = asyncio.ensure_future(self._router(scope, receive, send))
        while not serving.done():
            await self._settle()
        await serving
        raw = b"".join(message.get("body", b"") for message in sent)
        return sent[0]["status"], json.loads(raw) if raw.strip() else None

    async def _settle(self) -> None:
        """Let everything happen that can happen at this moment."""
        quiet = 0
        while quiet < QUIET_ROUNDS:
            worked = await self.engine.run_once()
            worked = await self.engine.load_once() or worked
            await asyncio.sleep(0)
            quiet = 0 if worked else quiet + 1


def _encoded(body: Mapping[str, Any] | None) -> bytes:
    if body is None:
        return b""
    if "text" in body:
        return body["text"].encode()
    return json.dumps(body["json"]).encode()


def _title(request: Mapping[str, Any]) -> str:
    attempt = request["body"]["json"]["ctx"]["attempt"]
    return f"{request['query'].get('fnId')} step {request['query'].get('stepId')} attempt {attempt}"
