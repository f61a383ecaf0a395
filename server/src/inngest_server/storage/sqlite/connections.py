"""Opening connections, and the settings that make a commit durable."""

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from inngest_server.storage.protocol import StorageUnavailableError
from inngest_server.storage.sqlite.errors import BUSY_TIMEOUT_S, translated
from inngest_server.storage.sqlite.migrations import migrate
from inngest_server.storage.sqlite.statements import STATEMENTS_KEPT

WRITER_CACHE_KIB = 32 * 1024
READER_CACHE_KIB = 4 * 1024
WAL_KEPT_BYTES = 64 * 1024 * 1024
"""A log that grew beyond this, as in a burst, is cut back to it when it starts again."""


def connect_writer(
    path: Path, *, relaxed: bool, connection_class: type[sqlite3.Connection]
) -> sqlite3.Connection:
    """The connection that writes, to a file with the current schema.

    Raises:
        IncompatibleStorageError: made by a newer version or by something else.
        CorruptDataError: its schema is damaged.
        StorageUnavailableError: no permission, or the file system cannot keep a write-ahead log.
        sqlite3.Error: the file cannot be opened.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # Its log gets the same mode.
    except OSError as error:
        raise StorageUnavailableError(f"{path} cannot be opened for writing: {error.strerror}") from error
    connection = sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        cached_statements=STATEMENTS_KEPT,
        factory=connection_class,
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection, path)
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StorageUnavailableError(
                f"the file system of {path} cannot keep a write-ahead log; use a local disk"
            )
        connection.execute(f"PRAGMA synchronous = {'NORMAL' if relaxed else 'FULL'}")
        connection.execute(f"PRAGMA fullfsync = {'OFF' if relaxed else 'ON'}")  # For macOS.
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # See `checkpoints.py`.
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
        connection.execute("PRAGMA temp_store = MEMORY")
    except UnicodeDecodeError as error:  # SQLite's message quotes a damaged schema.
        connection.close()
        raise translated(error, path) from error
    except BaseException:
        connection.close()
        raise
    return connection


def connect_checkpointer(path: Path) -> sqlite3.Connection:
    """A connection that only copies the log into the file."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA checkpoint_fullfsync = ON")
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; the writer's must be open, and outlive it."""
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        cached_statements=STATEMENTS_KEPT,
    )
    try:
        connection.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("SELECT 1 FROM meta").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection
