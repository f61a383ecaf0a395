"""A whole world in one thread and from one seed: a node, its disk, the network, apps, clients and clocks.

Real are the engine with its loops, the HTTP driver, the reading and making of events, and the memory storage.
Simulated are time, the order in which ready tasks run, the disk, the network, the apps and the clients. A
process crash ends every task of the node between two awaits; another one starts on the same rows.
"""

import asyncio
import base64
import contextvars
import random
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog

from inngest_server.api.events import invoke_function, send_events
from inngest_server.api.rest.checkpoints import checkpoint
from inngest_server.api.rest.runs import delete_run
from inngest_server.api.rest.signals import send_signal
from inngest_server.apps.registration import parse_registration
from inngest_server.engine import engine as engine_module
from inngest_server.engine import work as work_module
from inngest_server.engine.facts import Synced
from inngest_server.engine.options import EngineUnavailableError
from inngest_server.execution.answers import read_answer
from inngest_server.execution.transport import Response
from inngest_server.runs.facts import Answered
from inngest_server.runs.run import Limits
from inngest_server.wire import json

from .apps import App, Kind, Request
from .auditor import Auditor
from .disk import Disk, DiskFaults
from .event_loop import DeadlockError, LivelockError, SimulatedLoop, run_simulated
from .network import Network, NetworkFaults
from .node import OWNER, Node, NodeDownError, WorldClock
from .programs import CANCEL_EVENT, EVENTS, SIGNALS, Function, ProgramMaker, Step

SETTLE_DAYS = 60
"""No program sleeps or waits for longer than a few days, so that a healed world is idle by then."""
CLIENT_TRIES = 6
SYNC_TRIES = 40_000
CRON = "*/10 * * * *"
CRON_STEP_MS = 600_000
TIGHT_LIMITS = Limits(steps_max=4, ops_per_response_max=3, state_bytes_max=150, output_bytes_max=40)
"""So tight that ordinary functions hit them."""


@dataclass(frozen=True)
class Report:
    """What happened in a world, for people."""

    hours: float = 0.0
    events: int = 0
    runs: int = 0
    requests: int = 0
    commits: int = 0
    crashes: int = 0
    faults: int = 0
    steps: int = 0

    def __add__(self, other: "Report") -> "Report":
        return Report(*[getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__])


