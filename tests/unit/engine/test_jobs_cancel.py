"""Jobs that cancel: whom they meet, and that nothing interrupts, doubles or widens them."""

import json
from pathlib import Path
from typing import Any

import pytest

from inngest_server.engine import jobs
from inngest_server.engine.facts import JobDeleted, JobSlice
from inngest_server.engine.job_runner import read_slice
from inngest_server.engine.options import EngineOptions
from inngest_server.events.records import EventRow
from inngest_server.jobs.filter import RunFilter
from inngest_server.jobs.records import JobKind
from inngest_server.runs.records import ItemRow, ItemState, JournalKind, WaitRow
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import CorruptDataError
from inngest_server.storage.sqlite import SQLiteStorage
from tests.builders import HOUR_MS, T0_MS
from tests.unit.engine.builders import make_function
from tests.unit.engine.job_yard import CANCELLED, PLACED, Yard
from tests.unit.runs.builders import make_op

CANCEL = JobKind.CANCEL


async def open_yard(runs: int = 0, **options: Any) -> Yard:
    """A function, and runs of it whose requests are out."""
    yard = Yard()
    await yard.open(make_function("fulfil", PLACED, **options))
    for number in range(runs):
        await yard.send(PLACED, {"n": number})
    return yard


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inngest_server.jobs.progress.SLICE_RUNS", 3)


async def test_runs_are_cancelled_in_whatever_state_they_are() -> None:
    # Contents of idle runs are dropped at once, so that some have to be loaded to be cancelled.
    yard = Yard(EngineOptions(idle_contents_max=0))
    await yard.open(make_function("fulfil", PLACED, concurrency=[{"limit": 2}]))
    for number in range(4):
        await yard.send(PLACED, {"n": number})
    await yard.send(PLACED, {}, ts=T0_MS + HOUR_MS)
    await yard.report(yard.desk.calls[0], make_op("Sleep", "nap", name="1h"))
    states = [item.state for run in _live(yard) for item in run.items.values()]
    assert sorted(states) == [ItemState.PARKED, ItemState.QUEUED, ItemState.SENT, ItemState.SENT]
    assert sum(run.content is None for run in _live(yard)) > 0

    job = await yard.begin(CANCEL)
    await yard.work_off()

    assert await yard.statuses() == ["Cancelled"] * 5
    assert await yard.events_named(CANCELLED) == 5
    done = await yard.job(job)
    assert (done.status, done.seen, done.affected, done.undecided) == ("done", 5, 5, 0)
    assert yard.engine.live.jobs == {}
    assert (await yard.storage.counts()).items == 0


def _live(yard: Yard) -> list[Any]:
    return [run for shard in yard.engine.live.shards.values() for run in shard.runs.values()]


async def test_the_journal_names_the_job() -> None:
    yard = await open_yard(1)
    job = await yard.begin(CANCEL)
    await yard.work_off()
    [run] = await yard.runs()
    end = (await yard.storage.journals([run.run_id]))[run.run_id][-1]
    assert (end.kind, json.loads(end.meta)["reason"]) == (JournalKind.ENDED, f"job {job.job_id}")


async def test_the_answer_of_a_request_that_was_under_way_is_dropped() -> None:
    yard = await open_yard(1)
    [call] = yard.desk.calls
    await yard.begin(CANCEL)
    await yard.work_off()
    await yard.complete(call)
    assert await yard.statuses() == ["Cancelled"]
    assert yard.engine.late_answers == 1


async def test_runs_that_are_made_after_the_job_are_never_touched(small_slices: None) -> None:
    yard = await open_yard(5)
    job = await yard.begin(CANCEL)
    late = 0
    while (await yard.job(job)).status == "running":
        await yard.send(PLACED)  # The clock stands still: it is the same millisecond.
        late += 1
        await yard.do_slice()
    assert late > 1
    assert await yard.statuses() == ["Cancelled"] * 5 + ["Running"] * late


async def test_the_bound_is_kept_when_a_server_starts_within_the_same_millisecond(small_slices: None) -> None:
    yard = await open_yard(5)
    await yard.begin(CANCEL)
    await yard.restart()
    await yard.send(PLACED)
    await yard.work_off()
    assert await yard.statuses() == ["Cancelled"] * 5 + ["Running"]


async def test_other_functions_are_not_touched() -> None:
    yard = Yard()
    await yard.open(make_function("fulfil", PLACED), make_function("audit", PLACED))
    await yard.send(PLACED)
    await yard.begin(CANCEL, "shop-audit")
    await yard.work_off()
    assert await yard.statuses() == ["Cancelled", "Running"]


