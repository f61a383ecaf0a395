"""SQL text for many rows at once, built once for each table and number of rows.

A statement of many rows runs in SQLite without the interpreter's lock. Row by row, the writer would ask for
that lock again after each, and wait for the event loop every time.

A statement is prepared once and kept, so the number of rows has few values, `SIZES`; what lies between is
filled up by repeating the last row or key, which changes nothing: putting and removing may be repeated.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

from inngest_server.events.records import EventRow, MarkRow
from inngest_server.runs.records import RunRow
from inngest_server.storage.records import KEY_WIDTH, TABLES, Key, Row
from inngest_server.storage.sqlite.checks import PAYLOADS, with_checksums

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Numbers of rows for which there are statements; at most half of one is repetition."""
SIZE_MAX = SIZES[-1]
_SIZE_FOR = [next(size for size in SIZES if size >= count) for count in range(1, SIZE_MAX + 1)]

STATEMENTS_KEPT = 1024
"""Prepared statements a connection keeps: more than there are, so that none is ever prepared twice."""

INDEXED: dict[type[Row], frozenset[str]] = {
    RunRow: frozenset({"function_id", "event_id"}),
    EventRow: frozenset({"name"}),
    MarkRow: frozenset(),
}
"""Tables with indexes, and their indexed columns that never change while a row exists.

Replacing such a row would rewrite every index; updating the other columns does not.
"""

Statement = tuple[str, list[Any]]


def columns_of(kind: type[Row]) -> tuple[str, ...]:
    """The columns as they are stored, in order: the fields, and the checksum where there is one."""
    return (*kind._fields, "crc") if kind in PAYLOADS else kind._fields


def puts(kind: type[Row], rows: Sequence[Row]) -> Iterator[Statement]:
    """Statements that insert the rows or replace those with their keys."""
    for chunk, size in chunks(with_checksums(kind, rows)):
        yield put_sql(kind, size), flattened(chunk, size)


def removes(kind: type[Row], keys: Sequence[Key]) -> Iterator[Statement]:
    """Statements that remove the rows with these keys."""
    for chunk, size in chunks(keys):
        yield remove_sql(kind, size), key_parameters(kind, chunk, size)


def selects(kind: type[Row], keys: Sequence[Key]) -> Iterator[Statement]:
    """Statements that find the rows with these keys."""
    for chunk, size in chunks(keys):
        yield select_sql(kind, size), key_parameters(kind, chunk, size)


def chunks(things: Sequence[Any]) -> Iterator[tuple[Sequence[Any], int]]:
    """The things in runs of at most `SIZE_MAX`, each with the size of the statement that takes it."""
    count = len(things)
    if 0 < count <= SIZE_MAX:
        yield things, _SIZE_FOR[count - 1]
        return
    for start in range(0, count, SIZE_MAX):
        chunk = things[start : start + SIZE_MAX]
        yield chunk, _SIZE_FOR[len(chunk) - 1]


def padded(chunk: Sequence[Any], size: int) -> list[Any]:
    return [*chunk, *[chunk[-1]] * (size - len(chunk))]


def flattened(chunk: Sequence[Sequence[Any]], size: int) -> list[Any]:
    values = list(chain.from_iterable(chunk))
    if (missing := size - len(chunk)) > 0:
        values += [*chunk[-1]] * missing
    return values


def key_parameters(kind: type[Row], chunk: Sequence[Any], size: int) -> list[Any]:
    return padded(chunk, size) if KEY_WIDTH.get(kind, 1) == 1 else flattened(chunk, size)


@cache
def put_sql(kind: type[Row], size: int) -> str:
    columns = columns_of(kind)
    row = f"({', '.join('?' * len(columns))})"
    into = f"INTO {TABLES[kind]} ({', '.join(columns)}) VALUES {', '.join([row] * size)}"
    if kind not in INDEXED:
        return f"INSERT OR REPLACE {into}"  # Without an index this overwrites in place.
    key = columns[: KEY_WIDTH.get(kind, 1)]
    changing = [name for name in columns if name not in key and name not in INDEXED[kind]]
    return (
        f"INSERT {into} ON CONFLICT ({', '.join(key)}) "
        f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in changing)}"
    )


@cache
def remove_sql(kind: type[Row], size: int) -> str:
    return f"DELETE FROM {TABLES[kind]} WHERE {_has_key(kind, size)}"


@cache
def select_sql(kind: type[Row], size: int) -> str:
    return f"SELECT {', '.join(columns_of(kind))} FROM {TABLES[kind]} WHERE {_has_key(kind, size)}"


@cache
def marks_for(size: int) -> str:
    """`(?, ?, ?)`."""
    return f"({', '.join('?' * size)})"


def _has_key(kind: type[Row], size: int) -> str:
    width = KEY_WIDTH.get(kind, 1)
    if width == 1:
        return f"{kind._fields[0]} IN {marks_for(size)}"
    keys = ", ".join([marks_for(width)] * size)
    return f"({', '.join(kind._fields[:width])}) IN (VALUES {keys})"
