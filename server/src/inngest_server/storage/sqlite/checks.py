"""Checksums of payloads, since SQLite keeps none of its pages."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast
from zlib import crc32

from inngest_server.apps.records import FunctionRow
from inngest_server.events.records import EventRow
from inngest_server.runs.records import JournalRow, RunRow, WaitRow
from inngest_server.storage.protocol import CorruptDataError, RowT
from inngest_server.storage.records import KEY_WIDTH, TABLES, MessageRow, Row

PAYLOADS: dict[type[Row], tuple[str, ...]] = {
    RunRow: ("output",),
    JournalRow: ("meta", "payload"),
    WaitRow: ("captured",),
    EventRow: ("body",),
    FunctionRow: ("config",),
    MessageRow: ("body",),
}
"""The columns that a row's checksum covers, in order; tables that are not named have none."""

_POSITIONS = {kind: tuple(map(kind._fields.index, names)) for kind, names in PAYLOADS.items()}


def with_checksums(kind: type[Row], rows: Sequence[Row]) -> Sequence[Sequence[Any]]:
    """The rows as they are stored: followed by the checksum where their table has one."""
    match _POSITIONS.get(kind, ()):
        case ():
            return rows
        case (one,):
            return [(*row, crc32(row[one] or b"")) for row in cast("Sequence[Any]", rows)]
        case (one, two):
            return [
                (*row, crc32(row[two] or b"", crc32(row[one] or b""))) for row in cast("Sequence[Any]", rows)
            ]
        case more:
            raise AssertionError(f"{kind.__name__} has {len(more)} payloads")


def without_checksums(kind: type[RowT], stored: Iterable[tuple[Any, ...]]) -> list[RowT]:
    """The rows as they were put.

    Raises:
        CorruptDataError: a payload does not match its checksum.
    """
    new = cast("Callable[[type[RowT], Sequence[Any]], RowT]", tuple.__new__)  # type: ignore
    make = partial(new, kind)
    match _POSITIONS.get(kind, ()):
        case ():
            return list(map(make, stored))
        case (one,):
            return [
                make(row[:-1]) if row[-1] == crc32(row[one] or b"") else _refuse(kind, row) for row in stored
            ]
        case (one, two):
            return [
                make(row[:-1])
                if row[-1] == crc32(row[two] or b"", crc32(row[one] or b""))
                else _refuse(kind, row)
                for row in stored
            ]
        case more:
            raise AssertionError(f"{kind.__name__} has {len(more)} payloads")


def _refuse(kind: type[RowT], row: tuple[Any, ...]) -> RowT:
    key = ", ".join(map(str, row[: KEY_WIDTH.get(kind, 1)]))
    columns = " and ".join(PAYLOADS[kind])
    raise CorruptDataError(
        f"table {TABLES[kind]}, key {key}: {columns} changed on disk since written; restore from a backup"
    )
