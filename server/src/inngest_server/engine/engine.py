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
from collections.abc import Callable
from typing import Any, cast

import structlog

from inngest_server.clock import Clock, RandomSource
from inngest_server.engine import (
    closing,
    crons,
    events,
    rekeying,
    starts,
)
from inngest_server.engine.admission import Admission
from inngest_server.engine.counters import Counters, count_answer
from inngest_server.engine.facts import (
    CronDue,
    EventsSent,
    InvokeSent,
    MeterDue,
    NodeFact,
    PauseExpired,
    Pending,
    RekeyNext,
    RunRekeyed,
    SignalSent,
    SlotsFreed,
    StandDown,
    StartDue,
    WindowDue,
)
from inngest_server.engine.firing import fire_due
from inngest_server.engine.functions import Functions
from inngest_server.engine.held import Held, HeldKind
from inngest_server.engine.job_runner import JobRunner
from inngest_server.engine.live import Live
from inngest_server.engine.loader import Loader
from inngest_server.engine.marks import RecentMarks
from inngest_server.engine.node_facts import DECISIONS
from inngest_server.engine.options import EngineOptions, EngineUnavailableError, UndecidableError
from inngest_server.engine.startup import load_live, take_shards
from inngest_server.engine.work import Work
from inngest_server.execution.driver import Driver
from inngest_server.flow_control.records import WindowRow
from inngest_server.runs.decide import decide
from inngest_server.runs.facts import (
    Answered,
    Ending,
    Fact,
    ItemDue,
    ItemLost,
    SignalArrived,
    TimedOut,
    WaitExpired,
)
from inngest_server.runs.records import ItemState
from inngest_server.storage.protocol import CommitResult, Outcome, Storage, StorageError
from inngest_server.wire import ulid

log = structlog.get_logger("inngest.engine")

