"""Worlds for tests of worlds, as the plugin makes them."""

from collections.abc import Iterator

import pytest

from inngest_server.testing import AsyncWorld, World
from inngest_server.testing.host import Host


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def world(host: Host, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with World(host=host, seed=request.node.nodeid) as world:
        monkeypatch.setenv("INNGEST_DEV", world.url)
        yield world


@pytest.fixture
def async_world(
    host: Host, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AsyncWorld]:
    with AsyncWorld(host=host, seed=request.node.nodeid).opened() as world:
        monkeypatch.setenv("INNGEST_DEV", world.url)
        yield world
