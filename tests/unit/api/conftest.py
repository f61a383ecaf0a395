"""Servers in this process, one for each mode."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.api.harness import InProcess, dev, start


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def server() -> AsyncIterator[InProcess]:
    """A server for development: no keys."""
    async with InProcess(dev()) as server:
        yield server


@pytest.fixture
async def locked() -> AsyncIterator[InProcess]:
    """A server with keys."""
    async with InProcess(start()) as server:
        yield server
