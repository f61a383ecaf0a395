"""Fixtures of the contract: each adapter, both kinds of functions, and a fake server."""

import os
from collections.abc import AsyncIterator

import pytest

from tests.sdk.frameworks.adapters import ADAPTERS, Adapter
from tests.sdk.frameworks.server import FakeServer, running


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings come from the test alone."""
    for name in [name for name in os.environ if name.startswith("INNGEST_")]:
        monkeypatch.delenv(name)


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    with running() as fake:
        yield fake
        for client in fake.clients:
            await client.aclose()


@pytest.fixture(params=ADAPTERS, ids=str)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return request.param


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return request.param
