"""Fixtures that the modules about flow control share."""

from collections.abc import Iterator

import pytest

from tests.interop.flow import FLOW_SDKS, Flow, flow_world

PARAMS = [
    pytest.param(sdk, marks=pytest.mark.xdist_group(f"interop-flow-{sdk.name}"), id=sdk.name)
    for sdk in FLOW_SDKS
]


@pytest.fixture(scope="session", params=PARAMS)
def flow_of_sdk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    """One world for each SDK: to start it takes longer than most of the tests in it."""
    with flow_world(request.param, tmp_path_factory.mktemp(f"flow-{request.param.name}")) as made:
        yield made


@pytest.fixture
def flow(flow_of_sdk: Flow) -> Iterator[Flow]:
    """The world of an SDK, at rest."""
    yield flow_of_sdk
    flow_of_sdk.end_all()
