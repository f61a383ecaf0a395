"""The Python SDKs with streamed answers (201, blanks, then the result): all results are the same."""

from collections.abc import Iterator

import pytest

from tests.interop.harness import OURS, PYTHON, Case, Sdk, World, check, world
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
# One server and one app for each, so all of it belongs to one worker.
pytestmark = pytest.mark.interop
SDKS = [
    pytest.param(sdk, marks=pytest.mark.xdist_group(f"interop-streaming-{sdk.name}"), id=sdk.name)
    for sdk in (PYTHON, OURS)
]


def streamed_cases(sdk: Sdk) -> list[Case]:
    return [case for case in cases(sdk) if case.id in NAMES]


@pytest.fixture(scope="module", params=SDKS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    sdk: Sdk = request.param
    directory = tmp_path_factory.mktemp("streaming")
    with world(directory, sdk, cases=streamed_cases(sdk), app_env={"INNGEST_STREAMING": "force"}) as made:
        yield made


@pytest.mark.parametrize("name", NAMES)
def test_case(served: World, name: str) -> None:
    (case,) = (case for case in streamed_cases(served.app.sdk) if case.id == name)
    check(case, served.outcome(case))
