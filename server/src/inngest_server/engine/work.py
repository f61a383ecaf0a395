"""What is being decided: the batch that grows, and what follows its commit.

A `Work` takes decisions into memory and into the batch. Whoever decides, about a run here or about an event,
an app or a schedule in the rooms beside, puts its changes through this one place.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, assert_never

import structlog

from inngest_server.clock import RandomSource
from inngest_server.engine import events, sending, timeouts
from inngest_server.engine.counters import Tally, count_decision
from inngest_server.engine.facts import EventsSent, Pending, RunRekeyed, StandDown, StartDue
from inngest_server.engine.functions import Functions
from inngest_server.engine.held import Held, HeldKind, HeldTable
from inngest_server.engine.live import Live, Shard
from inngest_server.engine.marks import RecentMarks
from inngest_server.engine.messages import Message, RunMessage, StartAsked, encode, run_of
from inngest_server.engine.options import EngineOptions
from inngest_server.events.event import Event
from inngest_server.execution.driver import Call
from inngest_server.flow_control.records import TermsRow
from inngest_server.runs.decision import Decision, Publish, StartChild, TellParent
from inngest_server.runs.facts import Answer, CallFailed, ChildEnded, EventArrived
from inngest_server.runs.records import ItemRow, ItemState, JournalKind, RunStatus, WaitRow
from inngest_server.runs.run import Moment, Run
from inngest_server.storage.protocol import Batch
from inngest_server.storage.records import MessageRow, SubscriberRow
from inngest_server.wire import json

log = structlog.get_logger("inngest.engine")

UNREACHABLE = "unreachable"
"""The code of a call that got no answer."""
TOLD_MAX = 200
"""Messages between entities decided in one batch; more are stored and decided in later ones."""
TOLD_OF_EVENT_MAX = 50
"""Those about one event: it may end the waits of thousands of runs."""
MESSAGES_PER_ROW = 100
"""About one event, to runs of one shard."""

HELD_LOGGED = 20
"""Held entities that are logged one by one; a broken table may hold every run."""
HELD_PER_LINE = 1000


class Work:
    """Changes since the last commit, and what is to be done once they are durable."""

    def __init__(
        self,
        live: Live,
        functions: Functions,
        marks: RecentMarks,
        random: RandomSource,
        options: EngineOptions,
        inbox: deque[Pending],
    ) -> None:
        self.live = live
        self.functions = functions
        self.marks = marks
        self.options = options
        self.random = random
        self.shard_count = 0
        """Of the storage; set when it is open."""
        self.is_at_rest = False
        """Whether work stays where it is, for the next server to go on with."""
        self.is_granting = False
        """Whether free slots are given out in slices, with a fact on its way for the next."""
        self.reading: EventsSent | StartDue | None = None
        """The fact under decision, which knows what storage had of rate limits."""
        self.shift_ms = 0
        """What instants of apps' own clocks are moved by in this batch."""
        self.inbox = inbox
        """Facts for later batches."""
        self.told: deque[Pending] = deque()
        """Facts that this batch's decisions caused: they are decided before it is committed."""
        self.batch = Batch()
        self.tally = Tally()
        """What the batch does, counted once it is durable."""
        self.replies: list[Pending] = []
        self.calls: list[Call] = []
        self.grants = 0
        """Parked items that got their slots in this batch."""
        self.touched: dict[str, Run] = {}
        self.notes: list[tuple[str, dict[str, Any]]] = []
        """Log lines about runs, said once what they tell is durable."""
        self.messaged: dict[str, int] = {}
        """Runs for which stored messages are undecided, with how many: later ones must not overtake them."""
        self.undecided: dict[tuple[int, int, int], int] = {}
        """Stored rows of messages, with how many of each are undecided."""
        self.message_number = 0
        self.not_before_ms = 0
        """The moment that decisions of later batches have at least."""
        self.held = HeldTable()
        self._subscribed: set[tuple[str, int]] = set()

    def begin(self) -> None:
        """Start the next batch; what the last one held is in the caller's hands."""
        self.batch, self.replies, self.calls, self.touched = Batch(), [], [], {}
        self.tally = Tally()
        self.grants = 0
        self.notes = []

    def forget(self) -> None:
        """Drop everything: memory is loaded again."""
        self.begin()
        self.told.clear()
        self.reading = None
        self.is_granting = False
        self.messaged.clear()
        self.undecided.clear()
        self.held.forget_messages()
        self._subscribed.clear()

    def tell(self, fact: Any) -> None:
        """Add a fact for a later batch."""
        self.inbox.append(Pending(fact))

    def settle(self, pending: Pending) -> None:
        """The fact is decided: its message, if it came by one, goes with the batch; who asked is answered."""
        if pending.message is not None:
            self.undecided[pending.message] -= 1
            if not self.undecided[pending.message]:
                del self.undecided[pending.message]
                self.batch.remove(MessageRow, pending.message, pending.message[0])
                self.owns(pending.message[0])
            if isinstance(pending.fact, RunMessage):
                left = self.messaged.pop(pending.fact.run_id) - 1
                if left:
                    self.messaged[pending.fact.run_id] = left
        if pending.reply is not None:
            self.replies.append(pending)

    def moment(self, slug: str, max_attempts: int, now_ms: int) -> Moment:
        """What a decision about a run of that function may know."""
        options = self.options
        return Moment(
            now_ms,
            self.random.random(),
            slug,
            max_attempts,
            options.retry_interval_ms,
            options.limits,
            self.live.signal_holder,
            self.shift_ms,
        )

    def owns(self, shard_id: int) -> Shard:
        """The shard, named in the batch with the epoch in which it is held."""
        shard = self.live.shards[shard_id]
        self.batch.epochs[shard_id] = shard.epoch
        return shard

    # What is set aside.

    def hold(self, entity: str, kind: HeldKind, reason: str, now_ms: int) -> None:
        """Set a run or a schedule aside; say so once, and let nobody wait for what it keeps."""
        if self.held.add(entity, Held(kind, reason, now_ms)):
            count = len(self.held)
            if count <= HELD_LOGGED:
                log.error("engine.held", entity=entity, kind=kind, reason=reason)
            elif count % HELD_PER_LINE == 0:
                log.error("engine.many_held", count=count, hint="GET /v1/held lists them")
            if kind == "run":
                self.tell(StandDown(entity))

    def stand_down(self, run: Run, is_sending: Callable[[str, int], bool], now_ms: int) -> None:
        """Queue the work of a held run that is not under way, so that its slots are free for others."""
        sent_now = {call.item.item_id for call in self.calls}
        for item in list(run.items.values()):
            is_under_way = item.item_id in sent_now or is_sending(item.item_id, item.generation)
            if item.state == ItemState.QUEUED or is_under_way:
                continue
            sending.give_back(self, run, item.item_id)
            self.owns(item.shard)
            # Without losses, for a lost item is sent again with the slots that it keeps.
            queued = item._replace(state=ItemState.QUEUED.value, due_at_ms=now_ms, losses=0, slots="")
            self.put_item(run, queued)
        if run.id in self.held:
            self.live.slots.release(run.id)  # Those until its end, which may be far; see `release`.
        sending.grant(self, now_ms)

    def take_in(self, run: Run, item: ItemRow, now_ms: int) -> None:
        """Give a run work that was stored and not loaded; whether it was sent is not known any more."""
        self.owns(run.row.shard)
        queued = item._replace(
            shard=run.row.shard, state=ItemState.QUEUED.value, due_at_ms=now_ms, losses=0, slots=""
        )
        self.put_item(run, queued)
        self.live.timers.set(now_ms, "item", run.id, item.item_id)

    def release(self, entity: str) -> None:
        """Hold it no longer: what it waits for may happen again, and its messages are decided."""
        if entity not in self.held:
            return
        self.inbox.extend(self.held.release(entity))
        timers = self.live.timers
        if (cron := self.live.crons.get(entity)) is not None:
            timers.set(cron.fires_at_ms, "cron", "", entity)
        if (window := self.live.windows.find(entity)) is not None:
            self.live.windows.arm(window, timers)
        if (run := self.live.find_run(entity)) is not None:
            if run.terms is not None and run.terms.slots:
                self.live.slots.hold(run.id, tuple(run.terms.slots.split("\n")))  # Others may have them too.
            self.set_timers(run)
            if run.row.started_at_ms is not None and self.functions.get(run.row.function_id).limits:
                # It was passed over if they were counted elsewhere meanwhile.
                self.tell(RunRekeyed(run.id, run.row.function_id))

    def set_timers(self, run: Run) -> None:
        """Let what a run waits for happen again: facts about it came to nothing while it was held."""
        timers = self.live.timers
        for wait in run.waits.values():
            timers.set(wait.fires_at_ms, "wait", run.id, wait.wait_id)
        for item in run.items.values():
            if item.state == ItemState.QUEUED:
                timers.set(item.due_at_ms, "item", run.id, item.item_id)
        timeouts.arm(timers, self.functions.get(run.row.function_id), run)

    def apply(self, run: Run, decision: Decision, now_ms: int) -> None:
        """Take a decision into memory and into the batch."""
        batch = self.batch
        row = run.row
        shard = self.owns(row.shard)
        self.touched[row.run_id] = run
        count_decision(self.tally, run, decision)
        content = run.content
        if decision.journal:
            assert content is not None
            for entry in decision.journal:
                content.fold(entry)
            batch.journal.extend(decision.journal)
            self._note_errors(run, decision)
        if decision.row is not None:
            run.row = decision.row
            batch.put(decision.row)
        for wait_id in decision.gone_waits:
            wait = run.waits.pop(wait_id)
            self.live.close_wait(wait)
            batch.remove(WaitRow, wait_id, wait.shard)
        for wait in decision.waits:
            self.add_wait(run, wait)
        for item_id in decision.gone_items:
            item = run.items.pop(item_id)
            self.live.item_counts[row.function_id, item.state] -= 1
            batch.remove(ItemRow, item_id, item.shard)
            if item.slots or decision.ended or item.state == ItemState.PARKED:
                self.live.slots.release(item_id)
            self.note_reach(run, item_id, None)
        if decision.ended:
            del shard.runs[row.run_id]
            self.live.slots.release(row.run_id)
            if run.terms is not None:
                batch.remove(TermsRow, row.run_id, row.shard)
                self.live.unlock(run)
        for item in decision.items:
            if row.run_id not in shard.runs:
                break  # Sending one of them ended the run.
            sending.place(self, run, item, now_ms)
        sending.grant(self, now_ms)
        for message in decision.messages:
            self._follow(message, run, now_ms)

    def _note_errors(self, run: Run, decision: Decision) -> None:
        """Say which tries failed and which runs. Names of errors only: messages belong to users."""
        function = self.functions.get(run.row.function_id).row.slug
        about = {"function": function, "run_id": run.row.run_id}
        for entry in decision.journal:
            if entry.payload is None or b'"code":' not in entry.meta:
                continue  # A failed invocation has none either: the run that failed has lines of its own.
            meta, error = json.parse(entry.meta), json.parse_kept(entry.payload)
            if entry.kind == JournalKind.MEMO:
                error = error["error"]
            trace = {"attempt": meta.get("attempt"), "code": meta.get("code"), "error": error.get("name")}
            if "next" in meta:
                trace["next_try_in_s"] = round((meta["next"] - entry.at_ms) / 1000, 1)
            self.notes.append(("run.try_failed", {**about, **trace}))
        if decision.row is not None and decision.row.status == RunStatus.FAILED:
            name = json.parse_kept(decision.row.output or b"{}").get("name")
            self.notes.append(("run.failed", {**about, "error": name}))

    def add_wait(self, run: Run, wait: WaitRow) -> None:
        if wait.kind == "signal":
            self._silence(self.live.signal_holder(wait.name))
        run.waits[wait.wait_id] = wait
        self.batch.put(wait)
        self.live.open_wait(wait)
        if wait.kind in ("event", "cancel") and (wait.name, wait.shard) not in self._subscribed:
            self._subscribed.add((wait.name, wait.shard))
            self.batch.put(SubscriberRow(wait.name, wait.shard))

    def _silence(self, wait_id: str | None) -> None:
        """A wait was replaced: without its signal's name no signal finds it, after the next start either."""
        run = self.live.find_run(wait_id.partition(".")[0]) if wait_id is not None else None
        wait = run.waits.get(wait_id) if run is not None and wait_id is not None else None
        if run is not None and wait is not None:
            run.waits[wait.wait_id] = wait._replace(name="")
            self.put(run.waits[wait.wait_id])

    def put_item(self, run: Run, item: ItemRow) -> None:
        """Store an item of a run, new or changed."""
        before, function_id = run.items.get(item.item_id), run.row.function_id
        if before is not None:
            self.live.item_counts[function_id, before.state] -= 1
        self.live.item_counts[function_id, item.state] += 1
        if before is None or (before.attempt != item.attempt and item.attempt > 0):
            self.tally["req_scheduled", function_id, ""] += 1
        run.items[item.item_id] = item
        self.batch.put(item)

    def note_reach(self, run: Run, item_id: str, answer: Answer | None) -> None:
        """Note whether an item waits for its app alone; None when it is gone. Call before it is applied."""
        item = run.items.get(item_id)
        is_unreached = (
            isinstance(answer, CallFailed)
            and answer.code == UNREACHABLE
            and item is not None
            and not item.is_gateway  # It was not the app that could not be reached.
        )
        unreached = self.live.unreached
        if not is_unreached and not unreached:
            return
        app_id = self.functions.get(run.row.function_id).row.app_id
        if is_unreached:
            unreached.setdefault(app_id, {})[item_id] = None
        elif app_id in unreached:
            unreached[app_id].pop(item_id, None)
            if not unreached[app_id]:
                del unreached[app_id]

    def put(self, row: Any) -> None:
        """Put a row of an owned shard into the batch."""
        self.batch.put(row)
        self.owns(row.shard)

    def add_run(self, run: Run, item: ItemRow, waits: Iterable[WaitRow], now_ms: int) -> None:
        """Take in a run that was just made."""
        shard = self.owns(run.row.shard)
        shard.runs[run.id] = run
        self.touched[run.id] = run
        self.tally["run_scheduled", run.row.function_id, ""] += 1
        self.batch.put(run.row)
        if run.terms is not None:
            self.batch.put(run.terms)
            self.live.lock(run)
            timeouts.arm(self.live.timers, self.functions.get(run.row.function_id), run)
        for wait in waits:
            self.add_wait(run, wait)
        sending.place(self, run, item, now_ms)
        sending.grant(self, now_ms)

    # Messages between entities.

    def _follow(self, message: TellParent | StartChild | Publish, run: Run, now_ms: int) -> None:
        match message:
            case TellParent():
                parent = message.correlation_id.partition(".")[0]
                ended = ChildEnded(parent, message.correlation_id, message.memo, run.id)
                self.tell_run(ended, run.row.shard)
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
        if self._can_tell(run):
            self.told.append(Pending(message))
        else:
            self._store_messages(run.row.shard, sender, [message])

    def tell_waits(self, event: Event, wait_ids: Sequence[str], sender: int) -> None:
        """Tell runs of an event that ends waits of theirs: as `tell_run`, with one stored message for many.

        An event never ends a wait of the run that it started.
        """
        told_max = len(self.told) + TOLD_OF_EVENT_MAX
        later: dict[int, list[EventArrived]] = {}
        for wait_id in wait_ids:
            run = self.live.find_run(run_of(wait_id))
            if run is None or run.row.event_id == event.internal_id:
                continue
            arrived = EventArrived(run.id, wait_id, event.internal_id, event.body)
            if len(self.told) < told_max and self._can_tell(run):
                self.told.append(Pending(arrived))
            else:
                later.setdefault(run.row.shard, []).append(arrived)
        for shard_id, messages in later.items():
            for start in range(0, len(messages), MESSAGES_PER_ROW):
                self._store_messages(shard_id, sender, messages[start : start + MESSAGES_PER_ROW])

    def _can_tell(self, run: Run) -> bool:
        """Whether what it is told can be decided in this batch: in memory, and in order."""
        return run.content is not None and run.id not in self.messaged and len(self.told) < TOLD_MAX

    def _store_messages(self, shard_id: int, sender: int, messages: Sequence[RunMessage]) -> None:
        row = self._put_message(shard_id, sender, messages)
        self.inbox.extend(self.stored_messages(row, messages))

    def _put_message(self, shard_id: int, sender: int, messages: Sequence[Message]) -> MessageRow:
        self.message_number += 1
        row = MessageRow(shard_id, sender, self.message_number, encode(messages))
        self.batch.put(row)
        self.owns(shard_id)
        return row

    def store_start(self, asked: StartAsked, event: Event) -> None:
        """Let a start go on in a later batch, and not get lost before. Its event must be stored."""
        shard_id = self.functions.get(asked.function_id).row.shard
        row = self._put_message(shard_id, shard_id, [asked])
        self.inbox.append(self.stored_start(row, StartDue(asked, event)))

    def stored_start(self, row: MessageRow, fact: StartDue) -> Pending:
        """The fact of a stored start, whose row goes with its decision."""
        self.undecided[row[:3]] = 1
        return Pending(fact, message=row[:3])

    def stored_messages(self, row: MessageRow, messages: Sequence[RunMessage]) -> list[Pending]:
        """Facts of the messages of one stored row, which goes with the last of them."""
        key = row[:3]
        self.undecided[key] = len(messages)
        for message in messages:
            self.messaged[message.run_id] = self.messaged.get(message.run_id, 0) + 1
        return [Pending(message, message=key) for message in messages]
