"""What `inngest doctor` looks for: the promise of the engine, checked on the rows of a database.

Every page of rows is one statement, so it shows one moment also beside a server that goes on writing, and no
transaction stays open that would keep the log from being emptied. A check therefore joins what it compares.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zlib import crc32

from inngest_server.apps.config import FunctionConfig
from inngest_server.apps.records import FunctionRow
from inngest_server.engine.messages import StartAsked, decode
from inngest_server.engine.repairs import Repair, RepairKind
from inngest_server.events.records import EventRow
from inngest_server.flow_control.records import RekeyRow
from inngest_server.jobs.records import JobRow
from inngest_server.runs.records import (
    ItemState,
    JournalKind,
    JournalRow,
    RunRow,
    RunStatus,
    WaitKind,
    WaitRow,
)
from inngest_server.storage.records import KEY_WIDTH, TABLES, MessageRow
from inngest_server.storage.sqlite.checks import PAYLOADS
from inngest_server.storage.sqlite.statements import columns_of
from inngest_server.wire import json

PAGE_ROWS = 2_000
PROBLEMS_SHOWN = 20
"""Of each check; more are only counted."""

REPAIRS_MAX = 100_000
"""Of each check in one pass; more passes follow while there is something to repair."""

BEFORE_MESSAGES = (-1, -1, -1)

Row = tuple[Any, ...]


class Reindex(NamedTuple):
    """Make the indexes of a table anew; only where no server runs."""

    table: str


class Finding(NamedTuple):
    """Something that is not as it should be, in words, and what puts it right if anything does."""

    text: str
    repair: Repair | Reindex | None = None


Findings = Iterator[Finding]


class Reader:
    """Reads a database page by page and counts the rows."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        progress: Callable[[int], None],
        *,
        is_live: bool,
        log_damage: str,
    ) -> None:
        self.connection = connection
        self.is_live = is_live
        """Whether a server runs on it."""
        self.log_damage = log_damage
        """See `what_is_lost`."""
        self.examined = 0
        self._progress = progress

    def pages(self, sql: str, before: tuple[str | int, ...] = ("",)) -> Iterator[Row]:
        """Rows of a statement that takes a key, after which its page begins, and the number of rows.

        The key is in its first columns; `before` is less than any.
        """
        last: Sequence[Any] = before
        while True:
            page = self.connection.execute(sql, (*last, PAGE_ROWS)).fetchall()
            for row in page:
                self.examined += 1
                yield row
            self._progress(self.examined)
            if len(page) < PAGE_ROWS:
                return
            last = page[-1][: len(before)]


class Check(NamedTuple):
    name: str
    promise: str
    """What holds in a healthy database."""
    advice: str
    """What it means when it does not, and what to do."""
    findings: Callable[[Reader], Findings]


@dataclass(slots=True)
class Result:
    """What a check found."""

    check: Check
    examined: int = 0
    problem_count: int = 0
    problems: list[str] = field(default_factory=list[str])
    """The first of them."""
    repairs: list[tuple[Repair | Reindex, str]] = field(default_factory=list[tuple[Repair | Reindex, str]])
    """What puts them right, each once, with what is wrong; the first of very many."""


def no_findings(reader: Reader) -> Findings:
    """Of a check that is made elsewhere than on the rows."""
    return iter(())


def examine(
    connection: sqlite3.Connection,
    progress: Callable[[str, int], None] = lambda name, rows: None,
    *,
    is_live: bool = False,
    log_damage: str = "",
) -> Iterator[Result]:
    """Run all checks, one after the other; those that would hold up a server are made shorter beside one."""
    for check in CHECKS:
        reader = Reader(
            connection,
            lambda rows, name=check.name: progress(name, rows),
            is_live=is_live,
            log_damage=log_damage,
        )
        result = Result(check)
        repairs: dict[Repair | Reindex, str] = {}
        try:
            for finding in check.findings(reader):
                result.problem_count += 1
                if len(result.problems) < PROBLEMS_SHOWN:
                    result.problems.append(finding.text)
                if finding.repair is not None and len(repairs) < REPAIRS_MAX:
                    repairs.setdefault(finding.repair, finding.text)
        except sqlite3.Error as error:
            # What cannot be read is the finding; other tables may still be whole.
            result.problem_count += 1
            result.problems.append(f"cannot be read on: {error}")
        result.examined, result.repairs = reader.examined, list(repairs.items())
        yield result


