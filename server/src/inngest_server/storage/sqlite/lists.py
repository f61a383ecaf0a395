"""SQL of lists and counts: which ids a page has, found in indexes alone, so that only its rows are read.

A list by id with a filter is a merge. The index has the ids of each group (a status and function, or an event
name) in order, so the next of the list is the first among the next of each group. A recursive query with an
order does this: SQLite takes the first of its queue, shows it, and puts the next of the same group there. The
cost is one step in the index for each group and each row shown, however rare, common or old what is shown is.
Groups that the query does not name are found by jumping from one to the next in the index.

A list by another moment walks along the index of that moment, which holds what can be filtered by. Where few
runs pass the filter the walk could be long, so these are found as groups and sorted.
"""

import sqlite3
from collections.abc import Collection
from dataclasses import replace
from typing import Any, NamedTuple

from inngest_server.storage.protocol import EventQuery, RunOrder, RunQuery
from inngest_server.wire.ulid import first_at

FEW = 2_000
"""Runs that are looked up one by one and sorted in a few milliseconds, wherever they are."""
SOME = 25_000
"""As many are looked up, in up to 80 ms, when a glance does not find a page of them."""
GLANCE = 100_000
"""Entries at the beginning of a walk: 15 ms. More than `SOME` that are all behind them are found by walking
on, which takes 150 ms for a million: rare enough to spare each run another index."""

_LAST_ID = "\U0010ffff"
"""Sorts after every id."""
_MS_MIN, _MS_MAX = -(2**63), 2**63 - 1

_MOMENTS = {
    RunOrder.STARTED: ("started_at_ms", "runs_by_start"),
    RunOrder.ENDED: ("ended_at_ms", "runs_by_end"),
}


class Query(NamedTuple):
    """What follows `SELECT ... FROM table`, or a whole statement."""

    sql: str
    parameters: dict[str, Any]


class _Groups(NamedTuple):
    """Ids that an index has in order, group by group."""

    table: str
    index_name: str
    columns: tuple[str, ...]
    key: str
    found_by: str
    """Common table expressions, the last of which is `groups` with these columns; null ends a search."""

    def merged(self, *, ascending: bool) -> str:
        """The first `:limit` ids of all groups."""
        names, last, direction = ", ".join(self.columns), self.columns[-1], "ASC" if ascending else "DESC"

        def first(above: str, below: str) -> str:
            return f"{self._between(self.key, above, below)} ORDER BY {self.key} {direction} LIMIT 1"

        following = first("g.id", ":below") if ascending else first(":above", "g.id")
        return f"""
            WITH RECURSIVE {self.found_by},
            merged ({names}, id) AS (
                SELECT {names}, ({first(":above", ":below")}) FROM groups AS g WHERE {last} IS NOT NULL
                UNION ALL
                SELECT {names}, ({following}) FROM merged AS g WHERE id IS NOT NULL
                ORDER BY {len(self.columns) + 1} {direction} NULLS LAST LIMIT :limit
            )
            SELECT id FROM merged WHERE id IS NOT NULL
        """

    def counted(self) -> str:
        """The number of ids of all groups."""
        return f"""
            WITH RECURSIVE {self.found_by}
            SELECT coalesce(sum(({self._between("count(*)", ":above", ":below")})), 0)
            FROM groups AS g WHERE {self.columns[-1]} IS NOT NULL
        """

    def _between(self, wanted: str, above: str, below: str) -> str:
        """Something of the ids of group `g` between two, both exclusive."""
        same = " AND ".join(f"{self.table}.{column} = g.{column}" for column in self.columns)
        return (
            f"SELECT {wanted} FROM {self.table} INDEXED BY {self.index_name} "
            f"WHERE {same} AND {self.table}.{self.key} > {above} AND {self.table}.{self.key} < {below}"
        )


# ---- runs ---------------------------------------------------------------------------------------


def run_page(connection: sqlite3.Connection, query: RunQuery) -> Query:
    """The rows of a page, in order."""
    ids = run_ids(query, looks_up=_looks_up(connection, query))
    return Query(f"WHERE run_id IN ({ids.sql}) ORDER BY {_run_order(query)}", ids.parameters)


