"""The one connection that writes, in a thread of its own.

A commit is one transaction, and the future of its caller is resolved after SQLite returned from `COMMIT`,
which with `synchronous=FULL` is after the sync of the log.

What may go wrong, and what is then known:

* before `COMMIT`: rolled back, `FAILED`;
* in `COMMIT`, and the transaction is still open, or the disk was full before the log had its last frame:
  rolled back, `FAILED`;
* in `COMMIT` otherwise (an I/O error, also of the sync): `UNKNOWN`. The frames may be in the file or not;
* after `COMMIT` the file or its log has lost its name: `UNKNOWN`. Nobody would find there what was written.

After an I/O error the connection is closed and everything fails until `open`: the kernel may have dropped
the pages that it could not write, so that asking for another sync would wrongly succeed.

The directory's lock makes this the only writer, so the epochs and the domain time are kept in memory too.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from inngest_server.runs.records import JournalRow
from inngest_server.storage.protocol import (
    Batch,
    CommitResult,
    CorruptDataError,
    Outcome,
    StorageError,
    StorageUnavailableError,
)
from inngest_server.storage.records import Key, MessageRow, Row
from inngest_server.storage.sqlite.connections import connect_writer
from inngest_server.storage.sqlite.errors import (
    NOT_THE_DISK,
    FilesGoneError,
    name_of,
    needs_reopening,
    translated,
)
from inngest_server.storage.sqlite.lane import Lane, T
from inngest_server.storage.sqlite.statements import Statement, puts, removes

DONE = CommitResult(Outcome.DONE, frozenset(), "")
MISSING = (0, 0)
"""Instead of device and inode."""
SHARDS_MAX = 65_536
"""More than any database has: a larger number is damage, and would take all the memory there is."""


class Writer:
    """Commits batches, one after the other; `open` again after it has `failed`."""

    def __init__(self, path: Path, *, relaxed: bool, connection_class: type[sqlite3.Connection]) -> None:
        self._path = path
        self._lane = Lane(
            "sqlite-writer",
            lambda: connect_writer(path, relaxed=relaxed, connection_class=connection_class),
        )
        self._epochs: dict[int, int] = {}
        self._domain_time_ms = 0
        self._shard_count = 0
        self.rows_changed = 0
        """By commits, on this connection."""
        self.failed = ""
        """Why the connection was closed; empty while it is good."""
        self._files: list[tuple[int, int]] = []
        """Device and inode of the database and of its log, since they were opened."""

    @property
    def shard_count(self) -> int:
        return self._shard_count

    @property
    def domain_time_ms(self) -> int:
        return self._domain_time_ms

    async def open(self, *, shard_count: int) -> None:
        """Connect, and read what is kept in memory; `shard_count` is for a new database."""
        if self._files and self._found_files()[:1] != self._files[:1]:
            raise StorageUnavailableError(f"{FilesGoneError(self._path)}; put it back, or restart the server")
        try:
            await self._lane.open()
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        self.failed = ""
        self.rows_changed = 0
        await self.do(lambda connection: self._read_state(connection, shard_count))
        self._files = await self.do(lambda _: self._found_files())

    async def close(self) -> None:
        if not self.failed and self._files:
            with suppress(StorageError):
                await self._lane.do(lambda connection: self._save_log(connection))
        await self._lane.close()

    def commit(self, batch: Batch) -> asyncio.Future[CommitResult]:
        return self._lane.do(lambda connection: self._commit(connection, batch))

    async def acquire(self, shards: Iterable[int]) -> dict[int, int]:
        """A new epoch for each of the shards."""
        return await self.do(lambda connection: self._renew(connection, shards))

    async def release(self, epochs: dict[int, int]) -> None:
        def end(connection: sqlite3.Connection) -> None:
            self._renew(connection, [s for s, epoch in epochs.items() if self._epochs.get(s, 0) == epoch])

        await self.do(end)

    async def do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do the work in the writer's thread.

        Raises:
            StorageError: it could not be done.
        """

        def guarded(connection: sqlite3.Connection) -> T:
            if self.failed:
                raise StorageUnavailableError(self._says_to_reopen())
            try:
                return work(connection)
            except sqlite3.Error as error:
                self._roll_back(connection, error)
                raise translated(error, self._path) from error
            except BaseException:
                self._roll_back(connection, None)
                raise

        return await self._lane.do(guarded)

    async def fail(self, error: sqlite3.Error) -> None:
        """Treat an error that another connection to the file had as this one's."""

        def give_up(connection: sqlite3.Connection) -> None:
            self._roll_back(connection, error)

        await self._lane.do(give_up)

    def _read_state(self, connection: sqlite3.Connection, shard_count: int) -> None:
        connection.execute(
            "INSERT INTO meta (shard_count, domain_time_ms) "
            "SELECT ?, 0 WHERE NOT EXISTS (SELECT * FROM meta)",
            (shard_count,),
        )
        row = connection.execute("SELECT shard_count, domain_time_ms FROM meta").fetchone()
        epochs = dict(connection.execute("SELECT shard, epoch FROM shards"))
        is_whole = all(isinstance(number, int) for number in (*row, *epochs, *epochs.values()))
        if not is_whole or not 0 < row[0] <= SHARDS_MAX:
            raise CorruptDataError(
                f"{self._path} is damaged (table meta or shards); restore it from a backup"
            )
        self._shard_count, self._domain_time_ms = row
        self._epochs = epochs

    def _found_files(self) -> list[tuple[int, int]]:
        """Device and inode of the files that have the names of ours now."""
        found: list[tuple[int, int]] = []
        for path in (self._path, f"{self._path}-wal"):
            try:
                status = os.stat(path)
                found.append((status.st_dev, status.st_ino))
            except OSError:
                found.append(MISSING)
        return found

    def _check_files(self) -> None:
        """Raise if what was committed went to files that nobody will find again."""
        found = self._found_files()
        if found != self._files:
            if self._files[:1] != found[:1] or self._files[1] != MISSING:
                raise FilesGoneError(self._path)
            self._files = found  # The log is made when the first commit needs it.

    def _save_log(self, connection: sqlite3.Connection) -> None:
        """Copy the log into a database that has lost its name, or a log that has lost its own, and empty it.

        SQLite leaves a log alone in that case, and would apply it to whatever database has the name next.
        """
        if self._found_files() != self._files:
            with suppress(sqlite3.Error):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _renew(self, connection: sqlite3.Connection, shards: Iterable[int]) -> dict[int, int]:
        epochs = {shard: self._epochs.get(shard, 0) + 1 for shard in shards}
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT OR REPLACE INTO shards (shard, epoch) VALUES (?, ?)", epochs.items())
        connection.execute("COMMIT")
        self._epochs |= epochs
        return epochs

    def _commit(self, connection: sqlite3.Connection, batch: Batch) -> CommitResult:
        if self.failed:
            return CommitResult(Outcome.FAILED, frozenset(), self._says_to_reopen())
        epochs = self._epochs
        stale = frozenset(s for s, epoch in batch.epochs.items() if epoch != epochs.get(s, 0))
        at_commit = False
        try:
            execute = connection.execute
            execute("BEGIN IMMEDIATE")
            for sql, parameters in statements_of(batch, stale):
                execute(sql, parameters)
            now_ms = self._domain_time_ms
            if batch.now_ms > now_ms and len(stale) < len(batch.epochs):
                now_ms = batch.now_ms
                execute("UPDATE meta SET domain_time_ms = ?", (now_ms,))
            at_commit = True
            execute("COMMIT")
            self._check_files()
        except sqlite3.Error as error:
            return self._outcome_of(connection, error, at_commit=at_commit)
        except Exception as error:  # What the module raises for values that it cannot bind.
            self._roll_back(connection, None)
            raise translated(error, self._path) from error
        self._domain_time_ms = now_ms
        self.rows_changed = connection.total_changes
        return CommitResult(Outcome.DONE, stale, "") if stale else DONE

    def _outcome_of(
        self, connection: sqlite3.Connection, error: sqlite3.Error, *, at_commit: bool
    ) -> CommitResult:
        if isinstance(error, FilesGoneError):
            self._save_log(connection)
        rolled_back = not at_commit or connection.in_transaction or name_of(error) == "SQLITE_FULL"
        self._roll_back(connection, error)
        if isinstance(error, NOT_THE_DISK):
            raise translated(error, self._path) from error
        outcome = Outcome.FAILED if rolled_back else Outcome.UNKNOWN
        return CommitResult(outcome, frozenset(), str(translated(error, self._path)))

    def _roll_back(self, connection: sqlite3.Connection, error: sqlite3.Error | None) -> None:
        """End the transaction that is open, if any; close a connection that cannot be trusted any more."""
        broken = error if error is not None and needs_reopening(error) else None
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error as failed_rollback:
            broken = broken or failed_rollback
        if broken is not None:
            self.failed = str(translated(broken, self._path))
            connection.close()

    def _says_to_reopen(self) -> str:
        return f"the storage was closed after an error and has to be opened again: {self.failed}"


def statements_of(batch: Batch, stale: frozenset[int]) -> Iterator[Statement]:
    """The batch without the parts of stale shards: what goes first, then what comes."""
    for kind, gone in batch.gone.items():
        keys: Sequence[Key] = [*gone]
        if stale:
            keys = [key for key, shard in gone.items() if shard not in stale]
        yield from removes(kind, keys)
    for kind, rows in batch.rows.items():
        yield from puts(kind, _fresh([*rows.values()], stale))
    yield from puts(JournalRow, _fresh(batch.journal, stale))
    messages: Sequence[Row] = batch.messages
    if stale:
        messages = [message for message in batch.messages if message.sender not in stale]
    yield from puts(MessageRow, messages)


def _fresh(rows: Sequence[Row], stale: frozenset[int]) -> Sequence[Row]:
    return [row for row in rows if row.shard not in stale] if stale else rows
