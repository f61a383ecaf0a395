"""What SQLite's errors mean, in words for whoever runs the server."""

import sqlite3
from pathlib import Path

from inngest_server.storage.protocol import (
    CorruptDataError,
    IncompatibleStorageError,
    StorageError,
    StorageUnavailableError,
)


class FilesGoneError(sqlite3.OperationalError):
    """The database or its log was deleted or replaced while it was open."""

    sqlite_errorname = "SQLITE_IOERR_FILES_GONE"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} or its log was deleted or replaced while the server was using it")


BUSY_TIMEOUT_S = 2.0
"""How long a statement waits for a lock that another process holds."""

NOT_THE_DISK = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError)
"""Raised for rows that do not fit the schema: our own mistake, which trying again would only repeat."""


def name_of(error: Exception) -> str:
    """SQLite's name for the error, such as `SQLITE_IOERR_FSYNC`; empty when the module raised it itself."""
    return getattr(error, "sqlite_errorname", "")


def needs_reopening(error: sqlite3.Error) -> bool:
    """Whether the connection can no longer be trusted to know what is on disk."""
    return name_of(error).startswith(("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CANTOPEN"))


def translated(error: Exception, path: Path) -> StorageError:
    """The error as the storage protocol knows it, with a message that says what to look at."""
    name = name_of(error)
    if isinstance(error, UnicodeDecodeError) or "decode to UTF-8" in str(error):
        return CorruptDataError(f"{path} is damaged (a text is not UTF-8); restore it from a backup")
    if isinstance(error, NOT_THE_DISK) or not isinstance(error, sqlite3.Error):
        return StorageError(f"rows do not fit the schema of {path}: {error}; this is a bug of the server")
    if name.startswith("SQLITE_FULL"):
        return StorageUnavailableError(f"disk is full: {path} cannot grow; free some space")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StorageUnavailableError(
            f"database is locked: another process has been writing to {path} for {BUSY_TIMEOUT_S:g} s; "
            "close whatever else has it open"
        )
    if isinstance(error, FilesGoneError):
        return StorageUnavailableError(str(error))
    if name.startswith("SQLITE_IOERR"):
        return StorageUnavailableError(f"I/O error on {path} ({name}); see the system log for its disk")
    if name.startswith("SQLITE_CORRUPT"):
        return CorruptDataError(f"{path} is damaged ({error}); restore it from a backup")
    if name.startswith("SQLITE_NOTADB"):
        return IncompatibleStorageError(f"{path} is not an SQLite database, or its beginning is damaged")
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_CANTOPEN", "SQLITE_AUTH")):
        return StorageUnavailableError(f"no permission to open {path} for writing ({error})")
    return StorageUnavailableError(f"SQLite failed on {path}: {error} ({name or type(error).__name__})")
