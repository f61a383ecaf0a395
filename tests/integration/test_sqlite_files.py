"""What happens to the SQLite storage's files, and what a person is told about it."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inngest_server.events.records import EventRow
from inngest_server.runs.records import ItemRow, JournalRow
from inngest_server.storage.protocol import (
    CorruptDataError,
    IncompatibleStorageError,
    Outcome,
    StorageError,
    StorageUnavailableError,
)
from inngest_server.storage.sqlite import SQLiteStorage
from tests.builders import (
    RUN_ID,
    SHARD,
    make_batch,
    make_event_row,
    make_item,
    make_journal_entry,
    make_run_row,
    make_ulid,
)
from tests.integration.observed_connection import Observed, sqlite_error

pytestmark = pytest.mark.integration


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def observed() -> type[Observed]:
    return type("ObservedHere", (Observed,), {"log": [], "fail_on": {}, "before_begin": [], "answers": {}})


@pytest.fixture
async def storage(tmp_path: Path, observed: type[Observed]) -> AsyncIterator[SQLiteStorage]:
    storage = SQLiteStorage(tmp_path / "data", connection_class=observed, url="http://localhost:8288")
    await storage.open()
    yield storage
    await storage.close()


async def put(storage: SQLiteStorage, *rows: Any) -> None:
    epochs = await storage.acquire([SHARD], "ann", 0)
    assert (await storage.commit(make_batch(epochs, *rows))).outcome is Outcome.DONE


# ---- the directory ------------------------------------------------------------------------------


async def test_a_second_server_is_told_who_has_the_directory(storage: SQLiteStorage, tmp_path: Path) -> None:
    second = SQLiteStorage(tmp_path / "data")
    with pytest.raises(
        StorageUnavailableError, match=rf"http://localhost:8288 with process id {os.getpid()}"
    ):
        await second.open()

    await storage.close()
    await second.open()
    await second.close()


async def test_only_the_user_may_read_the_files(storage: SQLiteStorage, tmp_path: Path) -> None:
    await put(storage, make_item())
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "data").iterdir()}
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert set(modes.values()) == {0o600}, modes


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageUnavailableError, match="file/data"):
        await SQLiteStorage(tmp_path / "file" / "data").open()


# ---- files of others ----------------------------------------------------------------------------


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


async def test_a_file_of_a_newer_version_is_refused(storage: SQLiteStorage) -> None:
    await storage.close()
    change(storage.path, "PRAGMA user_version = 99")
    with pytest.raises(IncompatibleStorageError, match="schema version 99"):
        await storage.open()


async def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "main.db"
    path.parent.mkdir()
    change(path, "CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(IncompatibleStorageError, match="another program"):
        await SQLiteStorage(path.parent).open()
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "main.db"
    path.parent.mkdir()
    path.write_bytes(b"notes about something else\n" * 1_000)
    with pytest.raises(IncompatibleStorageError, match="not an SQLite database"):
        await SQLiteStorage(path.parent).open()
    assert path.read_bytes() == b"notes about something else\n" * 1_000


async def test_the_number_of_shards_stays_that_of_the_first_opening(
    storage: SQLiteStorage, tmp_path: Path
) -> None:
    await storage.close()
    other = SQLiteStorage(tmp_path / "data", shard_count=8)
    await other.open()
    assert other.shard_count == 256
    await other.close()


# ---- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "table"),
    [
        (make_event_row(body=b'{"needle":1}'), "events"),
        (make_run_row(output=b'{"needle":1}'), "runs"),
        (make_journal_entry(meta=b'{"needle":1}'), "journal"),
        (make_journal_entry(payload=b'{"needle":1}'), "journal"),
    ],
    ids=["event body", "run output", "journal meta", "journal payload"],
)
async def test_a_flipped_bit_of_a_payload_is_found_when_it_is_read(
    storage: SQLiteStorage, row: Any, table: str
) -> None:
    await put(storage, row)
    await storage.close()
    content = storage.path.read_bytes()
    assert content.count(b"needle") == 1
    storage.path.write_bytes(content.replace(b"needle", b"oeedle"))  # One bit.
    await storage.open()

    read = storage.journals([RUN_ID]) if isinstance(row, JournalRow) else storage.get(type(row), [row[0]])
    with pytest.raises(CorruptDataError, match=f"table {table}, key {row[0]}"):
        await read


async def test_a_destroyed_page_is_reported_as_damage(storage: SQLiteStorage) -> None:
    await put(storage, *[make_item(make_ulid(n)) for n in range(300)])
    await storage.close()
    content = bytearray(storage.path.read_bytes())
    at = content.index(make_ulid(150).encode())
    page = at - at % 4096
    content[page : page + 4096] = os.urandom(4096)
    storage.path.write_bytes(content)
    await storage.open()

    with pytest.raises(CorruptDataError, match="damaged"):
        await storage.get(ItemRow, [make_ulid(n) for n in range(300)])


# ---- a server that was killed -------------------------------------------------------------------

KILLED_SERVER = """
import asyncio, pathlib, sys
from inngest_server.storage.sqlite import SQLiteStorage
from tests.builders import SHARD, make_batch, make_journal_entry