# ---- the file -----------------------------------------------------------------------------------

INDEX_DAMAGE = re.compile(r"\b(?:missing from|wrong # of entries in|non-unique entry in) index\b")
"""What SQLite says of an index that does not agree with its table."""

MENDING: dict[type[Any], RepairKind] = {
    RunRow: RepairKind.MEND_OUTPUT,
    WaitRow: RepairKind.MEND_WAIT,
    EventRow: RepairKind.MEND_EVENT,
    FunctionRow: RepairKind.MEND_FUNCTION,
    MessageRow: RepairKind.DROP_MESSAGE,
    RekeyRow: RepairKind.DROP_ROW,
    JobRow: RepairKind.DROP_ROW,
}


def _structure(reader: Reader) -> Findings:
    lost = reader.log_damage
    if lost:
        yield Finding(f"write-ahead log: {lost}")
    # Comparing tables with their indexes takes long, and a long read keeps a server's log from being emptied.
    pragma = "quick_check" if reader.is_live else "integrity_check"
    found: list[tuple[str, str]] = []
    for table in TABLES.values():
        lines = reader.connection.execute(f"PRAGMA {pragma}({table})").fetchall()
        found += [(table, line) for (line,) in lines if line != "ok"]
        reader.examined += 1
    # With damage anywhere else a table may be what is wrong, and its index right.
    can_reindex = not reader.is_live and not lost and all(INDEX_DAMAGE.search(line) for _, line in found)
    for table, line in found:
        yield Finding(f"table {table}: {line}", Reindex(table) if can_reindex else None)


def _checksums(reader: Reader) -> Findings:
    for kind, payloads in PAYLOADS.items():
        if kind is JournalRow:
            continue  # Read with the journals' numbers.
        columns, width = columns_of(kind), KEY_WIDTH.get(kind, 1)
        key = ", ".join(columns[:width])
        positions = [columns.index(name) for name in payloads]
        before = BEFORE_MESSAGES if kind is MessageRow else ("",) * width
        after = f"({key}) > ({', '.join('?' * width)})"
        sql = f"SELECT {', '.join(columns)} FROM {TABLES[kind]} WHERE {after} ORDER BY {key} LIMIT ?"
        for row in reader.pages(sql, before):
            if _checksum([row[position] for position in positions]) != row[-1]:
                shown, name = ", ".join(map(str, row[:width])), "/".join(map(str, row[:width]))
                mend = MENDING[kind]
                yield Finding(
                    f"{TABLES[kind]} {shown}: {' and '.join(payloads)} changed on disk since written",
                    Repair(mend, f"{TABLES[kind]}/{name}" if mend is RepairKind.DROP_ROW else name),
                )


def _checksum(payloads: Sequence[bytes | None]) -> int:
    value = 0
    for payload in payloads:
        value = crc32(payload or b"", value)
    return value


# ---- runs ---------------------------------------------------------------------------------------

_UNFINISHED = """
    SELECT r.run_id,
        EXISTS (SELECT 1 FROM items WHERE item_id > r.run_id || '.' AND item_id < r.run_id || '/'),
        EXISTS (SELECT 1 FROM waits WHERE wait_id > r.run_id || '.' AND wait_id < r.run_id || '/'
                AND kind <> 'cancel'),
        EXISTS (SELECT 1 FROM events WHERE internal_id = r.event_id AND body IS NOT NULL),
        EXISTS (SELECT 1 FROM functions WHERE function_id = r.function_id)
    FROM (SELECT * FROM runs WHERE ended_at_ms IS NULL AND run_id > ? ORDER BY run_id LIMIT ?) AS r
    ORDER BY r.run_id
"""


def _reasons_to_wake(reader: Reader) -> Findings:
    for run_id, has_item, has_wait, has_event, has_function in reader.pages(_UNFINISHED):
        if not has_item and not has_wait:
            text = f"run {run_id} has not ended, and neither work nor a wait will ever wake it"
            yield Finding(text, Repair(RepairKind.WAKE_RUN, run_id) if has_event and has_function else None)
        if not has_event:
            text = f"run {run_id} has not ended, and its event is missing"
            yield Finding(text, Repair(RepairKind.FAIL_RUN, run_id))
        if not has_function:
            yield Finding(f"run {run_id} has not ended, and its function is missing; sync its app again")


