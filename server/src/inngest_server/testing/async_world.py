"""Worlds for tests that are coroutines; see `world.py`."""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from inngest_server.engine.time_travel import HORIZON_MS, Goal
from inngest_server.testing import mounts
from inngest_server.testing.either_world import (
    EitherWorld,
    Histories,
    check_verdicts,
    events_of,
    histories_of,
    rules_of,
    slug_of,
    stub_of,
)
from inngest_server.testing.host import Host
from inngest_server.testing.run import Link, RunView
from inngest_server.testing.sent import Sent

T = TypeVar("T")


class AsyncRun(RunView):
    """As `Run`, for coroutines: what does something is awaited, what is read is not."""

    def __init__(
        self, link: Link, do: Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]], run_id: str
    ) -> None:
        super().__init__(link, run_id)
        self._link = link
        self._do = do

    async def cancel(self) -> None:
        await self._do(self._node.command("DELETE", f"/v1/runs/{self.id}"))

    async def rerun(self, *, from_step: str | None = None) -> "AsyncRun":
        """As `Run.rerun`."""
        body = {} if from_step is None else {"from_step": from_step}
        found = await self._do(self._node.command("POST", f"/api/ui/v1/runs/{self.id}/rerun", body))
        return AsyncRun(self._link, self._do, found["run_id"])


class AsyncWorld(EitherWorld):
    """As `World`, for tests that are coroutines: what does something is awaited.

    ASGI apps run on the test's own loop, and share with the test what belongs to that. They are not started
    and stopped: do that as your framework has it.
    """

    def __init__(
        self,
        *,
        start: datetime | None = None,
        absolute_times: bool = False,
        retry_interval: timedelta | None = None,
        patience: timedelta = timedelta(seconds=30),
        seed: str | None = None,
        host: Host | None = None,
    ) -> None:
        rules = rules_of(start, absolute_times, retry_interval, patience, seed)
        super().__init__(host, rules, lambda host: host.threads)

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    @contextmanager
    def opened(self) -> Generator[Self]:
        """As `async with`, for fixtures that are not coroutines."""
        self._open()
        try:
            yield self
        finally:
            self._close()

    async def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(self._host.engines.submit(coroutine))

    async def serve(self, app: Any, *, path: str = "/api/inngest", host: str = "testserver") -> list[str]:
        """As `World.serve`."""
        if isinstance(app, str):
            return await self._do(self._node.serve(self._address_mount(), app))
        if mounts.is_asgi(app):
            mount: mounts.Mount = mounts.ASGIMount(app, asyncio.get_running_loop(), with_lifespan=False)
        else:
            mount = mounts.WSGIMount(app, self._executor)
        return await self._do(self._node.serve(mount, self._next_address(path, host)))

    async def send(
        self, event: Any, data: Mapping[str, Any] | None = None, *more: Any, **fields: Any
    ) -> Sent[AsyncRun]:
        """As `World.send`."""
        events = events_of(event, data, more, fields)
        ids = await self._do(self._node.send(events, settles=True))
        return Sent(self._link, ids, self._run)

    async def invoke(self, function: object, data: Mapping[str, Any] | None = None) -> AsyncRun:
        """As `World.invoke`."""
        slug = self._slug_of(function)
        found = await self._do(self._node.command("POST", f"/invoke/{slug}", {"data": dict(data or {})}))
        return Sent(self._link, [found["id"]], self._run).run

    async def send_signal(self, signal: str, data: Any = None) -> AsyncRun:
        """As `World.send_signal`."""
        found = await self._do(self._node.command("POST", "/v1/signals", {"signal": signal, "data": data}))
        return self._run(found["data"]["run_id"])

    async def advance(self, by: timedelta | str | None = None, **parts: float) -> None:
        """As `World.advance`."""
        await self._do(self._node.move(Goal.MOMENT, self._after_ms(by, parts)))

    async def advance_to(self, moment: datetime) -> None:
        """As `World.advance_to`."""
        await self._do(self._node.move(Goal.MOMENT, self._moment_ms(moment)))

    async def advance_to_next(self) -> None:
        """As `World.advance_to_next`."""
        await self._do(self._node.move(Goal.NEXT_TIMER, self._after_ms(None, {"milliseconds": HORIZON_MS})))

    async def until_idle(self, within: timedelta | str | None = None) -> None:
        """As `World.until_idle`."""
        limit_ms = self._after_ms(within or timedelta(milliseconds=HORIZON_MS), {})
        await self._do(self._node.move(Goal.IDLE, limit_ms))

    async def settle(self) -> None:
        """As `World.settle`."""
        await self._do(self._node.settle())

    def runs(self, function: object = None) -> list[AsyncRun]:
        """As `World.runs`."""
        return [self._run(one) for one in self._run_ids(function)]

    async def stub_function(self, function: object, result: Any = None) -> None:
        """As `World.stub_function`."""
        await self._do(self._node.stub_function(self._slug_of(function), stub_of(result)))

    async def check_histories(self, histories: Histories, *, compare_output: bool = False) -> None:
        """As `World.check_histories`."""
        runs = histories_of(histories)
        check_verdicts(await self._do(self._node.follow(runs, compares_output=compare_output)))

    async def pause_function(self, function: object) -> None:
        await self._do(self._node.command("POST", f"/api/ui/v1/functions/{self._slug_of(function)}/pause"))

    async def resume_function(self, function: object) -> None:
        await self._do(self._node.command("POST", f"/api/ui/v1/functions/{self._slug_of(function)}/resume"))

    def _slug_of(self, function: object) -> str:
        return self._read(slug_of(self._node, function))

    def _run(self, run_id: str) -> AsyncRun:
        return AsyncRun(self._link, self._do, run_id)
