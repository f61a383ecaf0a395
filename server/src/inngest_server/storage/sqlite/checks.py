"""Checksums of payloads, since SQLite keeps none of its pages."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast
from zlib import crc32

from inngest_server.apps.records import FunctionRow
from inngest_server.events.records import EventRow
from inngest_server.flow_control.records import RekeyRow
from inngest_server.jobs.records import JobRow
from inngest_server.runs.records import JournalRow, RunRow, WaitRow
from inngest_server.storage.protocol import DAMAGED, CorruptDataError, RowT
from inngest_server.storage.records import KEY_WIDTH, TABLES, MessageRow, Row

PAYLOADS: dict[type[Row], tuple[str, ...]] = {
    RunRow: ("output",),
    JournalRow: ("meta", "payload"),
    WaitRow: ("captured",),
    EventRow: ("body",),
    FunctionRow: ("config",),
    MessageRow: ("body",),
    RekeyRow: ("limits",),
    JobRow: ("filter", "errors"),
}
"""The columns that a row's checksum covers, in order; tables that are not named have none."""

OnDamage = Callable[[type[RowT], tuple[Any, ...]], RowT]
"""What becomes of a row, as it is stored, whose payloads do not match its checksum."""

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


def refused(kind: type[RowT], row: tuple[Any, ...]) -> RowT:
    """Nothing: a damaged row is never served.

    Raises:
        CorruptDataError: always; it names the row.
    """
    key = ", ".join(map(str, row[: KEY_WIDTH.get(kind, 1)]))
    columns = " and ".join(PAYLOADS[kind])
    raise CorruptDataError(
        f"table {TABLES[kind]}, key {key}: {columns} changed on disk since written; restore from a backup"
    )


def salvaged(kind: type[RowT], row: tuple[Any, ...]) -> RowT:
    """A damaged row without its payloads."""
    damaged = _POSITIONS[kind]
    values = [DAMAGED if position in damaged else value for position, value in enumerate(row[:-1])]
    return cast("Callable[[Iterable[Any]], RowT]", kind._make)(values)


def without_checksums(
    kind: type[RowT],
    stored: Iterable[tuple[Any, ...]],
    damaged: OnDamage[RowT] = refused,
) -> list[RowT]:
    """The rows as they were put; of one whose payloads do not match its checksum, what `damaged` gives.

    Raises:
        CorruptDataError: a payload does not match its checksum, unless told what to do then.
    """
    new = cast("Callable[[type[RowT], Sequence[Any]], RowT]", tuple.__new__)  # type: ignore
    make = partial(new, kind)
    match _POSITIONS.get(kind, ()):
        case ():
            return list(map(make, stored))
        case (one,):
            return [
                make(row[:-1]) if row[-1] == crc32(row[one] or b"") else damaged(kind, row) for row in stored
            ]
        case (one, two):
            return [
                make(row[:-1])
                if row[-1] == crc32(row[two] or b"", crc32(row[one] or b""))
                else damaged(kind, row)
                for row in stored
            ]
        case more:
            raise AssertionError(f"{kind.__name__} has {len(more)} payloads")
