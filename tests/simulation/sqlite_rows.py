"""The real SQLite storage inside a world: beside the memory model, and compared with it at every call.

Its threads are taken away, because which of them goes first is not drawn from the seed: each piece of work is
done at once, on the loop. So connections, statements, transactions, checksums, migrations and what a new
process finds in the file are real, and the interplay of the threads is not; `tests/integration` has that.
"""

import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from inngest_server.events.records import EventRow
from inngest_server.runs.records import JournalRow
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import Batch, CommitResult, LivePage, StorageUnavailableError
from inngest_server.storage.records import TABLES, Row
from inngest_server.storage.sqlite import checkpoints, integrity, readers, writer
from inngest_server.storage.sqlite.storage import SQLiteStorage

T = TypeVar("T")
MEMORY_DIRECTORY = Path("/dev/shm")


class InlineLane:
    """A `Lane` without threads: work is done when it is given."""

    def __init__(self, name: str, connect: Callable[[], Any], *, threads: int = 1) -> None:
        self._connect = connect
        self._connection: Any = None

    async def open(self) -> None:
        self._connection = self._connect()

    def do(self, work: Callable[[Any], Any]) -> "_Done":
        if self._connection is None:
            raise StorageUnavailableError("the storage is not open")
        return _Done(work(self._connection))

    def interrupt(self) -> None: ...

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _Done:
    """An awaitable that is over."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def __await__(self) -> Any:
        return self._result
        yield


def finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    work.close()
    raise AssertionError("SQLite without threads waited for something")


class SQLiteRows:
    """A database file that goes through everything that the memory model goes through."""

    def __init__(self, shard_count: int, wrong: Callable[[str], None]) -> None:
        parent = MEMORY_DIRECTORY if MEMORY_DIRECTORY.is_dir() else None
        self._directory = Path(tempfile.mkdtemp(prefix="inngest-world-", dir=parent))
        self._wrong = wrong
        lanes = [
            mock.patch.object(room, "Lane", InlineLane) for room in (writer, readers, checkpoints, integrity)
        ]
        for lane in lanes:
            lane.start()
        try:
            self._storage = SQLiteStorage(self._directory, shard_count=shard_count, relaxed=True)
        finally:
            for lane in lanes:
                lane.stop()
        # They are due by real time, and a task of their own.
        self._storage._checkpoints.after_commit = lambda: None
        finished(self._storage.open())

    def reopen(self) -> None:
        """The process died or gave up: another one finds what is in the file."""
        finished(self._storage.close())
        finished(self._storage.open())

    def remove(self) -> None:
        finished(self._storage.close())
        shutil.rmtree(self._directory, ignore_errors=True)

    def acquire(self, shards: Iterable[int], owner: str, epochs: dict[int, int]) -> None:
        self._same("epochs", finished(self._storage.acquire(list(shards), owner, 0)), epochs)

    def apply(self, batch: Batch, result: CommitResult) -> None:
        self._same("result of a commit", finished(self._storage.commit(batch)), result)

    def prune(self, before_ms: int, limit: int) -> None:
        finished(self._storage.prune(before_ms, limit))

    def domain_time_ms(self, expected: int) -> None:
        self._same("domain time", finished(self._storage.domain_time_ms()), expected)

    async def load(self, shards: Iterable[int], expected: list[LivePage]) -> None:
        """Compare the live rows that a process would find."""
        pages = [page async for page in self._storage.load(list(shards))]
        for name in LivePage.__dataclass_fields__:
            self._same(
                f"live {name}",
                sorted(row for page in pages for row in getattr(page, name)),
                sorted(row for page in expected for row in getattr(page, name)),
            )

    def journals(self, run_ids: Iterable[str], expected: dict[str, list[JournalRow]]) -> None:
        self._same("journals", finished(self._storage.journals(list(run_ids))), expected)

    def check_all(self, rows: MemoryStorage) -> None:
        """Compare everything. Old events may stay a little longer than in the model: see `ID_SLACK_MS`."""
        for kind in TABLES:
            if kind is JournalRow:
                run_ids = list(rows._journals)
                self.journals(run_ids, {one: sorted(rows._journals[one].values()) for one in run_ids})
                continue
            model: dict[Any, Row] = rows._rows[kind]
            keys = list(model)
            self._same(
                f"rows of {TABLES[kind]}",
                sorted(finished(self._storage.get(kind, keys)), key=str),
                sorted(model.values(), key=str),
            )
        counts, model_counts = finished(self._storage.counts()), finished(rows.counts())
        for name in ("live_runs", "items", "waits", "marks", "runs", "journal"):
            self._same(f"number of {name}", getattr(counts, name), getattr(model_counts, name))
        if counts.events < len(rows._rows[EventRow]):
            self._wrong("SQLite has lost events")

    def _same(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            self._wrong(f"SQLite and the memory model differ in {what}: {found!r:.300} and {expected!r:.300}")
