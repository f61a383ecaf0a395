"""An engine over storage in memory, whose calls are answered by the test."""

import random
from typing import Any

from inngest_server.apps.config import FunctionConfig
from inngest_server.apps.registration import Registration, parse_registration
from inngest_server.clock import Clock
from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import EventsSent, Synced
from inngest_server.engine.options import EngineOptions
from inngest_server.events.event import make_event, read_event
from inngest_server.execution.driver import Call
from inngest_server.runs.facts import Answer, Answered, Op, Returned
from inngest_server.runs.records import RunRow
from inngest_server.runs.run import Run
from inngest_server.storage.memory import MemoryStorage
from inngest_server.wire.ulid import from_seed
from tests.builders import T0_MS
from tests.unit.runs.builders import make_reported

APP_URL = "http://localhost:8000/api/inngest"


class VirtualClock(Clock):
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.ms = T0_MS

    def now_ms(self) -> int:
        return self.ms

    def host_s(self) -> int:
        return self.ms // 1000

    def monotonic_s(self) -> float:
        return self.ms / 1000


class Desk:
    """A driver that keeps calls until the test answers them."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def send(self, call: Call) -> None:
        self.calls.append(call)

    def is_sending(self, item_id: str, generation: int) -> bool:
        return any((call.item.item_id, call.item.generation) == (item_id, generation) for call in self.calls)

    def recall(self) -> None:
        self.calls.clear()


def make_function(function_id: str, event: str | None = None, **options: Any) -> dict[str, Any]:
    """A function as an SDK registers it."""
    url = f"{APP_URL}?fnId=shop-{function_id}&stepId=step"
    return {
        "id": f"shop-{function_id}",
        "name": function_id,
        "triggers": [{"event": event}] if event else [],
        "steps": {"step": {"id": "step", "name": "step", "runtime": {"type": "http", "url": url}}},
        **options,
    }


def make_config(function_id: str = "fulfil", **options: Any) -> FunctionConfig:
    return FunctionConfig.from_json(make_function(function_id, "shop/order.placed", **options))


def make_registration(*functions: dict[str, Any]) -> Registration:
    body = {
        "appName": "shop",
        "url": APP_URL,
        "deployType": "ping",
        "sdk": "py:v0.5.19",
        "framework": "fast_api",
        "v": "0.1",
        "functions": list(functions),
    }
    return parse_registration(body)


class Office:
    """An engine that has started, its desk, and the words to drive them."""

    def __init__(self, options: EngineOptions | None = None, *, shard_count: int = 4) -> None:
        self.clock = VirtualClock()
        self.storage = MemoryStorage(shard_count=shard_count)
        self.engine = Engine(self.storage, self.clock, random.Random(7), options=options)
        self.desk = Desk()
        self.engine.driver = self.desk
        self._number = 0

    async def open(self, *functions: dict[str, Any]) -> None:
        await self.engine.start()
        if functions:
            await self.sync(*functions)

    async def settle(self) -> None:
        """Decide and load until nothing is left to do now."""
        worked = True
        while worked:
            worked = await self.engine.load_once() or await self.engine.run_once()

    async def sync(self, *functions: dict[str, Any]) -> None:
        self.engine.tell(Synced(make_registration(*functions)))
        await self.settle()

    async def send(self, name: str, data: dict[str, Any] | None = None, **fields: Any) -> str:
        """Send an event; its internal id."""
        self._number += 1
        internal_id = self.engine.next_id()
        draft = read_event({"name": name, "data": data or {}, **fields})
        event = make_event(
            draft, internal_id=internal_id, received_at_ms=self.clock.now_ms(), repeatable=False
        )
        reply = self.engine.ask_events(EventsSent([event]))
        await self.settle()
        await reply
        return internal_id

    async def send_seeded(self, name: str, seed_ms: int, data: dict[str, Any] | None = None) -> str:
        """Send an event whose ids and time come from a client's clock; its internal id."""
        self._number += 1
        internal_id = from_seed(seed_ms, bytes(10), self._number)
        draft = read_event({"name": name, "data": data or {}, "ts": seed_ms})
        event = make_event(
            draft, internal_id=internal_id, received_at_ms=self.clock.now_ms(), repeatable=True
        )
        reply = self.engine.ask_events(EventsSent([event]))
        await self.settle()
        await reply
        return internal_id

    async def answer(self, call: Call, answer: Answer) -> None:
        self.desk.calls.remove(call)
        item = call.item
        self.engine.tell(Answered(item.run_id, item.item_id, item.generation, answer))
        await self.settle()

    async def report(self, call: Call, *ops: Op) -> None:
        await self.answer(call, make_reported(*ops))

    async def complete(self, call: Call, output: bytes = b'"done"') -> None:
        await self.answer(call, Returned(output))

    async def advance(self, ms: int) -> None:
        self.clock.ms += ms
        await self.settle()

    def call_of(self, slug: str) -> Call:
        """The one call that waits for a function of that slug."""
        function = self.engine.functions.find(slug)
        assert function is not None
        (call,) = [call for call in self.desk.calls if call.function_id == function.id]
        return call

    def run_of(self, call: Call) -> Run:
        run = self.engine.live.find_run(call.item.run_id)
        assert run is not None
        return run

    async def row(self, run_id: str) -> RunRow:
        (row,) = await self.storage.get(RunRow, [run_id])
        return row
