"""What repairs read: rows as they are, also when their payloads are not."""

import sqlite3
from pathlib import Path

from inngest_server.events.records import EventRow
from inngest_server.storage.protocol import DAMAGED, Storage
from inngest_server.storage.sqlite import SQLiteStorage
from tests.builders import EVENT_ID, RUN_ID, make_event_row, make_journal_entry, make_run_row
from tests.conformance.actions import acquire, put


async def test_what_is_whole_is_salvaged_as_it_is(storage: Storage) -> None:
    await put(storage, make_event_row(), make_run_row())
    assert await storage.salvage(EventRow, [EVENT_ID, "gone"]) == [make_event_row()]
    assert await storage.salvage_journal(RUN_ID) == []


async def test_a_journal_with_a_gap_is_salvaged_with_it(storage: Storage) -> None:
    entries = [make_journal_entry(n=n) for n in (1, 2, 4)]
    await put(storage, *entries)
    assert await storage.salvage_journal(RUN_ID) == entries


async def test_what_changed_on_disk_is_salvaged_without_its_payloads(tmp_path: Path) -> None:
    storage = SQLiteStorage(tmp_path, shard_count=16)
    await storage.open()
    await acquire(storage)
    await put(storage, make_event_row(), make_journal_entry(n=1), make_journal_entry(n=2))
    with sqlite3.connect(storage.path) as connection:
        connection.execute("UPDATE events SET body = x'31'")
        connection.execute("UPDATE journal SET meta = x'31' WHERE n = 2")
    connection.close()

    assert await storage.salvage(EventRow, [EVENT_ID]) == [make_event_row(body=DAMAGED)]
    first, second = await storage.salvage_journal(RUN_ID)
    assert first == make_journal_entry(n=1)
    assert second == make_journal_entry(n=2, meta=DAMAGED, payload=DAMAGED)
    await storage.close()
