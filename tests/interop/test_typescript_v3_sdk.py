"""Version 3 of the official TypeScript SDK against a server in development: every row of cases.md.

Its runs have request version 1, in which each branch of a parallel set asks anew; its steps are answers,
unless a function is told to report them by checkpoints. Source: protocol 3.5 and 13.
"""

from collections.abc import Iterator

import pytest

from tests.interop import common
from tests.interop.harness import TYPESCRIPT_V3, Case, World, check, world
from tests.interop.table import cases

CASES = cases(TYPESCRIPT_V3)

# One server and one app for the module, so all of it belongs to one worker.
pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("interop-typescript-v3")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The app on a server, with all cases begun."""
    with world(tmp_path_factory.mktemp("typescript-v3"), TYPESCRIPT_V3, cases=CASES) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(served: World, case: Case) -> None:
    check(case, served.outcome(case))


def test_a_step_sends_the_signal_that_another_run_waits_for(served: World) -> None:
    common.check_sent_signal(served)


def test_an_event_that_fails_the_filter_starts_nothing(served: World) -> None:
    common.check_filter(served)


def test_an_approval_of_another_id_leaves_the_wait_open(served: World) -> None:
    common.check_other_approval(served)


def test_steps_of_one_concurrency_key_never_overlap(served: World) -> None:
    common.check_limit(served)


@pytest.mark.slow
def test_cron_runs_at_the_full_minute(served: World) -> None:
    common.check_cron(served)
