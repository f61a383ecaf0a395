"""What tests of a storage do again and again."""

from inngest_server.storage.protocol import Outcome, Storage
from inngest_server.storage.records import Key, Row
from tests.builders import SECOND_MS, SHARD, T0_MS, make_batch

ALL_SHARDS = range(16)


async def acquire(storage: Storage, *shards: int) -> dict[int, int]:
    return await storage.acquire(shards or [SHARD], "ann", T0_MS + 10 * SECOND_MS)


async def put(storage: Storage, *rows: Row, now_ms: int = 0) -> None:
    epochs = await acquire(storage, *ALL_SHARDS)
    result = await storage.commit(make_batch(epochs, *rows, now_ms=now_ms))
    assert result == (Outcome.DONE, frozenset(), "")


async def remove(storage: Storage, kind: type[Row], key: Key, shard: int = SHARD) -> None:
    epochs = await acquire(storage, shard)
    await storage.commit(make_batch(epochs, removes=[(kind, key, shard)]))


async def live_rows(storage: Storage, *shards: int) -> list[Row]:
    rows: list[Row] = []
    async for page in storage.load(shards or ALL_SHARDS):
        rows += page.rows()
    return rows
