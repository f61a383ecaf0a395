"""Brings a database file to the version of the schema that this server knows.

The schema is a row of numbered files, `schema/0001.sql` and so on, each run once, in one transaction with the
number that it leads to (`PRAGMA user_version`). A file that was released is never changed.
"""

import re
import sqlite3
from importlib import resources
from pathlib import Path

from inngest_server.storage.protocol import IncompatibleStorageError

APPLICATION_ID = 0x496E6744
"""`InGD`, kept in the file's header: tells our databases from others."""

PAGE_BYTES = 4096
"""Measured: with 8,192 runs cost the same, and steps, whose rows are scattered, a quarter more."""


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Create the schema or bring it up to date; does nothing when it is.

    Raises:
        IncompatibleStorageError: another program's database, or one of a newer server.
        sqlite3.Error: the file cannot be read or written.
    """
    version = _version(connection, path)
    migrations = _migrations()
    newest = max(migrations)
    if version > newest:
        raise IncompatibleStorageError(
            f"{path} has schema version {version} and this server knows versions up to {newest}; "
            "start the newer server that wrote it"
        )
    if version == 0:
        _prepare_file(connection)
    for number in range(version + 1, newest + 1):
        try:
            script = f"{migrations[number]}\nPRAGMA user_version = {number};"
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nCOMMIT;")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def readable_version(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the schema, for who reads the file and changes nothing.

    Raises:
        IncompatibleStorageError: another program's database, or a schema that is not the present one.
        sqlite3.Error: the file cannot be read.
    """
    version, newest = _version(connection, path), max(_migrations())
    if version != newest:
        raise IncompatibleStorageError(
            f"{path} has schema version {version} and this program reads version {newest}; "
            + (
                "start a server on it once"
                if version < newest
                else "use the program of the server that wrote it"
            )
        )
    return version


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema's version in the file; 0 when nothing was ever stored in it."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    is_empty = tables == 0 and version == 0
    if application_id != APPLICATION_ID and not (is_empty and application_id == 0):
        raise IncompatibleStorageError(
            f"{path} was made by another program; name a directory of its own with --sqlite-dir"
        )
    return version


def _prepare_file(connection: sqlite3.Connection) -> None:
    """What can only be chosen while the file is empty."""
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _migrations() -> dict[int, str]:
    found: dict[int, str] = {}
    for file in resources.files("inngest_server.storage.sqlite").joinpath("schema").iterdir():
        if name := re.fullmatch(r"(\d{4})\.sql", file.name):
            found[int(name[1])] = file.read_text(encoding="utf-8")
    assert sorted(found) == list(range(1, len(found) + 1)), "migrations are numbered without gaps"
    return found