def _statuses(reader: Reader) -> Findings:
    known = {status.value for status in RunStatus}
    sql = (
        "SELECT run_id, status, created_at_ms, started_at_ms, ended_at_ms FROM runs WHERE run_id > ? "
        "ORDER BY run_id LIMIT ?"
    )
    for run_id, status, created_at_ms, started_at_ms, ended_at_ms in reader.pages(sql):
        settle = Repair(RepairKind.SETTLE_RUN, run_id)
        if status not in known:
            yield Finding(f"run {run_id} has the status {status!r}, which does not exist", settle)
        elif RunStatus(status).has_ended != (ended_at_ms is not None):
            yield Finding(
                f"run {run_id} is {status}, and its time of ending is {_shown(ended_at_ms)}", settle
            )
        elif (status == RunStatus.SCHEDULED and started_at_ms is not None) or (
            status in (RunStatus.RUNNING, RunStatus.COMPLETED) and started_at_ms is None
        ):
            text = f"run {run_id} is {status}, and its time of starting is {_shown(started_at_ms)}"
            yield Finding(text, settle)
        times = [ms for ms in (created_at_ms, started_at_ms, ended_at_ms) if ms is not None]
        if times != sorted(times):
            yield Finding(f"run {run_id} was made, started and ended in another order: {times}", settle)


def _shown(moment_ms: int | None) -> str:
    return "missing" if moment_ms is None else str(moment_ms)


# ---- live rows ----------------------------------------------------------------------------------


def _left_behind(
    kind: str, key: str, state: str, known: set[str], repair: RepairKind
) -> Callable[[Reader], Findings]:
    """Rows of a live table without the unfinished run that they belong to."""
    table = f"{kind}s"
    sql = f"""
        SELECT l.{key}, l.run_id, l.shard, l.{state}, r.shard, r.status, r.ended_at_ms
        FROM (SELECT * FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT ?) AS l
        LEFT JOIN runs AS r ON r.run_id = l.run_id ORDER BY l.{key}
    """

    def findings(reader: Reader) -> Findings:
        for row_id, run_id, shard, shown, run_shard, status, ended_at_ms in reader.pages(sql):
            mend = Repair(repair, row_id)
            if status is None:
                yield Finding(f"{kind} {row_id} belongs to run {run_id}, which does not exist", mend)
            elif ended_at_ms is not None:
                yield Finding(f"{kind} {row_id} belongs to run {run_id}, which has ended as {status}", mend)
            elif shard != run_shard:
                yield Finding(f"{kind} {row_id} is on shard {shard} and its run on shard {run_shard}", mend)
            if not row_id.startswith(f"{run_id}."):
                yield Finding(f"{kind} {row_id} is named for another run than its own, {run_id}", mend)
            if shown not in known:
                yield Finding(f"{kind} {row_id} has the {state} {shown!r}, which does not exist", mend)

    return findings


def _messages(reader: Reader) -> Findings:
    sql = (
        "SELECT shard, sender, number, body FROM messages WHERE (shard, sender, number) > (?, ?, ?) "
        "ORDER BY shard, sender, number LIMIT ?"
    )
    for shard, sender, number, body in reader.pages(sql, BEFORE_MESSAGES):
        name, drop = f"message {shard}, {sender}, {number}", f"{shard}/{sender}/{number}"
        try:
            messages = decode(body)
        except Exception as error:  # Whatever bytes may be there.
            text = f"{name} cannot be understood: {type(error).__name__}"
            yield Finding(text, Repair(RepairKind.DROP_MESSAGE, drop))
            continue
        if isinstance(messages[0], StartAsked):
            function_id, sql = messages[0].function_id, "SELECT 1 FROM functions WHERE function_id = ?"
            if not reader.connection.execute(sql, [function_id]).fetchone():
                text = f"{name} is to start function {function_id}, which does not exist"
                yield Finding(text, Repair(RepairKind.DROP_MESSAGE, drop))
            continue
        run_ids = [message.run_id for message in messages if not isinstance(message, StartAsked)]
        # One for a run that has ended since is ordinary: the next start of the server drops it.
        sql = "SELECT 1 FROM runs WHERE run_id = ?"
        if not any(reader.connection.execute(sql, [run_id]).fetchone() for run_id in run_ids):
            shown = f"run {run_ids[0]}" if len(run_ids) == 1 else f"{len(run_ids)} runs, none of"
            text = f"{name} is for {shown}, which does not exist"
            yield Finding(text, Repair(RepairKind.DROP_MESSAGE, drop))


