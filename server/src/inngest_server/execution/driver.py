"""Sends call requests to apps over HTTP and hands their answers to the engine.

Each app has a queue and a bounded number of workers, so a hanging app holds its own connections only.
Workers are tasks that live on, because a task per call costs more than composing the call. Requests for
gateway steps, which go to other hosts than apps, are carried in the same way: `gateway.py`.
"""

import asyncio
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from inngest_server.apps.app_error import app_error_from_transport
from inngest_server.clock import Clock
from inngest_server.execution.answers import read_answer, too_large, transport_failed
from inngest_server.execution.compose import CallBody, compose
from inngest_server.execution.transport import ResponseTooLargeError, Transport, TransportError
from inngest_server.runs.facts import Answer, Answered, Exchange
from inngest_server.runs.opcodes.gateway import GatewayRequest
from inngest_server.runs.records import ItemRow
from inngest_server.runs.run import Known, Run
from inngest_server.wire import json
from inngest_server.wire.limits import CALL_TIMEOUT_S, RESPONSE_BYTES_MAX
from inngest_server.wire.signature import sign

ACCOUNT_ID = "00000000-0000-4000-a000-000000000000"
APP_CONNECTIONS = 256
"""Calls to one app at a time. Enough for a slow app, and few enough for one process to accept."""

_DISCOVERY_STEP = re.compile(r"(?<=[?&])stepId=step(?=&|$)")
_BIG_INTEGER = re.compile(rb"\d{16}")


class Call(NamedTuple):
    """An item that is to be sent to an app, or for a gateway item to somebody else."""

    run: Run
    item: ItemRow
    app_id: str
    url: str
    """Of the function; `stepId=step` is replaced for a targeted item."""
    function_id: str
    max_attempts: int
    known: Known
    """What of the run's content is durable when this is sent."""
    request: GatewayRequest | None = None
    """What a gateway item stands for; None for all others."""


class Driver(Protocol):
    """What the engine needs of whatever carries calls."""

    def send(self, call: Call) -> None:
        """Queue the call; its answer comes back as an `Answered` fact."""
        ...

    def is_sending(self, item_id: str, generation: int) -> bool:
        """Whether that dispatch is queued or under way here."""
        ...

    def recall(self) -> None:
        """Forget the calls that are queued and not under way: the state they were made from is gone."""
        ...


class _Queue:
    """Calls to one app or host that wait for a worker, and workers that wait for a call."""

    __slots__ = ("calls", "idle", "workers")

    def __init__(self) -> None:
        self.calls: deque[Call] = deque()
        self.idle: list[asyncio.Future[Call]] = []
        self.workers = 0


class QueuedDriver(ABC):
    """What all drivers do alike: queues with a bounded number of workers, recalling, draining.

    `keeps_workers` says that a worker without work waits for more; otherwise it ends, and its queue with the
    last one, because nobody knows how many queues there will be.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        answered: Callable[[Answered], None],
        connections: int,
        keeps_workers: bool,
    ) -> None:
        self._clock = clock
        self._answered = answered
        self._connections = connections
        self._keeps_workers = keeps_workers
        self._queues: dict[str, _Queue] = {}
        self._under_way: dict[str, int] = {}
        """Generation of each item that is queued or sent."""
        self._started: set[str] = set()
        """Items among them whose request was composed."""
        self._is_draining = False
        self._drained: asyncio.Future[None] | None = None
        self._workers: set[asyncio.Task[None]] = set()

    @abstractmethod
    def _queue_of(self, call: Call) -> str:
        """Calls with the same name share connections."""

    def _exchange(self, http_status: int, began_ms: int, began_s: float) -> Exchange:
        """What a call that ends now was like; status 0 where no response came.

        It began at a moment of domain time, and took host time since `began_s`.
        """
        return Exchange(http_status, began_ms, round((self._clock.monotonic_s() - began_s) * 1000))

    def _sender_ms(self) -> int:
        """What the clock of whoever answers is taken to show now."""
        return self._clock.now_ms() - self._clock.shift_ms()

    @abstractmethod
    async def _call(self, call: Call) -> tuple[Answer, Exchange]:
        """Make the call."""

    @property
    def under_way(self) -> int:
        """Calls queued or sent whose answer has not come."""
        return len(self._under_way)

    def send(self, call: Call) -> None:
        name = self._queue_of(call)
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue()
        self._under_way[call.item.item_id] = call.item.generation
        while queue.idle:
            waiting = queue.idle.pop()
            if not waiting.done():
                waiting.set_result(call)
                return
        queue.calls.append(call)
        if not self._is_draining and queue.workers < self._connections:
            queue.workers += 1
            task = asyncio.get_running_loop().create_task(self._work(name, queue))
            self._workers.add(task)
            task.add_done_callback(self._workers.discard)

    def is_sending(self, item_id: str, generation: int) -> bool:
        return self._under_way.get(item_id) == generation

    def has_begun(self, item_id: str) -> bool:
        """Whether a connection was free for the item's call."""
        return item_id in self._started

    def recall(self) -> None:
        for queue in self._queues.values():
            queue.calls.clear()
        for item_id in self._under_way.keys() - self._started:
            del self._under_way[item_id]

    async def close(self) -> None:
        """Abandon what is under way: the next start of the server sends it again."""
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def drain(self, timeout_s: float) -> bool:
        """Start no more calls and wait for the answers of those under way; True if all came in time.

        What was not started stays marked as sent, so that the next start of the server sends it.
        """
        self._is_draining = True
        if self._started:
            self._drained = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._drained], timeout=timeout_s)
        return not self._started

    async def _work(self, name: str, queue: _Queue) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                if queue.calls and not self._is_draining:
                    call = queue.calls.popleft()
                elif not self._keeps_workers:
                    return
                else:
                    waiting: asyncio.Future[Call] = loop.create_future()
                    queue.idle.append(waiting)
                    call = await waiting
                await self._carry(call)
        finally:
            queue.workers -= 1
            if not (self._keeps_workers or queue.workers or queue.calls):
                del self._queues[name]

    async def _carry(self, call: Call) -> None:
        item = call.item
        if self._is_draining or not self.is_sending(item.item_id, item.generation):
            return  # Recalled, or left to the next start.
        current = call.run.items.get(item.item_id)
        if current is None or current.generation != item.generation or call.run.content is None:
            self._done(item)  # The run ended, or the item was sent again, before a connection was free.
            return
        self._started.add(item.item_id)
        exchange = None
        try:
            answer, exchange = await self._call(call)
        except Exception as error:  # Whatever it is, the run must learn that the call failed.
            answer = transport_failed(
                "internal", f"the call could not be made: {type(error).__name__}: {error}"
            )
        self._done(item)
        self._answered(Answered(item.run_id, item.item_id, item.generation, answer, exchange))

    def _done(self, item: ItemRow) -> None:
        if self.is_sending(item.item_id, item.generation):
            del self._under_way[item.item_id]
            self._started.discard(item.item_id)
            if self._drained is not None and not self._started and not self._drained.done():
                self._drained.set_result(None)