def run_page_sizes(connection: sqlite3.Connection, query: RunQuery) -> Query:
    """The ids of a page in order, each with its event's id and the size of both payloads; reads neither."""
    ids = run_ids(query, looks_up=_looks_up(connection, query))
    return Query(
        "SELECT runs.run_id, runs.event_id, coalesce(length(output), 0) + coalesce(length(body), 0) "
        "FROM runs LEFT JOIN events ON internal_id = runs.event_id "
        f"WHERE runs.run_id IN ({ids.sql}) ORDER BY {_run_order(query, 'runs.')}",
        ids.parameters,
    )


def run_count(connection: sqlite3.Connection, query: RunQuery) -> Query:
    """The number of runs on all pages."""
    asked = replace(query, after=None)
    return count_of_runs(asked, looks_up=_looks_up(connection, asked, counts=True))


def run_ids(query: RunQuery, *, looks_up: bool = False) -> Query:
    """The ids of a page, in no order; `looks_up` chooses how they are found by a moment."""
    parameters = _run_parameters(query)
    if query.order is RunOrder.QUEUED and query.event_id is None and _is_filtered(query):
        return Query(_groups_of_runs(query).merged(ascending=query.ascending), parameters)
    sql = (
        f"{_narrowed('run_id', query, looks_up=looks_up)} ORDER BY {_run_order(query, 'runs.')} LIMIT :limit"
    )
    return Query(sql, parameters)


def count_of_runs(query: RunQuery, *, looks_up: bool = False) -> Query:
    """As `run_count`, for a query without a place."""
    parameters = _run_parameters(query)
    if query.order is RunOrder.QUEUED and query.event_id is None:
        is_whole = query.from_ms is None and query.until_ms is None and not _is_filtered(query)
        # The number of rows alone needs no look into them: SQLite counts the pages of its smallest index.
        sql = "SELECT count(*) FROM runs" if is_whole else _groups_of_runs(query).counted()
        return Query(sql, parameters)
    return Query(_narrowed("count(*)", query, looks_up=looks_up), parameters)


def _narrowed(wanted: str, query: RunQuery, *, looks_up: bool) -> str:
    """Something of all runs that the query lets through, by the best index for it."""
    if query.event_id is not None:
        return (
            f"SELECT {wanted} FROM runs INDEXED BY runs_by_event "
            f"WHERE runs.event_id = :event_id AND {_bounds(query)} AND {_filter(query)}"
        )
    if query.order is RunOrder.QUEUED:
        return f"SELECT {wanted} FROM runs WHERE {_bounds(query)}"
    if looks_up:
        groups = _groups_of_runs(query)
        return f"""
            WITH RECURSIVE {groups.found_by}
            SELECT {wanted} FROM groups AS g CROSS JOIN runs INDEXED BY runs_by_status
            ON runs.status = g.status AND runs.function_id = g.function_id WHERE {_bounds(query)}
        """
    _, index = _MOMENTS[query.order]
    return f"SELECT {wanted} FROM runs INDEXED BY {index} WHERE {_bounds(query)} AND {_filter(query)}"


def _looks_up(connection: sqlite3.Connection, query: RunQuery, *, counts: bool = False) -> bool:
    """Whether to look up all runs that pass the filter, rather than to walk along the moments."""
    if query.order is RunOrder.QUEUED or query.event_id is not None or not _is_filtered(query):
        return False
    parameters = _run_parameters(query)
    groups = _groups_of_runs(query)
    sql = f"""
        WITH RECURSIVE {groups.found_by}
        SELECT count(*) FROM (
            SELECT 1 FROM groups AS g CROSS JOIN runs INDEXED BY runs_by_status
            ON runs.status = g.status AND runs.function_id = g.function_id LIMIT {SOME}
        )
    """
    (number,) = connection.execute(sql, parameters).fetchone()
    if number < FEW or number == SOME or counts:
        return number < FEW
    _, index = _MOMENTS[query.order]
    sql = f"""
        SELECT count(*) FROM (
            SELECT 1 FROM (
                SELECT status, function_id FROM runs INDEXED BY {index} WHERE {_bounds(query)}
                ORDER BY {_run_order(query)} LIMIT {GLANCE}
            ) AS seen WHERE {_filter(query, "seen")} LIMIT :limit
        )
    """
    (number,) = connection.execute(sql, parameters).fetchone()
    return number < query.limit


