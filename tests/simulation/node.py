"""One process of the server: the real engine, driver and HTTP handlers, on a simulated disk and network."""

import asyncio
import contextvars
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from inngest_server.api.context import Context
from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.router import Reply
from inngest_server.api.router import Request as APIRequest
from inngest_server.engine.engine import Engine
from inngest_server.engine.options import EngineOptions, EngineUnavailableError
from inngest_server.engine.retention import Retention
from inngest_server.execution.driver import HTTPDriver
from inngest_server.settings import ServerKind, Settings
from inngest_server.storage.protocol import Storage, StorageError
from inngest_server.wire import json

from .disk import FaultyStorage
from .network import SIGNING_KEY
from .process import OWNER, Process

if TYPE_CHECKING:
    from .world import World

RETENTION_MS = 3_600_000
"""Short, so that simulated days meet it; the loop itself keeps what is younger than a day."""


class NodeDownError(Exception):
    """The server's process is not there, or went away before it answered."""


class Node(Process):
    """One process of the server: everything in it is lost when it is killed."""

    def __init__(self, world: "World", number: int) -> None:
        super().__init__()
        chance = random.Random(f"{world.seed} node {number}")
        self.storage = FaultyStorage(
            world.disk, world.disk_faults, random.Random(f"{world.seed} disk {number}")
        )
        # Of the storage's queries only those that the engine and the handlers in use need are simulated.
        storage = cast("Storage", self.storage)
        options = EngineOptions(
            limits=world.limits,
            cron_catch_up=world.cron_catch_up,
            idle_contents_max=chance.choice((0, 1, 3, 5000)),
            undecided_events_max=chance.choice((3, 20_000)),
        )
        self.engine = Engine(storage, world.clock, chance, options=options)
        self.driver = HTTPDriver(
            world.network,
            world.clock,
            answered=self.engine.tell,
            next_request_id=self.engine.next_id,
            signing_key=SIGNING_KEY if world.is_signed else None,
            app_connections=chance.choice((2, 4, 256)),
        )
        self.engine.driver = self.driver
        self.down: asyncio.Future[None] = world.loop.create_future()
        self.owned = contextvars.Context()
        """The context of every task that dies with this process."""
        self.owned.run(OWNER.set, self)
        self._world = world
        settings = Settings(kind=ServerKind.DEV)
        self._context = Context(settings, self.engine, storage, _NoSyncer(), world.clock, "simulated")

    async def serve(self) -> None:
        """As the command does: open, then run; a supervisor would start it again after an error."""
        while True:
            try:
                await self.engine.start()
                break
            except StorageError:
                await asyncio.sleep(0.5)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.engine.run())
            group.create_task(Retention(self.engine, keep_ms=RETENTION_MS).run())

    async def request(
        self,
        handler: Callable[[APIRequest], Awaitable[Reply]],
        body: object,
        *,
        seed: str = "",
        **params: str,
    ) -> tuple[int, Any]:
        """What the HTTP handler answers: status, and the body where it is JSON.

        Raises:
            NodeDownError: the process died before it answered.
        """
        scope = {
            "headers": [(b"x-inngest-event-id-seed", seed.encode())] if seed else [],
            "query_string": b"",
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(body), "more_body": False}

        call: Any = handler(APIRequest(self._context, scope, receive, params))
        task = self._world.loop.create_task(call, context=self.owned)
        try:
            reply: Reply = await self.answer_of(task)
        except (EngineUnavailableError, StorageError):
            return 503, None
        except RequestRejectedError as error:
            return error.status, None
        return reply.status, json.parse(reply.body) if reply.body else None

    @property
    def is_replaced(self) -> bool:
        """Whether another process has taken the shards."""
        return self.storage.is_replaced

    def kill(self) -> None:
        if self.down.done():
            return
        self.go_on()
        self.storage.kill()
        for task in self.tasks:
            task.cancel()
        self.down.set_result(None)

    def pause(self) -> None:
        """SIGSTOP: nothing of it runs, and it does not know."""
        self.is_paused = self.storage.is_paused = True

    def go_on(self) -> None:
        """SIGCONT."""
        self.is_paused = self.storage.is_paused = False
        held, self.held = self.held, []
        self._world.loop.put_back(held)

    async def answer_of(self, future: "asyncio.Future[Any]") -> Any:
        """What the node answers, unless it dies before."""
        future.add_done_callback(
            lambda done: done.cancelled() or done.exception()
        )  # Whoever asked may be gone.
        await asyncio.wait([future, self.down], return_when=asyncio.FIRST_COMPLETED)
        if not future.done() or future.cancelled():
            raise NodeDownError
        return future.result()


class _NoSyncer:
    """Nobody asks this server to call an app."""

    async def sync(self, url: str) -> None:
        raise NotImplementedError