async def test_a_run_that_was_queued_before_the_range_and_started_in_it_is_cancelled() -> None:
    yard = await open_yard(2, concurrency=[{"limit": 1}])
    await yard.advance(HOUR_MS)
    first = yard.desk.calls[0]
    await yard.report(first, make_op("Sleep", "nap", name="9h"))
    second = yard.desk.calls[0]
    assert second.item.run_id != first.item.run_id
    await yard.begin(CANCEL, wanted=RunFilter(from_ms=T0_MS + HOUR_MS))
    await yard.work_off()
    assert (await yard.row(first.item.run_id)).status == "Running"
    assert (await yard.row(second.item.run_id)).status == "Cancelled"


async def test_a_condition_is_tried_on_each_event() -> None:
    yard = await open_yard(4)
    job = await yard.begin(CANCEL, wanted=RunFilter(expression="event.data.n >= 2"))
    await yard.work_off()
    left = [call.item.run_id for call in yard.desk.calls[:2]]
    assert [row.run_id for row in await yard.runs(statuses=frozenset({"Running"}))] == sorted(left)
    done = await yard.job(job)
    assert (done.seen, done.affected, done.undecided) == (4, 2, 0)


async def test_a_condition_that_does_not_fit_an_event_leaves_its_run_undecided() -> None:
    yard = await open_yard(2)
    await yard.send(PLACED, {"n": "many"})
    job = await yard.begin(CANCEL, wanted=RunFilter(expression="event.data.n > 0"))
    await yard.work_off()
    done = await yard.job(job)
    assert (done.affected, done.undecided) == (1, 1)
    [error] = json.loads(done.errors)
    assert error["run_id"] == yard.desk.calls[2].item.run_id
    assert error["error"].startswith("condition_failed: ")


class Rotting(MemoryStorage):
    """Some events are damaged."""

    damaged: frozenset[str] = frozenset()

    async def get(self, kind: Any, keys: Any) -> Any:
        if kind is EventRow and not self.damaged.isdisjoint(keys):
            raise CorruptDataError("an event changed on disk")
        return await super().get(kind, keys)


async def test_a_damaged_event_leaves_its_run_undecided_and_no_other() -> None:
    storage = Rotting(shard_count=4)
    yard = Yard(storage=storage)
    await yard.open(make_function("fulfil", PLACED))
    event_ids = [await yard.send(PLACED, {"n": number}) for number in range(3)]
    storage.damaged = frozenset(event_ids[1:2])
    job = await yard.begin(CANCEL, wanted=RunFilter(expression="event.data.n >= 0"))
    await yard.work_off()
    done = await yard.job(job)
    assert (done.status, done.affected, done.undecided) == ("done", 2, 1)
    [error] = json.loads(done.errors)
    assert error["error"].startswith("event_gone: ")


# ---- interruptions ------------------------------------------------------------------------------


async def test_jobs_are_kept_on_disk(tmp_path: Path, small_slices: None) -> None:
    storage = SQLiteStorage(tmp_path, shard_count=4)
    yard = Yard(storage=storage)
    await yard.open(make_function("fulfil", PLACED, retries=0))
    failed = [await yard.fail_run({"n": number}) for number in range(4)]
    for number in range(4):
        await yard.send(PLACED, {"n": number})
    cancel = await yard.begin(CANCEL, wanted=RunFilter(expression="event.data.n != 1"))
    replay = await yard.begin(JobKind.REPLAY, wanted=RunFilter(statuses=frozenset({"Failed"})))
    await yard.do_slice()
    await storage.close()
    await yard.restart()
    await yard.work_off()
    assert [(one.status, one.affected) for one in await storage.list_jobs(limit=9)] == [
        ("done", 4),
        ("done", 3),
    ]
    assert (await yard.job(cancel)).seen == 4
    assert (await yard.job(replay)).seen == 4
    assert await yard.statuses() == ["Cancelled"] * 3 + ["Failed"] * 4 + ["Running"] * 5
    again = {row.original_run_id for row in await yard.runs()} - {None}
    assert again == set(failed)
    await storage.close()


@pytest.mark.parametrize("slices", range(6))
async def test_a_job_survives_a_crash_between_any_two_slices(slices: int, small_slices: None) -> None:
    yard = await open_yard(11)
    job = await yard.begin(CANCEL)
    for _ in range(slices):
        await yard.do_slice()
    before = await yard.job(job)
    await yard.restart()
    assert await yard.job(job) == before
    await yard.work_off()
    assert await yard.statuses() == ["Cancelled"] * 11
    assert await yard.events_named(CANCELLED) == 11
    done = await yard.job(job)
    assert (done.status, done.seen, done.affected) == ("done", 11, 11)


async def test_a_run_that_has_to_be_loaded_is_cancelled_after_a_crash_too() -> None:
    yard = await open_yard(3)
    for call in list(yard.desk.calls):
        await yard.report(call, make_op("Sleep", "nap", name="1h"))
    await yard.restart()
    await yard.begin(CANCEL)
    # The slice is stored, with messages for runs whose contents are not in memory; then all is gone.
    [job] = yard.engine.live.jobs.values()
    reply = yard.engine.ask(await read_slice(yard.storage, job, 50))
    await yard.engine.run_once()
    assert (await reply).affected == 3
    assert await yard.statuses() == ["Running"] * 3
    await yard.restart()
    assert await yard.statuses() == ["Cancelled"] * 3
    assert await yard.storage.messages(0, 10) == []