def _is_filtered(query: RunQuery) -> bool:
    return query.statuses is not None or query.function_ids is not None


def _run_order(query: RunQuery, of: str = "") -> str:
    direction = "ASC" if query.ascending else "DESC"
    if query.order is RunOrder.QUEUED:
        return f"{of}run_id {direction}"
    return f"{of}{_MOMENTS[query.order][0]} {direction}, {of}run_id {direction}"


def _bounds(query: RunQuery) -> str:
    """What lies between the moments, and behind the place where the page begins."""
    if query.order is RunOrder.QUEUED:
        return "runs.run_id > :above AND runs.run_id < :below"
    column, _ = _MOMENTS[query.order]
    if query.ascending:
        near, far, behind = f"runs.{column} >= :near_ms", f"runs.{column} <= :far_ms", ">"
    else:
        near, far, behind = f"runs.{column} <= :near_ms", f"runs.{column} >= :far_ms", "<"
    return (
        f"runs.{column} IS NOT NULL AND {near} AND {far} "
        f"AND (runs.{column} <> :near_ms OR runs.run_id {behind} :after_id)"
    )


def _filter(query: RunQuery, of: str = "runs") -> str:
    conditions = ["TRUE"]
    if query.statuses is not None:
        conditions.append(f"{of}.status IN ({_values('status', query.statuses)})")
    if query.function_ids is not None:
        conditions.append(f"{of}.function_id IN ({_values('function', query.function_ids)})")
    return " AND ".join(conditions)


def _run_parameters(query: RunQuery) -> dict[str, Any]:
    parameters: dict[str, Any] = {"limit": query.limit}
    if query.event_id is not None:
        parameters["event_id"] = query.event_id
    parameters |= _named("status", query.statuses) | _named("function", query.function_ids)
    after, from_ms, until_ms = query.after, query.from_ms, query.until_ms
    if query.order is RunOrder.QUEUED:
        after_id = after.run_id if after is not None else None
        return parameters | _id_bounds(from_ms, until_ms, after_id, ascending=query.ascending)
    first_ms = _MS_MIN if from_ms is None else _fitting(from_ms)
    last_ms = _MS_MAX if until_ms is None else _fitting(until_ms - 1)
    near_ms, far_ms = (first_ms, last_ms) if query.ascending else (last_ms, first_ms)
    after_id = "" if query.ascending else _LAST_ID
    if after is not None and (after.moment_ms >= near_ms if query.ascending else after.moment_ms <= near_ms):
        near_ms, after_id = _fitting(after.moment_ms), after.run_id
    return parameters | {"near_ms": near_ms, "far_ms": far_ms, "after_id": after_id}


def _groups_of_runs(query: RunQuery) -> _Groups:
    index = "runs INDEXED BY runs_by_status"
    if query.statuses is not None:
        statuses = f"statuses (status) AS ({_values('status', query.statuses)})"
    else:
        statuses = f"""
            statuses (status) AS (
                SELECT (SELECT status FROM {index} WHERE status >= '' ORDER BY status LIMIT 1)
                UNION ALL
                SELECT (SELECT status FROM {index} WHERE status > one.status ORDER BY status LIMIT 1)
                FROM statuses AS one WHERE one.status IS NOT NULL
            )
        """
    if query.function_ids is not None:
        ids = _values("function", query.function_ids)
        functions = f"SELECT status, one.* FROM statuses CROSS JOIN ({ids}) AS one"
    else:
        of_status = f"SELECT function_id FROM {index} WHERE status = one.status"
        functions = f"""
            SELECT status, ({of_status} ORDER BY function_id LIMIT 1) FROM statuses AS one
            UNION ALL
            SELECT status, ({of_status} AND function_id > one.function_id ORDER BY function_id LIMIT 1)
            FROM groups AS one WHERE one.function_id IS NOT NULL
        """
    found_by = f"{statuses}, groups (status, function_id) AS ({functions})"
    return _Groups("runs", "runs_by_status", ("status", "function_id"), "run_id", found_by)


