"""The official Python SDK with streamed answers (201, blanks, then the result): all results are the same."""

from collections.abc import Iterator

import pytest

from tests.interop.harness import PYTHON, Case, World, check, world
from tests.interop.table import cases

NAMES = (
    "noop",
    "sequential",
    "shapes",
    "parallel",
    "sleep",
    "invoke-fails",
    "step-retry",
    "non-retriable",
    "retry-after",
)
CASES = [case for case in cases(PYTHON) if case.id in NAMES]

# One server and one app for the module, so all of it belongs to one worker.
pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("interop-python-streaming")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("streaming")
    with world(directory, PYTHON, cases=CASES, app_env={"INNGEST_STREAMING": "force"}) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_case(served: World, case: Case) -> None:
    check(case, served.outcome(case))
