"""Apps written for the official Python SDK, unchanged on ours: every row of cases.md, the same runs.

With checkpoints, as our SDK has it by default, and without: then the number of calls is the same, too.
"""

from collections.abc import Iterator

import pytest

import inngest
from tests.interop import common
from tests.interop.harness import OURS, OURS_PLAIN, Sdk, World, check, world
from tests.interop.table import cases
from tests.support.api import request

pytestmark = pytest.mark.interop

# One server and one app for each, so all of it belongs to one worker.
SDKS = [
    pytest.param(sdk, marks=pytest.mark.xdist_group(f"interop-{sdk.name}"), id=sdk.name)
    for sdk in (OURS, OURS_PLAIN)
]


@pytest.fixture(scope="module", params=SDKS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The app on a server, with all cases begun."""
    sdk: Sdk = request.param
    with world(tmp_path_factory.mktemp(sdk.name), sdk, cases=cases(sdk)) as made:
        yield made


def test_the_app_has_our_sdk(served: World) -> None:
    _, headers, _ = request("GET", served.app.url)

    assert headers["x-inngest-sdk"] == f"inngest-py:v{inngest.__version__}"


@pytest.mark.parametrize("name", [case.id for case in cases(OURS)])
def test_case(served: World, name: str) -> None:
    (case,) = (case for case in cases(served.app.sdk) if case.id == name)
    check(case, served.outcome(case))


def test_an_event_that_fails_the_filter_starts_nothing(served: World) -> None:
    common.check_filter(served)


def test_an_approval_of_another_id_leaves_the_wait_open(served: World) -> None:
    common.check_other_approval(served)


def test_steps_of_one_concurrency_key_never_overlap(served: World) -> None:
    common.check_limit(served)


@pytest.mark.slow
def test_cron_runs_at_the_full_minute(served: World) -> None:
    common.check_cron(served)
