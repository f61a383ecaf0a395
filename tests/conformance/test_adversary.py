"""The adversary keeps the protocol: what it does to a caller, a storage might do."""

from random import Random

import pytest

from inngest_server.runs.records import JournalRow
from inngest_server.storage.protocol import Outcome, Storage
from tests.builders import RUN_ID, SHARD, make_batch, make_journal_entry
from tests.conformance.adversary import TROUBLE, AdversaryStorage


async def write_until_done(storage: AdversaryStorage, entries: int) -> None:
    """What the engine does: after each doubt a new epoch, then a look at what is there."""
    epochs = await storage.acquire([SHARD], "ann", 0)
    written = 0
    while written < entries:
        entry = make_journal_entry(n=written + 1)
        result = await storage.commit(make_batch(epochs, entry))
        if result.outcome is Outcome.DONE:
            assert not result.stale
            written += 1
        else:
            epochs = await storage.acquire([SHARD], "ann", 0)
            journal: list[JournalRow] = (await storage.journals([RUN_ID])).get(RUN_ID, [])
            assert len(journal) in (written, written + (result.outcome is Outcome.UNKNOWN))
            written = len(journal)


@pytest.mark.parametrize("seed", range(20))
async def test_a_caller_that_loads_after_each_doubt_writes_everything_once(
    storage: Storage, seed: int
) -> None:
    adversary = AdversaryStorage(storage, Random(seed))

    await write_until_done(adversary, 25)

    assert [entry.n for entry in (await storage.journals([RUN_ID]))[RUN_ID]] == list(range(1, 26))


async def test_it_does_every_kind_of_mischief(storage: Storage) -> None:
    adversary = AdversaryStorage(storage, Random(1), rate=1)
    epochs = await adversary.acquire([SHARD], "ann", 0)
    for _ in range(100):
        await adversary.commit(make_batch(epochs, make_journal_entry()))

    assert set(adversary.done) == set(TROUBLE)


async def test_without_a_rate_it_only_delays(storage: Storage) -> None:
    adversary = AdversaryStorage(storage, Random(1), rate=0)
    epochs = await adversary.acquire([SHARD], "ann", 0)

    for n in range(1, 20):
        assert (await adversary.commit(make_batch(epochs, make_journal_entry(n=n)))).outcome is Outcome.DONE
