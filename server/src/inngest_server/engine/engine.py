"""The loop of a node: it takes the facts that are ready, decides them, makes them durable, and acts.

Everything that changes a run, an event or an app passes through here, one fact at a time, for all shards that
the node owns. What may happen concurrently: HTTP handlers add facts and wait for replies; the driver adds
answers; the loader reads contents and marks that a decision lacks. None of them changes state.

Rules that the proofs rest on:

* a fact is decided on memory alone, and memory changes only by what was decided;
* nothing is answered, sent or dropped from memory before the batch that holds it is durable;
* what one decision tells another entity is decided in the same batch, or stored with it as a message;
* after a batch whose outcome is not *done*, memory is worth nothing: it is cleared and loaded again.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, assert_never

import structlog

from inngest_server.clock import Clock, RandomSource
from inngest_server.engine import crons, events, syncs
from inngest_server.engine.facts import (
    AppFailed,
    AppRemoved,
    CronDue,
    EventsSent,
    InvokeSent,
    NodeFact,
    Pending,
    Ping,
    SignalSent,
    Synced,
)
from inngest_server.engine.functions import Functions
from inngest_server.engine.live import Live, Shard
from inngest_server.engine.marks import RecentMarks
from inngest_server.engine.messages import RunMessage, decode, encode
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.execution.driver import Call, Driver
from inngest_server.runs import finish
from inngest_server.runs.decide import decide, send, started
from inngest_server.runs.decision import Decision, Publish, StartChild, TellParent
from inngest_server.runs.errors import RunFailure
from inngest_server.runs.facts import (
    Answered,
    ChildEnded,
    Fact,
    ItemDue,
    ItemLost,
    SignalArrived,
    WaitExpired,
)
from inngest_server.runs.records import ItemRow, ItemState, RunRow, WaitRow
from inngest_server.runs.run import Content, Limits, Moment, Run
from inngest_server.storage.protocol import (
    Batch,
    CommitResult,
    Outcome,
    Storage,
    StorageError,
    StorageUnavailableError,
)
from inngest_server.storage.records import MessageRow, SubscriberRow
from inngest_server.wire import ulid
from inngest_server.wire.shared import shared

log = structlog.get_logger("inngest.engine")

FACTS_PER_BATCH = 128
"""Facts decided between two commits: below 5 ms of the loop's time."""
LOADS_PER_READ = 500
TIMERS_PER_BATCH = 200
MESSAGES_MAX = 1_000_000
TOLD_MAX = 200
"""Messages between entities decided in one batch; more are stored and decided in later ones."""
REOPEN_DELAYS_S = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Pauses between attempts to get a failed storage back; stays at the last."""


DEFAULT_LIMITS = Limits()


class EngineUnavailableError(Exception):
    """The engine cannot promise anything now: storage failed, or too much is undecided. Try again."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Bounds and policies of an engine."""

    limits: Limits = DEFAULT_LIMITS
    retry_interval_ms: int | None = None
    cron_catch_up: str = "skip"
    """`skip`, `one` or `all` slots that were missed while no server ran."""
    undecided_events_max: int = 20_000
    undecided_bytes_max: int = 256 * 1024 * 1024
    idle_contents_max: int = 5_000
    idle_bytes_max: int = 64 * 1024 * 1024


