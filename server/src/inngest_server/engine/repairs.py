"""Putting right what an examination of the database found, one finding at a time.

A repair is decided as any other fact: by the one writer, on memory and on what was just read, in one batch.
So it may be asked for twice, or come too late: what is right already stays as it is. None loses what was
acknowledged: memory is written down again where the disk lost it, a run is asked for what comes next where
nothing would wake it, and what is gone for good is marked as lost or ends its run with an error that says so.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import NamedTuple

from inngest_server.apps.records import AppRow, CronRow, FunctionRow
from inngest_server.engine import crons
from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import Mending
from inngest_server.engine.loose_rows import LOOSE, drop_loose, find_loose
from inngest_server.engine.messages import run_of
from inngest_server.engine.options import EngineUnavailableError
from inngest_server.engine.work import Work
from inngest_server.events.records import EventRow
from inngest_server.runs.decision import Decision
from inngest_server.runs.errors import error_object
from inngest_server.runs.facts import DamageFound, StallFound
from inngest_server.runs.finish import FINISHED, LOOP_GUARD
from inngest_server.runs.placement import derived_ulid
from inngest_server.runs.records import (
    ItemRow,
    ItemState,
    JournalKind,
    JournalRow,
    RunRow,
    RunStatus,
    WaitKind,
    WaitRow,
)
from inngest_server.runs.run import Run
from inngest_server.storage.protocol import (
    DAMAGED,
    Batch,
    Outcome,
    Storage,
    StorageError,
    StorageUnavailableError,
)
from inngest_server.storage.records import MessageRow
from inngest_server.wire import json
from inngest_server.wire.ulid import is_ulid

Decide = Callable[[Work, int], str]

NOTHING = "nothing: it is right by now"
WRITTEN_AGAIN = "it was written again, as memory has it"
TAKEN_IN = "its run has it again"
REMOVED = "it was removed"


class RepairKind(StrEnum):
    """What is put right; the value is what the HTTP API takes."""

    WAKE_RUN = "wake_run"
    """A run that nothing wakes is asked for what comes next."""
    FAIL_RUN = "fail_run"
    """A run whose data is damaged or missing fails with `data_damaged`."""
    SETTLE_RUN = "settle_run"
    """Status and times of a run follow its journal."""
    MEND_JOURNAL = "mend_journal"
    """Damaged and missing entries of an ended run are marked as lost; an unfinished run fails first."""
    MEND_OUTPUT = "mend_output"
    """The damaged output of a run is marked as lost."""
    MEND_EVENT = "mend_event"
    """The damaged body of an event is marked as lost; its unfinished runs fail first."""
    MEND_ITEM = "mend_item"
    """Work that belongs to no unfinished run goes; a run that loses work is asked for what comes next."""
    MEND_WAIT = "mend_wait"
    """A wait that belongs to no unfinished run goes; a run that loses a wait fails."""
    MEND_FUNCTION = "mend_function"
    """The damaged configuration of a function is forgotten; the next sync of its app brings it back."""
    SET_CRONS = "set_crons"
    """A function gets the schedules that its configuration asks for."""
    DROP_CRON = "drop_cron"
    """A schedule without a function goes."""
    DROP_MESSAGE = "drop_message"
    """A message that cannot be understood, or is for a run that does not exist, goes."""
    DROP_ROW = "drop_row"
    """A row of flow control or of a job that belongs to nothing, or cannot be read, goes."""


class Repair(NamedTuple):
    kind: RepairKind
    key: str
    """Of the row concerned: a run id, an item id, `shard/sender/number` of a message, or `table/key`."""


class Repaired(NamedTuple):
    is_done: bool
    detail: str
    """What was done, or why it was not."""


async def repair(engine: Engine, wanted: Repair) -> Repaired:
    """Put one finding right. May be repeated."""
    try:
        return Repaired(True, await REPAIRS[wanted.kind](engine, wanted.key))
    except (EngineUnavailableError, StorageError) as error:
        return Repaired(False, str(error))


async def _mend(engine: Engine, decide: Decide) -> str:
    return await engine.ask(Mending(decide))


# ---- runs ---------------------------------------------------------------------------------------


async def _wake(engine: Engine, run_id: str) -> str:
    if await engine.ask(StallFound(run_id, is_work_lost=False)) is None:
        return NOTHING
    return "its app is asked for what comes next"


async def _fail(engine: Engine, run_id: str) -> str:
    rows = await engine.storage.salvage(RunRow, [run_id])
    events = await engine.storage.salvage(EventRow, [row.event_id for row in rows])
    if any(event.body for event in events):
        return NOTHING
    return await give_up(engine, run_id)


async def give_up(engine: Engine, run_id: str) -> str:
    """Let a run fail whose data is known to be damaged; its parent and failure handlers learn of it."""
    detail = "stored data of this run was damaged or lost on disk, so it could not go on"
    if await engine.ask(DamageFound(run_id, detail)) is None:
        return NOTHING
    return "the run failed with data_damaged"


async def _settle(engine: Engine, run_id: str) -> str:
    storage = engine.storage
    rows, journal = await storage.salvage(RunRow, [run_id]), await storage.salvage_journal(run_id)
    if not rows or rows != await storage.salvage(RunRow, [run_id]):
        return NOTHING  # It ended, or began, in between; both are changed at once, so they agree.
    end = journal[-1] if journal and journal[-1].kind == JournalKind.ENDED else None
    row = rows[0]
    if end is not None:
        return await _mend(engine, lambda work, now_ms: _settle_ended(work, row, end, now_ms))
    if row.ended_at_ms is None or engine.live.find_run(run_id) is not None:
        return await _mend(engine, lambda work, now_ms: _settle_live(work, run_id, bool(journal)))
    # Neither row nor journal alone can be trusted now. What the end of a run publishes is a third witness.
    witness = derived_ulid(row.ended_at_ms, run_id, FINISHED)
    events = await storage.salvage(EventRow, [witness, row.event_id])
    may_go_on = any(event.internal_id == row.event_id and event.body for event in events)
    is_mute = row.event_name in LOOP_GUARD  # It publishes nothing, so that nothing is missing.
    if any(event.internal_id == witness for event in events) or is_mute or not may_go_on:
        n = journal[-1].n + 1 if journal else 1
        return await _mend(engine, lambda work, now_ms: _note_end(work, row, n))
    result = await _mend(engine, lambda work, now_ms: _revive(work, row, bool(journal)))
    await engine.ask(StallFound(run_id, is_work_lost=True))
    return result


def _settle_ended(work: Work, stored: RunRow, end: JournalRow, now_ms: int) -> str:
    """The journal has the end: so has the row, and nothing live is left."""
    run = work.live.find_run(stored.run_id)
    status = _status_of(end) or stored.status
    if not RunStatus(status).has_ended:
        status = RunStatus.FAILED.value
    row = _with_ordered_times(_without_damage(stored)._replace(status=status, ended_at_ms=end.at_ms))
    if run is None:
        if row == stored:
            return NOTHING
        work.put(row)
    else:
        decision = Decision(run)
        decision.row, decision.ended = row, True
        decision.gone_items, decision.gone_waits = list(run.items), list(run.waits)
        work.apply(run, decision, now_ms)
        work.release(run.id)
    return f"it has ended as {status}, as its journal says"


def _without_damage(row: RunRow) -> RunRow:
    if row.output != DAMAGED:
        return row
    return row._replace(output=error_object("output_lost", "the output of this run was damaged on disk"))


def _status_of(end: JournalRow) -> str | None:
    if end.meta == DAMAGED:
        return None
    status = json.parse_kept(end.meta).get("status")
    return status if status in {one.value for one in RunStatus} else None


def _settle_live(work: Work, run_id: str, has_journal: bool) -> str:
    run = work.live.find_run(run_id)
    if run is None:
        return NOTHING
    run.row = _as_live(run.row, has_journal)
    work.put(run.row)
    return f"it is {run.row.status}"


def _as_live(row: RunRow, has_journal: bool) -> RunRow:
    was_sent = has_journal or row.started_at_ms is not None
    status = RunStatus.RUNNING if was_sent else RunStatus.SCHEDULED
    started_at_ms = max(row.started_at_ms or row.created_at_ms, row.created_at_ms) if was_sent else None
    return row._replace(status=status.value, started_at_ms=started_at_ms, ended_at_ms=None, output=None)


def _with_ordered_times(row: RunRow) -> RunRow:
    assert row.ended_at_ms is not None
    created_at_ms = min(row.created_at_ms, row.ended_at_ms)
    started_at_ms = row.started_at_ms
    if started_at_ms is None and row.status == RunStatus.COMPLETED:
        started_at_ms = created_at_ms
    if started_at_ms is not None:
        started_at_ms = min(max(started_at_ms, created_at_ms), row.ended_at_ms)
    return row._replace(created_at_ms=created_at_ms, started_at_ms=started_at_ms)


def _note_end(work: Work, row: RunRow, n: int) -> str:
    """The run did end, and its journal lost that."""
    if work.live.find_run(row.run_id) is not None or row.ended_at_ms is None:
        return NOTHING
    status = row.status
    if status not in {one.value for one in RunStatus} or not RunStatus(status).has_ended:
        status = RunStatus.FAILED.value
        work.put(_without_damage(row)._replace(status=status))
    meta = json.dumps({"status": status, "lost": True})
    kind = JournalKind.ENDED.value
    work.batch.journal.append(JournalRow(row.run_id, n, row.shard, kind, "", row.ended_at_ms, meta, None))
    work.owns(row.shard)
    return f"the end was added to its journal: it did end, as {status}"


def _revive(work: Work, stored: RunRow, has_journal: bool) -> str:
    """Only the row says that the run ended: it goes on, and may do again what came after its last entry."""
    if work.live.find_run(stored.run_id) is None:
        row = _as_live(stored, has_journal)
        work.live.shards[row.shard].runs[row.run_id] = Run(row)
        work.put(row)
        work.release(row.run_id)
    return "it goes on: neither its journal nor an event knows that it has ended"


async def _mend_journal(engine: Engine, run_id: str) -> str:
    storage = engine.storage
    rows, journal = await storage.salvage(RunRow, [run_id]), await storage.salvage_journal(run_id)
    if not rows or not _lost_entries(rows[0], journal):
        return NOTHING
    await give_up(engine, run_id)
    rows, journal = await storage.salvage(RunRow, [run_id]), await storage.salvage_journal(run_id)
    if not rows or rows[0].ended_at_ms is None:
        return NOTHING
    lost = _lost_entries(rows[0], journal)

    def decide(work: Work, now_ms: int) -> str:
        work.batch.journal.extend(lost)
        work.owns(rows[0].shard)
        return f"{len(lost)} entries of its journal are marked as lost"

    return await _mend(engine, decide) if lost else NOTHING


def _lost_entries(run: RunRow, journal: list[JournalRow]) -> list[JournalRow]:
    """What takes the place of damaged and missing entries, so that the numbers have no gap again."""
    found: list[JournalRow] = []
    at_ms, expected = run.created_at_ms, 1
    for entry in journal:
        for n in range(expected, entry.n):
            found.append(JournalRow(run.run_id, n, run.shard, JournalKind.LOST.value, "", at_ms, b"{}", None))
        if entry.meta == DAMAGED:
            kind, meta = JournalKind.LOST, {"was": entry.kind}
            if entry.kind == JournalKind.ENDED:
                kind, meta = JournalKind.ENDED, {"status": run.status, "lost": True}
            found.append(entry._replace(kind=kind.value, meta=json.dumps(meta), payload=None))
        at_ms, expected = entry.at_ms, entry.n + 1
    return found


async def _mend_output(engine: Engine, run_id: str) -> str:
    rows = await engine.storage.salvage(RunRow, [run_id])

    def decide(work: Work, now_ms: int) -> str:
        run = work.live.find_run(run_id)
        if run is not None:
            work.put(run.row)
            return WRITTEN_AGAIN
        if rows[0].ended_at_ms is None:
            return NOTHING  # It has ended since it was read, and its row was written anew.
        work.put(_without_damage(rows[0]))
        return "its output is marked as lost"

    return await _mend(engine, decide) if rows and rows[0].output == DAMAGED else NOTHING


async def _mend_event(engine: Engine, internal_id: str) -> str:
    storage = engine.storage
    events = await storage.salvage(EventRow, [internal_id])
    if not events or events[0].body != DAMAGED:
        return NOTHING
    event, runs = events[0], await storage.runs_of_event(internal_id)

    def restore(work: Work, now_ms: int) -> str:
        for row in runs:
            run = work.live.find_run(row.run_id)
            if run is not None and run.content is not None:
                work.put(event._replace(body=run.content.event_body))
                return WRITTEN_AGAIN
        return ""

    if restored := await _mend(engine, restore):
        return restored
    unfinished = [row.run_id for row in runs if row.ended_at_ms is None]
    for run_id in unfinished:
        await give_up(engine, run_id)

    def mark(work: Work, now_ms: int) -> str:
        error = json.parse(error_object("event_lost", "the body of this event was damaged on disk"))
        fields = {"data": {"_inngest": {"error": error}}, "id": event.event_id, "name": event.name}
        work.put(event._replace(body=json.dumps({**fields, "ts": event.ts_ms, "user": {}})))
        return f"its body is marked as lost; {len(unfinished)} unfinished runs of it failed with data_damaged"

    return await _mend(engine, mark)


# ---- live rows ----------------------------------------------------------------------------------


# Memory is asked before the storage is read: what it does not have then, and the storage has afterwards, is
# nothing that ordinary work takes away meanwhile.


async def _mend_item(engine: Engine, item_id: str) -> str:
    if written := await _mend(engine, lambda work, now_ms: _write_item(work, item_id)):
        return written
    [stored] = await engine.storage.get(ItemRow, [item_id]) or [None]
    if stored is None:
        return NOTHING

    def decide(work: Work, now_ms: int) -> str:
        if written := _write_item(work, item_id):
            return written
        run = work.live.find_run(stored.run_id)
        work.release(stored.run_id)
        if run is not None and _is_sound(stored, ItemState):
            work.take_in(run, stored, now_ms)
            return TAKEN_IN
        work.batch.remove(ItemRow, item_id, stored.shard)
        work.owns(stored.shard)
        return REMOVED

    result = await _mend(engine, decide)
    is_lost = result == REMOVED
    if is_lost and await engine.ask(StallFound(stored.run_id, is_work_lost=True)) is not None:
        result += "; its app is asked for what comes next"
    return result


def _write_item(work: Work, item_id: str) -> str:
    """Write an item down as memory has it; empty if it does not."""
    run = work.live.find_run(run_of(item_id))
    item = run.items.get(item_id) if run is not None else None
    if run is None or item is None:
        return ""
    work.release(run.id)
    work.put(item)
    return WRITTEN_AGAIN


async def _mend_wait(engine: Engine, wait_id: str) -> str:
    if written := await _mend(engine, lambda work, now_ms: _write_wait(work, wait_id)):
        return written
    [stored] = await engine.storage.salvage(WaitRow, [wait_id]) or [None]
    if stored is None:
        return NOTHING

    def decide(work: Work, now_ms: int) -> str:
        if written := _write_wait(work, wait_id):
            return written
        run = work.live.find_run(stored.run_id)
        work.release(stored.run_id)
        if run is not None and stored.captured != DAMAGED and _is_sound(stored, WaitKind):
            work.owns(run.row.shard)
            work.add_wait(run, stored._replace(shard=run.row.shard))
            return TAKEN_IN
        work.batch.remove(WaitRow, wait_id, stored.shard)
        work.owns(stored.shard)
        return REMOVED

    result = await _mend(engine, decide)
    if result != REMOVED or (failed := await give_up(engine, stored.run_id)) == NOTHING:
        return result
    return f"{result}; {failed}"


def _write_wait(work: Work, wait_id: str) -> str:
    """As `_write_item`."""
    run = work.live.find_run(run_of(wait_id))
    wait = run.waits.get(wait_id) if run is not None else None
    if run is None or wait is None:
        return ""
    work.release(run.id)
    work.put(wait)
    return WRITTEN_AGAIN


def _is_sound(row: ItemRow | WaitRow, states: type[ItemState] | type[WaitKind]) -> bool:
    """Whether a row that memory does not have can be used as it is."""
    state = row.state if isinstance(row, ItemRow) else row.kind
    return row[0].startswith(f"{row.run_id}.") and state in {one.value for one in states}


async def _drop_message(engine: Engine, key: str) -> str:
    shard, sender, number = map(int, key.split("/"))

    def decide(work: Work, now_ms: int) -> str:
        if shard not in work.live.shards or (shard, sender, number) in work.undecided:
            return NOTHING  # One that is understood is decided, if its run is held once that is released.
        work.batch.remove(MessageRow, (shard, sender, number), shard)
        work.owns(shard)
        return REMOVED

    return await _mend(engine, decide)


# ---- functions and schedules --------------------------------------------------------------------


async def _mend_function(engine: Engine, function_id: str) -> str:
    def decide(work: Work, now_ms: int) -> str:
        function = work.functions.find(function_id)
        if function is None:
            return NOTHING
        work.put(function.row)
        return WRITTEN_AGAIN

    return await _mend(engine, decide)


async def _set_crons(engine: Engine, function_id: str) -> str:
    def decide(work: Work, now_ms: int) -> str:
        function = work.functions.find(function_id)
        if function is None:
            return NOTHING
        crons.set_crons(work, function, now_ms)
        for row in work.live.crons.values():
            if row.function_id == function.id:
                work.put(row)
        return "it has the schedules of its configuration"

    return await _mend(engine, decide)


async def _drop_cron(engine: Engine, cron_id: str) -> str:
    [stored] = await engine.storage.get(CronRow, [cron_id]) or [None]
    if stored is None:
        return NOTHING

    def decide(work: Work, now_ms: int) -> str:
        function = work.functions.find(stored.function_id)
        if function is not None:
            crons.set_crons(work, function, now_ms)
        if cron_id in work.live.crons:
            if function is not None:
                return NOTHING
            del work.live.crons[cron_id]
        work.batch.remove(CronRow, cron_id, stored.shard)
        work.owns(stored.shard)
        return REMOVED

    return await _mend(engine, decide)


async def _drop_row(engine: Engine, key: str) -> str:
    found = await find_loose(engine.storage, key)
    if found is None:
        return NOTHING
    row, is_useless = found

    def decide(work: Work, now_ms: int) -> str:
        return REMOVED if drop_loose(work, row, is_useless=is_useless) else NOTHING

    return await _mend(engine, decide)


REPAIRS: dict[RepairKind, Callable[[Engine, str], Awaitable[str]]] = {
    RepairKind.WAKE_RUN: _wake,
    RepairKind.FAIL_RUN: _fail,
    RepairKind.SETTLE_RUN: _settle,
    RepairKind.MEND_JOURNAL: _mend_journal,
    RepairKind.MEND_OUTPUT: _mend_output,
    RepairKind.MEND_EVENT: _mend_event,
    RepairKind.MEND_ITEM: _mend_item,
    RepairKind.MEND_WAIT: _mend_wait,
    RepairKind.MEND_FUNCTION: _mend_function,
    RepairKind.SET_CRONS: _set_crons,
    RepairKind.DROP_CRON: _drop_cron,
    RepairKind.DROP_MESSAGE: _drop_message,
    RepairKind.DROP_ROW: _drop_row,
}


# ---- before memory can be loaded ----------------------------------------------------------------


async def unblock(storage: Storage, wanted: list[Repair]) -> dict[Repair, Repaired]:
    """Remove what an engine could not even load: damaged configurations, waits and messages.

    The storage is open, and no engine runs on it. The run of a wait that went has to be failed afterwards.
    """
    done: dict[Repair, Repaired] = {}
    epochs = await storage.acquire(range(storage.shard_count), "repair", 0)
    batch = Batch()
    batch.epochs = epochs
    for one in wanted:
        if one.kind is RepairKind.MEND_FUNCTION:
            for function in await storage.salvage(FunctionRow, [one.key]):
                if function.config != DAMAGED:
                    continue
                batch.remove(FunctionRow, function.function_id, function.shard)
                for app in await storage.get(AppRow, [function.app_id]):
                    batch.put(
                        app._replace(checksum="")
                    )  # So that the next sync is not taken for a known one.
                done[one] = Repaired(True, "it is forgotten until its app is synced again")
        elif one.kind is RepairKind.MEND_WAIT:
            for wait in await storage.salvage(WaitRow, [one.key]):
                if wait.captured == DAMAGED:
                    batch.remove(WaitRow, wait.wait_id, wait.shard)
                    done[one] = Repaired(True, "it was removed; its run fails")
        elif one.kind is RepairKind.DROP_ROW:
            found = await find_loose(storage, one.key)
            if found is not None and DAMAGED in found[0]:
                batch.remove(type(found[0]), found[0][0], found[0].shard)
                done[one] = Repaired(True, REMOVED)
        elif one.kind is RepairKind.DROP_MESSAGE:
            shard, sender, number = map(int, one.key.split("/"))
            batch.remove(MessageRow, (shard, sender, number), shard)
            done[one] = Repaired(True, REMOVED)
    if not batch.is_empty():
        result = await storage.commit(batch)
        if result.outcome is not Outcome.DONE or result.stale:
            raise StorageUnavailableError(f"the repair could not be stored: {result.detail}")
    return done


def is_valid(wanted: Repair) -> bool:
    """Whether the key can be one of its kind, so that nothing else is ever looked up."""
    parts = wanted.key.split("/")
    match wanted.kind:
        case RepairKind.DROP_MESSAGE:
            return len(parts) == 3 and all(
                part.isascii() and part.isdigit() and len(part) < 19 for part in parts
            )
        case RepairKind.MEND_FUNCTION | RepairKind.SET_CRONS | RepairKind.DROP_CRON:
            return len(wanted.key) == 36
        case RepairKind.MEND_ITEM | RepairKind.MEND_WAIT:
            return 0 < len(wanted.key) <= 200
        case RepairKind.DROP_ROW:
            return wanted.key.partition("/")[0] in LOOSE and len(wanted.key) <= 400
        case _:
            return is_ulid(wanted.key)
