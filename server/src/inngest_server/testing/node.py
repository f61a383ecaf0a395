"""One server of a test, without the command line around it: the production engine on storage in memory.

Everything here runs on the loop of the engines. The clock stands still; journeys move it
(`engine/time_travel.py`). After each command the node is *quiet*: whatever can happen without time has
happened.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from inngest_server import __version__
from inngest_server.api.context import Context
from inngest_server.api.rest.system_events import bodies_of, events_of_run
from inngest_server.api.router import Router
from inngest_server.api.table import route_table
from inngest_server.apps.urls import InvalidAppURLError
from inngest_server.clock import SystemClock, VirtualClock
from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import EventsSent
from inngest_server.engine.options import EngineOptions
from inngest_server.engine.registering import register
from inngest_server.engine.time_travel import Ended, Goal, TimeTravel, restore
from inngest_server.events.event import Event, make_event, read_event
from inngest_server.events.records import EventRow
from inngest_server.execution.driver import HTTPDriver
from inngest_server.execution.gateway import Drivers, GatewayDriver
from inngest_server.execution.syncer import AppSyncer
from inngest_server.execution.transport import HTTPTransport
from inngest_server.runs.records import RunRow
from inngest_server.settings import ServerKind, Settings
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import EventQuery, RunHistory, RunQuery
from inngest_server.testing.calls import STUB_ORIGIN, Calls, StubFunction, Uncounted
from inngest_server.testing.errors import (
    AppNotServedError,
    ClockMoveError,
    NotIdleError,
    RefusedError,
    WorldStuckError,
)
from inngest_server.testing.follow import UNASKED, Verdict
from inngest_server.testing.gate import Gate
from inngest_server.testing.mounts import Mount
from inngest_server.testing.outside import Outside
from inngest_server.traces.exported import ExportedRun
from inngest_server.wire import json
from inngest_server.wire.times import format_rfc3339

SHARDS = 16
LIST_MAX = 100_000
"""Runs and events of one test that lists show."""
HINT = (
    ". Its client asks another server unless it is made while INNGEST_DEV has the world's address: set "
    "`inngest = true` in the settings of pytest if it is made when a module is imported, and give it no "
    "is_production=True"
)
LOOK_AGAIN_S = 0.05
"""A look at the world, should nobody have said that it became quiet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is particular to a world."""

    start_ms: int | None = None
    """Where its clock stands at first; None is the present."""
    is_absolute: bool = False
    """Whether instants that apps name mean the world's time, however far it is from the host's."""
    seed: str = ""
    """Of jitter and ids."""
    retry_interval_ms: int | None = None
    """Constant back-off; None is the documented one."""
    patience_s: float = 30.0
    """Host time that one call of an app may take."""


class Node:
    """Use `start` first and `close` last."""

    def __init__(
        self, rules: Rules, calls: Calls, outside_of: Callable[[Callable[[], HTTPTransport]], Outside]
    ) -> None:
        self.rules = rules
        self.calls = calls
        self.clock = VirtualClock(SystemClock(), is_absolute=rules.is_absolute)
        self.storage = MemoryStorage(shard_count=SHARDS)
        options = EngineOptions(retry_interval_ms=rules.retry_interval_ms)
        self.engine = Engine(self.storage, self.clock, random.Random(rules.seed), options=options)
        self.outside = outside_of(self.transport)
        self._transport: HTTPTransport | None = None
        tell = self.engine.tell
        self._driver = Drivers(
            HTTPDriver(calls, self.clock, answered=tell, next_request_id=self.engine.next_id),
            GatewayDriver(self.outside, self.clock, answered=tell),
        )
        self.engine.driver = self._driver
        self._inbound = self._registrations = 0
        self.travel = TimeTravel(self.engine, self.clock, lambda: self._driver.under_way + self._inbound)
        self._rested = asyncio.Event()
        self._on_rest, self.engine.on_rest = self.engine.on_rest, self._rest
        take = partial(register, self.engine)
        self._syncer = AppSyncer(
            calls, self.clock, signing_key=None, server_kind=ServerKind.DEV.value, register=take
        )
        settings = Settings(kind=ServerKind.DEV)
        self.context = Context(
            settings, self.engine, self.storage, self._syncer, self.clock, __version__, travel=self.travel
        )
        self._router = Router(self.context, route_table())
        self._tasks: list[asyncio.Task[None]] = []
        self._mounts: list[Mount] = []

    def transport(self) -> HTTPTransport:
        """For what is really sent over the network; made when it is first needed."""
        if self._transport is None:
            self._transport = HTTPTransport()
        return self._transport

    async def start(self) -> None:
        if self.rules.start_ms is not None:
            self.clock.restore(self.rules.start_ms - 1000 - self.clock.host_ms())
        await restore(self.storage, self.clock, starts_stopped=True)
        if self.rules.start_ms is not None:
            self.clock.move_to(self.rules.start_ms)
        await self.engine.start()
        self._tasks = [asyncio.create_task(self.engine.run()), asyncio.create_task(self.travel.run())]

    async def close(self) -> None:
        for mount in self._mounts:
            with suppress(Exception):  # Of the user's; the test has its result.
                async with asyncio.timeout(self.rules.patience_s):
                    await mount.close()
        await self._driver.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._transport is not None:
            await self._transport.close()
        self.context.lane.close()

    # What comes in by HTTP.

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        """The server's HTTP interface, as apps and tests reach it."""
        if scope["type"] != "http":
            return
        if scope["path"] == "/fn/register":
            self._registrations += 1
            receive = await self._watch_registration(receive)
        self._inbound += 1
        try:
            await self._router(scope, receive, send)
        finally:
            self._inbound -= 1
            self.engine.on_rest()

    async def _watch_registration(self, receive: Any) -> Any:
        """Learn where an app says that it is, before anything is sent there."""
        messages: list[Any] = []
        body = bytearray()
        while not messages or messages[-1].get("more_body", False):
            messages.append(await receive())
            body += messages[-1].get("body", b"")
        with suppress(json.InvalidJSONError, KeyError, TypeError, InvalidAppURLError):
            fields: Any = json.parse(bytes(body))
            for one in fields["functions"]:
                self.calls.learn(str(one["steps"]["step"]["runtime"]["url"]))

        async def again() -> Any:
            return messages.pop(0) if messages else await receive()

        return again

    async def request(self, method: str, path: str, body: object = None) -> Any:
        """What the server's own interface answers to a request, decoded.

        Raises:
            RefusedError: another status than 2xx.
        """
        raw = b"" if body is None else json.dumps(body)
        target, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": target,
            "raw_path": target.encode(),
            "query_string": query.encode(),
            "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
        }
        given: list[Any] = [{"type": "http.request", "body": raw, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            return given.pop() if given else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._router(scope, receive, send)
        text = sent[-1]["body"]
        is_json = text[:1] in (b"{", b"[")
        answer: Any = json.parse_kept(text) if is_json else text.decode()
        if not 200 <= sent[0]["status"] < 300:
            said = answer.get("message") or answer.get("error") or "" if is_json else text.decode()
            hint = answer.get("hint") if is_json else ""
            code = answer.get("code") if is_json else None
            raise RefusedError(f"{said}; {hint}" if hint else str(said), str(code or "refused"))
        return answer

    # Being quiet.

    def _rest(self) -> None:
        self._on_rest()
        self._rested.set()

    async def settle(self) -> None:
        """Return when nothing happens any more without time.

        Raises:
            WorldStuckError: a call takes longer than the world's patience.
        """
        while not self.travel.is_quiet:
            await self._rest_or_stuck(self._rested)

    async def _rest_or_stuck(self, event: asyncio.Event) -> None:
        event.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AGAIN_S):
                await event.wait()
                return
        self._check_patience()

    def _check_patience(self) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise WorldStuckError(f"the server of this world failed: {error!r}") from error
        late_s = time.monotonic() - self.rules.patience_s
        hanging = [call for call in self.calls.under_way if call.began_s < late_s]
        if hanging:
            shown = "\n".join(
                f"  {call.function}, run {call.run_id}, attempt {call.attempt}" for call in hanging
            )
            raise WorldStuckError(
                f"calls of the app have not been answered for {self.rules.patience_s:g} s:\n{shown}\n"
                "A call may wait for something that this test does later; or give the world more `patience`"
            )

    # Commands.

    async def serve(self, mount: Mount, url: str) -> list[str]:
        """Let the app at a URL announce its functions; their composite ids.

        Raises:
            AppNotServedError: it did not.
        """
        self._mounts.append(mount)
        await mount.open()
        return await self.sync(mount, url)

    async def sync(self, mount: Mount, url: str) -> list[str]:
        """As `serve`, of an app that is there."""
        self.calls.mount(url, mount)
        self.calls.syncing = mount
        before = self._registrations
        self.context.refusals.clear()
        try:
            error = await self._syncer.sync(url)
        finally:
            self.calls.syncing = None
        if self.context.refusals:
            _, _, problems = next(reversed(self.context.refusals)).split("\n", 2)
            raise AppNotServedError(f"functions of the app at {url} were refused: {problems}")
        hint = HINT if self._registrations == before else ""
        if error is not None:
            raise AppNotServedError(
                f"the app at {url} did not register its functions: {error.code}: {error.message}{hint}"
            )
        own = {app.app_id for app in self.engine.functions.apps.values() if self.calls.is_at(app.url, mount)}
        if not own:
            raise AppNotServedError(
                f"the app at {url} answered, but its registration did not arrive in this world{HINT}"
            )
        await self.settle()
        return sorted(one.row.slug for one in self.engine.functions.active() if one.row.app_id in own)

    async def stub_function(self, slug: str, function: StubFunction) -> None:
        self.calls.stub(slug, function)
        known = self.engine.functions.find(slug)
        if known is not None and known.is_active:
            return  # Its calls are answered by the stub from now on.
        url = f"{STUB_ORIGIN}/{slug}"
        runtime = {"type": "http", "url": f"{url}?fnId={slug}&stepId=step"}
        step = {"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": 0}}
        body: dict[str, object] = {
            "url": url,
            "deployType": "ping",
            "framework": "stub",
            "appName": f"stub of {slug}",
            "sdk": "stub:v1",
            "v": "0.1",
            "functions": [{"id": slug, "name": slug, "triggers": [], "steps": {"step": step}}],
        }
        await register(self.engine, body)

    async def send(self, events: Sequence[dict[str, Any]], *, settles: bool) -> list[str]:
        """Store events and start what they start; their internal ids.

        Raises:
            InvalidEventsError: one is none; nothing was stored.
        """
        drafts = [read_event(fields, size=len(json.dumps(fields))) for fields in events]
        now_ms = self.engine.now_ms()
        made: list[Event] = [
            make_event(draft, internal_id=self.engine.next_id(), received_at_ms=now_ms, repeatable=False)
            for draft in drafts
        ]
        await self.engine.ask_events(EventsSent(made))
        if settles:
            await self.settle()
        return [event.internal_id for event in made]

    async def command(self, method: str, path: str, body: object = None) -> Any:
        """As `request`, and what follows from it."""
        answer = await self.request(method, path, body)
        await self.settle()
        return answer

    async def move(self, goal: Goal, to_ms: int) -> None:
        """Move the clock.

        Raises:
            NotIdleError, ClockMoveError, WorldStuckError
        """
        await self.settle()
        journey = self.travel.begin(goal, to_ms)
        done = asyncio.create_task(journey.done.wait())
        try:
            while journey.ended is None:
                await asyncio.wait([done], timeout=LOOK_AGAIN_S)
                if journey.ended is None:
                    self._check_patience()
        except BaseException:
            self.travel.stop()
            raise
        finally:
            done.cancel()
        if journey.ended in (Ended.HORIZON, Ended.TOO_MANY_STOPS) and goal is Goal.IDLE:
            timer = self.travel.next_timer()
            due = f"; next is a {timer.kind} at {format_rfc3339(timer.due_ms)}" if timer is not None else ""
            raise NotIdleError(
                f"something still waits at {format_rfc3339(self.engine.now_ms())}, after "
                f"{journey.stops.total()} stops of the clock{due}"
            )
        if journey.ended is Ended.FAILED:
            raise ClockMoveError(f"the clock could not be moved: {journey.detail}")

    async def follow(self, runs: Sequence[ExportedRun], *, compares_output: bool) -> list[Verdict]:
        """Whether the apps that are served here follow histories; a verdict for each, in their order."""
        verdicts: list[Verdict] = []
        for run in runs:
            function = self.engine.functions.find(run.function)
            if function is None or not function.is_active:
                problem = f"no app of this world serves function {run.function}"
                verdicts.append(Verdict(run.run_id, run.function, UNASKED, detail=problem))
                continue
            url = function.discovery_url.partition("?")[0]
            gate = Gate(Uncounted(self.calls), url, compares_output=compares_output, clock=self.clock)
            verdicts.append(await gate.follow(run))
        return verdicts

    # Reading.

    async def run_rows(self) -> list[RunRow]:
        """All runs, oldest first."""
        return await self.storage.list_runs(RunQuery(limit=LIST_MAX, ascending=True))

    async def history(self, run_id: str) -> RunHistory:
        return (await self.storage.histories([run_id]))[run_id]

    async def runs_of(self, internal_id: str) -> list[RunRow]:
        return await self.storage.runs_of_event(internal_id)

    async def events_of(self, run: RunRow) -> list[dict[str, Any]]:
        return await self._decoded(await events_of_run(self.storage, run))

    async def events(self, *, with_internal: bool) -> list[dict[str, Any]]:
        """All events, oldest first."""
        found = await self.storage.list_events(EventQuery(limit=LIST_MAX, include_internal=with_internal))
        return await self._decoded(found[::-1])

    async def _decoded(self, rows: Sequence[EventRow]) -> list[dict[str, Any]]:
        decoded: list[dict[str, Any]] = [
            json.parse_kept(body) for body in await bodies_of(self.context, rows)
        ]
        return decoded

    def slug_of(self, run: RunRow) -> str:
        function = self.engine.functions.find(run.function_id)
        return function.row.slug if function is not None else run.function_id
