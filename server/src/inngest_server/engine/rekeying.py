"""What becomes of runs that are there when a sync changes limits.

Numbers count at once: who may go now is woken. Where a limit is counted differs when its key or scope does,
and then the runs that hold slots under the old names are *re-keyed*: one after the other, in slices, they
get slots under the new names too, for which their events have to be read. Until that is done the former
limits count beside the present ones (`Functions.set_former`), so whoever wants a slot needs one in the old
buckets and in the new ones, and no limit is exceeded because nobody is counted under its new name yet. At
the end those that wait ask for the present set alone.

The row of a function that is being re-keyed has all its former limits, so that a restart begins once more
and a further sync adds to it. Slots under old names are harmless: nobody is limited by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import orjson
import structlog

from inngest_server.apps.config import FunctionConfig, Throttle, concurrency_to_json, read_concurrency
from inngest_server.apps.fields import Fields
from inngest_server.apps.problems import Findings
from inngest_server.engine import sending
from inngest_server.engine.facts import RekeyNext, RunRekeyed
from inngest_server.engine.functions import Former, Function
from inngest_server.flow_control.records import RekeyRow
from inngest_server.runs.facts import ItemDue
from inngest_server.runs.records import ItemState

if TYPE_CHECKING:
    from inngest_server.engine.work import Work
    from inngest_server.runs.run import Run

log = structlog.get_logger("inngest.engine")

RUNS_PER_SLICE = 500
"""Runs that are looked at between two batches."""


@dataclass(slots=True, eq=False)
class Progress:
    """How far the re-keying of a function is; a reload and a further sync begin it again."""

    shards: list[int]
    """Those whose runs are still to be looked at."""
    run_ids: list[str] = field(default_factory=list[str])
    """What is left of the present one."""
    asked: set[str] = field(default_factory=set[str])
    """Runs that are being re-keyed: their contents may have to be read."""


def configured(work: Work, before: Function | None, function: Function, now_ms: int) -> None:
    """A sync put `function` in the place of `before`: let its limits count, and wake who may go now."""
    if before is not None and _counts_elsewhere(before, function):
        known = work.live.rekeys.get(function.id)
        former = [*(_read(known) if known is not None else ()), _former_of(before.config)]
        row = RekeyRow(function.id, function.row.shard, _write(former))
        work.live.rekeys[function.id] = row
        work.put(row)
        work.functions.set_former(function.id, former)
        _begin(work, function.id)
    _ask_again(work, function.id, now_ms)
    if not function.is_active:
        for item_id in work.live.slots.waiting_of(function.id):
            run = work.live.find_run(item_id[:26])
            if run is not None and run.row.started_at_ms is None:
                work.tell(ItemDue(run.id, item_id))  # It will be skipped.


def load(work: Work) -> None:
    """Go on with the functions that were being re-keyed when memory was lost."""
    for function_id, row in list(work.live.rekeys.items()):
        if work.functions.find(function_id) is None:
            continue  # Its row stays, for an examination to find.
        work.functions.set_former(function_id, _read(row))
        _begin(work, function_id)


def advance(work: Work, fact: RekeyNext, now_ms: int) -> None:
    """Look at the next runs of the function."""
    progress = work.live.rekeying.get(fact.function_id)
    if progress is None or progress is not fact.progress or work.is_at_rest:
        return  # A further sync began it once more.
    for run_id in progress.run_ids[:RUNS_PER_SLICE]:
        run = work.live.find_run(run_id)
        if run is not None and run.row.function_id == fact.function_id and _holds_slots(run):
            progress.asked.add(run_id)
            work.tell(RunRekeyed(run_id, fact.function_id))
    progress.run_ids = progress.run_ids[RUNS_PER_SLICE:]
    while not progress.run_ids and progress.shards:
        progress.run_ids = list(work.live.shards[progress.shards.pop()].runs)
    if progress.run_ids:
        work.tell(fact)
    else:
        _end_if_done(work, fact.function_id, now_ms)


def rekey(work: Work, run: Run, now_ms: int) -> None:
    """Let a run whose content is loaded hold its slots under the present names besides the former ones."""
    function, event = work.functions.get(run.row.function_id), run.loaded.event
    slots = work.live.slots
    work.touched[run.id] = run
    steps = function.step_buckets(event, now_ms)
    for item in list(run.items.values()):
        if item.state == ItemState.SENT and slots.held_by(item.item_id) != steps:
            slots.rehold(item.item_id, steps)
            work.owns(item.shard)
            work.put_item(run, item._replace(slots="\n".join(steps)))
    if run.row.started_at_ms is not None:
        locks = [one for one in slots.held_by(run.id) if one.startswith("s/")]
        buckets = (*function.run_buckets(event, now_ms), *locks)
        if slots.held_by(run.id) != buckets:
            slots.rehold(run.id, buckets)
            sending.set_run_slots(work, run, buckets)


def rekeyed(work: Work, fact: RunRekeyed, now_ms: int) -> None:
    """A run was re-keyed, or does not need it any more."""
    progress = work.live.rekeying.get(fact.function_id)
    if progress is not None:
        progress.asked.discard(fact.run_id)
        _end_if_done(work, fact.function_id, now_ms)
    sending.grant(work, now_ms)


def _counts_elsewhere(before: Function, function: Function) -> bool:
    """Whether a limit of the function has names that none had before."""
    return not _prefixes(function) <= _prefixes(before)


def _prefixes(function: Function) -> set[str]:
    throttle = {function.throttle.prefix} if function.throttle else set[str]()
    return {one.prefix for one in function.limits} | throttle


def _holds_slots(run: Run) -> bool:
    return run.row.started_at_ms is not None


def _begin(work: Work, function_id: str) -> None:
    progress = Progress(list(work.live.shards))
    work.live.rekeying[function_id] = progress
    work.tell(RekeyNext(function_id, progress))


def _end_if_done(work: Work, function_id: str, now_ms: int) -> None:
    progress = work.live.rekeying[function_id]
    if progress.shards or progress.run_ids or progress.asked:
        return
    del work.live.rekeying[function_id]
    row = work.live.rekeys.pop(function_id)
    work.owns(row.shard)
    work.batch.remove(RekeyRow, function_id, row.shard)
    work.functions.set_former(function_id, ())
    _ask_again(work, function_id, now_ms)


def _ask_again(work: Work, function_id: str, now_ms: int) -> None:
    work.live.slots.ask_again(function_id)
    sending.grant(work, now_ms)


# The row's JSON.


def _former_of(config: FunctionConfig) -> Former:
    return Former(config.concurrency, config.throttle)


def _write(former: Sequence[Former]) -> bytes:
    return orjson.dumps(
        [
            {
                "concurrency": concurrency_to_json(one.concurrency),
                "throttle": one.throttle.to_json() if one.throttle else None,
            }
            for one in former
        ]
    )


def _read(row: RekeyRow) -> list[Former]:
    """The former limits; none if they are damaged, as all runs are counted by the present ones in the end."""
    former: list[Former] = []
    try:
        for one in cast("list[dict[str, object]]", orjson.loads(row.limits)):
            fields = Fields(one, Findings())
            former.append(Former(read_concurrency(fields), Throttle.read(fields)))
    except (TypeError, ValueError, AttributeError) as error:
        log.error("engine.former_limits_unreadable", function_id=row.function_id, detail=str(error))
        return []
    return former
