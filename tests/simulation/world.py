"""A whole world in one thread and from one seed: nodes, their disk, the network, apps, clients and clocks.

Real are the engine with its loops, the HTTP driver, the reading and making of events, and the memory
storage; in some worlds SQLite beside it. Simulated are time, the order in which ready tasks run, the disk,
the network, the apps and the clients. A process crash ends every task of the node between two awaits; another
one starts on the same rows. A process that is paused goes on later, when another one may have its place.
"""

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from unittest import mock

import structlog

from inngest_server.api.rest.checkpoints import checkpoint
from inngest_server.api.rest.state import get_actions
from inngest_server.engine import engine as engine_module
from inngest_server.engine import retention as retention_module
from inngest_server.engine import work as work_module
from inngest_server.execution import compose as compose_module
from inngest_server.execution.answers import read_answer
from inngest_server.execution.http1 import Response
from inngest_server.flow_control import batch as batch_module
from inngest_server.runs.facts import Answered, CallFailed
from inngest_server.runs.run import Limits

from .apps import Request
from .auditor import Auditor
from .clients import MARK_LIFETIME_MS, Clients
from .clock import WorldClock
from .coverage import Report
from .deploys import Deployments
from .disk import Disk, DiskFaults
from .drawing import CRONS, Drawing
from .event_loop import DeadlockError, LivelockError, SimulatedLoop, run_simulated
from .explained import check_explained
from .network import Network, NetworkFaults
from .node import Node, NodeDownError
from .operators import Operators
from .options import RULES
from .process import OWNER, hold

SETTLE_DAYS = 60
"""No program sleeps or waits for longer than a few days, so that a healed world is idle by then."""
FORGET_S = 3 * 86_400
"""After this long without anything to do, what was kept for a time is gone."""
HOUR_MS = 3_600_000
FAULTS = ("engine.batch_failed", "engine.fact_set_aside", "engine.held", "engine.message_unreadable")
"""What a node says when it has made a mistake, or found damage."""
PAUSED = "process: paused while another took its shards"
EXPLAINED_SHARE = 0.05
"""Of the moments of rest: unfinished runs are explained."""
RETENTION_PAUSE_S = 1800.0
LATE_MAX_MS = 60_000
"""By which a window may close late while nothing is wrong: commits take their time."""
TIGHT_LIMITS = Limits(steps_max=4, ops_per_response_max=3, state_bytes_max=150, output_bytes_max=40)
"""So tight that ordinary functions hit them."""
SMALL_STATE_BYTES = 120
"""Runs with more state than this are told to fetch it, in some worlds."""