# ---- journals -----------------------------------------------------------------------------------

_JOURNAL = """
    SELECT j.run_id, j.n, j.kind, j.meta, j.payload, j.crc, r.status, r.ended_at_ms
    FROM (SELECT * FROM journal WHERE (run_id, n) > (?, ?) ORDER BY run_id, n LIMIT ?) AS j
    LEFT JOIN runs AS r ON r.run_id = j.run_id ORDER BY j.run_id, j.n
"""
_WITHOUT_JOURNAL = """
    SELECT r.run_id, EXISTS (SELECT 1 FROM journal WHERE run_id = r.run_id)
    FROM (SELECT * FROM runs WHERE run_id > ? AND ended_at_ms IS NOT NULL ORDER BY run_id LIMIT ?) AS r
    ORDER BY r.run_id
"""


def _journals(reader: Reader) -> Findings:
    last: Row | None = None
    for row in reader.pages(_JOURNAL, ("", 0)):
        run_id, n, _, meta, payload, crc, status, _ = row
        is_first = last is None or last[0] != run_id
        if is_first:
            yield from _endings(reader, last)
            if status is None:
                yield Finding(f"journal of run {run_id}: there is no such run")
        expected = 1 if is_first else last[1] + 1  # type: ignore[index]
        mend = Repair(RepairKind.MEND_JOURNAL, run_id) if status is not None else None
        if n != expected:
            yield Finding(f"journal of run {run_id}: entry {n} follows {expected - 1}", mend)
        if _checksum((meta, payload)) != crc:
            yield Finding(f"journal of run {run_id}: entry {n} changed on disk since written", mend)
        last = row
    yield from _endings(reader, last)
    for run_id, has_journal in reader.pages(_WITHOUT_JOURNAL):
        if not has_journal:
            text = f"run {run_id} has ended and has no journal"
            yield Finding(text, Repair(RepairKind.SETTLE_RUN, run_id))


def _endings(reader: Reader, last: Row | None) -> Findings:
    """Whether a journal ends with the end exactly when its run has ended."""
    if last is None or last[6] is None or (last[2] == JournalKind.ENDED) == (last[7] is not None):
        return
    # Read again, both at one moment: the run may have ended, or been forgotten, since its page was read.
    sql = """
        SELECT j.kind, r.status, r.ended_at_ms FROM runs AS r JOIN journal AS j ON j.run_id = r.run_id
        WHERE r.run_id = ? ORDER BY j.n DESC LIMIT 1
    """
    found = reader.connection.execute(sql, [last[0]]).fetchone()
    if found is None:
        return
    kind, status, ended_at_ms = found
    if (kind == JournalKind.ENDED) != (ended_at_ms is not None):
        text = f"run {last[0]} is {status}, and the last entry of its journal is {kind!r}"
        yield Finding(text, Repair(RepairKind.SETTLE_RUN, last[0]))


# ---- schedules ----------------------------------------------------------------------------------


