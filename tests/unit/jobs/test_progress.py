"""From one slice of a job to the next."""

import json

import pytest

from inngest_server.jobs.filter import RunFilter
from inngest_server.jobs.progress import (
    ERROR_CHARS_MAX,
    ERRORS_KEPT,
    SLICE_RUNS,
    Undecided,
    advanced,
    deleted,
    new_job,
    pause_ms,
    slice_size,
)
from inngest_server.jobs.records import JobKind
from tests.builders import FUNCTION_ID, T0_MS, make_job, make_ulid


def test_a_job_is_never_about_runs_after_it() -> None:
    def until_ms(asked_ms: int | None) -> int:
        wanted = RunFilter(asked_until_ms=asked_ms)
        return new_job("j", JobKind.CANCEL, FUNCTION_ID, "", wanted, shard=0, now_ms=T0_MS).until_ms

    assert until_ms(None) == T0_MS + 1
    assert until_ms(T0_MS + 5_000) == T0_MS + 1
    assert until_ms(T0_MS - 5_000) == T0_MS - 5_000


@pytest.mark.parametrize("rate_per_s", [1, 2, 3, 7, 20, 99, 333, 500, 1_000])
def test_slices_keep_a_rate_exactly_and_come_several_times_a_second(rate_per_s: int) -> None:
    size = slice_size(rate_per_s)
    pause = pause_ms(rate_per_s, size)
    assert 1 <= size <= SLICE_RUNS
    assert size * 1000 <= rate_per_s * pause < size * 1000 + rate_per_s
    assert pause <= max(1000 // rate_per_s + 1, 100)


def test_without_a_rate_slices_are_full_and_follow_at_once() -> None:
    assert (slice_size(0), pause_ms(0, SLICE_RUNS)) == (SLICE_RUNS, 0)


def test_a_slice_that_started_nothing_is_followed_at_once() -> None:
    assert pause_ms(1, 0) == 0


def test_counts_add_up_and_the_cursor_moves() -> None:
    job = make_job(cursor=make_ulid(1), seen=5, affected=2, undecided=1)
    after = advanced(
        job,
        cursor=make_ulid(9),
        seen=4,
        affected=3,
        undecided=[Undecided("r", "gone: x")],
        is_last=False,
        now_ms=T0_MS + 1,
    )
    assert (after.cursor, after.seen, after.affected, after.undecided) == (make_ulid(9), 9, 5, 2)
    assert (after.status, after.ended_at_ms) == ("running", None)
    assert json.loads(after.errors) == [{"run_id": "r", "error": "gone: x"}]


def test_an_empty_last_slice_ends_the_job_where_it_stands() -> None:
    job = make_job(cursor=make_ulid(5))
    after = advanced(job, cursor="", seen=0, affected=0, undecided=(), is_last=True, now_ms=T0_MS + 1)
    assert after == job._replace(status="done", ended_at_ms=T0_MS + 1)


def test_errors_are_bounded_and_the_first_are_kept() -> None:
    job = make_job()
    for n in range(5):
        undecided = [Undecided(f"{n}-{one}", "x" * 1_000) for one in range(15)]
        job = advanced(job, cursor="c", seen=15, affected=0, undecided=undecided, is_last=False, now_ms=T0_MS)
    errors = json.loads(job.errors)
    assert [error["run_id"] for error in errors] == [f"{n // 15}-{n % 15}" for n in range(ERRORS_KEPT)]
    assert {len(error["error"]) for error in errors} == {ERROR_CHARS_MAX}
    assert job.undecided == 75


def test_deleting_keeps_what_was_done() -> None:
    job = make_job(affected=3, cursor=make_ulid(1))
    assert deleted(job, T0_MS) == job._replace(status="deleted", ended_at_ms=T0_MS)