class World:
    """One seeded world. What is None is drawn from the seed."""

    def __init__(
        self,
        seed: int,
        *,
        shards: int | None = None,
        crash_rate: float | None = None,
        pause_share: float | None = None,
        app_error_rate: float | None = None,
        disk_error_rate: float | None = None,
        clock_skew_s: float | None = None,
        clock_jumps: bool | None = None,
        events: int | None = None,
        pace_s: float | None = None,
        slow_disk: float | None = None,
        disk_delay_s: float | None = None,
        damage: bool | None = None,
        deploys_code: bool | None = None,
        deploy_rate: float | None = None,
        edges: bool | None = None,
        sqlite: bool | None = None,
        operate_rate: float | None = None,
        rules: Sequence[str] = RULES,
    ) -> None:
        self.seed = seed
        chance = self.chance = random.Random(f"{seed} world")

        def drawn(given: Any, *choices: Any) -> Any:
            """Always draws, so that a given value changes nothing else."""
            value = chance.choice(choices)
            return value if given is None else given

        self.seen: Counter[str] = Counter()
        self.loop = SimulatedLoop(seed)
        self.loop.set_task_factory(self._make_task)
        self.loop.hold = hold
        self.clock = WorldClock(self.loop)
        replay = f"seed {seed}; replay: python -m tests.simulation --seed {seed}"
        self.shards = drawn(shards, 1, 4, 16)
        self._crash_rate = drawn(crash_rate, 0.0, 0.0003, 0.002)
        """Per callback that the loop runs."""
        self._pause_share = drawn(pause_share, 0.0, 0.0, 0.5)
        """Of the crashes: instead, the process is stopped for a while."""
        disk = drawn(disk_error_rate, 0.0, 0.01, 0.05)
        app = drawn(app_error_rate, 0.0, 0.02, 0.1)
        self._skew_s = drawn(clock_skew_s, 0.0, 5.0)
        self._jumps = drawn(clock_jumps, False, False, False, True)
        self._has_jumps = self._jumps
        """Healed or not: no node gets a clock of its own then, which would be behind the one before it."""
        self.limits = drawn(None, TIGHT_LIMITS, *[Limits()] * 9)
        self.cron_catch_up = drawn(None, "skip", "one", "all")
        self._event_count = drawn(events, 5, 15, 40)
        self.pace_s = drawn(pace_s, 0.05, 0.05, 2.0, 2.0, 60.0, 60.0, 900.0, 900.0, 14_400.0)
        """Mean pause between what clients do."""
        self._damages = drawn(damage, *[False] * 9, True)
        self.is_signed = drawn(None, False, False, False, True)
        fetches = drawn(None, False, False, False, False, True)
        self._bounds = drawn(None, (1, 1), (3, 2), (128, 1000))
        self._state_bytes = SMALL_STATE_BYTES if fetches else compose_module.USE_API_STATE_BYTES
        client_skew_ms = drawn(None, 0, 0, 3 * HOUR_MS)
        self._is_sqlite = drawn(sqlite, *[False] * 7, True)
        self.disk_faults = DiskFaults(
            commit_fails=disk / 4,
            unknown_after=disk / 4,
            unknown_before=disk / 4,
            unknown_late=disk / 4,
            read_fails=disk / 2,
            slow=drawn(slow_disk, 0.0, 0.02, 0.2),
            delay_s=drawn(disk_delay_s, 0.0005, 0.005, 0.2),
        )
        self._is_healthy = not (self._crash_rate or disk or self.disk_faults.slow or self._jumps)
        delay_s = self.disk_faults.delay_s
        grant_ms = int(1000 * (240 if self.disk_faults.slow or disk else 0.2 + 100 * delay_s))
        self.auditor = Auditor(
            replay,
            self.clock.domain_ms,
            self.clock.true_ms,
            self.seen,
            keep_ms=MARK_LIFETIME_MS,
            grant_ms=grant_ms,
        )
        self.network_faults = NetworkFaults(
            refused=app / 4,
            lost_answer=app / 4,
            doubled=app / 2,
            garbage=app / 4,
            empty=app / 4,
            busy=app / 4,
            hangs=app / 50,
            slow=drawn(None, 0.0, 0.1),
        )
        self.cron_step_ms = min(CRONS) if self.pace_s < 5000 else max(CRONS)
        app_skew_ms = drawn(None, 0, 0, 0, 2 * HOUR_MS)
        drawing = Drawing(seed, chance, self.auditor, self, self.seen, pace_s=self.pace_s, rules=rules)
        self.apps = drawing.apps(self.cron_step_ms, skew_ms=app_skew_ms)
        self._batch_bytes_max = drawn(None, *[batch_module.BATCH_BYTES_MAX] * 3, 200)
        self.auditor.starts.batch_bytes_max = self._batch_bytes_max
        self.operators = Operators(self)
        self.deployments = Deployments(self, changes_code=drawn(deploys_code, False, True))
        self.clients = Clients(
            self,
            count=self._event_count,
            pace_s=self.pace_s,
            skew_ms=client_skew_ms,
            edges=drawn(edges, False, False, True),
            deploy_rate=drawn(deploy_rate, 0.0, 0.0, 0.3),
            operate_rate=drawn(operate_rate, 0.0, 0.0, 0.15, 0.4),
        )
        self.disk = Disk(
            self.shards, self.auditor, self.seen, keep_ms=MARK_LIFETIME_MS, is_sqlite=self._is_sqlite
        )
        self.seen["disk: world on SQLite"] += self._is_sqlite
        self.network = Network(
            {app.host: app for app in self.apps},
            self.network_faults,
            random.Random(f"{seed} network"),
            self.auditor,
            self.spawn,
            self._late_answer,
            self.clock.now_ms,
            self.seen,
            is_signed=self.is_signed,
        )
        self.node: Node | None = None
        """The process that clients reach; a paused one that woke up is none."""
        self._is_settled = False
        self._woken: list[Node] = []
        self.logs: list[Any] = []
        """What nodes logged, when the world has run."""
        self._nodes: list[Node] = []
        """All that ever were."""
        self._tasks: set[asyncio.Task[None]] = set()

    # Tasks: the node's die with it, all others go on.

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, context: contextvars.Context | None = None
    ) -> "asyncio.Task[Any]":
        task = asyncio.Task(coro, loop=loop, context=context)
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is not None:
            owner.adopt(task)
        return task

    def spawn(self, work: Awaitable[None]) -> None:
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

    def _resume_all(self) -> None:
        for node in self._nodes:
            node.go_on()

    def _start_node(self) -> None:
        skew_ms = int(1000 * self._skew_s)
        if skew_ms and not self._has_jumps:
            self.clock.offset_ms = self.chance.randrange(-skew_ms, skew_ms)
        node = self.node = Node(self, len(self._nodes) + 1)
        self._nodes.append(node)
        self.loop.create_task(self._serve(node), context=node.owned)

    async def _serve(self, node: Node) -> None:
        try:
            await node.serve()
        except Exception as error:
            self.auditor.note(f"the node ended with {error!r}")
            raise

    def _interrupt(self) -> None:
        """Between two callbacks the process dies, is told to end, or is stopped; another one is started."""
        node, draw = self.node, self.chance.random()
        self._schedule_interrupt()
        if node is None:
            return
        self.node = None
        if draw < self._pause_share:
            self.seen[PAUSED] += 1
            node.pause()
            self.spawn(self._wake(node))
            self.spawn(self._restart())
        elif self.chance.random() < 0.2:
            self.seen["process: stopped in an orderly way"] += 1
            self.spawn(self._stop(node))
        else:
            self.seen["process: crashed between two callbacks"] += 1
            node.kill()
            self.spawn(self._restart())

    async def _wake(self, node: Node) -> None:
        """The stopped process goes on, believing that nothing happened, until its supervisor finds it."""
        chance = self.chance
        await asyncio.sleep(0.2 + chance.expovariate(1.0) * chance.choice((1.0, 20.0, 2000.0)))
        if node.down.done():
            return
        if node.is_replaced:
            self.seen["process: woke up with a stale epoch"] += 1
        node.go_on()
        self._woken.append(node)
        await asyncio.sleep(chance.expovariate(1.0) * chance.choice((1.0, 60.0)))
        self._woken.remove(node)
        node.kill()

    async def _stop(self, node: Node) -> None:
        """An orderly end: no new requests, and a moment for the calls that are under way."""
        drained = self.loop.create_task(node.driver.drain(5.0), context=node.owned)
        with suppress(NodeDownError):
            await node.answer_of(drained)
        node.kill()
        await self._restart()

    async def _restart(self) -> None:
        await asyncio.sleep(0.1 + self.chance.expovariate(1.0) * self.chance.choice((0.1, 5.0, 600.0)))
        self._start_node()

    def _schedule_interrupt(self) -> None:
        if self._crash_rate:
            self.loop.interrupt = self._interrupt
            self.loop.interrupt_at = self.loop.steps + 1 + int(self.chance.expovariate(self._crash_rate))

    def _late_answer(self, request: Request, response: Response) -> None:
        """An app's answer to a node that died; now and then the next node hears of it."""
        node = self.node
        if node is not None and not node.is_paused and self.chance.random() < 0.7:
            answer = read_answer(response.status, response.headers, response.body, self.clock.now_ms())
            kind = "error" if isinstance(answer, CallFailed) else "answer"
            self.seen[f"network: late {kind} of an older generation"] += 1
            node.engine.tell(Answered(request.run_id, request.item_id, request.generation, answer))

    # What goes wrong over time.

    async def _jump_clock(self) -> None:
        """The machine's clock is set, by hours, while everything runs."""
        chance = self.chance
        while self._crash_rate is not None:
            await asyncio.sleep(chance.expovariate(1.0) * max(self.pace_s, 1.0) * 6)
            if not self._jumps:
                return
            step_ms = chance.choice((-5, -1, 1, 5)) * HOUR_MS + chance.randrange(60_000)
            self.seen[f"clock: jumped {'forward' if step_ms > 0 else 'back'}"] += 1
            self.clock.offset_ms += step_ms
            self.auditor.past.is_without_time = True
            if self.node is not None and chance.random() < 0.5:
                self.node.engine._wake_up()

    async def _look_at_rest(self) -> None:
        """Whenever nothing is to be decided for a moment: nobody waits without a reason."""
        chance, pause_s = random.Random(f"{self.seed} rest"), min(self.pace_s, 60.0)
        while not self._is_settled:
            pause_s = min(1.02 * pause_s, 3600.0)
            await asyncio.sleep(chance.expovariate(1.0) * pause_s)
            node = self.node
            if (
                node is not None
                and not node.is_paused
                and node.engine.failure is None
                and node.engine.is_resting
            ):
                self.auditor.check_rest()
                if chance.random() < EXPLAINED_SHARE:
                    check_explained(node.engine, self.auditor, self.disk.rows)

    async def _damage(self) -> None:
        """A byte of a stored run changes."""
        await asyncio.sleep(self.chance.random() * self._event_count * self.pace_s)
        live = [run_id for run_id, run in self.auditor.runs.items() if not run.ended and run.memos]
        if live and self._damages:
            run_id = self.chance.choice(live)
            self.disk.damaged.add(run_id)
            self.auditor.damaged.add(run_id)

    # What apps call.

    def app_now_ms(self) -> int:
        return self.clock.domain_ms()

    async def checkpoint(self, request: Request, ops: list[dict[str, Any]]) -> int:
        """The checkpoint endpoint over a bad network. Source: protocol 7.5."""
        body = {"qi_id": request.item_id, "generation_id": request.generation, "steps": ops}
        status, _ = await self._ask_node(checkpoint, body, request)
        self.seen["checkpoint: stored"] += status == 200
        self.seen["checkpoint: refused as replaced"] += status == 409
        return status

    async def state(self, request: Request) -> dict[str, Any] | None:
        """What the state endpoint says; None when it does not, after a few tries. Source: protocol 3.4."""
        for _ in range(3):
            status, memos = await self._ask_node(get_actions, None, request)
            if status == 200:
                return memos
            if status == 410:
                return None
            await asyncio.sleep(1)
        return None

    async def _ask_node(self, handler: Any, body: Any, request: Request) -> tuple[int, Any]:
        """The answer of an endpoint that apps call; status 0 when there was none."""
        faults, chance = self.network_faults, self.chance
        await asyncio.sleep(chance.expovariate(1.0) * faults.delay_s)
        # An app may reach a process that woke up: it does not know yet either.
        node = chance.choice(self._woken) if self._woken and chance.random() < 0.3 else self.node
        if node is None or node.is_paused or chance.random() < faults.refused:
            return 0, None
        try:
            status, answer = await node.request(handler, body, run_id=request.run_id)
        except NodeDownError:
            return 0, None
        await asyncio.sleep(chance.expovariate(1.0) * faults.delay_s)
        return (0, None) if chance.random() < faults.lost_answer else (status, answer)

    # Running it.

    def run(self) -> Report:
        """The whole story: start, load, trouble, healing, and the audit.

        Raises:
            AuditError: something was wrong.
        """
        with (
            quiet_logs() as self.logs,
            engine_bounds(
                *self._bounds, state_bytes=self._state_bytes, batch_bytes_max=self._batch_bytes_max
            ),
        ):
            try:
                run_simulated(self.loop, self._live(), at_end=self._resume_all)
            except (DeadlockError, LivelockError) as error:
                self.auditor.note(f"{type(error).__name__}: {error}")
            finally:
                if self.disk.sqlite is not None:
                    self.disk.sqlite.remove()
        for entry in self.logs:
            is_damaged = entry.get("entity") in self.disk.damaged
            self.seen["disk: damaged run held"] += is_damaged and entry["event"] == "engine.held"
            # A process that was paused while it started goes on with functions of the past, and is refused
            # whatever it makes of them. What the last one holds is looked at in `_check_held`.
            is_past = entry["event"] == "engine.held" and self.seen[PAUSED] > 0
            if entry["event"] in FAULTS and not (is_damaged or is_past):
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
            steps=self.loop.steps,
            seen=self.seen,
        )

    async def _live(self) -> None:
        self._start_node()
        self._schedule_interrupt()
        for app in self.apps:
            await self.deployments.sync(app)
        if self._jumps:
            self.spawn(self._jump_clock())
        if self._damages:
            self.spawn(self._damage())
        self.spawn(self._look_at_rest())
        await self.clients.run()
        await asyncio.sleep(self.chance.expovariate(1.0) * 600)
        await self.heal_and_settle()

    async def heal_and_settle(self) -> None:
        """Stop all faults, let time pass until nothing is left to do, and look at what remains."""
        self._crash_rate = 0.0
        self._jumps = self._damages = False
        self.loop.interrupt_at = None
        self.clock.catch_up()
        for faults in (self.disk_faults, self.network_faults):
            for name in faults.__dataclass_fields__:
                if name != "delay_s":
                    setattr(faults, name, 0.0)
        await self.deployments.settle()
        await self.operators.settle()
        ends_at = self.loop.time() + SETTLE_DAYS * 86_400
        pause_s = 1.0
        while self.loop.time() < ends_at and not self.auditor.problems:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 3600)
            if self.node is not None and len(self._tasks) <= 1 and self._is_idle(self.node):
                break
        self._is_settled = True
        auditor = self.auditor
        auditor.check_settled(self.disk.rows)
        if self._is_healthy and auditor.starts.late_ms > LATE_MAX_MS:
            auditor.note(f"a window closed {auditor.starts.late_ms} ms late, and nothing was wrong")
        auditor.check_crons(self.cron_step_ms, policy=self.cron_catch_up)
        if not auditor.problems:
            self._check_memory()
            await asyncio.sleep(FORGET_S)
            auditor.check_forgotten(self.disk.rows)
            await self._start_once_more()
            if self.disk.sqlite is not None:
                self.disk.sqlite.check_all(self.disk.rows)

    async def _start_once_more(self) -> None:
        """What is left in storage must not keep a server from starting, a week after a fault either."""
        if self.node is None:
            return
        self.node.kill()
        self._start_node()
        for _ in range(100):
            await asyncio.sleep(1)
            if self.node.engine.failure is None:
                return
        self.auditor.note(f"after everything has ended no server starts: {self.node.engine.failure}")

    def _is_idle(self, node: Node) -> bool:
        """Whether all runs ended and no late answer is on its way; what stays is found afterwards."""
        engine = node.engine
        if engine.failure is not None or engine._inbox or node.driver.under_way:
            return False
        if len(engine.live.windows) or engine.live.jobs or not engine.is_resting:
            return False
        return all(
            run.ended or (run_id in self.auditor.damaged and run_id in engine.held)
            for run_id, run in self.auditor.runs.items()
        )

    def _check_memory(self) -> None:
        """An idle node remembers nothing of what ended."""
        node, note = self.node, self.auditor.note
        if node is None:
            note("no node came up again")
            return
        engine, live = node.engine, node.engine.live
        held = self._check_held(node)
        for name, left in (
            ("failure", engine.failure),
            ("inbox", engine._inbox),
            ("told", engine._work.told),
            ("loading", engine._loader._waiting),
            ("to_load", engine._loader._to_load),
            ("events_to_load", engine._loader._events),
            ("undecided_events", engine.admission.events),
            ("live runs", live.run_count() - len(held)),
            ("idle", [run_id for run_id in live._idle if run_id not in held]),
            ("calls under way", node.driver.under_way),
        ):
            if left:
                note(f"an idle node has {name}: {left!r:.300}")
        if held:
            self.seen["disk: other work went on beside a damaged run"] += 1
            return  # They keep their waits and items, until somebody mends or deletes them.
        for name, left in (
            ("counted items", {key: number for key, number in live.item_counts.items() if number}),
            ("counted waits", {kind: number for kind, number in live.wait_counts.items() if number}),
            ("waits", list(live.waits)),
            ("signals", live._signals),
            ("idle bytes", live._idle_bytes),
            ("singletons", live._locks),
            ("runs that make way", live.making_way),
            ("windows", list(live.windows)),
            ("changed windows", live.windows._changed),
            ("bytes of windows", live.windows.kept_bytes),
            ("jobs", live.jobs),
            ("due jobs", live.due_jobs),
            ("functions counted anew", [*live.rekeys, *live.rekeying]),
            ("pauses", live.pauses),
            (
                "live timers",
                [one for one in live.timers._heap if live._is_alive(one) and one.kind != "meter"],
            ),
        ):
            if left:
                note(f"an idle node has {name}: {left!r:.300}")
        for name in ("_holders", "_held", "_granted", "_waiting", "_queues", "_watchers"):
            if getattr(live.slots, name):
                note(f"an idle node has slots{name}: {getattr(live.slots, name)!r:.300}")

    def _check_held(self, node: Node) -> set[str]:
        """Runs that are held are those that were damaged and did not end before anybody saw it."""
        held = set(node.engine.held)
        left = {run_id for run_id, run in self.auditor.runs.items() if not run.ended}
        if held != left:
            self.auditor.note(f"held are {sorted(held)}, and {sorted(left)} did not end")
        return held


@contextmanager
def quiet_logs() -> Iterator[list[Any]]:
    """Logs go to a list, to be looked at, and not to the terminal."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@contextmanager
def engine_bounds(
    facts_per_batch: int, told_max: int, *, state_bytes: int, batch_bytes_max: int
) -> Iterator[None]:
    """Small batches show what large ones hide, a small state is fetched, and pruning comes less often."""
    with ExitStack() as patches:
        for module, name, value in (
            (engine_module, "FACTS_PER_BATCH", facts_per_batch),
            (work_module, "TOLD_MAX", told_max),
            (compose_module, "USE_API_STATE_BYTES", state_bytes),
            (retention_module, "INTERVAL_S", RETENTION_PAUSE_S),
            (batch_module, "BATCH_BYTES_MAX", batch_bytes_max),
        ):
            patches.enter_context(mock.patch.object(module, name, value))
        yield