def _schedules(reader: Reader) -> Findings:
    """Read at one moment each: functions and their schedules are changed together."""
    sql = """
        SELECT f.function_id, f.slug, f.config, f.crc, f.archived_at_ms,
            (SELECT json_group_array(expression) FROM crons WHERE function_id = f.function_id)
        FROM (SELECT * FROM functions WHERE function_id > ? ORDER BY function_id LIMIT ?) AS f
        ORDER BY f.function_id
    """
    for function_id, slug, config, crc, archived_at_ms, stored in reader.pages(sql):
        if _checksum([config]) != crc:
            continue  # A finding of its own.
        triggers = FunctionConfig.from_json(json.parse(config)).cron_triggers
        wanted = set[str]() if archived_at_ms is not None else {trigger.cron for trigger in triggers}
        fix = Repair(RepairKind.SET_CRONS, function_id)
        for expression in sorted(wanted - set(json.parse(stored.encode()))):
            yield Finding(f"function {slug} has no row for its schedule {expression!r}", fix)
    sql = """
        SELECT c.cron_id, c.function_id,
            EXISTS (SELECT 1 FROM functions WHERE function_id = c.function_id AND archived_at_ms IS NULL)
        FROM (SELECT * FROM crons WHERE cron_id > ? ORDER BY cron_id LIMIT ?) AS c ORDER BY c.cron_id
    """
    for cron_id, function_id, is_wanted in reader.pages(sql):
        if not is_wanted:
            text = f"schedule {cron_id} is for function {function_id}, which is not in use"
            yield Finding(text, Repair(RepairKind.DROP_CRON, cron_id))


# ---- flow control and jobs ----------------------------------------------------------------------

_LOOSE = (
    (
        "terms",
        "run_id",
        "EXISTS (SELECT 1 FROM runs WHERE run_id = l.run_id AND ended_at_ms IS NULL)",
        "belong to a run that does not exist or has ended",
    ),
    (
        "windows",
        "window_id",
        "EXISTS (SELECT 1 FROM functions WHERE function_id = l.function_id) AND EXISTS ("
        """SELECT 1 FROM json_each('["' || replace(l.event_ids, char(10), '","') || '"]') AS one """
        "JOIN events ON events.internal_id = one.value)",
        "collects events that are gone, or for a function that does not exist",
    ),
    *[
        (
            table,
            "function_id",
            "EXISTS (SELECT 1 FROM functions WHERE function_id = l.function_id)",
            "is for a function that does not exist",
        )
        for table in ("pauses", "rekeys")
    ],
)
"""Table, key, what must be so, and what is wrong if it is not."""


def _flow_control(reader: Reader) -> Findings:
    for table, key, condition, wrong in _LOOSE:
        sql = f"""
            SELECT l.{key}, {condition}
            FROM (SELECT * FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT ?) AS l ORDER BY l.{key}
        """
        for name, is_right in reader.pages(sql):
            if not is_right:
                yield Finding(f"{table} {name}: {wrong}", Repair(RepairKind.DROP_ROW, f"{table}/{name}"))


DAMAGE = (
    "Bytes on the disk are not what was written: look at the system log for the disk, and restore a backup."
)
BUG = "This is a fault of the server; please report it with these lines."

CHECKS = (
    Check("structure", "SQLite can read every table and index", DAMAGE, _structure),
    Check("checksums", "payloads are as they were written", DAMAGE, _checksums),
    Check(
        "reasons to wake",
        "every run that has not ended has work, or a wait other than a cancelOn, and its event and function",
        f"These runs will never go on by themselves: cancel them, or send their events again. {BUG}",
        _reasons_to_wake,
    ),
    Check(
        "work",
        "every piece of work belongs to a run that has not ended",
        f"A server cannot start with work of runs that it does not know. {BUG}",
        _left_behind("item", "item_id", "state", {state.value for state in ItemState}, RepairKind.MEND_ITEM),
    ),
    Check(
        "waits",
        "every wait belongs to a run that has not ended",
        f"A server cannot start with waits of runs that it does not know. {BUG}",
        _left_behind("wait", "wait_id", "kind", {kind.value for kind in WaitKind}, RepairKind.MEND_WAIT),
    ),
    Check(
        "flow control",
        "terms belong to unfinished runs; windows, pauses and former keys to functions",
        f"Such a row is a reason to wait for nothing. {BUG}",
        _flow_control,
    ),
    Check("messages", "every message is for a run that exists", f"It is dropped. {BUG}", _messages),
    Check(
        "statuses",
        "status and times of every run agree",
        f"Lists show these runs wrongly; what they did is in their journals. {BUG}",
        _statuses,
    ),
    Check(
        "journals",
        "every journal has its run, its numbers without gaps, and its end when the run has ended",
        f"A run with a damaged journal is set aside when something happens to it. {DAMAGE}",
        _journals,
    ),
    Check(
        "schedules",
        "every schedule of a function in use has its row, and no other has one",
        f"A schedule without its row never fires. {BUG}",
        _schedules,
    ),
)
