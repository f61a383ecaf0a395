"""A server in this process: the real router and engine on storage in memory, without sockets.

async with InProcess(dev()) as server:
    await server.register(make_function())
    ids = await server.send({"name": "shop/order.created"})
    call = await server.call(0)  # What the engine sent to the app.
    await server.answer(call, Returned(b'{"ok":true}'))
"""

import asyncio
import json
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, unquote

from inngest_server import clock
from inngest_server.api.context import Context
from inngest_server.api.router import Router
from inngest_server.api.table import route_table
from inngest_server.apps.app_error import AppError
from inngest_server.engine.engine import Engine
from inngest_server.engine.options import EngineOptions
from inngest_server.engine.time_travel import TimeTravel, restore
from inngest_server.execution.driver import Call
from inngest_server.runs.facts import Answer, Answered, Op, Reported
from inngest_server.runs.opcodes.registry import parse_ops
from inngest_server.runs.records import ItemState
from inngest_server.settings import ServerKind, Settings
from inngest_server.storage.memory import MemoryStorage
from inngest_server.wire.signature import bearer_hash
from tests.builders import T0_MS
from tests.unit.apps.bodies import make_body

SIGNING_KEY = "a1b2c3d4e5f60718293a4b5c6d7e8f900112233445566778899aabbccddeeff0"
BEARER = f"Bearer {bearer_hash(SIGNING_KEY)}"
EVENT_KEY = "event-key-1"
TIMEOUT_S = 10.0


def dev(**changes: Any) -> Settings:
    return Settings(**{"kind": ServerKind.DEV, **changes})


def start(**changes: Any) -> Settings:
    """A server with keys, as `inngest start` makes one."""
    keys = {"signing_key": SIGNING_KEY, "event_keys": (EVENT_KEY,)}
    return Settings(**{"kind": ServerKind.CLOUD, "host": "0.0.0.0", **keys, **changes})


class Clock(clock.Clock):
    """Stands still until a test moves it."""

    def __init__(self, now_ms: int) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        return self.ms

    def host_s(self) -> int:
        return self.ms // 1000

    def monotonic_s(self) -> float:
        return self.ms / 1000


class App:
    """A driver that keeps the calls; tests answer them."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._more = asyncio.Event()

    def send(self, call: Call) -> None:
        self.calls.append(call)
        self._more.set()

    def is_sending(self, item_id: str, generation: int) -> bool:
        return False

    def recall(self) -> None: ...

    async def call(self, index: int) -> Call:
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.calls) <= index:
                self._more.clear()
                await self._more.wait()
        return self.calls[index]


class NoSyncer:
    async def sync(self, url: str) -> AppError | None:
        return None


@dataclass(frozen=True)
class Response:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        return self.json()["data"]


class InProcess:
    """Use as an async context manager, which starts and stops the engine."""

    def __init__(
        self,
        settings: Settings,
        *,
        storage: MemoryStorage | None = None,
        now_ms: int = T0_MS,
        options: EngineOptions | None = None,
    ) -> None:
        self.settings = settings
        self.clock = Clock(now_ms)
        """The host's."""
        self.virtual = clock.VirtualClock(self.clock, is_absolute=settings.clock_absolute)
        self.app = App()
        self.storage = storage or MemoryStorage(shard_count=16)
        self.engine = Engine(self.storage, self.virtual, random.Random(7), options=options)
        self.engine.driver = self.app
        self.travel = TimeTravel(self.engine, self.virtual, self._calls_under_way)
        context = Context(
            settings,
            self.engine,
            self.storage,
            NoSyncer(),
            self.virtual,
            "1.2.3-test",
            travel=self.travel if settings.kind is ServerKind.DEV else None,
        )
        self.router = Router(context, route_table())
        self._tasks: list[asyncio.Task[None]] = []

    def _calls_under_way(self) -> int:
        counts = self.engine.live.item_counts
        return sum(count for (_, state), count in counts.items() if state == ItemState.SENT)

    async def __aenter__(self) -> Self:
        await restore(self.storage, self.virtual, starts_stopped=self.settings.clock == "virtual")
        await self.engine.start()
        self._tasks = [asyncio.create_task(self.engine.run()), asyncio.create_task(self.travel.run())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def request(
        self,
        method: str,
        target: str,
        body: Any = b"",
        headers: Mapping[str, str] | None = None,
        *,
        bearer: str | None = None,
    ) -> Response:
        """`target` is path and query as they are on the wire; a body that is not bytes is sent as JSON."""
        raw_path, _, query = target.partition("?")
        given = {"host": "127.0.0.1:8288", **(headers or {})}
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
            given = {"content-type": "application/json", **given}
        if bearer is not None:
            given["authorization"] = bearer
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": unquote(raw_path),
            "raw_path": raw_path.encode(),
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()],
        }
        parts = [body[at : at + 65536] for at in range(0, len(body), 65536)] or [b""]
        messages = [
            {"type": "http.request", "body": part, "more_body": index + 1 < len(parts)}
            for index, part in enumerate(parts)
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        async with asyncio.timeout(TIMEOUT_S):
            await self.router(scope, receive, send)
        head, tail = sent
        pairs = [(name.decode(), value.decode("latin-1")) for name, value in head["headers"]]
        assert len(dict(pairs)) == len(pairs), f"a header came twice: {pairs}"
        assert dict(pairs)["x-inngest-server-kind"] == self.settings.kind.value
        return Response(head["status"], dict(pairs), tail["body"])

    async def get(self, target: str, **headers: str) -> Response:
        bearer = None if self.settings.is_open else BEARER
        return await self.request("GET", target, headers=headers, bearer=bearer)

    async def post(self, target: str, body: Any = b"", **headers: str) -> Response:
        bearer = None if self.settings.is_open else BEARER
        return await self.request("POST", target, body, headers, bearer=bearer)

    async def delete(self, target: str) -> Response:
        bearer = None if self.settings.is_open else BEARER
        return await self.request("DELETE", target, bearer=bearer)

    # What a test does with the server.

    async def register(self, *functions: object, **fields: object) -> None:
        answer = await self.post("/fn/register", make_body(*functions, **fields))
        assert answer.status == 200, answer.body

    async def send(self, *events: object, **headers: str) -> list[str]:
        """Internal ids of events that are accepted."""
        answer = await self.request("POST", f"/e/{EVENT_KEY}", list(events), headers)
        assert answer.status == 200, answer.body
        return answer.json()["ids"]

    async def call(self, index: int) -> Call:
        """The n-th request to the app; waits until it is sent."""
        return await self.app.call(index)

    async def answer(self, call: Call, answer: Answer) -> None:
        """Let the app answer; returns when that is durable."""
        await self.engine.ask(Answered(call.item.run_id, call.item.item_id, call.item.generation, answer))

    async def report(self, call: Call, *ops: object, version: int = 2) -> None:
        """Let the app answer 206."""
        await self.answer(call, Reported(read_ops(*ops), version, no_retry=False, retry_after_ms=None))

    async def run_of(self, event_id: str) -> dict[str, Any]:
        """The only run of an event."""
        [run] = (await self.get(f"/v1/events/{event_id}/runs")).data
        return run


def read_ops(*ops: object) -> tuple[Op, ...]:
    return parse_ops(list(ops))


def quoted(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="", errors="surrogatepass")
