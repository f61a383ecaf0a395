"""Bytes on the disk that are not what was written: found, named, never passed on, and harmless to others."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from inngest_server.cli.main import main
from inngest_server.storage.protocol import (
    CorruptDataError,
    IncompatibleStorageError,
    StorageError,
    StorageUnavailableError,
)
from inngest_server.storage.sqlite.log_file import FRAME_HEADER_BYTES, HEADER_BYTES, what_is_lost
from inngest_server.storage.sqlite.migrations import PAGE_BYTES
from tests.builders import SHARD, make_batch, make_event_row, make_ulid
from tests.integration.test_doctor import PLACED, SQLiteOffice, change, fill
from tests.integration.test_sqlite_files import SQLiteStorage
from tests.support.api import ApiError
from tests.support.processes import wait_for
from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration

SEEDS = 60
LIVE = "(SELECT min(run_id) FROM items)"
ASLEEP = "(SELECT run_id FROM waits WHERE kind = 'sleep')"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """A database with runs in every state."""
    await fill(tmp_path / "data")
    return tmp_path / "data"


@asynccontextmanager
async def started(directory: Path) -> AsyncIterator[SQLiteOffice]:
    office = SQLiteOffice(directory)
    try:
        await office.engine.start()
        yield office
    finally:
        await office.file.close()


@pytest.mark.parametrize(
    "statement",
    [
        f"DELETE FROM runs WHERE run_id = {LIVE}",
        f"UPDATE runs SET function_id = 'gone' WHERE run_id = {LIVE}",
        f"UPDATE runs SET shard = 200 WHERE run_id = {LIVE}",
        f"UPDATE items SET shard = 200 WHERE run_id = {LIVE}",
        f"UPDATE waits SET shard = 200 WHERE run_id = {ASLEEP}",
    ],
)
async def test_a_row_that_contradicts_others_sets_its_run_aside_alone(
    directory: Path, statement: str
) -> None:
    with sqlite3.connect(directory / "main.db") as connection:
        ((run_id,),) = connection.execute(f"SELECT {ASLEEP if ASLEEP in statement else LIVE}")
        (others,) = connection.execute("SELECT count(*) - 1 FROM runs WHERE ended_at_ms IS NULL").fetchone()
    connection.close()
    change(directory, statement)

    async with started(directory) as office:
        assert set(office.engine.held) == {run_id}
        assert office.engine.live.run_count() >= others
        await office.send(PLACED, {"id": 2})
        assert office.desk.calls[-1].item.run_id != run_id, "a new run starts"


async def test_a_catalogue_that_contradicts_itself_is_refused_in_one_sentence(directory: Path) -> None:
    change(directory, "DELETE FROM apps")
    with pytest.raises(StorageError, match="contradict each other"):
        async with started(directory):
            pass


async def test_a_text_that_is_not_utf_8_is_damage_and_not_an_outage(directory: Path) -> None:
    change(directory, "UPDATE functions SET slug = CAST(x'ff' AS TEXT)")
    with pytest.raises(StorageError, match="not UTF-8") as refused:
        async with started(directory):
            pass
    assert refused.value.code == "storage_corrupt"


@pytest.mark.slow
async def test_any_byte_of_the_file_may_be_wrong(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The server starts, or refuses with a storage error; and doctor never falls over either."""
    content = (directory / "main.db").read_bytes()
    used = [at for at, byte in enumerate(content) if byte]
    for seed in range(SEEDS):
        chance = random.Random(seed)
        damaged = bytearray(content)
        # The first pages hold the header and the schema: half of the damage is there.
        at = chance.choice(used[: len(used) // 10] if seed % 2 else used)
        damaged[at] ^= 1 << chance.randrange(8)
        (directory / "main.db").write_bytes(damaged)
        try:
            async with started(directory):
                pass
        except (CorruptDataError, IncompatibleStorageError, StorageUnavailableError):
            pass  # Refused in a sentence; others are faults of ours.
        except Exception as error:
            raise AssertionError(f"byte {at}, seed {seed}") from error
        (directory / "main.db").write_bytes(damaged)
        assert await asyncio.to_thread(main, ["doctor", "--sqlite-dir", str(directory)]) in (0, 1, 2), seed
        capsys.readouterr()


# ---- the log ------------------------------------------------------------------------------------


async def write_log(directory: Path, commits: int) -> tuple[bytes, bytes]:
    """The database and its log as a server left them that was killed after so many commits."""
    storage = SQLiteStorage(directory)
    await storage.open()
    epochs = await storage.acquire([SHARD], "ann", 0)
    for number in range(commits):
        await storage.commit(make_batch(epochs, make_event_row(make_ulid(number), body=b'{"n":1}')))
    left = tuple((directory / f"main.db{end}").read_bytes() for end in ("", "-wal"))
    await storage.close()
    return left[0], left[1]


def leave(directory: Path, database: bytes, log: bytes | bytearray) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "main.db").write_bytes(database)
    (directory / "main.db-wal").write_bytes(log)
    (directory / "main.db-shm").unlink(missing_ok=True)
    (directory / "lock").write_text("{}")  # As of a server that did not stop.
    return directory


async def opened(directory: Path) -> list[dict[str, Any]]:
    """What the storage says when it opens what was left."""
    said: list[dict[str, Any]] = []
    storage = SQLiteStorage(directory, log=lambda event, **fields: said.append({"event": event, **fields}))
    await storage.open()
    await storage.close()
    return [line for line in said if line["event"] == "storage.log_damaged"]


async def test_a_flipped_bit_in_the_log_is_said_and_whole_transactions_are_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database, log = await write_log(tmp_path / "first", 20)
    frames = (len(log) - HEADER_BYTES) // (FRAME_HEADER_BYTES + PAGE_BYTES)
    damaged = bytearray(log)
    damaged[HEADER_BYTES + (frames // 2) * (FRAME_HEADER_BYTES + PAGE_BYTES) + 1000] ^= 4

    examined = leave(tmp_path / "examined", database, damaged)
    assert await asyncio.to_thread(main, ["doctor", "--sqlite-dir", str(examined)]) == 1
    assert "write-ahead log: it is damaged after frame" in capsys.readouterr().out

    (line,) = await opened(leave(tmp_path / "data", database, damaged))
    assert line["level"] == "error"
    assert "transactions are lost" in line["detail"]


async def test_a_log_whose_beginning_is_damaged_is_said(tmp_path: Path) -> None:
    database, log = await write_log(tmp_path / "first", 5)
    for at in (0, 9, 17, 25):
        damaged = bytearray(log)
        damaged[at] ^= 4
        (line,) = await opened(leave(tmp_path / f"data{at}", database, damaged))
        assert "its beginning is damaged" in line["detail"]


async def test_a_log_that_ends_in_the_middle_of_a_transaction_is_what_a_crash_leaves(tmp_path: Path) -> None:
    database, log = await write_log(tmp_path / "first", 5)
    frame_bytes = FRAME_HEADER_BYTES + PAGE_BYTES
    torn = log[:-frame_bytes] + bytes(frame_bytes)
    for number, left in enumerate((log, log[:-1], log[: -frame_bytes // 2], torn, log[:HEADER_BYTES], b"")):
        assert await opened(leave(tmp_path / f"data{number}", database, left)) == []


def test_without_a_log_nothing_is_lost(tmp_path: Path) -> None:
    assert what_is_lost(tmp_path / "main.db") == ""


# ---- on the real server -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_damaged_event_is_never_shown_and_others_are(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", "dev", "--no-poll")
    with server:
        damaged, whole = server.api.send("test/a", {"word": "needle"}), server.api.send("test/a", {"n": 1})
        assert server.stop() == 0
        content = server.database.read_bytes()
        assert content.count(b"needle") == 1
        server.database.write_bytes(content.replace(b"needle", b"noodle"))

        server.start()
        with pytest.raises(ApiError, match="storage_corrupt"):
            server.api.call("GET", f"/v1/events/{damaged}")
        assert server.api.call("GET", f"/v1/events/{whole}")["data"] == {"n": 1}
        wait_for(lambda: f"key {damaged}: body changed on disk" in server.log_text(), "the log names the row")
        assert server.api.is_healthy()
