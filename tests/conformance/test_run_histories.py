"""A run with everything that is stored of it, read at one moment."""

import asyncio

import pytest

from inngest_server.runs.records import JournalKind, JournalRow, RunRow
from inngest_server.storage.protocol import RunHistory, Storage
from tests.builders import (
    RUN_ID,
    T0_MS,
    make_item,
    make_journal_entry,
    make_run_row,
    make_ulid,
    make_wait,
)
from tests.conformance.actions import put

pytestmark = pytest.mark.conformance

OTHER = make_ulid(7)


async def test_a_history_has_the_run_its_journal_and_its_live_rows(storage: Storage) -> None:
    run, other = make_run_row(), make_run_row(OTHER)
    entries = [make_journal_entry(n=n) for n in (1, 2, 3)]
    items = [make_item(f"{RUN_ID}.{name}") for name in ("0", "a")]
    wait = make_wait()
    await put(storage, run, other, *reversed(entries), *reversed(items), wait)
    await put(storage, make_item(f"{OTHER}.0", OTHER))

    found = await storage.histories([OTHER, RUN_ID, "none", RUN_ID])

    assert found == {
        RUN_ID: RunHistory(run, entries, items, [wait]),
        OTHER: RunHistory(other, [], [make_item(f"{OTHER}.0", OTHER)], []),
    }
    assert await storage.histories([]) == {}


async def test_a_history_never_has_half_of_a_commit(storage: Storage) -> None:
    """Each commit adds an entry and says in the run's row how many there are."""

    async def write() -> None:
        for n in range(1, 60):
            await put(
                storage,
                make_run_row(function_version=n),
                make_journal_entry(n=n),
                make_item(f"{RUN_ID}.{n % 2}", queued_at_ms=T0_MS + n),
            )

    writing = asyncio.create_task(write())
    while not writing.done():
        found = await storage.histories([RUN_ID])
        for history in found.values():
            assert history.run.function_version == len(history.journal)
            assert max(item.queued_at_ms for item in history.items) == T0_MS + len(history.journal)
        await asyncio.sleep(0)
    await writing


async def test_the_runs_that_opened_a_step_of_an_opcode(storage: Storage) -> None:
    def entry(run_id: str, kind: JournalKind, meta: bytes) -> JournalRow:
        return make_journal_entry(run_id=run_id, n=1)._replace(kind=kind.value, meta=meta)

    runs = [make_ulid(n) for n in range(4)]
    rows: list[RunRow] = [make_run_row(run_id) for run_id in runs]
    await put(
        storage,
        *rows,
        entry(runs[0], JournalKind.OPENED, b'{"op":"AIGateway","name":"ask"}'),
        entry(runs[1], JournalKind.OPENED, b'{"op":"Sleep","name":"AIGateway"}'),
        entry(runs[2], JournalKind.MEMO, b'{"op":"AIGateway"}'),
    )

    assert await storage.runs_that_opened([*runs, "none"], "AIGateway") == {runs[0]}
    assert await storage.runs_that_opened(runs[1:], "AIGateway") == set()
    assert await storage.runs_that_opened([], "AIGateway") == set()
