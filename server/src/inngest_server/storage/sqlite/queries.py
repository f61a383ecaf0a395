"""What follows `FROM table` for lists: conditions, order and limit, with their parameters.

The time inside an event's internal id is the moment at which it was received, so a bound on that moment
is, give or take `ID_SLACK_MS`, a bound on the id. It narrows the range of the table that is read; the exact
condition is on the column.
"""

from typing import Any, NamedTuple

from inngest_server.storage.protocol import EventQuery, RunQuery

ID_SLACK_MS = 24 * 3_600_000
"""How far an id's time may lie from the moment in its row: far more than hosts' clocks differ."""
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID_MS_MAX = 2**48 - 1


class Query(NamedTuple):
    conditions: str
    parameters: list[Any]


def events_query(query: EventQuery) -> Query:
    where = _Where()
    where.add("internal_id < ?", query.older_than)
    where.add("name = ?", query.name)
    if query.received_after_ms is not None:
        where.add("received_at_ms > ?", query.received_after_ms)
        where.add("internal_id >= ?", first_id_at(query.received_after_ms - ID_SLACK_MS))
    if query.received_before_ms is not None:
        where.add("received_at_ms < ?", query.received_before_ms)
        where.add("internal_id < ?", first_id_at(query.received_before_ms + ID_SLACK_MS))
    if not query.include_internal:
        where.conditions.append("substr(name, 1, 8) <> 'inngest/'")
    return where.newest_first("internal_id", query.limit)


def runs_query(query: RunQuery) -> Query:
    where = _Where()
    where.add("run_id < ?", query.older_than)
    where.add("function_id = ?", query.function_id)
    if query.statuses:
        where.conditions.append(f"status IN ({', '.join('?' * len(query.statuses))})")
        where.parameters += query.statuses
    where.add("created_at_ms >= ?", query.created_after_ms)
    where.add("created_at_ms < ?", query.created_before_ms)
    return where.newest_first("run_id", query.limit)


def first_id_at(moment_ms: int) -> str:
    """What no ULID of that moment or later sorts before."""
    rest = min(max(moment_ms, 0), _ULID_MS_MAX)
    letters = ""
    for _ in range(10):
        rest, digit = divmod(rest, 32)
        letters = _CROCKFORD[digit] + letters
    return letters


class _Where:
    def __init__(self) -> None:
        self.conditions: list[str] = []
        self.parameters: list[Any] = []

    def add(self, condition: str, value: str | int | None) -> None:
        if value is not None:
            self.conditions.append(condition)
            self.parameters.append(value)

    def newest_first(self, key: str, limit: int) -> Query:
        conditions = f"WHERE {' AND '.join(self.conditions)}" if self.conditions else ""
        return Query(f"{conditions} ORDER BY {key} DESC LIMIT ?", [*self.parameters, limit])