NOT_TAKEN_AGAIN = (
    ItemDue,
    ItemLost,
    WaitExpired,
    TimedOut,
    CronDue,
    WindowDue,
    PauseExpired,
    StandDown,
    SlotsFreed,
    MeterDue,
    RekeyNext,
    RunRekeyed,
)
"""Facts that follow from the rows: loading those brings them again."""
FACTS_PER_BATCH = 128
"""Facts decided between two commits, at most."""
SLICE_S = 0.004
"""Host time after which a batch takes no further fact. One fact and its commit's statements come on top."""
TRIES_MAX = 2
"""Decisions of a fact that belongs to no run or cron, until it is refused because they raise."""
REOPEN_DELAYS_S = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Pauses between attempts to get a failed storage back; stays at the last."""


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
            window_bytes_max=self.options.window_bytes_max,
        )
        self._marks = RecentMarks()
        self._clock = clock
        self._node = node
        self._ids = ulid.MonotonicULIDs(lambda: random.getrandbits(80))
        self._inbox: deque[Pending] = deque()
        self._events_inbox: deque[Pending] = deque()
        self._work = Work(self.live, self.functions, self._marks, random, self.options, self._inbox)
        self._loader = Loader(storage, self._work, self._events_inbox, now_ms=self.now_ms, failed=self._fail)
        self._loader.wake = self._wake_loader
        self.jobs = JobRunner(
            storage,
            self.live,
            ask=self.ask,
            crowd=lambda: len(self._work.messaged),
            rested=self._wake_up,
        )
        self._domain_ms = 0
        self.admission = Admission(clock, self.options)
        self._wake: asyncio.Future[None] | None = None
        self._load_wake: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self.on_rest: Callable[[], None] = lambda: None
        """Called whenever nothing is left to decide now."""
        self._failure: str | None = "starting"
        """Why memory is worth nothing and has to be loaded; None while it is good."""
        self._refusal: str | None = "starting"
        """Why nothing can be accepted now. What comes while only memory is loaded again waits for that."""
        self._has_run = False
        self._reopenings = 0
        """Attempts to get the storage back since the last commit."""
        self._taken: list[Pending] = []
        """Facts of the batch that is being made."""
        self._careful = 0
        """Batches that are still to be of one fact each."""
        self._search = FACTS_PER_BATCH
        self._immovable: set[str] = set()
        """Held runs that could not even be stood down: trying it again would only repeat the mistake."""
        self.counters = Counters()
        self.commits = 0
        self.facts_decided = 0
        self.late_answers = 0

    # What others may know and ask.

    @property
    def failure(self) -> str | None:
        """Why nothing can be accepted now; None when all is well."""
        return self._refusal

    @property
    def has_memory(self) -> bool:
        """Whether what is live is loaded; not while that is read after a failure."""
        return self._failure is None

    @property
    def held(self) -> dict[str, Held]:
        """Runs and schedules that are set aside: a fault of this server, or damage of the disk."""
        return self._work.held.all()

    def now_ms(self) -> int:
        """Domain time; never goes back, and never behind what was committed."""
        self._domain_ms = max(self._domain_ms, self._clock.now_ms(), self._work.not_before_ms)
        return self._domain_ms

    @property
    def clock_behind_ms(self) -> int:
        """By how much the host's clock is behind domain time, which stands still meanwhile."""
        return max(0, self._domain_ms - self._clock.now_ms())

    @property
    def is_resting(self) -> bool:
        """Whether nothing happens before the next timer, answer or request: no fact waits to be decided or
        read, and everything decided is durable."""
        is_asleep = self._wake is not None and not self._wake.done()
        waits = self._inbox or self._events_inbox or self._loader.is_busy
        return is_asleep and not waits and self.jobs.is_quiet

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
        if self._refusal is not None:
            reply.set_exception(
                EngineUnavailableError(f"the server cannot store anything now: {self._refusal}")
            )
            return reply
        self._inbox.append(Pending(fact, reply))
        self._wake_up()
        return reply

    def check_admission(self) -> None:
        """Return if events may be sent now; asked before their body is read.

        Raises:
            EngineUnavailableError: storage failed, or too much waits to be decided.
        """
        if self._refusal is not None:
            raise EngineUnavailableError(f"the server cannot store anything now: {self._refusal}")
        self.admission.check()

    def ask_events(self, fact: EventsSent) -> "asyncio.Future[Any]":
        """As `ask`, for events and invocations: what storage knows of their ids is read first.

        The result is True, or what `events.invoke` says. See `check_admission`.

        Raises:
            EngineUnavailableError: storage failed.
        """
        if self._refusal is not None:
            raise EngineUnavailableError(f"the server cannot store anything now: {self._refusal}")
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        number = self.admission.enter(fact.events)
        reply.add_done_callback(lambda _: self.admission.leave(number, fact.events))
        self._queue_events(Pending(fact, reply), fact)
        self._wake_up()
        return reply

    def _queue_events(self, pending: Pending, fact: EventsSent) -> None:
        if fact.is_repeatable or starts.is_rate_limited(self._work, fact):
            self._loader.wait_for_marks(pending)
        else:
            self._events_inbox.append(pending)

    # The loops.

    async def run(self) -> None:
        """Serve until cancelled. `start` must have been called."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._decide_for_ever())
            group.create_task(self._load_for_ever())
            group.create_task(self.jobs.run())

    async def _decide_for_ever(self) -> None:
        while True:
            if self._failure is not None:
                await self._recover()
            try:
                worked = await self.run_once()
            except Exception as error:
                # Our own mistake in the middle of a batch: memory may be half changed, so it is loaded again.
                self._decide_again(error)
                continue
            if not worked:
                await self._sleep_until_woken()

    async def _load_for_ever(self) -> None:
        failures = 0
        while True:
            try:
                worked = await self.load_once()
                failures = 0
            except Exception as error:  # Our own mistake; what waits must not wait for ever.
                log.error("engine.loader_failed", exc_info=error)
                self._fail(f"internal error: {type(error).__name__}: {error}")
                await asyncio.sleep(REOPEN_DELAYS_S[min(failures, len(REOPEN_DELAYS_S) - 1)])
                failures += 1
                continue
            if not worked:
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
        due_ms = self.live.timers.next_due_ms() if not self._work.is_at_rest else None
        delay_s = self._clock.delay_s(due_ms) if due_ms is not None else None
        if delay_s is not None:
            self._alarm = loop.call_later(min(delay_s, 3600.0), self._wake_up)
        self.on_rest()
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
        self._work.shift_ms = self._clock.shift_ms()
        self._fire_timers(now_ms)
        inbox, events_inbox = self._inbox, self._events_inbox
        if not inbox and not events_inbox:
            return False
        is_careful = self._careful > 0
        self._careful -= is_careful
        budget = 1 if is_careful else FACTS_PER_BATCH
        clock = self._clock
        until_s = clock.monotonic_s() + SLICE_S
        while inbox and budget > 0:
            budget -= 1
            self._take_with_told(inbox.popleft(), now_ms)
            if clock.monotonic_s() >= until_s:
                budget = 0
        # Events come last, but never not at all.
        budget = budget if is_careful else max(budget, 1)
        while events_inbox and budget > 0:
            pending = events_inbox.popleft()
            budget -= len(pending.fact.events) if isinstance(pending.fact, EventsSent) else 1
            self._take_with_told(pending, now_ms)
            if clock.monotonic_s() >= until_s:
                budget = 0
        await self._commit(now_ms)
        return True

    def _take_with_told(self, pending: Pending, now_ms: int) -> None:
        """Decide a fact, and what its decision tells others."""
        self._taken.append(pending)
        self._take(pending, now_ms)
        while self._work.told:
            self._take(self._work.told.popleft(), now_ms)

    def _take(self, pending: Pending, now_ms: int) -> None:
        self.facts_decided += 1
        fact = pending.fact
        decision = DECISIONS.get(type(fact))
        try:
            if decision is not None:
                pending.result = decision(self._work, fact, now_ms)
                self._work.replies.append(pending)
                return
            match fact:
                case EventsSent():
                    self._decide_events(pending, fact, now_ms)
                    return
                case StartDue():
                    run_id = starts.run_id_of(self._work, starts.start_of(self._work, fact))
                    self._decide_start(pending, fact, run_id, now_ms)
                    return
                case RunRekeyed():
                    self._rekey(pending, fact, now_ms)
                    return
                case CronDue():
                    if fact.cron_id not in self._work.held:
                        crons.fire(self._work, fact.cron_id, now_ms)
                case WindowDue():
                    if fact.window_id not in self._work.held and not closing.close(self._work, fact, now_ms):
                        self._loader.wait_for_events(pending)
                        return
                case StandDown():
                    if (run := self.live.find_run(fact.run_id)) is not None:
                        self._work.stand_down(run, self._is_sending, now_ms)
                        if fact.run_id not in self._work.held:
                            self._work.set_timers(run)  # It was released before this fact came up.
                case SignalSent():
                    pending.result = self._deliver_signal(pending, fact, now_ms)
                    return
                case _:  # All others about more than a run have their decision in the table.
                    self._decide_run(pending, cast("Fact", fact), now_ms)
                    return
        except Exception as error:
            # Half of it may be in memory and in the batch already, so both are forgotten.
            self._blame(pending, error)
            raise
        self._work.replies.append(pending)

    # Decisions about runs.

    def _decide_run(self, pending: Pending, fact: Fact, now_ms: int) -> None:
        run_id = fact.run_id
        run = self.live.find_run(run_id)
        if run_id in self._work.held and (run is None or not isinstance(fact, Ending)):
            self._work.held.refuse(run_id, pending)
            if run is not None and isinstance(fact, Answered):
                self._work.stand_down(run, self._is_sending, now_ms)
            return
        if run is None:
            self._drop(pending, fact)
            return
        if run.content is None:
            self._loader.wait_for_content(run_id, pending)
            return
        function = self.functions.get(run.row.function_id)
        try:
            decision = decide(
                run, fact, self._work.moment(function.row.slug, function.config.max_attempts, now_ms)
            )
        except Exception as error:
            self._blame(pending, error)
            return
        if isinstance(fact, Answered):
            item = run.items.get(fact.item_id)
            if item is not None and item.state == ItemState.SENT and item.generation == fact.generation:
                count_answer(self._work.tally, run, item, fact.answer, decision)
                self._work.note_reach(run, fact.item_id, fact.answer)
        self._work.apply(run, decision, now_ms)
        pending.result = decision.refused or run_id
        if isinstance(fact, SignalArrived) and not decision.gone_waits:
            pending.result = None  # Another signal was faster while the content was loaded.
        self._work.settle(pending)
        if decision.ended:
            self._work.release(run_id)

    def _rekey(self, pending: Pending, fact: RunRekeyed, now_ms: int) -> None:
        run = self.live.find_run(fact.run_id)
        if run is not None and fact.run_id not in self._work.held:
            if run.content is None:
                self._loader.wait_for_content(fact.run_id, pending)
                return
            rekeying.rekey(self._work, run, now_ms)
        # A held one has no slots: it gets them by their present names when it is released.
        rekeying.rekeyed(self._work, fact, now_ms)

    def _is_sending(self, item_id: str, generation: int) -> bool:
        return self.driver is not None and self.driver.is_sending(item_id, generation)

    def _drop(self, pending: Pending, fact: Fact) -> None:
        """The run ended, or never was: late facts are ordinary, and whoever asked is told."""
        if isinstance(fact, Answered):
            self.late_answers += 1
        pending.result = None
        self._work.settle(pending)

    def _blame(self, pending: Pending, error: Exception) -> None:
        """A decision raised: that is our own mistake. Its run or cron is held, and all others go on.

        What concerns neither, as an event, is decided once more: it may have met a state that has passed.
        """
        fact = pending.fact
        log.error("engine.fact_set_aside", fact=type(fact).__name__, exc_info=error)
        if isinstance(fact, CronDue):
            self._hold(fact.cron_id, "cron", error)
        elif isinstance(fact, StartDue):
            self._hold(starts.run_id_of(self._work, starts.start_of(self._work, fact)), "run", error)
        elif isinstance(fact, WindowDue) and self._is_stored(fact.window_id):
            self._hold(fact.window_id, "window", error)
        elif isinstance(fact, RunRekeyed):
            self._hold(fact.run_id, "run", error)
        elif isinstance(fact, StandDown):
            self._immovable.add(fact.run_id)
        elif not isinstance(fact, NodeFact):
            self._hold(fact.run_id, "run", error)
            self._work.held.refuse(fact.run_id, pending)
            pending.tries = TRIES_MAX
        else:
            # A window that this batch opened has another name the next time: its events are to blame.
            blamed = self._taken[-1] if isinstance(fact, WindowDue) else pending
            blamed.tries += 1
            if blamed.tries >= TRIES_MAX:
                blamed.fail(UndecidableError(error))

    def _is_stored(self, window_id: str) -> bool:
        """Whether the row of a window, which is being closed, was there before this batch."""
        window = self.live.windows.find(window_id)
        if window is not None:
            return window.is_stored
        return window_id in self._work.batch.gone.get(WindowRow, {})

    def _hold(self, entity: str, kind: HeldKind, error: Exception) -> None:
        self._work.hold(entity, kind, f"{type(error).__name__}: {error}", self.now_ms())

    def _decide_again(self, error: Exception) -> None:
        """A batch came to nothing by our own mistake: load memory again, and decide again what it held.

        Call only when nothing of the batch can have become durable.
        """
        log.error("engine.batch_failed", exc_info=error)
        undecided = [*self._taken, *self._inbox, *self._loader.forget(), *self._events_inbox]
        self._forget(f"internal error: {type(error).__name__}: {error}")
        seen: set[int] = set()
        for pending in undecided:
            # A fact may wait for its content, or have led to another one with which its asker waits now.
            names = {id(pending), id(pending.reply or pending)}
            is_needed = pending.tries < TRIES_MAX and (pending.reply is None or not pending.reply.done())
            if pending.message is not None or isinstance(pending.fact, NOT_TAKEN_AGAIN) or not is_needed:
                continue  # Messages are loaded again too.
            if not seen.isdisjoint(names):
                continue
            seen |= names
            pending.result = None
            if isinstance(pending.fact, EventsSent):
                pending.fact.forget_read()
                self._queue_events(pending, pending.fact)
            else:
                self._inbox.append(pending)

    def _look_for_misfit(self, error: Exception) -> None:
        """A batch has a row that the storage does not take: set the fact aside that leads to it.

        Facts are decided one by one until it is found. It may come late, as a timer does after a reload;
        then it spoils a batch again, and the search goes on for longer.
        """
        if len(self._taken) == 1:
            self._blame(self._taken[0], error)
            self._careful, self._search = 0, FACTS_PER_BATCH
        else:
            self._search *= 2
            self._careful = self._search
        self._decide_again(error)

    def _deliver_signal(self, pending: Pending, fact: SignalSent, now_ms: int) -> None:
        wait_id = self.live.signal_holder(fact.signal)
        if wait_id is None:
            self._work.replies.append(pending)
            return
        arrived = SignalArrived(wait_id.partition(".")[0], wait_id, fact.signal, fact.data)
        self._decide_run(Pending(arrived, pending.reply), arrived, now_ms)

    def _decide_events(self, pending: Pending, fact: EventsSent, now_ms: int) -> None:
        self._marks.deciding(fact.round)
        if events.must_read_again(self._work, fact, now_ms):
            self._loader.wait_for_marks(pending)
            return
        self._work.reading = fact
        if isinstance(fact, InvokeSent):
            pending.result = events.invoke(self._work, fact, now_ms)
        else:
            for event in fact.events:
                events.accept(self._work, event, fact, now_ms)
            pending.result = True
        self._work.reading = None
        self._work.replies.append(pending)

    def _decide_start(self, pending: Pending, fact: StartDue, run_id: str, now_ms: int) -> None:
        """Let a stored start go on, once what it needs of storage was read."""
        work = self._work
        if run_id in work.held:
            fact.round = 0  # What was read will be too old.
            work.held.refuse(run_id, pending)
            return
        if fact.round == 0:
            self._loader.wait_for_marks(pending)
            return
        self._marks.deciding(fact.round)
        work.reading = fact
        starts.resume(work, fact, now_ms)
        work.reading = None
        work.settle(pending)

    # Commit and act.

    async def _commit(self, now_ms: int) -> None:
        work = self._work
        batch, replies, calls, touched = work.batch, work.replies, work.calls, work.touched
        tally, notes = work.tally, work.notes
        self.live.windows.store(work)
        work.begin()
        if not batch.is_empty():
            batch.now_ms = now_ms
            try:
                result = await self.storage.commit(batch)
            except StorageError as error:
                # If a read failed meanwhile, nobody knows the facts of this batch any more.
                if error.code == StorageError.code and self._failure is None:
                    self._look_for_misfit(error)
                else:
                    self._fail(str(error), replies)
                return
            except Exception as error:
                log.error("engine.batch_failed", exc_info=error)
                self._fail(f"internal error: {type(error).__name__}: {error}", replies)
                return
            if result.outcome is not Outcome.DONE or result.stale:
                self._commit_failed(result, replies)
                return
            self.commits += 1
            self._reopenings = 0
            for call in calls:
                tally["req_started" if call.item.losses == 0 else "req_sent_again", call.function_id, ""] += 1
            self.counters.add(tally, now_ms)
            self._marks.committed(self._loader.rounds)
        self._taken.clear()
        for pending in replies:
            if pending.reply is not None and not pending.reply.done():
                pending.reply.set_result(pending.result)
        if self._failure is not None:
            return  # A read failed meanwhile and memory was forgotten: the reload finds these calls lost.
        for call in calls:
            assert self.driver is not None
            self.driver.send(call)
        self.live.touched(touched.values())
        self.live.windows.trim()
        for event, fields in notes:
            log.warning(event, **fields)

    def _commit_failed(self, result: CommitResult, replies: list[Pending]) -> None:
        why = result.detail or f"shards {sorted(result.stale)[:5]} have another owner"
        log.error("engine.commit_failed", outcome=result.outcome.value, detail=why)
        self._fail(why, replies)

    def _fail(self, why: str, replies: list[Pending] | None = None) -> None:
        """Stop promising: answer who waits, and forget what may not be true."""
        waiting = [*(replies or ()), *self._work.replies, *self._events_inbox]
        undecided = [*self._inbox, *self._loader.forget()]
        # Answers of apps are still true and worth keeping: their steps ran.
        kept = [pending for pending in undecided if isinstance(pending.fact, Answered)]
        for pending in (*waiting, *undecided):
            pending.fail(EngineUnavailableError(f"the server cannot store anything now: {why}"))
        self._refusal = why
        self._forget(why)
        self._inbox.extend(kept)

    def _forget(self, why: str) -> None:
        """Drop all memory and every fact; the loop loads it again."""
        self._failure = why
        self._inbox.clear()
        self._events_inbox.clear()
        self._taken.clear()
        if self.driver is not None:
            self.driver.recall()
        self._work.forget()
        self._marks.clear()
        self.live.clear()
        self._wake_up()

    async def _recover(self) -> None:
        """Get the storage back, in a new epoch; gives up only when cancelled."""
        attempt = 0
        while self._failure is not None:
            # A storage that opens and then refuses every commit must not be loaded as fast as it can be.
            delay_s = REOPEN_DELAYS_S[min(self._reopenings, len(REOPEN_DELAYS_S) - 1)]
            self._reopenings += 1
            attempt += 1
            await asyncio.sleep(delay_s)
            try:
                if self._refusal is not None:
                    await self.storage.close()
                await self.start()
            except StorageError as error:
                self._fail(str(error))
                if attempt % 20 == 1:
                    log.warning("engine.storage_unavailable", detail=str(error), attempt=attempt)
            except Exception as error:  # Our own mistake, or no memory: perhaps not the next time.
                self._fail(f"internal error: {type(error).__name__}: {error}")
                if attempt % 20 == 1:
                    log.error("engine.recovery_failed", attempt=attempt, exc_info=error)
        log.info("engine.recovered", attempts=attempt)

    async def start(self, *, at_rest: bool = False) -> None:
        """Open the storage, take the shards, load what is live, and queue what was under way.

        At rest nothing goes on by itself: no timer fires, and no work is sent. That is for repairs.

        Raises:
            StorageError: it cannot be opened or read.
        """
        storage = self.storage
        await storage.open()
        self.live.clear()
        self._work.forget()
        await take_shards(storage, self._work, self._node)
        self._domain_ms = max(self._domain_ms, await storage.domain_time_ms())
        late_ms = crons.LATE_MS if self._has_run else 0
        lost = await load_live(
            storage, self._work, self.driver, self.now_ms(), late_ms=late_ms, hold=self._loader.hold
        )
        self._work.is_at_rest = at_rest
        if at_rest:
            lost.clear()
            self.live.timers.clear()
        # Only now: an answer may have come while the rows were read.
        facts = [pending.fact for pending in self._inbox]
        answered = {(fact.item_id, fact.generation) for fact in facts if isinstance(fact, Answered)}
        lost = [one for one in lost if not _is_answered(one.fact, answered)]
        self._inbox.extendleft(reversed(lost))  # Stored messages are older than the answers that were kept.
        for entity, held in self.held.items():
            if held.kind == "run" and entity not in self._immovable:
                self.tell(StandDown(entity))
        self._failure = self._refusal = None
        self._has_run = True
        self._wake_up()
        self._wake_loader()

    async def load_once(self) -> bool:
        """Read what waiting facts lack; False if nothing was wanted."""
        worked = await self._loader.load_once()
        if worked:
            self._wake_up()
        return worked

    def _fire_timers(self, now_ms: int) -> None:
        if self._work.is_at_rest:
            return
        if fire_due(self._work, now_ms):
            self.jobs.wake()


def _is_answered(fact: Fact | NodeFact, answered: set[tuple[str, int]]) -> bool:
    return isinstance(fact, ItemLost) and (fact.item_id, fact.generation) in answered
