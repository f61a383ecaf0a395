"""Loading what is live when a node takes its shards, and finding what was under way."""

from collections.abc import Callable, Iterator

import structlog

from inngest_server.engine import crons, jobs, pauses, rekeying, sending, timeouts
from inngest_server.engine.facts import Pending, StartDue
from inngest_server.engine.live import Shard
from inngest_server.engine.messages import Message, StartAsked, decode
from inngest_server.engine.sending import rank_of
from inngest_server.engine.work import Work
from inngest_server.events.event import stored_event
from inngest_server.events.expressions import ExpressionError
from inngest_server.events.records import EventRow
from inngest_server.execution.driver import Driver
from inngest_server.flow_control.parking import split
from inngest_server.flow_control.records import TermsRow, WindowKind, WindowRow
from inngest_server.runs.facts import EventArrived, ItemLost
from inngest_server.runs.records import ItemRow, ItemState, RunRow, WaitKind, WaitRow
from inngest_server.runs.run import Run
from inngest_server.storage.protocol import CorruptDataError, Storage, StorageUnavailableError
from inngest_server.storage.records import TABLES, MessageRow
from inngest_server.wire.shared import shared, shared_bytes

log = structlog.get_logger("inngest.engine")

MESSAGES_MAX = 1_000_000

CONTRADICTIONS = (KeyError, TypeError, ValueError, ExpressionError)
"""What a row raises that refers to what is not there, or whose columns are no longer what they were."""

Hold = Callable[[str, str], None]
"""Sets a run aside, given its id and what is wrong with its rows."""


async def take_shards(storage: Storage, work: Work, node: str) -> None:
    """Become the owner of every shard, in a new epoch, with the catalogue in memory.

    Raises:
        StorageError: the storage cannot be read, or another server owns a part of it.
    """
    epochs = await storage.acquire(range(storage.shard_count), node, 0)
    if len(epochs) < storage.shard_count:
        raise StorageUnavailableError("another server owns a part of this database")
    catalogue = await storage.catalogue()
    work.shard_count = storage.shard_count
    try:
        work.functions.load(catalogue.apps, catalogue.functions)
    except CONTRADICTIONS as error:
        raise CorruptDataError(
            f"the tables apps and functions contradict each other ({error}); restore a backup of the database"
        ) from error
    work.live.shards = {shard: Shard(shard, epoch) for shard, epoch in epochs.items()}
    work.message_number = max(epochs.values()) << 40


async def load_live(
    storage: Storage, work: Work, driver: Driver | None, now_ms: int, *, late_ms: int, hold: Hold
) -> list[Pending]:
    """Read all live rows of the owned shards; returns the facts that follow from what was under way.

    A sent item is lost unless the driver still carries that dispatch. One that is answered while rows are
    read is among the lost ones too. `late_ms` is explained in `crons.resume`. A row that contradicts the
    others, as after damage of the disk, sets its run aside and nobody else's.
    """
    live = work.live
    lost: list[Pending] = []
    windows: list[WindowRow] = []
    async for page in storage.load(live.shards):
        for row in page.runs:
            try:
                work.functions.get(row.function_id)
                live.shards[row.shard].runs[row.run_id] = Run(_with_shared_texts(row))
            except CONTRADICTIONS as error:
                _set_aside(hold, row, error)
        for terms in page.terms:
            try:
                run = live.shards[terms.shard].runs[terms.run_id]
                run.terms = terms
                if terms.slots:
                    live.slots.hold(run.id, tuple(terms.slots.split("\n")))
                live.lock(run)
            except CONTRADICTIONS as error:
                _set_aside(hold, terms, error)
        for item in page.items:
            try:
                dispatch = item.item_id, item.generation
                carried = driver is not None and driver.is_sending(*dispatch)
                if _load_item(work, item) and not carried:
                    lost.append(Pending(ItemLost(item.run_id, item.item_id, item.generation)))
            except CONTRADICTIONS as error:
                _set_aside(hold, item, error)
        for wait in page.waits:
            try:
                run = live.shards[wait.shard].runs[wait.run_id]
                wait = _wait_of(run, wait)
                run.waits[wait.wait_id] = wait
                live.open_wait(wait)
            except CONTRADICTIONS as error:
                _set_aside(hold, wait, error)
        for cron in page.crons:
            live.crons[cron.cron_id] = cron
        live.pauses |= {pause.function_id: pause for pause in page.pauses}
        live.rekeys |= {rekey.function_id: rekey for rekey in page.rekeys}
        live.meters |= {meter.bucket: meter for meter in page.meters}
        windows += page.windows
        live.jobs |= {job.job_id: job for job in page.jobs}
    crons.resume(work, now_ms, late_ms=late_ms)
    live.windows.load(_closable(work, windows), live.timers)
    timeouts.load(live, work.functions)
    pauses.load(live)
    jobs.resume(work, now_ms)
    for shard in live.shards:
        # Numbers are one sequence of the node: they tell the order between the senders too.
        rows = sorted(await storage.messages(shard, MESSAGES_MAX), key=lambda row: row.number)
        messages = list(_readable(rows))
        events = await _events_of(storage, [one for _, several in messages for one in several])
        for row, several in messages:
            lost += _told(work, row, several, events)
    rekeying.load(work)
    for meter in live.meters.values():
        live.slots.set_tat(meter.bucket, meter.tat_ns)
    sending.grant(work, now_ms)
    lost += work.told
    work.told.clear()
    return lost