async def main():
    storage = SQLiteStorage(pathlib.Path(sys.argv[1]))
    await storage.open()
    epochs = await storage.acquire([SHARD], "ann", 0)
    for n in range(1, 1_000_000):
        await storage.commit(make_batch(epochs, make_journal_entry(n=n), now_ms=n))
        print(n, flush=True)

asyncio.run(main())
"""


def answered_before_a_kill(directory: Path) -> int:
    """Run a server that commits one entry after the other, kill it, and say how many it had answered."""
    server = subprocess.Popen(
        [sys.executable, "-c", KILLED_SERVER, str(directory)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert server.stdout is not None
    with server.stdout as numbers:
        answered = 0
        while answered < 300:
            answered = int(numbers.readline())
        server.send_signal(signal.SIGKILL)
        answered = max([answered, *map(int, numbers.read().split())])
    server.wait()
    return answered


async def test_after_a_kill_every_answered_commit_is_there_and_the_file_is_checked(tmp_path: Path) -> None:
    answered = await asyncio.to_thread(answered_before_a_kill, tmp_path / "data")
    said: list[dict[str, object]] = []
    checked = asyncio.Event()

    def log(event: str, **fields: object) -> None:
        said.append({"event": event, **fields})
        checked.set()

    storage = SQLiteStorage(tmp_path / "data", log=log)
    await storage.open()

    entries = (await storage.journals([RUN_ID]))[RUN_ID]
    assert len(entries) in (answered, answered + 1)
    assert await storage.domain_time_ms() == len(entries)
    await asyncio.wait_for(checked.wait(), 10)
    assert storage.integrity == "ok"
    assert said[0]["event"] == "storage.checked_after_unclean_stop"
    await storage.close()


async def test_after_a_clean_stop_nothing_is_checked(storage: SQLiteStorage) -> None:
    await storage.close()
    await storage.open()
    assert storage.integrity == ""


# ---- the disk -----------------------------------------------------------------------------------


async def test_a_commit_is_answered_after_its_sync(storage: SQLiteStorage, observed: type[Observed]) -> None:
    """The sync is SQLite's: with WAL and synchronous=FULL `COMMIT` returns after it."""
    observed.before_begin += ["PRAGMA synchronous", "PRAGMA journal_mode"]
    epochs = await storage.acquire([SHARD], "ann", 0)
    assert observed.answers == {"PRAGMA synchronous": 2, "PRAGMA journal_mode": "wal"}
    observed.log.clear()

    async def commit(n: int) -> None:
        await storage.commit(make_batch(epochs, make_journal_entry(n=n)))
        observed.log.append(f"answered {n}")

    await asyncio.gather(*[commit(n) for n in range(1, 51)])

    for n in range(1, 51):
        before = observed.log[: observed.log.index(f"answered {n}")]
        assert before.count("COMMIT") >= n


async def test_a_full_disk_fails_commits_until_there_is_room(
    storage: SQLiteStorage, observed: type[Observed]
) -> None:
    epochs = await storage.acquire([SHARD], "ann", 0)
    observed.before_begin.append("PRAGMA max_page_count = 100")
    n, result = 0, None
    while result is None or result.outcome is Outcome.DONE:
        n += 1
        result = await storage.commit(make_batch(epochs, make_journal_entry(n=n, payload=b"x" * 20_000)))
        assert n < 1_000

    assert result.outcome is Outcome.FAILED
    assert result.detail.startswith("disk is full: ")
    assert len((await storage.journals([RUN_ID]))[RUN_ID]) == n - 1

    observed.before_begin.append("PRAGMA max_page_count = 1000000")
    await storage.open()
    again = await storage.commit(make_batch(epochs, make_journal_entry(n=n)))
    assert again == (Outcome.DONE, frozenset(), "")
    assert len((await storage.journals([RUN_ID]))[RUN_ID]) == n