class Engine:
    """Owns every shard of its storage and decides what happens to the runs in them."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        random: RandomSource,
        *,
        node: str = "node",
        options: EngineOptions | None = None,
    ) -> None:
        self.options = options or EngineOptions()
        self.storage = storage
        self.functions = Functions()
        self.driver: Driver | None = None
        self.live = Live(
            self.functions,
            idle_contents_max=self.options.idle_contents_max,
            idle_bytes_max=self.options.idle_bytes_max,
        )
        self.random = random
        self._clock = clock
        self._node = node
        self._ids = ulid.MonotonicULIDs(lambda: random.getrandbits(80))
        self._inbox: deque[Pending] = deque()
        self._events_inbox: deque[Pending] = deque()
        self._told: deque[Pending] = deque()
        self._messaged: dict[str, int] = {}
        """Runs for which stored messages are undecided, with how many: later ones must not overtake them."""
        self._loading: dict[str, list[Pending]] = {}
        self._to_load: deque[str] = deque()
        self._events_to_load: deque[Pending] = deque()
        self._rounds = 0
        self.marks = RecentMarks()
        self._held: dict[str, str] = {}
        self._batch = Batch()
        self._replies: list[Pending] = []
        self._calls: list[Call] = []
        self._touched: dict[str, Run] = {}
        self._subscribed: set[tuple[str, int]] = set()
        self._message_number = 0
        self._domain_ms = 0
        self._undecided_events = 0
        self._undecided_bytes = 0
        self._wake: asyncio.Future[None] | None = None
        self._load_wake: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._failure: str | None = "starting"
        self._generation = 0
        self._load_singly = 0
        self.commits = 0
        self.facts_decided = 0
        self.late_answers = 0

    # What others may know and ask.

    @property
    def failure(self) -> str | None:
        """Why nothing can be accepted now; None when all is well."""
        return self._failure

    @property
    def held(self) -> dict[str, str]:
        """Runs whose decision raised, with the error: a fault of this server, set aside."""
        return dict(self._held)

    def now_ms(self) -> int:
        """Domain time; never goes back, and never behind what was committed."""
        self._domain_ms = max(self._domain_ms, self._clock.now_ms())
        return self._domain_ms

    def next_id(self) -> str:
        return self._ids.next(self._clock.now_ms())

    def tell(self, fact: Fact | NodeFact) -> None:
        """Add a fact that nobody waits for."""
        self._inbox.append(Pending(fact))
        self._wake_up()

    def ask(self, fact: Fact | NodeFact) -> "asyncio.Future[Any]":
        """Add a fact; the future has the decision's result once that is durable.

        The future fails with `EngineUnavailableError` when it did not become durable.
        """
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._failure is not None:
            reply.set_exception(
                EngineUnavailableError(f"the server cannot store anything now: {self._failure}")
            )
            return reply
        self._inbox.append(Pending(fact, reply))
        self._wake_up()
        return reply

    def check_admission(self) -> None:
        """Return if events may be sent now; asked before their body is read.

        Raises:
            EngineUnavailableError: storage failed, or too many events wait to be decided.
        """
        if self._failure is not None:
            raise EngineUnavailableError(f"the server cannot store anything now: {self._failure}")
        options = self.options
        if (
            self._undecided_events >= options.undecided_events_max
            or self._undecided_bytes >= options.undecided_bytes_max
        ):
            waiting = self._undecided_events
            raise EngineUnavailableError(f"{waiting} events wait to be decided; send again later")

    def ask_events(self, fact: EventsSent) -> "asyncio.Future[Any]":
        """As `ask`, for events: what storage knows of their ids is read first. See `check_admission`.

        Raises:
            EngineUnavailableError: storage failed.
        """
        if self._failure is not None:
            raise EngineUnavailableError(f"the server cannot store anything now: {self._failure}")
        size = sum(len(event.body) for event in fact.events)
        self._undecided_events += len(fact.events)
        self._undecided_bytes += size
        pending = Pending(fact, asyncio.get_running_loop().create_future())
        assert pending.reply is not None
        pending.reply.add_done_callback(lambda _: self._events_decided(len(fact.events), size))
        if any(event.repeatable for event in fact.events):
            self._events_to_load.append(pending)
            self._wake_loader()
        else:
            self._events_inbox.append(pending)
            self._wake_up()
        return pending.reply

    def _events_decided(self, count: int, size: int) -> None:
        self._undecided_events -= count
        self._undecided_bytes -= size

    @property
    def undecided_events(self) -> int:
        return self._undecided_events

    # The loops.

    async def run(self) -> None:
        """Serve until cancelled. `start` must have been called."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._decide_for_ever())
            group.create_task(self._load_for_ever())

    async def _decide_for_ever(self) -> None:
        while True:
            if self._failure is not None:
                await self._recover()
            try:
                worked = await self.run_once()
            except Exception as error:
                # Our own mistake in the middle of a batch: memory may be half changed, so it is loaded again.
                log.error("engine.batch_failed", exc_info=error)
                self._fail(f"internal error: {type(error).__name__}: {error}", [])
                continue
            if not worked:
                await self._sleep_until_woken()

    async def _load_for_ever(self) -> None:
        while True:
            if not await self.load_once():
                self._load_wake = asyncio.get_running_loop().create_future()
                await self._load_wake

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _wake_loader(self) -> None:
        if self._load_wake is not None and not self._load_wake.done():
            self._load_wake.set_result(None)

    async def _sleep_until_woken(self) -> None:
        if self._inbox or self._events_inbox:
            return
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        due_ms = self.live.timers.next_due_ms()
        if due_ms is not None:
            delay_s = min(max(0.0, (due_ms - self._clock.now_ms()) / 1000), 3600.0)
            self._alarm = loop.call_later(delay_s, self._wake_up)
        try:
            await self._wake
        finally:
            self._wake = None
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None

    async def run_once(self) -> bool:
        """Decide the facts that are ready, make them durable, then act on them; False if there were none.

        Safe to stop at any line: what was not committed is decided again after a reload.
        """
        now_ms = self.now_ms()
        self._fire_timers(now_ms)
        inbox, events_inbox = self._inbox, self._events_inbox
        if not inbox and not events_inbox:
            return False
        budget = FACTS_PER_BATCH
        while inbox and budget > 0:
            budget -= 1
            self._take(inbox.popleft(), now_ms)
            while self._told:
                self._take(self._told.popleft(), now_ms)
        # Events come last, but never not at all.
        budget = max(budget, 1)
        while events_inbox and budget > 0:
            pending = events_inbox.popleft()
            assert isinstance(pending.fact, EventsSent)
            budget -= len(pending.fact.events)
            self._take(pending, now_ms)
            while self._told:
                self._take(self._told.popleft(), now_ms)
        await self._commit(now_ms)
        return True

    def _take(self, pending: Pending, now_ms: int) -> None:
        self.facts_decided += 1
        fact = pending.fact
        try:
            match fact:
                case EventsSent():
                    self._decide_events(pending, fact, now_ms)
                    return
                case InvokeSent():
                    pending.result = events.invoke(self, fact, now_ms)
                case Synced():
                    pending.result = syncs.sync(self, fact.registration, now_ms)
                case AppRemoved():
                    pending.result = syncs.remove(self, fact.url, now_ms)
                case AppFailed():
                    syncs.failed(self, fact.url, fact.error, now_ms)
                case Ping():
                    pending.result = True
                case CronDue():
                    crons.fire(self, fact.cron_id, now_ms)
                case SignalSent():
                    pending.result = self._deliver_signal(pending, fact, now_ms)
                    return
                case _:
                    self._decide_run(pending, fact, now_ms)
                    return
        except Exception as error:
            self._set_aside("", pending, error)
            return
        self._replies.append(pending)

    # Decisions about runs.

    def _decide_run(self, pending: Pending, fact: Fact, now_ms: int) -> None:
        run_id = fact.run_id
        run = self.live.find_run(run_id)
        if run_id in self._held:
            self._refuse([pending])  # What came as a message stays stored.
            return
        if run is None:
            self._drop(pending, fact)
            return
        if run.content is None:
            self._wait_for_content(run_id, pending)
            return
        function = self.functions.get(run.row.function_id)
        try:
            decision = decide(
                run, fact, self._moment(function.row.slug, function.config.max_attempts, now_ms)
            )
        except Exception as error:
            self._set_aside(run_id, pending, error)
            return
        self.apply(run, decision, now_ms)
        pending.result = decision.refused or run_id
        if isinstance(fact, SignalArrived) and not decision.gone_waits:
            pending.result = None  # Another signal was faster while the content was loaded.
        self._settle(pending)

    def _settle(self, pending: Pending) -> None:
        """The fact is decided: its message, if it came by one, goes with the batch; who asked is answered."""
        if pending.message is not None:
            self._batch.remove(MessageRow, pending.message, pending.message[0])
            self._owns(pending.message[0])
            assert isinstance(pending.fact, RunMessage)
            left = self._messaged.pop(pending.fact.run_id) - 1
            if left:
                self._messaged[pending.fact.run_id] = left
        if pending.reply is not None:
            self._replies.append(pending)

    def _drop(self, pending: Pending, fact: Fact) -> None:
        """The run ended, or never was: late facts are ordinary, and whoever asked is told."""
        if isinstance(fact, Answered):
            self.late_answers += 1
        pending.result = None
        self._settle(pending)

    def _set_aside(self, run_id: str, pending: Pending, error: Exception) -> None:
        """A decision raised: that is our own mistake. Its entity is held, and all others go on."""
        log.error("engine.fact_set_aside", run_id=run_id, fact=type(pending.fact).__name__, exc_info=error)
        if run_id:
            self._held[run_id] = f"{type(error).__name__}: {error}"
        if pending.reply is not None and not pending.reply.done():
            pending.reply.set_exception(error)

    def _moment(self, slug: str, max_attempts: int, now_ms: int) -> Moment:
        return Moment(
            now_ms,
            self.random.random(),
            slug,
            max_attempts,
            self.options.retry_interval_ms,
            self.options.limits,
            self.live.signal_holder,
        )

    def _owns(self, shard_id: int) -> Shard:
        """The shard, named in the batch with the epoch in which it is held."""
        shard = self.live.shards[shard_id]
        self._batch.epochs[shard_id] = shard.epoch
        return shard

    def _home(self, run: Run) -> Shard:
        """The shard of the run's function: it counts the slots, also of runs placed before there was a limit."""
        return self.live.shards[self.functions.get(run.row.function_id).row.shard]

    def apply(self, run: Run, decision: Decision, now_ms: int) -> None:
        """Take a decision into memory and into the batch."""
        batch = self._batch
        row = run.row
        shard = self._owns(row.shard)
        self._touched[row.run_id] = run
        content = run.content
        if decision.journal:
            assert content is not None
            for entry in decision.journal:
                content.fold(entry)
            batch.journal.extend(decision.journal)
        if decision.row is not None:
            run.row = decision.row
            batch.put(decision.row)
        for wait_id in decision.gone_waits:
            wait = run.waits.pop(wait_id)
            self.live.close_wait(wait)
            batch.remove(WaitRow, wait_id, wait.shard)
        for wait in decision.waits:
            self.add_wait(run, wait)
        freed: list[str] = []
        for item_id in decision.gone_items:
            item = run.items.pop(item_id)
            batch.remove(ItemRow, item_id, item.shard)
            if item.slots:
                freed.extend(self._home(run).slots.release(item_id))
        if not run.items:
            run.items = {}  # An emptied dictionary keeps its room, and most waiting runs have no item.
        if decision.ended:
            del shard.runs[row.run_id]
        for item in decision.items:
            if row.run_id not in shard.runs:
                break  # Sending one of them ended the run.
            self.place(run, item, now_ms, freed)
        if freed:
            self.grant(self._home(run), freed)
        for message in decision.messages:
            self._follow(message, run, now_ms)

    def add_wait(self, run: Run, wait: WaitRow) -> None:
        run.waits[wait.wait_id] = wait
        self._batch.put(wait)
        self.live.open_wait(wait)
        if wait.kind in ("event", "cancel") and (wait.name, wait.shard) not in self._subscribed:
            self._subscribed.add((wait.name, wait.shard))
            self._batch.put(SubscriberRow(wait.name, wait.shard))

    def place(self, run: Run, item: ItemRow, now_ms: int, freed: list[str]) -> None:
        """Put an item where it belongs: queued until its moment, parked for slots, or sent."""
        self._owns(item.shard)
        home = self._home(run)
        before = run.items.get(item.item_id)
        if item.state == ItemState.SENT:
            self._put_item(run, item)
            return
        keeps_slots = item.losses > 0
        if before is not None and before.state == ItemState.SENT and before.slots and not keeps_slots:
            freed.extend(home.slots.release(item.item_id))
        if item.due_at_ms > now_ms:
            self._put_item(run, item)
            self.live.timers.set(item.due_at_ms, "item", item.run_id, item.item_id)
            return
        function = self.functions.get(run.row.function_id)
        is_limited = bool(function.limits) and not keeps_slots
        buckets = function.buckets(run.loaded.event, now_ms) if is_limited else ()
        known = home.slots.buckets_of(item.item_id)
        if not keeps_slots and known and known != buckets:
            freed.extend(home.slots.release(item.item_id))  # The limits changed since it got or wanted these.
        if buckets and not home.slots.is_holding(item.item_id):
            if item.state == ItemState.PARKED and known == buckets:
                return  # It was woken without a slot of its own; it still waits for the same ones.
            home.slots.park(item.item_id, buckets, (run.row.created_at_ms, item.item_id))
            freed.extend(buckets)
            self._put_item(run, item._replace(state=ItemState.PARKED.value, slots="\n".join(buckets)))
            return
        self._send(run, item, now_ms)

    def _send(self, run: Run, item: ItemRow, now_ms: int) -> None:
        function = self.functions.get(run.row.function_id)
        max_attempts = function.config.max_attempts
        moment = self._moment(function.row.slug, max_attempts, now_ms)
        try:
            sent = send(run, item, moment, "\n".join(self._home(run).slots.buckets_of(item.item_id)))
        except RunFailure as failure:
            # The item is put first so that ending the run finds and removes it.
            self._put_item(run, item)
            decision = Decision(run)
            finish.fail(run, decision, moment, failure.error)
            self.apply(run, decision, now_ms)
            return
        self._put_item(run, sent)
        if run.row.started_at_ms is None:
            run.row = started(run.row, now_ms)
            self._batch.put(run.row)
        app_id, url, known = function.row.app_id, function.discovery_url, run.loaded.known
        self._calls.append(Call(run, sent, app_id, url, function.id, max_attempts, known))

    def _put_item(self, run: Run, item: ItemRow) -> None:
        run.items[item.item_id] = item
        self._batch.put(item)

    def grant(self, shard: Shard, buckets: Iterable[str]) -> None:
        """Give free slots to who waits for them, and let those be sent in this batch if they can be."""
        for item_id in shard.slots.grant(dict.fromkeys(buckets)):
            self._told.append(Pending(ItemDue(item_id[:26], item_id)))

    # Messages between entities.

    def _follow(self, message: TellParent | StartChild | Publish, run: Run, now_ms: int) -> None:
        match message:
            case TellParent():
                parent = message.correlation_id.partition(".")[0]
                self.tell_run(ChildEnded(parent, message.correlation_id, message.memo), run.row.shard)
            case StartChild():
                events.start_child(self, message, now_ms)
            case Publish():
                events.publish(self, message, now_ms)
            case _:
                assert_never(message)

    def tell_run(self, message: RunMessage, sender: int) -> None:
        """Tell a run something that must not get lost: in this batch, or stored with it until it can be."""
        run = self.live.find_run(message.run_id)
        if run is None:
            return
        in_order = message.run_id not in self._messaged
        if run.content is not None and in_order and len(self._told) < TOLD_MAX:
            self._told.append(Pending(message))
            return
        self._message_number += 1
        row = MessageRow(run.row.shard, sender, self._message_number, encode(message))
        self._batch.put(row)
        self._owns(row.shard)
        self._messaged[message.run_id] = self._messaged.get(message.run_id, 0) + 1
        self._inbox.append(Pending(message, message=row[:3]))

    def _deliver_signal(self, pending: Pending, fact: SignalSent, now_ms: int) -> None:
        wait_id = self.live.signal_holder(fact.signal)
        if wait_id is None:
            self._replies.append(pending)
            return
        arrived = SignalArrived(wait_id.partition(".")[0], wait_id, fact.data)
        self._decide_run(Pending(arrived, pending.reply), arrived, now_ms)

    # Events, runs and rows that the rooms beside this one make.

    @property
    def batch(self) -> Batch:
        return self._batch

    def put(self, row: Any) -> None:
        """Put a row of an owned shard into the batch."""
        self._batch.put(row)
        self._owns(row.shard)

    def add_run(self, run: Run, item: ItemRow, waits: Iterable[WaitRow], now_ms: int) -> None:
        """Take in a run that was just made."""
        shard = self._owns(run.row.shard)
        shard.runs[run.id] = run
        self._touched[run.id] = run
        self._batch.put(run.row)
        for wait in waits:
            self.add_wait(run, wait)
        freed: list[str] = []
        self.place(run, item, now_ms, freed)
        if freed:
            self.grant(self._home(run), freed)

    def _decide_events(self, pending: Pending, fact: EventsSent, now_ms: int) -> None:
        self.marks.deciding(fact.round)
        if events.must_read_again(self, fact, now_ms):
            self._events_to_load.append(pending)
            self._wake_loader()
            return
        for event in fact.events:
            events.accept(self, event, fact, now_ms)
        pending.result = True
        self._replies.append(pending)

    # Commit and act.

    async def _commit(self, now_ms: int) -> None:
        batch, replies, calls, touched = self._batch, self._replies, self._calls, self._touched
        if not batch.is_empty():
            batch.now_ms = now_ms
            self._batch, self._replies, self._calls, self._touched = Batch(), [], [], {}
            result = await self.storage.commit(batch)
            if result.outcome is not Outcome.DONE or result.stale:
                self._commit_failed(result, replies)
                return
            self.commits += 1
            self.marks.committed(self._rounds)
        else:
            self._replies, self._calls, self._touched = [], [], {}
        for pending in replies:
            if pending.reply is not None and not pending.reply.done():
                pending.reply.set_result(pending.result)
        assert self.driver is not None
        for call in calls:
            self.driver.send(call)
        self.live.touched(touched.values())

    def _commit_failed(self, result: CommitResult, replies: list[Pending]) -> None:
        why = result.detail or f"shards {sorted(result.stale)[:5]} have another owner"
        log.error("engine.commit_failed", outcome=result.outcome.value, detail=why)
        self._fail(why, replies)

    def _fail(self, why: str, replies: list[Pending]) -> None:
        """Stop promising: answer who waits, and forget what may not be true."""
        self._failure = why
        waiting = [*replies, *self._replies, *self._events_to_load, *self._events_inbox]
        waiting += [pending for queue in self._loading.values() for pending in queue]
        kept: list[Pending] = []
        for pending in self._inbox:
            (kept if isinstance(pending.fact, Answered) else waiting).append(pending)
        for pending in waiting:
            if pending.reply is not None and not pending.reply.done():
                pending.reply.set_exception(
                    EngineUnavailableError(f"the server cannot store anything now: {why}")
                )
        # Answers of apps are still true and worth keeping: their steps ran.
        kept += [
            pending
            for queue in self._loading.values()
            for pending in queue
            if isinstance(pending.fact, Answered)
        ]
        self._inbox = deque(kept)
        self._told.clear()
        self._messaged.clear()
        self._loading.clear()
        self._to_load.clear()
        self._events_to_load.clear()
        self._events_inbox.clear()
        if self.driver is not None:
            self.driver.recall()
        self._batch, self._replies, self._calls, self._touched = Batch(), [], [], {}
        self._subscribed.clear()
        self.marks.clear()
        self.live.clear()
        self._generation += 1

    async def _recover(self) -> None:
        """Get the storage back, in a new epoch; gives up only when cancelled."""
        attempt = 0
        while self._failure is not None:
            delay_s = REOPEN_DELAYS_S[min(attempt, len(REOPEN_DELAYS_S) - 1)]
            attempt += 1
            await asyncio.sleep(delay_s)
            try:
                await self.storage.close()
                await self.start()
            except StorageError as error:
                self._failure = str(error)
                if attempt % 20 == 1:
                    log.warning("engine.storage_unavailable", detail=str(error), attempt=attempt)
        log.info("engine.recovered", attempts=attempt)

    # Loading.

    async def start(self) -> None:
        """Open the storage, take the shards, load what is live, and queue what was under way.

        Raises:
            StorageError: it cannot be opened or read.
        """
        storage = self.storage
        await storage.open()
        live = self.live
        live.clear()
        self._messaged.clear()
        epochs = await storage.acquire(range(storage.shard_count), self._node, 0)
        if len(epochs) < storage.shard_count:
            raise StorageUnavailableError("another server owns a part of this database")
        catalogue = await storage.catalogue()
        self.functions.load(catalogue.apps, catalogue.functions)
        live.shards = {shard: Shard(shard, epoch, self.functions) for shard, epoch in epochs.items()}
        self._message_number = max(epochs.values()) << 40
        self._domain_ms = max(self._domain_ms, await storage.domain_time_ms())
        now_ms = self.now_ms()
        lost: list[Pending] = []
        facts = [pending.fact for pending in self._inbox]
        answered = {(fact.item_id, fact.generation) for fact in facts if isinstance(fact, Answered)}
        async for page in storage.load(epochs):
            for row in page.runs:
                live.shards[row.shard].runs[row.run_id] = Run(_with_shared_texts(row))
            for item in page.items:
                self._load_item(item, lost, answered)
            for wait in page.waits:
                run = live.shards[wait.shard].runs[wait.run_id]
                wait = _wait_of(run, wait)
                run.waits[wait.wait_id] = wait
                live.open_wait(wait)
            for cron in page.crons:
                live.crons[cron.cron_id] = cron
        crons.resume(self, now_ms)
        for shard in epochs:
            # Numbers are one sequence of the node: they tell the order between the senders of one receiver too.
            for row in sorted(await storage.messages(shard, MESSAGES_MAX), key=lambda row: row.number):
                message = decode(row.body)
                self._messaged[message.run_id] = self._messaged.get(message.run_id, 0) + 1
                lost.append(Pending(message, message=row[:3]))
        for shard in live.shards.values():
            self.grant(shard, shard.slots.waited_for())
        lost += self._told
        self._told.clear()
        self._inbox.extendleft(reversed(lost))  # Stored messages are older than the answers that were kept.
        self._failure = None
        self._wake_up()
        self._wake_loader()

    def _load_item(self, item: ItemRow, lost: list[Pending], answered: set[tuple[str, int]]) -> None:
        shard = self.live.shards[item.shard]
        run = shard.runs[item.run_id]
        run.items[item.item_id] = item
        buckets = tuple(item.slots.split("\n")) if item.slots else ()
        if item.state == ItemState.SENT:
            if buckets:
                self._home(run).slots.hold(item.item_id, buckets)
            under_way = self.driver is not None and self.driver.is_sending(item.item_id, item.generation)
            if not under_way and (item.item_id, item.generation) not in answered:
                lost.append(Pending(ItemLost(item.run_id, item.item_id, item.generation)))
        elif item.state == ItemState.PARKED:
            self._home(run).slots.park(item.item_id, buckets, (run.row.created_at_ms, item.item_id))
        else:
            self.live.timers.set(item.due_at_ms, "item", item.run_id, item.item_id)

    def _wait_for_content(self, run_id: str, pending: Pending) -> None:
        queue = self._loading.get(run_id)
        if queue is None:
            self._loading[run_id] = [pending]
            self._to_load.append(run_id)
            self._wake_loader()
        else:
            queue.append(pending)

    async def load_once(self) -> bool:
        """Read what waiting facts lack; False if nothing was wanted."""
        if not self._to_load and not self._events_to_load:
            return False
        self._rounds += 1
        round_number, generation = self._rounds, self._generation
        run_ids = [self._to_load.popleft() for _ in range(min(self._loads_per_read(), len(self._to_load)))]
        pending = [
            self._events_to_load.popleft() for _ in range(min(LOADS_PER_READ, len(self._events_to_load)))
        ]
        try:
            if pending:
                await self._load_marks(pending, round_number)
            contents = await self._load_contents(run_ids) if run_ids else {}
        except StorageError as error:
            log.error("engine.load_failed", code=error.code, detail=str(error))
            if generation == self._generation:
                self._load_failed(run_ids, pending, error)
            else:
                self._refuse(pending)
            return True
        if generation != self._generation:
            self._refuse(pending)  # Memory was forgotten meanwhile; what was read belongs to the past.
            return True
        self._events_inbox.extend(pending)
        for run_id in run_ids:
            run = self.live.find_run(run_id)
            if run is not None and run.content is None:
                run.content = contents.get(run_id)
                if run.content is None:
                    self._hold_unreadable(run_id)
                    continue
            # In front: what came for the run while it was loaded comes after what it was loaded for.
            self._inbox.extendleft(reversed(self._loading.pop(run_id, ())))
        self._wake_up()
        return True

    def _loads_per_read(self) -> int:
        """One while the damaged one among several runs is looked for."""
        if self._load_singly == 0:
            return LOADS_PER_READ
        self._load_singly -= 1
        return 1

    def _hold_unreadable(self, run_id: str) -> None:
        log.error("engine.run_unreadable", run_id=run_id, detail="its event or journal is missing or damaged")
        self._held[run_id] = "its event or journal is missing or damaged"
        for pending in self._loading.pop(run_id, ()):
            self._inbox.append(pending)

    def _load_failed(self, run_ids: list[str], pending: list[Pending], error: StorageError) -> None:
        """A damaged row holds its run alone; a storage that does not answer is reopened."""
        self._refuse(pending)
        if error.code != "storage_corrupt":
            self._fail(str(error), [])
        elif len(run_ids) == 1:
            self._hold_unreadable(run_ids[0])
        else:
            self._to_load.extendleft(reversed(run_ids))
            self._load_singly = len(run_ids)
        self._wake_up()

    def _refuse(self, pending: list[Pending]) -> None:
        for one in pending:
            if one.reply is not None and not one.reply.done():
                one.reply.set_exception(EngineUnavailableError("the server cannot read its storage now"))

    async def _load_marks(self, pending: list[Pending], round_number: int) -> None:
        facts = [one.fact for one in pending]
        keys = [
            events.mark_key(event.event_id)
            for fact in facts
            if isinstance(fact, EventsSent)
            for event in fact.events
            if event.repeatable
        ]
        marks = {
            row.key: (row.internal_id, row.expires_at_ms) for row in await self.storage.get(MarkRow, keys)
        }
        for fact in facts:
            assert isinstance(fact, EventsSent)
            asked_again = fact.round > 0
            fact.marks, fact.round = marks, round_number
            if asked_again:
                candidates = events.candidate_runs(self, fact, self.now_ms())
                fact.run_ids = frozenset(row.run_id for row in await self.storage.get(RunRow, candidates))
                sent_again = [event.internal_id for event in fact.events if event.repeatable]
                stored = await self.storage.get(EventRow, sent_again)
                fact.stored = frozenset(row.internal_id for row in stored)

    async def _load_contents(self, run_ids: list[str]) -> dict[str, Content]:
        runs = {run_id: run for run_id in run_ids if (run := self.live.find_run(run_id)) is not None}
        bodies = {
            row.internal_id: row.body
            for row in await self.storage.get(EventRow, [run.row.event_id for run in runs.values()])
        }
        journals = await self.storage.journals(list(runs))
        contents: dict[str, Content] = {}
        for run_id, run in runs.items():
            body = bodies.get(run.row.event_id)
            if body is None:
                continue
            content = contents[run_id] = Content(body)
            for entry in journals.get(run_id, ()):
                content.fold(entry)
        return contents

    def _fire_timers(self, now_ms: int) -> None:
        for timer in self.live.timers.take_due(now_ms, TIMERS_PER_BATCH):
            if timer.kind == "wait":
                self._inbox.append(Pending(WaitExpired(timer.owner, timer.key)))
            elif timer.kind == "item":
                self._inbox.append(Pending(ItemDue(timer.owner, timer.key)))
            else:
                self._inbox.append(Pending(CronDue(timer.key)))


def _with_shared_texts(row: RunRow) -> RunRow:
    """The same row with the texts that many rows have in common as one object each."""
    return row._replace(
        function_id=shared(row.function_id), event_name=shared(row.event_name), status=shared(row.status)
    )


def _wait_of(run: Run, row: WaitRow) -> WaitRow:
    """As `_with_shared_texts`, for a wait of a run."""
    return row._replace(
        run_id=run.id,
        step_id=shared(row.step_id),
        kind=shared(row.kind),
        name=shared(row.name),
        expression=shared(row.expression),
    )