def _closable(work: Work, rows: list[WindowRow]) -> list[WindowRow]:
    """The windows that can be understood; another one stays stored, for an examination to find."""
    kinds = {kind.value for kind in WindowKind}
    return [row for row in rows if row.kind in kinds and work.functions.find(row.function_id) is not None]


def _told(work: Work, row: MessageRow, messages: list[Message], events: dict[str, EventRow]) -> list[Pending]:
    """The facts of one stored row.

    A message waits longer than events are kept when what it is for is held. Then a wait ends as if nothing
    had come, and nothing starts; what is gone must not keep the server from starting.
    """
    first = messages[0]
    if not isinstance(first, StartAsked):
        runs = [one for one in messages if not isinstance(one, StartAsked)]
        return work.stored_messages(
            row,
            [
                one._replace(body=_body_of(events.get(one.internal_id)))
                if isinstance(one, EventArrived)
                else one
                for one in runs
            ],
        )
    event = events.get(first.event_id)
    if event is None or work.functions.find(first.function_id) is None:
        log.error("engine.start_forgotten", function_id=first.function_id, event_id=first.event_id)
        work.owns(row.shard)
        work.batch.remove(MessageRow, row[:3], row.shard)
        return []
    return [work.stored_start(row, StartDue(first, stored_event(event)))]


def _body_of(row: EventRow | None) -> bytes:
    return b"null" if row is None or row.body is None else row.body


def _readable(rows: list[MessageRow]) -> Iterator[tuple[MessageRow, list[Message]]]:
    """The messages that can be understood; another one stays stored, for an examination to find."""
    for row in rows:
        try:
            yield row, decode(row.body)
        except CONTRADICTIONS as error:
            why = f"{type(error).__name__}: {error}"
            log.error("engine.message_unreadable", message="/".join(map(str, row[:3])), detail=why)


async def _events_of(storage: Storage, messages: list[Message]) -> dict[str, EventRow]:
    """The events that messages are about and that were not pruned meanwhile, by internal id."""
    ids: dict[str, None] = {}
    for message in messages:
        if isinstance(message, EventArrived):
            ids[message.internal_id] = None
        elif isinstance(message, StartAsked):
            ids[message.event_id] = None
    rows = await storage.get(EventRow, list(ids)) if ids else []
    return {row.internal_id: row for row in rows}


def _set_aside(hold: Hold, row: RunRow | TermsRow | ItemRow | WaitRow, error: Exception) -> None:
    why = f"{type(error).__name__}: {error}"
    hold(row.run_id, f"its row {row[0]!r} of table {TABLES[type(row)]} contradicts others: {why}")


def _load_item(work: Work, item: ItemRow) -> bool:
    """Take in an item; whether it was sent."""
    run = work.live.shards[item.shard].runs[item.run_id]
    check_name(item, ItemState(item.state))
    run.items[item.item_id] = item
    work.live.item_counts[run.row.function_id, item.state] += 1
    buckets = tuple(item.slots.split("\n")) if item.slots else ()
    if item.state == ItemState.SENT:
        if buckets:
            work.live.slots.hold(item.item_id, buckets)
        return True
    if item.state == ItemState.PARKED:
        steps, starts = split(buckets)
        work.live.slots.park(item.item_id, run.row.function_id, steps, starts, rank_of(run, item))
    else:
        work.live.timers.set(item.due_at_ms, "item", item.run_id, item.item_id)
    return False


def _with_shared_texts(row: RunRow) -> RunRow:
    """The same row with the texts that many rows have in common as one object each."""
    # Not `_replace`, which takes several times as long: a restart does this for every waiting run.
    return RunRow(
        row.run_id,
        row.shard,
        shared(row.function_id),
        row.function_version,
        row.event_id,
        shared(row.event_name),
        row.cron,
        row.parent,
        shared(row.status),
        *row[9:],
    )


def check_name(row: ItemRow | WaitRow, state: ItemState | WaitKind) -> None:
    """Return if the row is named for its own run; that its `state` exists the caller has found out.

    Raises:
        ValueError: it is not.
    """
    if not row[0].startswith(f"{row.run_id}."):
        raise ValueError(f"a {state} row of {row.run_id} is named {row[0]}")


def _wait_of(run: Run, row: WaitRow) -> WaitRow:
    """As `_with_shared_texts`, for a wait of a run."""
    check_name(row, WaitKind(row.kind))
    return WaitRow(
        row.wait_id,
        row.shard,
        run.id,
        shared(row.step_id),
        shared(row.kind),
        shared(row.name),
        shared(row.expression),
        shared_bytes(row.captured),
        *row[8:],
    )