async def test_a_slice_that_comes_twice_does_its_work_once(small_slices: None) -> None:
    yard = await open_yard(5)
    job = await yard.begin(CANCEL)
    portion = await read_slice(yard.storage, job, 3)
    first, second = yard.engine.ask(portion), yard.engine.ask(portion)
    await yard.settle()
    assert (await first).affected == 3
    assert await second is None
    assert (await yard.job(job)).seen == 3


async def test_a_deleted_job_stops_between_two_slices(small_slices: None) -> None:
    yard = await open_yard(8)
    job = await yard.begin(CANCEL)
    await yard.do_slice()
    portion = await read_slice(yard.storage, await yard.job(job), 3)
    deleted = yard.engine.ask(JobDeleted(job.job_id))
    late = yard.engine.ask(portion)
    await yard.settle()
    assert (await deleted).status == "deleted"
    assert await late is None
    await yard.work_off()
    assert await yard.statuses() == ["Cancelled"] * 3 + ["Running"] * 5
    await yard.restart()
    assert yard.engine.live.jobs == {}
    await yard.work_off()
    assert (await yard.job(job)).affected == 3


async def test_deleting_a_job_that_is_done_changes_nothing() -> None:
    yard = await open_yard(1)
    job = await yard.begin(CANCEL)
    await yard.work_off()
    reply = yard.engine.ask(JobDeleted(job.job_id))
    await yard.settle()
    assert await reply is None
    assert (await yard.job(job)).status == "done"


async def test_a_run_that_ends_while_its_slice_is_read_is_not_counted() -> None:
    yard = await open_yard(2)
    job = await yard.begin(CANCEL)
    portion = await read_slice(yard.storage, job, 50)
    await yard.complete(yard.desk.calls[0])
    reply = yard.engine.ask(portion)
    await yard.settle()
    assert ((await reply).seen, (await reply).affected) == (2, 1)
    assert await yard.statuses() == ["Cancelled", "Completed"]


async def test_a_job_without_runs_is_done_at_once() -> None:
    yard = await open_yard()
    job = await yard.begin(CANCEL)
    await yard.do_slice()
    assert (await yard.job(job)).status == "done"
    assert yard.engine.jobs.is_quiet


async def test_a_cancelled_waiter_makes_room_for_none_and_a_holder_for_the_next() -> None:
    yard = await open_yard(concurrency=[{"limit": 1}])
    for number in range(3):
        await yard.send(PLACED, {"n": number})
    assert len(yard.desk.calls) == 1
    await yard.begin(CANCEL, wanted=RunFilter(expression="event.data.n < 2"))
    await yard.work_off()
    assert [json.loads(call.run.loaded.event_body)["data"]["n"] for call in yard.desk.calls[1:]] == [2]


async def test_what_is_cancelled_leaves_nothing_behind() -> None:
    yard = await open_yard(3, cancel=[{"event": "shop/order.dropped"}])
    await yard.report(yard.desk.calls[0], make_op("Sleep", "nap", name="1h"))
    await yard.begin(CANCEL)
    await yard.work_off()
    for kind in (ItemRow, WaitRow):
        assert yard.storage._all(kind) == []


async def test_too_many_jobs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "JOBS_MAX", 2)
    yard = await open_yard()
    await yard.begin(CANCEL)
    await yard.begin(CANCEL)
    assert await yard.ask_job(CANCEL) is jobs.JobRefusal.TOO_MANY_JOBS
    await yard.work_off()
    await yard.begin(CANCEL)


async def test_an_unknown_function_is_refused() -> None:
    yard = await open_yard()
    assert await yard.ask_job(CANCEL, "shop-nothing") is jobs.JobRefusal.FUNCTION_NOT_FOUND


async def test_a_job_within_another_decision_is_part_of_its_batch() -> None:
    yard = await open_yard(2)
    function = yard.engine.functions.find("shop-fulfil")
    assert function is not None
    now_ms = yard.clock.now_ms()
    work = yard.engine._work
    job = jobs.ask_cancel_job(work, function.id, "paused", now_ms + 1, now_ms, reason="pause")
    assert list(work.batch.rows) == [type(job)]
    yard.engine.tell(JobSlice("nobody", "", "", 0))
    await yard.work_off()
    assert await yard.statuses() == ["Cancelled"] * 2
    run = (await yard.runs())[0]
    end = (await yard.storage.journals([run.run_id]))[run.run_id][-1]
    assert json.loads(end.meta)["reason"] == "pause"
