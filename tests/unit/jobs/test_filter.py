"""Which runs a job is about, as of the moment at which it was asked for."""

from typing import Any

import pytest

from inngest_server.jobs.filter import REPLAYABLE, UNFINISHED, RunFilter, is_meant
from inngest_server.jobs.records import JobKind
from inngest_server.runs.records import RunStatus
from tests.builders import HOUR_MS, T0_MS, make_job, make_run_row

NOW_MS = T0_MS + 10 * HOUR_MS
CANCEL = make_job(created_at_ms=NOW_MS, until_ms=NOW_MS + 1)
REPLAY = CANCEL._replace(kind=JobKind.REPLAY.value)


def cancels(wanted: RunFilter, until_ms: int = NOW_MS + 1, **run: Any) -> bool:
    return is_meant(CANCEL._replace(until_ms=until_ms), wanted, make_run_row(**run))


def replays(wanted: RunFilter, **run: Any) -> bool:
    return is_meant(REPLAY, wanted, make_run_row(**run))


@pytest.mark.parametrize(
    "wanted",
    [
        RunFilter(),
        RunFilter(0, frozenset({"Failed", "Skipped"}), "event.data.id == 'ü'", "pause", 5, 0),
        RunFilter(from_ms=T0_MS, estimate=12),
    ],
)
def test_a_filter_comes_back_from_its_row(wanted: RunFilter) -> None:
    assert RunFilter.from_json(wanted.to_json()) == wanted


def test_every_status_can_be_either_cancelled_or_replayed() -> None:
    assert {status.value for status in RunStatus} == UNFINISHED | REPLAYABLE
    assert not UNFINISHED & REPLAYABLE


def test_the_lower_bound_is_inclusive_and_the_upper_one_exclusive() -> None:
    wanted = RunFilter(from_ms=T0_MS)
    assert cancels(wanted, created_at_ms=T0_MS)
    assert not cancels(wanted, created_at_ms=T0_MS - 1)
    assert not cancels(wanted, until_ms=T0_MS, created_at_ms=T0_MS)
    assert cancels(wanted, until_ms=T0_MS + 1, created_at_ms=T0_MS)


def test_a_run_that_had_started_counts_by_its_start() -> None:
    wanted = RunFilter(from_ms=T0_MS)
    run = {"created_at_ms": T0_MS - HOUR_MS, "status": "Running"}
    assert cancels(wanted, started_at_ms=T0_MS, **run)
    assert not cancels(RunFilter(), until_ms=T0_MS, started_at_ms=T0_MS, **run)


def test_a_run_that_started_in_the_very_moment_of_the_job_counts_by_its_start() -> None:
    wanted = RunFilter(from_ms=NOW_MS)
    assert cancels(wanted, created_at_ms=T0_MS, started_at_ms=NOW_MS, status="Running")
    assert not cancels(wanted, created_at_ms=T0_MS, started_at_ms=NOW_MS + 1, status="Running")


def test_a_run_that_starts_while_the_job_runs_still_counts_by_when_it_was_made() -> None:
    assert cancels(RunFilter(), created_at_ms=T0_MS, started_at_ms=NOW_MS + 5, status="Running")


def test_runs_that_were_made_later_are_never_meant() -> None:
    assert not cancels(RunFilter(), created_at_ms=NOW_MS + 1)
    wanted = RunFilter(statuses=frozenset({"Failed"}))
    assert not replays(wanted, created_at_ms=NOW_MS + 1, ended_at_ms=NOW_MS + 1, status="Failed")


def test_a_run_that_ends_while_the_job_runs_is_not_replayed() -> None:
    wanted = RunFilter(statuses=frozenset({"Failed"}))
    assert replays(wanted, ended_at_ms=NOW_MS, status="Failed")
    assert not replays(wanted, ended_at_ms=NOW_MS + 1, status="Failed")


@pytest.mark.parametrize("status", sorted(UNFINISHED | REPLAYABLE))
def test_only_runs_of_the_wanted_statuses_are_meant(status: str) -> None:
    ended_at_ms = T0_MS if status in REPLAYABLE else None
    run = {"ended_at_ms": ended_at_ms, "status": status}
    wanted = RunFilter(statuses=frozenset({"Failed", "Skipped"}))
    assert replays(wanted, **run) == (status in ("Failed", "Skipped"))
    assert cancels(RunFilter(), **run) == (status in UNFINISHED)


def test_runs_of_other_functions_are_not_meant() -> None:
    assert not cancels(RunFilter(), function_id="another")
