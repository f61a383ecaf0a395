"""Where due work of a run goes: parked until it has its slots, or sent.

The rules are those of `flow_control/`; who waits for what is in `parking.py`. Here a placement finds the
set of buckets that an item needs now, and stores with the batch that sends it what the start of a run uses
up: its slots for the whole run, and the throttle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from inngest_server.engine import timeouts
from inngest_server.engine.facts import Pending, SlotsFreed
from inngest_server.engine.functions import Function
from inngest_server.execution.driver import Call
from inngest_server.flow_control.gcra import in_ms
from inngest_server.flow_control.parking import Buckets, Rank, kind_of
from inngest_server.flow_control.records import MeterRow, TermsRow
from inngest_server.runs import finish
from inngest_server.runs.decide import decide, send, started
from inngest_server.runs.decision import Decision
from inngest_server.runs.errors import RunFailure
from inngest_server.runs.facts import ItemDue
from inngest_server.runs.opcodes.gateway import read_stored
from inngest_server.runs.records import ItemRow, ItemState
from inngest_server.runs.run import Run
from inngest_server.runs.skip import SkipReason, skip

if TYPE_CHECKING:
    from inngest_server.engine.work import Work

GRANTS_PER_SLICE = 25
"""Items that get their slots in one go, and are sent with one fact: very many may get theirs at one moment,
as when throttles open, a limit is raised or a function is resumed."""
GRANTS_PER_BATCH = 250
"""In one batch: who gets slots may end at once, as it waited too long, and so give them to the next."""
METER_KEPT_MS = 1_000
"""For how long what a throttle was used is kept beyond its meaning, so that a busy one's row stays."""


def place(work: Work, run: Run, item: ItemRow, now_ms: int) -> None:
    """Put an item where it belongs: queued until its moment, parked for slots, or sent.

    Call `grant` afterwards.
    """
    work.owns(item.shard)
    before = run.items.get(item.item_id)
    if item.state == ItemState.SENT or work.is_at_rest:
        work.put_item(run, item)
        return
    keeps_slots = item.losses > 0
    if before is not None and before.state == ItemState.SENT and before.slots and not keeps_slots:
        work.live.slots.release(item.item_id)
    if item.due_at_ms > now_ms:
        work.put_item(run, item)
        work.live.timers.set(item.due_at_ms, "item", item.run_id, item.item_id)
    elif run.row.started_at_ms is None and not work.functions.get(run.row.function_id).is_active:
        _skip(work, run, item, now_ms)
    elif keeps_slots or _has_slots(work, run, item, now_ms):
        _send(work, run, item, now_ms)


def _skip(work: Work, run: Run, item: ItemRow, now_ms: int) -> None:
    """End a run that was not started before its function was removed."""
    work.put_item(run, item)  # So that it is found and removed.
    function = work.functions.get(run.row.function_id)
    moment = work.moment(function.row.slug, function.config.max_attempts, now_ms)
    work.apply(run, skip(run, moment, SkipReason.FUNCTION_REMOVED), now_ms)


def _has_slots(work: Work, run: Run, item: ItemRow, now_ms: int) -> bool:
    """Whether the item may be sent now; if not, it is parked."""
    function = work.functions.get(run.row.function_id)
    is_paused, is_start = function.id in work.live.pauses, run.row.started_at_ms is None
    is_singleton = is_start and run.terms is not None and run.terms.singleton != ""
    steps: Buckets = ()
    starts: Buckets = ()
    if function.is_limited or is_singleton:
        steps, starts = _set_of(function, run, is_start, now_ms)
    elif not is_paused and item.state != ItemState.PARKED:
        return True
    slots = work.live.slots
    if slots.is_granted(item.item_id, steps, starts, now_ms) and not is_paused:
        return True
    if item.state == ItemState.PARKED and slots.is_waiting(item.item_id, steps, starts):
        return False  # It was woken without slots; it still waits for the same ones.
    give_back(work, run, item.item_id)  # The limits changed since it got or wanted others.
    if not (steps or starts or is_paused):
        return True
    if slots.take(item.item_id, function.id, steps, starts, now_ms):
        return True
    slots.park(item.item_id, function.id, steps, starts, rank_of(run, item))
    due_at_ms = item.due_at_ms if item.state == ItemState.PARKED else now_ms
    names = "\n".join((*steps, *starts))
    work.put_item(run, item._replace(state=ItemState.PARKED.value, due_at_ms=due_at_ms, slots=names))
    return False


def _set_of(function: Function, run: Run, is_start: bool, now_ms: int) -> tuple[Buckets, Buckets]:
    """The buckets in which a request of the run needs room now: of a request, and of a start."""
    if function.fixed_buckets is not None:
        steps, starts = function.fixed_buckets  # The event need not be parsed.
    else:
        event = run.loaded.event
        steps = function.step_buckets(event, now_ms)
        starts = function.start_buckets(event, now_ms) if is_start else ()
    if not is_start:
        return steps, ()
    if run.terms is not None and run.terms.singleton:
        starts = tuple(sorted((*starts, f"s/{run.terms.singleton}")))
    return steps, starts


def give_back(work: Work, run: Run, item_id: str) -> None:
    """Take from an item that is not sent what it got or waits for, and from its run what came with it."""
    work.live.slots.release(item_id)
    if run.row.started_at_ms is None:
        work.live.slots.release(run.id)


