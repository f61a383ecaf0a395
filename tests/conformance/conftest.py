"""Every storage that this machine can run, one after the other."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import Storage
from inngest_server.storage.sqlite import SQLiteStorage

BACKENDS: dict[str, Callable[[Path], Storage]] = {
    "memory": lambda directory: MemoryStorage(shard_count=16),
    "sqlite": lambda directory: SQLiteStorage(directory / "data", shard_count=16),
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=BACKENDS)
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    """Open and empty."""
    storage = BACKENDS[request.param](tmp_path)
    await storage.open()
    yield storage
    await storage.close()