class HTTPDriver(QueuedDriver):
    """The driver for served apps."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        *,
        answered: Callable[[Answered], None],
        next_request_id: Callable[[], str],
        signing_key: str | None = None,
        server_kind: str = "dev",
        app_connections: int = APP_CONNECTIONS,
    ) -> None:
        super().__init__(clock, answered=answered, connections=app_connections, keeps_workers=True)
        self._transport = transport
        self._next_request_id = next_request_id
        self._signing_key = signing_key
        self._server_kind = server_kind

    def calls_by_app(self) -> dict[str, tuple[int, int]]:
        """Calls under way, and calls that wait for one of the app's connections."""
        return {
            app_id: (queue.workers - len(queue.idle), len(queue.calls))
            for app_id, queue in self._queues.items()
        }

    def _queue_of(self, call: Call) -> str:
        return call.app_id

    async def _call(self, call: Call) -> tuple[Answer, Exchange]:
        item, run = call.item, call.run
        request_id = self._next_request_id()
        composed = compose(
            run.loaded,
            item,
            call.known,
            function_id=call.function_id,
            max_attempts=call.max_attempts,
            request_id=request_id,
            canonical=self._signing_key is not None,
        )
        url = call.url
        step = item.step_id or "step"
        if item.step_id:
            url = _DISCOVERY_STEP.sub(f"stepId={item.step_id}", url)
        headers = {
            "Content-Type": "application/json",
            "X-Inngest-Server-Kind": self._server_kind,
            "x-inngest-req-version": str(composed.version),
            "X-Inngest-Step-ID": step,
            "X-Run-ID": item.run_id,
            "x-request-id": request_id,
            "x-inngest-generation-id": str(item.generation),
            "x-inngest-job-id": item.item_id,
            "account-id": ACCOUNT_ID,
        }
        if self._signing_key is not None:
            headers["X-Inngest-Signature"] = sign(
                _signed_form(composed), self._signing_key, self._clock.host_s()
            )
        began_ms, began_s = self._clock.now_ms(), self._clock.monotonic_s()
        try:
            response = await self._transport.send(
                "POST",
                url,
                headers,
                composed.body,
                timeout_s=CALL_TIMEOUT_S,
                body_bytes_max=RESPONSE_BYTES_MAX,
            )
        except TransportError as error:
            known = app_error_from_transport(error.kind, url, error.detail)
            failed = transport_failed(known.code, known.message.removeprefix(f"{known.code}: "))
            return failed, self._exchange(0, began_ms, began_s)
        except ResponseTooLargeError:
            return too_large(), self._exchange(0, began_ms, began_s)
        exchange = self._exchange(response.status, began_ms, began_s)
        return read_answer(response.status, response.headers, response.body, self._sender_ms()), exchange


def _signed_form(composed: CallBody) -> bytes:
    """What a JavaScript SDK hashes. It differs from the body only where an integer is beyond 2^53."""
    if _BIG_INTEGER.search(composed.body) is None:
        return composed.body
    return json.canonical(json.parse_kept(composed.body))