def _send(work: Work, run: Run, item: ItemRow, now_ms: int) -> None:
    function = work.functions.get(run.row.function_id)
    max_attempts = function.config.max_attempts
    moment = work.moment(function.row.slug, max_attempts, now_ms)
    # Where a decision ends the run, the item is put first so that it is found and removed.
    if (overdue := timeouts.find_overdue(function, run, now_ms)) is not None:
        work.put_item(run, item)
        work.apply(run, decide(run, overdue, moment), now_ms)
        return
    slots = work.live.slots
    try:
        sent = send(run, item, moment, "\n".join(slots.held_by(item.item_id)))
    except RunFailure as failure:
        work.put_item(run, item)
        decision = Decision(run)
        finish.fail(run, decision, moment, failure.error)
        work.apply(run, decision, now_ms)
        return
    work.put_item(run, sent)
    starts = slots.sent(item.item_id, now_ms)
    if run.row.started_at_ms is None:
        run.row = started(run.row, now_ms)
        work.batch.put(run.row)
        _keep_start(work, function, run, starts)
        timeouts.arm(work.live.timers, function, run)
        work.tally["run_started", run.row.function_id, ""] += 1
    app_id, url, known = function.row.app_id, function.discovery_url, run.loaded.known
    request = read_stored(run.loaded.requests[item.step_id]) if item.is_gateway else None
    work.calls.append(Call(run, sent, app_id, url, function.id, max_attempts, known, request))


def _keep_start(work: Work, function: Function, run: Run, starts: Buckets) -> None:
    """Store what the start of a run took: the slots that it holds until its end, and the throttle's use."""
    if held := work.live.slots.held_by(run.id):
        set_run_slots(work, run, held)
    for bucket in starts:
        if kind_of(bucket) == "t":
            row = MeterRow(bucket, function.row.shard, work.live.slots.tat_ns(bucket))
            work.live.meters[bucket] = row
            work.put(row)


def set_run_slots(work: Work, run: Run, buckets: Buckets) -> None:
    """Store which slots a run holds until its end."""
    terms = run.terms or TermsRow(run.id, run.row.shard, start_by_ms=None, singleton="", slots="")
    run.terms = terms._replace(slots="\n".join(buckets))
    work.put(run.terms)


def place_of(run: Run) -> tuple[int, str]:
    """The place of a run among those that wait: the oldest first, moved by its priority.

    Internal event ids tell the order of runs of one millisecond: that in which their events were sent.
    """
    return run.row.created_at_ms - run.row.priority_ms, run.row.event_id


def rank_of(run: Run, item: ItemRow) -> Rank:
    """The place of an item among those that wait for slots."""
    return (*place_of(run), item.item_id)


# Who waits.


def grant(work: Work, now_ms: int) -> None:
    """Give free slots to who waits for them, and let those be sent in this batch if they can be.

    What is left after a slice goes on in a later batch.
    """
    slots = work.live.slots
    if slots.is_stirred and not work.is_granting:
        at_most = min(GRANTS_PER_SLICE, GRANTS_PER_BATCH - work.grants)
        granted = slots.grant(now_ms, at_most) if at_most > 0 else []
        work.grants += len(granted)
        for item_id in granted:
            work.told.append(Pending(ItemDue(item_id[:26], item_id)))
        if slots.is_stirred:
            work.is_granting = True
            work.tell(SlotsFreed())
    if slots.is_metered:
        for bucket in slots.take_metered():
            _set_alarm(work, bucket, now_ms)


def grant_on(work: Work, now_ms: int) -> None:
    """Go on with what `grant` left."""
    work.is_granting = False
    if not work.is_at_rest:
        grant(work, now_ms)


def wake(work: Work, bucket: str) -> None:
    """Let who waits for a bucket that has room now look again, a slice at a time."""
    work.live.slots.stir(bucket)
    if work.live.slots.is_stirred and not work.is_granting:
        work.is_granting = True
        work.tell(SlotsFreed())


# Throttles.


def meter_due(work: Work, bucket: str, now_ms: int) -> None:
    """The moment of a throttle came: it opens for the next, or has nothing to say any more."""
    live = work.live
    live.meter_dues_ms.pop(bucket, None)
    live.slots.stir(bucket)
    grant(work, now_ms)
    opens_at_ms = live.slots.opens_at_ms(bucket, now_ms)
    if opens_at_ms is not None and opens_at_ms <= now_ms:
        # Its turn comes with a later slice, and that sets the alarm; now it would ring until then.
        _arm(work, bucket, now_ms + METER_KEPT_MS)
        return
    if opens_at_ms is not None or in_ms(live.slots.tat_ns(bucket)) > now_ms:
        _set_alarm(work, bucket, now_ms)
        return
    live.slots.forget_tat(bucket)
    row = live.meters.pop(bucket, None)
    if row is not None:
        work.owns(row.shard)
        work.batch.remove(MeterRow, bucket, row.shard)


def _set_alarm(work: Work, bucket: str, now_ms: int) -> None:
    """Set the timer of a throttle: when it opens for who waits, else when its use has passed."""
    live = work.live
    due_ms = live.slots.opens_at_ms(bucket, now_ms)
    if due_ms is None:
        due_ms = in_ms(live.slots.tat_ns(bucket)) + METER_KEPT_MS
    known_ms = live.meter_dues_ms.get(bucket)
    if known_ms is None or due_ms < known_ms:
        _arm(work, bucket, due_ms)


def _arm(work: Work, bucket: str, due_ms: int) -> None:
    work.live.meter_dues_ms[bucket] = due_ms
    work.live.timers.set(due_ms, "meter", "", bucket)
