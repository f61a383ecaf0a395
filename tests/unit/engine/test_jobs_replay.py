"""Jobs that start runs again: which, with what, how fast, and what stops them."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from structlog.testing import capture_logs

from inngest_server.engine import forks, starts
from inngest_server.engine.facts import FunctionPaused, FunctionResumed, JobAsked, JobDeleted
from inngest_server.engine.job_runner import count_matches, read_slice
from inngest_server.engine.jobs import JobRefusal
from inngest_server.events.records import EventRow
from inngest_server.jobs.filter import RunFilter
from inngest_server.jobs.progress import new_job
from inngest_server.jobs.records import JobKind, JobRow
from inngest_server.runs.placement import possible_run_ids
from inngest_server.runs.records import BatchedEventRow, RunRow
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import Batch, CommitResult, Outcome, StorageUnavailableError
from tests.builders import HOUR_MS, SECOND_MS, T0_MS, make_batched_event, make_event_row, make_ulid
from tests.conformance.actions import put
from tests.unit.engine.builders import make_function
from tests.unit.engine.job_yard import FAILURE, PLACED, Yard
from tests.unit.engine.test_reload import running

REPLAY = JobKind.REPLAY
FAILED = RunFilter(statuses=frozenset({"Failed"}))


async def open_yard(failed: int = 0, **options: Any) -> tuple[Yard, list[str]]:
    """A function, and runs of it that failed."""
    yard = Yard()
    await yard.open(make_function("fulfil", PLACED, retries=0, **options))
    return yard, [await yard.fail_run({"n": number}) for number in range(failed)]


async def replayed(yard: Yard) -> dict[str, RunRow]:
    """The runs that came of others, by those."""
    rows = [row for row in await yard.runs() if row.original_run_id is not None]
    assert len({row.original_run_id for row in rows}) == len(rows)
    return {row.original_run_id: row for row in rows if row.original_run_id is not None}


async def test_each_run_is_started_again_on_its_own_event() -> None:
    yard, failed = await open_yard(3)
    await yard.send(PLACED, {"n": 99})
    await yard.complete(yard.desk.calls[-1])
    job = await yard.begin(REPLAY, wanted=FAILED)
    await yard.work_off()

    again = await replayed(yard)
    assert sorted(again) == sorted(failed)
    for old in await yard.runs(statuses=frozenset({"Failed"})):
        new = again[old.run_id]
        assert (new.event_id, new.function_id, new.parent) == (old.event_id, old.function_id, None)
    sent = [json.loads(call.run.loaded.event_body)["data"]["n"] for call in yard.desk.calls]
    assert sorted(sent) == [0, 1, 2]
    done = await yard.job(job)
    assert (done.status, done.seen, done.affected, done.undecided) == ("done", 3, 3, 0)


async def test_the_range_goes_by_when_runs_were_queued() -> None:
    yard, _ = await open_yard()
    failed: list[str] = []
    for _ in range(4):
        failed.append(await yard.fail_run())
        await yard.advance(SECOND_MS)
    bounds = {"from_ms": T0_MS + SECOND_MS, "asked_until_ms": T0_MS + 3 * SECOND_MS}
    await yard.begin(REPLAY, wanted=FAILED._replace(**bounds))
    await yard.work_off()
    assert sorted(await replayed(yard)) == failed[1:3]


async def test_ids_follow_from_the_job_and_the_run() -> None:
    yard, failed = await open_yard(2)
    first = await yard.begin(REPLAY, wanted=FAILED)
    await yard.work_off()
    second = await yard.begin(REPLAY, wanted=FAILED)
    await yard.work_off()
    function = yard.engine.functions.find("shop-fulfil")
    assert function is not None
    expected: set[str] = set()
    for job in (first, second):
        for run_id in failed:
            origin = f"{job.job_id}/{run_id}"
            at_ms = job.created_at_ms + 1
            expected |= set(possible_run_ids(function.id, origin, at_ms, yard.storage.shard_count))
    new = {row.run_id for row in await yard.runs()} - set(failed)
    assert len(new) == 4
    assert new <= expected


async def test_a_condition_narrows_a_replay() -> None:
    yard, failed = await open_yard(3)
    await yard.begin(REPLAY, wanted=FAILED._replace(expression="event.data.n == 1"))
    await yard.work_off()
    assert list(await replayed(yard)) == [failed[1]]


async def test_runs_that_fail_while_the_job_runs_are_left_alone() -> None:
    yard, _ = await open_yard(1)
    await yard.begin(REPLAY, wanted=FAILED)
    late = await yard.fail_run()
    await yard.work_off()
    assert late not in await replayed(yard)


async def test_a_job_does_not_look_at_the_runs_that_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inngest_server.jobs.progress.SLICE_RUNS", 2)
    yard, failed = await open_yard(6)
    job = await yard.begin(REPLAY, wanted=FAILED)
    while await yard.do_slice():
        for call in list(yard.desk.calls):
            await yard.answer(call, FAILURE)
    assert len(await yard.runs(statuses=frozenset({"Failed"}))) == 12
    assert (await yard.job(job)).seen == 6
    assert sorted(await replayed(yard)) == sorted(failed)


async def test_an_event_that_retention_forgets_meanwhile_is_there_for_the_new_run() -> None:
    yard, [run_id] = await open_yard(1)
    [old] = await yard.runs()
    job = await yard.begin(REPLAY, wanted=FAILED)
    portion = await read_slice(yard.storage, job, 50)
    while await yard.storage.prune(yard.clock.now_ms() + HOUR_MS, 100):
        pass
    assert await yard.runs() == []
    assert await yard.storage.get(EventRow, [old.event_id]) == []
    yard.engine.tell(portion)
    await yard.settle()
    assert list(await replayed(yard)) == [run_id]
    assert len(await yard.storage.get(EventRow, [old.event_id])) == 1


async def test_a_batch_is_replayed_whole() -> None:
    yard, [run_id] = await open_yard(1)
    [row] = await yard.runs()
    ids = [make_ulid(100 + n) for n in range(3)]
    bodies = [json.dumps({"name": PLACED, "data": {"n": n}, "id": ids[n], "ts": T0_MS}) for n in range(3)]
    events = [make_event_row(ids[n], event_id=ids[n], shard=0, body=bodies[n].encode()) for n in range(3)]
    further = [make_batched_event(run_id, n + 1, shard=row.shard, event_id=one) for n, one in enumerate(ids)]
    await put(yard.storage, row._replace(batch_id=make_ulid(50)), *events, *further)
    await yard.restart()

    await yard.begin(REPLAY, wanted=FAILED)
    await yard.work_off()

    new = (await replayed(yard))[run_id]
    assert (await yard.storage.batched_events([new.run_id])) == {new.run_id: ids}
    assert new.event_id == row.event_id
    assert new.batch_id not in (None, make_ulid(50))


async def test_a_batch_with_a_lost_event_is_undecided() -> None:
    yard, [run_id] = await open_yard(1)
    [row] = await yard.runs()
    gone = BatchedEventRow(run_id, 1, row.shard, make_ulid(100))
    await put(yard.storage, row._replace(batch_id=make_ulid(50)), gone)
    await yard.restart()
    job = await yard.begin(REPLAY, wanted=FAILED)
    await yard.work_off()
    done = await yard.job(job)
    assert (done.affected, done.undecided) == (0, 1)
    assert json.loads(done.errors)[0]["error"].startswith("event_gone: ")


# ---- spread over time ---------------------------------------------------------------------------


async def test_a_rate_is_kept_in_domain_time() -> None:
    yard, _ = await open_yard(25)
    job = await yard.begin(REPLAY, wanted=FAILED, rate_per_s=10)
    await yard.advance(1)  # What follows a job has a later moment.
    started: list[int] = []
    for _ in range(52):
        await yard.work_off()
        started.append((await yard.job(job)).affected)
        await yard.advance(50)
    done = await yard.job(job)
    assert (done.status, done.ended_at_ms) == ("done", T0_MS + 1 + 24 * 100)
    # One now, and one more with each tenth of a second.
    assert started == [min(n // 2 + 1, 25) for n in range(52)]


async def test_after_a_restart_nothing_is_made_up_for() -> None:
    yard, _ = await open_yard(20)
    job = await yard.begin(REPLAY, wanted=FAILED, rate_per_s=10)
    await yard.work_off()
    yard.clock.ms += HOUR_MS
    await yard.restart()
    await yard.work_off()
    assert (await yard.job(job)).affected == 2


async def test_runs_that_are_not_meant_do_not_wait_for_the_rate() -> None:
    yard, _ = await open_yard(20)
    wanted = FAILED._replace(expression="event.data.n == 19")
    await yard.begin(REPLAY, wanted=wanted, rate_per_s=1)
    await yard.work_off()
    assert len(await replayed(yard)) == 1


# ---- what is in the way -------------------------------------------------------------------------


async def pause(yard: Yard) -> None:
    yard.engine.tell(FunctionPaused("shop-fulfil", cancels=False))
    await yard.settle()


async def test_a_paused_function_is_not_replayed() -> None:
    yard, _ = await open_yard(1)
    await pause(yard)
    assert await yard.ask_job(REPLAY, wanted=FAILED) is JobRefusal.FUNCTION_PAUSED


async def test_an_archived_function_is_not_replayed_but_its_runs_are_cancelled() -> None:
    yard, _ = await open_yard(1)
    await yard.send(PLACED)
    await yard.sync(make_function("audit", PLACED))
    assert await yard.ask_job(REPLAY, wanted=FAILED) is JobRefusal.FUNCTION_ARCHIVED
    await yard.begin(JobKind.CANCEL)
    await yard.work_off()
    assert await yard.statuses() == ["Cancelled", "Failed"]


async def test_pausing_amid_a_replay_makes_the_rest_skipped_ones_and_says_so() -> None:
    yard, failed = await open_yard(5)
    job = await yard.begin(REPLAY, wanted=FAILED, rate_per_s=10)
    await yard.work_off()
    await pause(yard)
    for _ in range(10):
        await yard.advance(100)
        await yard.work_off()
    done = await yard.job(job)
    assert (done.status, done.seen, done.affected, done.undecided) == ("done", 5, 1, 4)
    again = await replayed(yard)
    assert sorted(again) == sorted(failed)
    assert Counter(row.status for row in again.values())["Skipped"] == 4
    for error in json.loads(done.errors):
        assert error["error"] == f"skipped: run {again[error['run_id']].run_id} says why"


async def test_skipped_runs_are_replayed_once_the_function_is_resumed() -> None:
    yard, _ = await open_yard()
    await pause(yard)
    await yard.send(PLACED, {"n": 1})
    [skipped] = await yard.runs()
    assert skipped.status == "Skipped"
    await _resume(yard)
    await yard.begin(REPLAY, wanted=RunFilter(statuses=frozenset({"Skipped"})))
    await yard.work_off()
    assert list(await replayed(yard)) == [skipped.run_id]
    await yard.complete(yard.call_of("shop-fulfil"))
    assert await yard.statuses() == ["Completed", "Skipped"]


async def _resume(yard: Yard) -> None:
    yard.engine.tell(FunctionResumed("shop-fulfil"))
    await yard.settle()


async def test_deleting_a_replay_stops_it() -> None:
    yard, _ = await open_yard(5)
    job = await yard.begin(REPLAY, wanted=FAILED, rate_per_s=10)
    await yard.work_off()
    yard.engine.tell(JobDeleted(job.job_id))
    for _ in range(10):
        await yard.advance(100)
        await yard.work_off()
    assert len(await replayed(yard)) == 1


@pytest.mark.parametrize("slices", range(5))
async def test_a_replay_survives_a_crash_between_any_two_slices(
    slices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inngest_server.jobs.progress.SLICE_RUNS", 2)
    yard, failed = await open_yard(7)
    job = await yard.begin(REPLAY, wanted=FAILED)
    for _ in range(slices):
        await yard.do_slice()
    await yard.restart()
    await yard.work_off()
    assert sorted(await replayed(yard)) == sorted(failed)
    done = await yard.job(job)
    assert (done.status, done.seen, done.affected) == ("done", 7, 7)


async def test_large_events_make_a_slice_shorter_and_lose_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inngest_server.engine.job_runner.SLICE_BYTES", 1)
    monkeypatch.setattr("inngest_server.engine.job_runner.RUNS_PER_READ", 2)
    yard, failed = await open_yard(7)
    job = await yard.begin(REPLAY, wanted=FAILED)
    seen: list[int] = []
    while await yard.do_slice():
        seen.append((await yard.job(job)).seen)
    assert seen == [2, 4, 6, 7]
    assert sorted(await replayed(yard)) == sorted(failed)


# ---- faults, with the loops of the engine ---------------------------------------------------------


async def until_ended(yard: Yard, job: JobRow) -> JobRow:
    for _ in range(2_000):
        stored = await yard.job(job)
        if stored.ended_at_ms is not None:
            return stored
        await asyncio.sleep(0.005)
    raise AssertionError("the job has not ended")


async def test_a_run_whose_start_is_a_fault_of_ours_is_undecided_and_all_others_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    yard, failed = await open_yard(6)
    begin = starts.begin

    def broken(work: Any, start: Any, *rest: Any, **options: Any) -> Any:
        if start.original_run_id == failed[2]:
            raise ZeroDivisionError("planted")
        return begin(work, start, *rest, **options)

    monkeypatch.setattr(forks.starts, "begin", broken)
    with capture_logs():
        async with running(yard):
            job = await yard.engine.ask(_asked(yard))
            done = await until_ended(yard, job)
    assert (done.seen, done.affected, done.undecided) == (6, 5, 1)
    [error] = json.loads(done.errors)
    assert error["run_id"] == failed[2]
    assert error["error"].startswith("undecidable: ")
    assert sorted(await replayed(yard)) == sorted(set(failed) - {failed[2]})


async def test_a_storage_that_cannot_be_read_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inngest_server.engine.job_runner.RETRY_S", 0.01)
    yard, failed = await open_yard(2)
    list_runs, failures = yard.storage.list_runs, [StorageUnavailableError("gone"), ZeroDivisionError()]

    async def failing(query: Any) -> Any:
        if failures:
            raise failures.pop()
        return await list_runs(query)

    monkeypatch.setattr(yard.storage, "list_runs", failing)
    with capture_logs() as logs:
        async with running(yard):
            job = await yard.engine.ask(_asked(yard))
            await until_ended(yard, job)
    assert sorted(await replayed(yard)) == sorted(failed)
    assert [line["event"] for line in logs if line["log_level"] != "info"] == [
        "jobs.failed",
        "jobs.read_failed",
    ]


class ShakyDisk(MemoryStorage):
    """Each so many commits one fails, or is done and cannot tell."""

    every: int = 0
    is_done: bool = False
    _count = 0

    async def commit(self, batch: Batch) -> CommitResult:
        self._count += 1
        if not self.every or self._count % self.every:
            return await super().commit(batch)
        if not self.is_done:
            return CommitResult(Outcome.FAILED, frozenset(), "no space left")
        await super().commit(batch)
        return CommitResult(Outcome.UNKNOWN, frozenset(), "the disk does not say")


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("every", [2, 3])
async def test_commits_that_fail_neither_lose_nor_double_a_run(
    every: int, is_done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inngest_server.jobs.progress.SLICE_RUNS", 2)
    monkeypatch.setattr("inngest_server.engine.engine.REOPEN_DELAYS_S", (0.0,))
    storage = ShakyDisk(shard_count=4)
    yard = Yard(storage=storage)
    await yard.open(make_function("fulfil", PLACED, retries=0))
    failed = [await yard.fail_run({"n": number}) for number in range(7)]
    with capture_logs():
        async with running(yard):
            job = await yard.engine.ask(_asked(yard))
            storage.every, storage.is_done = every, is_done
            done = await until_ended(yard, job)
            storage.every = 0
    assert (done.status, done.seen, done.affected) == ("done", 7, 7)
    assert sorted(await replayed(yard)) == sorted(failed)


def _asked(yard: Yard) -> JobAsked:
    return JobAsked(yard.engine.next_id(), REPLAY, "shop-fulfil", "", FAILED)


# ---- previews -----------------------------------------------------------------------------------


async def test_a_preview_counts_what_the_job_would_start(monkeypatch: pytest.MonkeyPatch) -> None:
    yard, _ = await open_yard(6)
    function = yard.engine.functions.find("shop-fulfil")
    assert function is not None

    async def count(wanted: RunFilter) -> tuple[int, bool]:
        job = new_job("", REPLAY, function.id, "", wanted, shard=0, now_ms=yard.clock.now_ms())
        return await count_matches(yard.storage, job)

    assert await count(FAILED) == (6, True)
    narrow = FAILED._replace(expression="event.data.n > 3")
    assert await count(narrow) == (2, True)
    monkeypatch.setattr("inngest_server.engine.job_runner.COUNTED_WITH_EVENTS_MAX", 5)
    runs, is_exact = await count(narrow)
    assert runs in (1, 2)  # Runs of one millisecond are in no particular order.
    assert not is_exact