class World:
    """One seeded world. Rates of None are drawn from the seed."""

    def __init__(
        self,
        seed: int,
        *,
        shards: int | None = None,
        crash_rate: float | None = None,
        app_error_rate: float | None = None,
        disk_error_rate: float | None = None,
        clock_skew_s: float | None = None,
        events: int | None = None,
        pace_s: float | None = None,
        slow_disk: float | None = None,
        disk_delay_s: float | None = None,
    ) -> None:
        chance = self._chance = random.Random(f"{seed} world")
        self.seed = seed
        self.loop = SimulatedLoop(seed)
        self.loop.set_task_factory(self._make_task)
        self.clock = WorldClock(self.loop)
        self.auditor = Auditor(
            f"seed {seed}; replay: python -m tests.simulation --seed {seed}", self.clock.domain_ms
        )
        self.shards = shards or chance.choice((1, 4, 16))
        crash = chance.choice((0.0, 0.0003, 0.002)) if crash_rate is None else crash_rate
        disk = chance.choice((0.0, 0.01, 0.05)) if disk_error_rate is None else disk_error_rate
        app = chance.choice((0.0, 0.02, 0.1)) if app_error_rate is None else app_error_rate
        self._crash_rate = crash
        """Per callback that the loop runs."""
        self._skew_s = chance.choice((0.0, 5.0)) if clock_skew_s is None else clock_skew_s
        self.limits = TIGHT_LIMITS if chance.random() < 0.1 else Limits()
        self.cron_catch_up = chance.choice(("skip", "all"))
        self._event_count = chance.choice((5, 15, 40)) if events is None else events
        pace = chance.choice((0.05, 2.0, 60.0, 900.0))
        self._pace_s = pace if pace_s is None else pace_s
        """Mean pause between what clients do."""
        self.disk_faults = DiskFaults(
            commit_fails=disk / 4,
            unknown_after=disk / 4,
            unknown_before=disk / 4,
            unknown_late=disk / 4,
            read_fails=disk / 2,
            slow=chance.choice((0.0, 0.02, 0.2)) if slow_disk is None else slow_disk,
            delay_s=chance.choice((0.0005, 0.005, 0.2)) if disk_delay_s is None else disk_delay_s,
        )
        self.network_faults = NetworkFaults(
            refused=app / 4,
            lost_answer=app / 4,
            doubled=app / 2,
            garbage=app / 4,
            empty=app / 4,
            hangs=app / 50,
            slow=chance.choice((0.0, 0.1)),
        )
        self.disk = Disk(self.shards, self.auditor.applied, self.auditor.pruned)
        self.apps = self._make_apps()
        self.network = Network(
            {f"{app.name}.test:3000": app for app in self.apps},
            self.network_faults,
            random.Random(f"{seed} network"),
            self.auditor,
            self._spawn,
            self._late_answer,
        )
        self.node: Node | None = None
        self._nodes = 0
        self.crashes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._sent_ids: list[str] = []

    # Making it.

    def _make_apps(self) -> list[App]:
        chance = self._chance
        kinds: list[Kind] = ["py", "ts3", "ts4"]
        apps: list[App] = []
        children: list[str] = []
        for number in range(chance.choice((1, 2, 3))):
            kind = kinds[(chance.randrange(3) + number) % 3]
            name = f"{kind}{number}"
            functions: list[Function] = []
            for index in range(chance.choice((1, 2, 3))):
                function = self._make_function(f"{name}-f{index}", children)
                functions.append(function)
                children.append(function.slug)
                function.hidden = chance.random() < 0.15
                if chance.random() < 0.3:
                    functions.append(
                        Function(
                            f"{function.slug}-failure",
                            (Step("handle", chance.choice((0, 0, 99))),),
                            event="inngest/function.failed",
                            expression=f"event.data.function_id == '{function.slug}'",
                            retries=0,
                        )
                    )
            if chance.random() < 0.15:
                functions.append(Function(f"{name}-cron", (Step("tick"),), cron=CRON))
            apps.append(
                App(
                    name,
                    kind,
                    functions,
                    chance=random.Random(f"{self.seed} {name}"),
                    observer=self.auditor,
                    server=self,
                    slowness_s=chance.choice((0.001, 0.1, 3.0)),
                )
            )
        return apps

    def _make_function(self, slug: str, children: list[str]) -> Function:
        """Functions only invoke those made before them, so that no invocation goes in circles."""
        chance = self._chance
        retries = chance.choice((0, 1, 2, 4))
        maker = ProgramMaker(
            chance, [*children, "nowhere-gone"] if children else [], max_attempts=retries + 1
        )
        function = Function(slug, maker.make(chance.choice((1, 2, 4, 6))), retries=retries)
        if chance.random() < 0.85 or not children:
            function.event = chance.choice(EVENTS)
            if chance.random() < 0.3:
                function.expression = f"event.data.k == {chance.randrange(3)}"
        if chance.random() < 0.5:
            function.concurrency = self._make_limits()
        if chance.random() < 0.4:
            function.cancel_event = CANCEL_EVENT
        return function

    def _make_limits(self) -> list[dict[str, Any]]:
        chance = self._chance
        limits: list[dict[str, Any]] = []
        if chance.random() < 0.7:
            limits.append({"limit": chance.choice((1, 1, 2, 3))})
        if not limits or chance.random() < 0.4:
            limits.append({"limit": chance.choice((1, 1, 2)), "key": "event.data.k"})
        return limits

    # Tasks: the node's die with it, all others go on.

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, context: contextvars.Context | None = None
    ) -> "asyncio.Task[Any]":
        task = asyncio.Task(coro, loop=loop, context=context)
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is not None:
            owner.tasks.append(task)
            if len(owner.tasks) > 1000:
                owner.tasks = [one for one in owner.tasks if not one.done()]
        return task

    def _spawn(self, work: Awaitable[None]) -> None:
        """Something that goes on whatever becomes of the node."""
        context = contextvars.Context()
        task = self.loop.create_task(self._guard(work), context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:
            self.auditor.note(f"the simulation itself failed: {type(error).__name__}: {error}")
            raise

    # The node.

    def _start_node(self) -> None:
        self._nodes += 1
        skew_ms = int(1000 * self._skew_s)
        if skew_ms:
            self.clock.offset_ms = self._chance.randrange(-skew_ms, skew_ms)
        node = self.node = Node(self, self._nodes)
        self.loop.create_task(self._serve(node), context=node.owned)

    async def _serve(self, node: Node) -> None:
        try:
            await node.serve()
        except Exception as error:
            self.auditor.note(f"the node ended with {error!r}")
            raise

    def _crash(self) -> None:
        """The process dies here, between two awaits; a supervisor starts another one."""
        node = self.node
        self._schedule_crash()
        if node is None:
            return
        self.crashes += 1
        self.node = None
        if self._chance.random() < 0.2:
            self._spawn(self._stop(node))
            return
        node.kill()
        self._spawn(self._restart())

    async def _stop(self, node: Node) -> None:
        """An orderly end: no new requests, and a moment for the calls that are under way."""
        drained = self.loop.create_task(node.driver.drain(5.0), context=node.owned)
        await node.answer_of(drained)
        node.kill()
        await self._restart()

    async def _restart(self) -> None:
        await asyncio.sleep(0.1 + self._chance.expovariate(1.0) * self._chance.choice((0.1, 5.0, 600.0)))
        self._start_node()

    def _schedule_crash(self) -> None:
        if self._crash_rate:
            self.loop.interrupt = self._crash
            self.loop.interrupt_at = self.loop.steps + 1 + int(self._chance.expovariate(self._crash_rate))

    def _late_answer(self, request: Request, response: Response) -> None:
        """An app's answer to a node that died; now and then the next node hears of it."""
        node = self.node
        if node is not None and self._chance.random() < 0.7:
            answer = read_answer(response.status, response.headers, response.body, self.clock.now_ms())
            node.engine.tell(Answered(request.run_id, request.item_id, request.generation, answer))

    # What apps call.

    def app_now_ms(self) -> int:
        return self.clock.domain_ms()

    async def checkpoint(self, request: Request, ops: list[dict[str, Any]]) -> int:
        """The checkpoint endpoint over a bad network. Source: protocol 7.5."""
        faults = self.network_faults
        await asyncio.sleep(self._chance.expovariate(1.0) * faults.delay_s)
        node = self.node
        if node is None or self._chance.random() < faults.refused:
            return 0
        body = {"qi_id": request.item_id, "generation_id": request.generation, "steps": ops}
        try:
            status, _ = await node.request(checkpoint, body, run_id=request.run_id)
        except NodeDownError:
            return 0
        await asyncio.sleep(self._chance.expovariate(1.0) * faults.delay_s)
        return 0 if self._chance.random() < faults.lost_answer else status

    # Clients.

    async def _clients(self) -> None:
        chance = self._chance
        for number in range(self._event_count):
            await asyncio.sleep(chance.expovariate(1.0) * self._pace_s)
            action = chance.random()
            if action < 0.8:
                self._spawn(
                    self._post([self._make_event(number) for _ in range(chance.choice((1, 1, 1, 3)))])
                )
            elif action < 0.86:
                self._spawn(self._signal(number))
            elif action < 0.89:
                self._spawn(self._cancel())
            elif action < 0.93:
                self._spawn(self._invoke(number))
            else:
                self._spawn(self._resync())

    def _make_event(self, number: int) -> dict[str, Any]:
        chance = self._chance
        event: dict[str, Any] = {
            "name": chance.choice((*EVENTS, *EVENTS, CANCEL_EVENT)),
            "data": {"k": chance.randrange(3), "n": number},
        }
        if chance.random() < 0.3:
            event["id"] = f"id-{number}"
            self._sent_ids.append(event["id"])
        elif self._sent_ids and chance.random() < 0.2:
            event["id"] = chance.choice(self._sent_ids)
        if chance.random() < 0.05:
            event["ts"] = self.clock.domain_ms() + 60_000
        return event

    def _seed(self) -> str:
        """The header by which a request that is sent again names its events as before."""
        entropy = base64.b64encode(self._chance.randbytes(10)).decode()
        return f"{self.clock.domain_ms()},{entropy}"

    async def _post(self, raw: list[dict[str, Any]]) -> None:
        """Send events as an SDK does: tried again until answered, under one seed for fresh ids or without."""
        chance = self._chance
        seed = self._seed() if chance.random() < 0.6 else ""
        for _ in range(CLIENT_TRIES):
            await asyncio.sleep(chance.expovariate(1.0) * 0.01)
            node = self.node
            if node is not None:
                began = self.auditor.begin()
                with suppress(NodeDownError):
                    status, answer = await node.request(send_events, raw, seed=seed, key="key")
                    if status == 200:
                        self.auditor.acknowledge(answer["ids"], began)
                    if status == 200 and chance.random() >= self.network_faults.lost_answer:
                        return  # Otherwise it is sent again: the client never heard of it.
            await asyncio.sleep(chance.expovariate(1.0) * 2)

    async def _signal(self, number: int) -> None:
        node, signal, data = self.node, self._chance.choice(SIGNALS), {"n": number}
        self.auditor.signalled(signal, json.dumps(data))
        if node is not None:
            with suppress(NodeDownError):
                await node.request(send_signal, {"signal": signal, "data": data})

    async def _cancel(self) -> None:
        node = self.node
        live = [run_id for run_id, run in self.auditor.runs.items() if not run.ended]
        if node is not None and live:
            run_id = self._chance.choice(live)
            with suppress(NodeDownError):
                status, _ = await node.request(delete_run, None, run_id=run_id)
                if status == 200:
                    self.auditor.acknowledged_cancel(run_id)

    async def _invoke(self, number: int) -> None:
        """Invoke a function as a client; sent again under the same seed until it is answered."""
        slug = self._chance.choice([slug for app in self.apps for slug in app.functions])
        seed = self._seed()
        for _ in range(CLIENT_TRIES):
            node = self.node
            if node is not None:
                with suppress(NodeDownError):
                    body = {"data": {"k": number % 3}}
                    status, answer = await node.request(invoke_function, body, seed=seed, slug=slug)
                    if status == 200:
                        self.auditor.acknowledge_invocation(answer["id"], slug)
                    if status in (200, 404) and self._chance.random() >= self.network_faults.lost_answer:
                        return
            await asyncio.sleep(self._chance.expovariate(1.0) * 2)

    async def _resync(self) -> None:
        """A deployment that changes limits; work that waits for slots must not notice."""
        app = self._chance.choice(self.apps)
        for function in app.functions.values():
            if self._chance.random() < 0.2 and function.cron is None:
                function.hidden = not function.hidden
            if self._chance.random() < 0.5:
                function.concurrency = self._make_limits() if self._chance.random() < 0.7 else []
        await self._sync(app)

    async def _sync(self, app: App) -> None:
        wanted: dict[str, Any] = {}
        for _ in range(SYNC_TRIES):
            if wanted != app.registration():  # What is deployed meanwhile is what the app announces.
                wanted = app.registration()
                registration = parse_registration(wanted)
            if self.auditor.problems:
                return
            node = self.node
            if node is not None:
                try:
                    await node.answer_of(node.engine.ask(Synced(registration)))
                    return
                except (NodeDownError, EngineUnavailableError):
                    pass
            await asyncio.sleep(0.5)
        self.auditor.note(f"for {SYNC_TRIES / 2:.0f} s nobody took a sync")

    # Running it.

    def run(self) -> Report:
        """The whole story: start, load, trouble, healing, and the audit.

        Raises:
            AuditError: something was wrong.
        """
        bounds = self._chance.choice(((1, 1), (3, 2), (128, 1000)))
        with quiet_logs() as logs, engine_bounds(*bounds):
            try:
                run_simulated(self.loop, self._live())
            except (DeadlockError, LivelockError) as error:
                self.auditor.note(f"{type(error).__name__}: {error}")
        for entry in logs:
            if entry["event"] in ("engine.batch_failed", "engine.fact_set_aside", "engine.run_unreadable"):
                self.auditor.note(f"{entry['event']}: {entry.get('fact', '')} {entry.get('exc_info')!r}")
        for error in self.loop.errors:
            self.auditor.note(f"event loop: {error}")
        self.auditor.check()
        return self.report

    @property
    def report(self) -> Report:
        return Report(
            hours=self.loop.time() / 3600,
            events=len(self.auditor.acknowledged),
            runs=len(self.auditor.runs),
            requests=self.auditor.requests,
            commits=self.disk.commits,
            crashes=self.crashes,
            faults=self.disk.faults + self.network.faults,
            steps=self.loop.steps,
        )

    async def _live(self) -> None:
        self._start_node()
        self._schedule_crash()
        for app in self.apps:
            await self._sync(app)
        await self._clients()
        await asyncio.sleep(self._chance.expovariate(1.0) * 600)
        await self.heal_and_settle()

    async def heal_and_settle(self) -> None:
        """Stop all faults, let time pass until nothing is left to do, and look at what remains."""
        self._crash_rate = 0.0
        self.loop.interrupt_at = None
        for faults in (self.disk_faults, self.network_faults):
            for name in faults.__dataclass_fields__:
                if name != "delay_s":
                    setattr(faults, name, 0.0)
        for app in self.apps:
            for function in app.functions.values():
                function.cron = None
            await self._sync(app)
        ends_at = self.loop.time() + SETTLE_DAYS * 86_400
        pause_s = 1.0
        while self.loop.time() < ends_at and not self.auditor.problems:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 3600)
            if self.node is not None and len(self._tasks) == 0 and self._is_idle(self.node):
                break
        self.auditor.check_settled(self.disk.rows)
        self.auditor.check_crons(CRON_STEP_MS, all_slots=self.cron_catch_up == "all")
        if not self.auditor.problems:
            self._check_memory()

    def _is_idle(self, node: Node) -> bool:
        """Whether all runs ended and no late answer is on its way; what stays is found afterwards."""
        engine = node.engine
        if engine.failure is not None or engine._inbox or node.driver.under_way:
            return False
        return all(run.ended for run in self.auditor.runs.values())

    def _check_memory(self) -> None:
        """An idle node remembers nothing of what ended."""
        node, note = self.node, self.auditor.note
        if node is None:
            note("no node came up again")
            return
        engine, live = node.engine, node.engine.live
        for name, left in (
            ("failure", engine.failure),
            ("held", engine.held),
            ("inbox", engine._inbox),
            ("told", engine._work.told),
            ("loading", engine._loader._waiting),
            ("to_load", engine._loader._to_load),
            ("events_to_load", engine._loader._events),
            ("undecided_events", engine.undecided_events),
            ("live runs", live.run_count()),
            ("counted items", {key: number for key, number in live.item_counts.items() if number}),
            ("counted waits", {kind: number for kind, number in live.wait_counts.items() if number}),
            ("waits", list(live.waits)),
            ("signals", live._signals),
            ("idle", live._idle),
            ("idle bytes", live._idle_bytes),
            ("calls under way", node.driver.under_way),
        ):
            if left:
                note(f"an idle node has {name}: {left!r:.300}")
        for shard in live.shards.values():
            slots = shard.slots
            for name in ("_holders", "_held", "_parked", "_queues", "_queues_of"):
                if getattr(slots, name):
                    note(f"an idle node has slots{name}: {getattr(slots, name)!r:.300}")


@contextmanager
def quiet_logs() -> Iterator[list[Any]]:
    """Logs go to a list, to be looked at, and not to the terminal."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@contextmanager
def engine_bounds(facts_per_batch: int, told_max: int) -> Iterator[None]:
    """Small batches show what large ones hide."""
    before = engine_module.FACTS_PER_BATCH, work_module.TOLD_MAX
    engine_module.FACTS_PER_BATCH, work_module.TOLD_MAX = facts_per_batch, told_max
    try:
        yield
    finally:
        engine_module.FACTS_PER_BATCH, work_module.TOLD_MAX = before