async def test_a_lock_of_another_process_fails_a_commit_in_bounded_time(storage: SQLiteStorage) -> None:
    epochs = await storage.acquire([SHARD], "ann", 0)
    outsider = sqlite3.connect(storage.path, isolation_level=None)
    outsider.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    commit = asyncio.create_task(storage.commit(make_batch(epochs, make_item())))
    assert await storage.get(ItemRow, ["item-1"]) == []  # Readers go on.

    result = await commit

    assert time.monotonic() - started < 5
    assert result.outcome is Outcome.FAILED
    assert result.detail.startswith("database is locked: another process")
    outsider.close()
    assert (await storage.commit(make_batch(epochs, make_item()))).outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("statement", "name", "outcome"),
    [
        ("INSERT", "SQLITE_IOERR_READ", Outcome.FAILED),
        ("COMMIT", "SQLITE_IOERR_FSYNC", Outcome.UNKNOWN),
        ("COMMIT", "SQLITE_IOERR_WRITE", Outcome.UNKNOWN),
    ],
)
async def test_after_an_io_error_everything_fails_until_the_storage_is_opened_again(
    storage: SQLiteStorage, observed: type[Observed], statement: str, name: str, outcome: Outcome
) -> None:
    epochs = await storage.acquire([SHARD], "ann", 0)
    observed.fail_on[statement] = sqlite_error(name)
    first = await storage.commit(make_batch(epochs, make_item()))
    observed.fail_on.clear()

    second = await storage.commit(make_batch(epochs, make_item()))
    with pytest.raises(StorageUnavailableError, match=name):
        await storage.acquire([SHARD], "ann", 0)

    assert (first.outcome, second.outcome) == (outcome, Outcome.FAILED)
    assert name in first.detail
    assert "opened again" in second.detail
    await storage.open()
    assert (await storage.commit(make_batch(epochs, make_item()))).outcome is Outcome.DONE


async def test_a_full_disk_found_in_commit_is_known_to_have_changed_nothing(
    storage: SQLiteStorage, observed: type[Observed]
) -> None:
    epochs = await storage.acquire([SHARD], "ann", 0)
    observed.fail_on["COMMIT"] = sqlite_error("SQLITE_FULL")
    assert (await storage.commit(make_batch(epochs, make_item()))).outcome is Outcome.FAILED
    observed.fail_on.clear()
    assert (await storage.commit(make_batch(epochs, make_item()))).outcome is Outcome.DONE


@pytest.mark.parametrize("wrong", [{"attempt": "many"}, {"due_at_ms": 2**63}, {"slots": "\ud800"}])
async def test_a_row_that_does_not_fit_is_our_mistake_and_changes_nothing(
    storage: SQLiteStorage, wrong: dict[str, Any]
) -> None:
    epochs = await storage.acquire([SHARD], "ann", 0)
    with pytest.raises(StorageError, match="bug"):
        await storage.commit(make_batch(epochs, make_item("good"), make_item(**wrong)))
    assert await storage.get(ItemRow, ["good"]) == []
    assert (await storage.commit(make_batch(epochs, make_item()))).outcome is Outcome.DONE


async def test_the_log_stays_short_under_load(storage: SQLiteStorage) -> None:
    epochs = await storage.acquire([SHARD], "ann", 0)
    for first in range(0, 60_000, 200):
        items = [make_item(make_ulid(n % 5_000), attempt=first) for n in range(first, first + 200)]
        await storage.commit(make_batch(epochs, *items))
    assert os.stat(f"{storage.path}-wal").st_size < 40 * 2**20


async def test_pruning_gives_room_back_to_the_file_system(storage: SQLiteStorage) -> None:
    epochs = await storage.acquire([SHARD], "ann", 0)
    for n in range(200):
        row = make_event_row(make_ulid(n), body=b"x" * 50_000)
        await storage.commit(make_batch(epochs, row))
    await storage.close()
    full = storage.path.stat().st_size
    await storage.open()

    while await storage.prune(2**45, 50):
        pass

    await storage.close()
    assert storage.path.stat().st_size < 0.7 * full


async def test_an_event_that_a_run_came_to_need_meanwhile_is_kept(
    storage: SQLiteStorage, observed: type[Observed]
) -> None:
    """Pruning looks for events beside the commits, and looks again when it removes them."""
    ids = [make_ulid(n) for n in range(300)]
    epochs = await storage.acquire([SHARD], "ann", 0)
    await storage.commit(make_batch(epochs, *map(make_event_row, ids)))
    prune = asyncio.create_task(storage.prune(2**45, 1_000))
    while "DELETE" not in observed.log:  # noqa: ASYNC110 - the writer is a thread
        await asyncio.sleep(0)

    await storage.commit(make_batch(epochs, make_run_row(event_id=ids[-1])))

    assert await prune == 299
    assert [row.internal_id for row in await storage.get(EventRow, ids)] == ids[-1:]