# ---- events -------------------------------------------------------------------------------------


def event_page(query: EventQuery) -> Query:
    """The rows of a page, in order."""
    ids = event_ids(query)
    return Query(f"WHERE internal_id IN ({ids.sql}) ORDER BY internal_id DESC", ids.parameters)


def event_page_sizes(query: EventQuery) -> Query:
    """The ids of a page in order, each with the size of its body, which is not read."""
    page = event_page(query)
    return Query(f"SELECT internal_id, coalesce(length(body), 0) FROM events {page.sql}", page.parameters)


def event_ids(query: EventQuery) -> Query:
    """The ids of a page, in no order."""
    if query.names is None and query.include_internal:
        sql = (
            "SELECT internal_id FROM events WHERE internal_id > :above AND internal_id < :below "
            "ORDER BY internal_id DESC LIMIT :limit"
        )
    else:
        sql = _groups_of_events(query).merged(ascending=False)
    return Query(sql, _event_parameters(query))


def event_count(query: EventQuery) -> Query:
    """The number of events on all pages."""
    is_bounded = query.from_ms is not None or query.until_ms is not None
    is_whole = query.names is None and query.include_internal and not is_bounded
    sql = "SELECT count(*) FROM events" if is_whole else _groups_of_events(query).counted()
    return Query(sql, _event_parameters(replace(query, after=None)))


def _event_parameters(query: EventQuery) -> dict[str, Any]:
    bounds = _id_bounds(query.from_ms, query.until_ms, query.after, ascending=False)
    return {"limit": query.limit, **_named("name", query.names), **bounds}


def _groups_of_events(query: EventQuery) -> _Groups:
    index = "events INDEXED BY events_by_name"
    if query.names is not None:
        names = f"names (name) AS ({_values('name', query.names)})"
    else:
        names = f"""
            names (name) AS (
                SELECT (SELECT name FROM {index} WHERE name >= '' ORDER BY name LIMIT 1)
                UNION ALL
                SELECT (SELECT name FROM {index} WHERE name > one.name ORDER BY name LIMIT 1)
                FROM names AS one WHERE one.name IS NOT NULL
            )
        """
    shown = "TRUE" if query.include_internal else "substr(name, 1, 8) <> 'inngest/'"
    found_by = f"{names}, groups (name) AS (SELECT name FROM names WHERE {shown})"
    return _Groups("events", "events_by_name", ("name",), "internal_id", found_by)


# ---- parameters ---------------------------------------------------------------------------------


def _values(name: str, values: Collection[str]) -> str:
    """A table of one column with those values. Not of a JSON text: SQLite cuts its texts at a zero byte."""
    rows = ", ".join(f"(:{name}_{number})" for number in range(len(values)))
    return f"VALUES {rows}" if rows else "SELECT NULL WHERE FALSE"


def _named(name: str, values: Collection[str] | None) -> dict[str, str]:
    return {f"{name}_{number}": value for number, value in enumerate(sorted(values or ()))}


def _id_bounds(
    from_ms: int | None, until_ms: int | None, after: str | None, *, ascending: bool
) -> dict[str, str]:
    """Between which ids a page lies, both exclusive."""
    above = "" if from_ms is None else first_at(from_ms)
    below = _LAST_ID if until_ms is None else first_at(until_ms)
    if after is not None and ascending:
        above = max(above, after)
    elif after is not None:
        below = min(below, after)
    return {"above": above, "below": below}


def _fitting(ms: int) -> int:
    """The nearest integer that SQLite can hold."""
    return min(max(ms, _MS_MIN), _MS_MAX)
