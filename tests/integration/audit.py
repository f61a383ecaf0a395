"""Compares what was promised with what is there, after a server that was killed has ended all its runs.

Three records are independent of each other: the client's (which events were acknowledged), the app's witness
file (which steps it executed, what it returned, which memos it was given), and the database. The auditor
reads the database with plain SQL, and once more through the server's own storage for its checksums.
"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import quote

import orjson

from inngest_server.events.records import EventRow
from inngest_server.runs.records import JournalKind, RunStatus
from inngest_server.storage.protocol import StorageError
from inngest_server.storage.sqlite import SQLiteStorage
from tests.integration.flow_audit import Asked, flow_problems
from tests.integration.sigkill_app import (
    APP_ID,
    ONE_RUN,
    PLANS,
    SERVER_STEPS,
    SLEEP,
    result_of,
    step_hash,
)

SLEEP_MS = int(SLEEP.removesuffix("ms"))
PROBLEMS_KEPT = 1_000
ROWS_PER_READ = 500
LEFT_EMPTY = ("items", "waits", "messages", "terms", "windows", "meters", "pauses", "rekeys")
"""Tables that hold only reasons to wake or to wait: empty when all runs have ended."""
COMPLETED = frozenset({RunStatus.COMPLETED})
CANCELLED = frozenset({RunStatus.CANCELLED})
ENDINGS = {
    "cancelled": CANCELLED,
    "timely": CANCELLED,
    "doomed": CANCELLED,
    "skipping": COMPLETED | {RunStatus.SKIPPED},
    "replacing": COMPLETED | CANCELLED,
    "pausable": COMPLETED | CANCELLED | {RunStatus.SKIPPED},
}
"""How the runs of a function may end; of others they complete."""


class Acknowledged(NamedTuple):
    """An event for which the client got a 200."""

    internal_id: str
    event_id: str
    """As it was sent; the internal id when it was sent without one."""
    name: str
    number: int
    """The content of its data."""


@dataclass(slots=True)
class Findings:
    """What the auditor saw."""

    figures: Counter[str] = field(default_factory=Counter)
    problem_count: int = 0
    problems: list[str] = field(default_factory=list)
    """The first of them."""

    def add(self, problems: Iterable[str]) -> None:
        for problem in problems:
            self.problem_count += 1
            if len(self.problems) < PROBLEMS_KEPT:
                self.problems.append(problem)


class StoredEvent(NamedTuple):
    event_id: str
    name: str
    number: int | None
    """Of the events that the client sent."""


class StoredRun(NamedTuple):
    function: str
    event_id: str
    """Internal."""
    parent: str | None
    status: str
    ended_at_ms: int | None
    output: bytes | None


@dataclass(slots=True)
class Stored:
    """The database, as far as the audit needs it."""

    events: dict[str, StoredEvent]
    runs: dict[str, StoredRun]
    memos: dict[str, dict[str, Any]]
    """Run id to step hash to the recorded memo."""


def connect(directory: Path) -> sqlite3.Connection:
    """A read-only connection to a server's database, running or not."""
    path = quote(str(directory / "main.db"))
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10, isolation_level=None)


def audit(
    directory: Path, witness: Path, acknowledged: list[Acknowledged], asked: Asked, *, answer_delay_ms: int
) -> Findings:
    """Everything that is wrong, in words; the server must have stopped.

    The app has a call for `answer_delay_ms` after its line was written.
    """
    findings = Findings()
    connection = connect(directory)
    try:
        stored = read_stored(connection, findings)
        findings.add(not_empty(connection))
        findings.add(flow_problems(connection, witness, asked, findings.figures, answer_delay_ms))
        findings.add(line for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok")
    finally:
        connection.close()
    findings.add(lost_events(stored, acknowledged))
    findings.add(wrong_run_counts(stored))
    findings.add(bad_endings(stored))
    findings.add(contradictions(stored, witness, findings.figures))
    findings.add(wrong_children(stored))
    findings.add(asyncio.run(damaged_rows(directory, stored)))
    findings.figures["events"] = len(stored.events)
    findings.figures["runs"] = len(stored.runs)
    return findings


def read_stored(connection: sqlite3.Connection, findings: Findings) -> Stored:
    slugs = {
        function_id: slug.removeprefix(f"{APP_ID}-")
        for function_id, slug in connection.execute("SELECT function_id, slug FROM functions")
    }
    events = {
        internal_id: StoredEvent(event_id, name, orjson.loads(body or b"{}").get("data", {}).get("number"))
        for internal_id, event_id, name, body in connection.execute(
            "SELECT internal_id, event_id, name, body FROM events"
        )
    }
    columns = "run_id, function_id, event_id, parent, status, ended_at_ms, output"
    runs = {
        run_id: StoredRun(slugs[function_id], *rest)
        for run_id, function_id, *rest in connection.execute(f"SELECT {columns} FROM runs")
    }
    memos: dict[str, dict[str, Any]] = {run_id: {} for run_id in runs}
    findings.add(fold_journals(connection, memos, findings.figures))
    return Stored(events, runs, memos)


def fold_journals(
    connection: sqlite3.Connection, memos: dict[str, dict[str, Any]], figures: Counter[str]
) -> Iterator[str]:
    """Fill `memos`; what is wrong with the journals by themselves."""
    last: tuple[str, int, str] = ("", 0, JournalKind.ENDED)
    rows = "SELECT run_id, n, kind, step_id, meta, payload FROM journal ORDER BY run_id, n"
    for run_id, n, kind, step_id, meta, payload in connection.execute(rows):
        if run_id != last[0]:
            if last[2] != JournalKind.ENDED:
                yield f"run {last[0]}: its journal does not end with its end but with {last[2]}"
            last = (run_id, 0, "")
        if n != last[1] + 1:
            yield f"run {run_id}: journal entry {n} follows {last[1]}"
        last = (run_id, n, kind)
        figures[f"journal.{kind}"] += 1
        if kind == JournalKind.TRIED and "code" in (trace := orjson.loads(meta)):
            figures[f"failed_tries.{trace['code']}"] += 1
        if run_id not in memos:
            yield f"run {run_id}: it has a journal and no row"
        elif kind == JournalKind.MEMO:
            if step_id in memos[run_id]:
                yield f"run {run_id}: step {step_id} was recorded twice"
            memos[run_id][step_id] = orjson.loads(payload)
    if last[2] != JournalKind.ENDED:
        yield f"run {last[0]}: its journal does not end with its end but with {last[2]}"


def not_empty(connection: sqlite3.Connection) -> Iterator[str]:
    for table in LEFT_EMPTY:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
        if count:
            yield f"{count} rows are left in {table}"
    (count,) = connection.execute("SELECT count(*) FROM jobs WHERE status = 'running'").fetchone()
    if count:
        yield f"{count} jobs are not done"


def lost_events(stored: Stored, acknowledged: list[Acknowledged]) -> Iterator[str]:
    for event in acknowledged:
        found = stored.events.get(event.internal_id)
        if found is None:
            yield f"event {event.internal_id} ({event.name} {event.number}) was acknowledged and is gone"
        elif found != (event.event_id, event.name, event.number):
            yield f"event {event.internal_id} was sent as {event[1:]} and is stored as {tuple(found)}"


def wrong_run_counts(stored: Stored) -> Iterator[str]:
    """Each stored event, acknowledged or not, has one run per function and event id; a cron slot has one.

    Of functions whose rules are against that, `flow_audit.py` knows how many.
    """
    started = Counter(
        (run.function, stored.events[run.event_id].event_id)
        for run in stored.runs.values()
        if run.event_id in stored.events and run.function in (*ONE_RUN, "scheduled", "child")
    )
    names = {f"{APP_ID}/{function}": function for function in ONE_RUN}
    wanted = {(names[event.name], event.event_id) for event in stored.events.values() if event.name in names}
    # A slot has one run; an invocation has an event of its own, see `wrong_children`.
    wanted |= {key for key in started if key[0] in ("scheduled", "child")}
    for function, event_id in wanted:
        if (count := started.pop((function, event_id), 0)) != 1:
            yield f"event id {event_id} has {count} runs of {function}"
    for function, event_id in started:
        yield f"event id {event_id} has a run of {function}, which it does not start"
    for run_id, run in stored.runs.items():
        if run.event_id not in stored.events:
            yield f"run {run_id}: its event {run.event_id} is not stored"


def bad_endings(stored: Stored) -> Iterator[str]:
    for run_id, run in stored.runs.items():
        if run.status not in ENDINGS.get(run.function, COMPLETED) or run.ended_at_ms is None:
            yield f"run {run_id} of {run.function}: it is {run.status}, ended at {run.ended_at_ms}"
            continue
        if run.status != RunStatus.COMPLETED:
            continue
        memos = stored.memos[run_id]
        steps = [step for stage in PLANS[run.function] for step in stage]
        if memos.keys() != {step_hash(step) for step in steps}:
            yield f"run {run_id} of {run.function}: its journal has memos of {sorted(memos)}"
            continue
        wanted = {step: result_of(memos[step_hash(step)]) for step in steps}
        if run.output is None or orjson.loads(run.output) != wanted:
            yield f"run {run_id}: its output is {run.output!r} and its memos are {wanted}"
        if "sleep" in steps and memos[step_hash("sleep")] is not None:
            yield f"run {run_id}: the memo of its sleep is {memos[step_hash('sleep')]!r}"
        matched, event = wanted.get("wait"), stored.events.get(run.event_id)
        if (
            matched is not None
            and event is not None
            and cast("dict[str, Any]", matched).get("number") != event.number
        ):
            yield f"run {run_id}: it waited for number {event.number} and was woken by {matched!r}"


def wrong_children(stored: Stored) -> Iterator[str]:
    """Each invocation has one child run, whose output is what the parent was given."""
    children: dict[str, list[StoredRun]] = {}
    for run in stored.runs.values():
        if run.function == "child":
            children.setdefault(run.parent or "", []).append(run)
    for run_id, run in stored.runs.items():
        if run.function != "parent":
            continue
        found = children.pop(f"{run_id}.{step_hash('invoke')}", [])
        if len(found) != 1:
            yield f"run {run_id}: it invoked one function, which has {len(found)} runs"
            continue
        given = result_of(stored.memos[run_id].get(step_hash("invoke")))
        if found[0].output is None or orjson.loads(found[0].output) != given:
            yield f"run {run_id}: it was given {given!r}, and its child returned {found[0].output!r}"
    for parent in children:
        yield f"there is a child of {parent}, which invoked none"


def contradictions(stored: Stored, witness: Path, figures: Counter[str]) -> Iterator[str]:
    """What the app saw and the database denies, or the other way round."""
    dispatches: set[tuple[str, int]] = set()
    executed: Counter[tuple[str, str]] = Counter()
    confirmed: set[tuple[str, str]] = set()
    slept_at_ns: dict[str, int] = {}
    with witness.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            seen = orjson.loads(line)
            run_id, step = seen["run_id"], seen["step_hash"]
            if seen["number"] != number:
                yield f"the witness's line {number} has the number {seen['number']}"
            recorded = stored.memos.get(run_id)
            if recorded is None:
                yield f"line {number}: the app was called for run {run_id}, which is not stored"
                continue
            for name, given in seen["memos"].items():
                if result_of(recorded.get(step_hash(name))) != given:
                    yield f"line {number}: run {run_id} was given {given!r} as the result of {name}"
            dispatch = (seen["job_id"], seen["generation"])
            if seen["part"] == 0:
                if dispatch in dispatches:
                    yield f"line {number}: generation {dispatch[1]} of job {dispatch[0]} was sent twice"
                dispatches.add(dispatch)
                figures["calls"] += 1
            if seen["step"] == "never":
                yield f"line {number}: run {run_id} slept for an hour"
            figures["calls_after_a_failed_try"] += seen["attempt"] > 0
            if seen["op"] == "StepRun":
                executed[run_id, step] += 1
                if recorded.get(step) == {"data": seen["result"]}:
                    confirmed.add((run_id, step))
            elif (
                seen["op"] == "End" and orjson.loads(stored.runs[run_id].output or b"null") == seen["result"]
            ):
                confirmed.add((run_id, "end"))
            elif seen["op"] == "Sleep" and seen["step"] == "sleep":
                slept_at_ns.setdefault(run_id, seen["at_ns"])
            if (
                run_id in slept_at_ns
                and seen["step"] == "after"
                and seen["at_ns"] - slept_at_ns[run_id] < SLEEP_MS * 1_000_000
            ):
                yield f"line {number}: run {run_id} woke too early"
    figures["steps_executed_again"] = executed.total() - len(executed)
    not_here = {step_hash(step) for step in SERVER_STEPS}
    for run_id, memos in stored.memos.items():
        steps = [step for step, memo in memos.items() if memo is not None and step not in not_here]
        ends = ["end"] if stored.runs[run_id].status == RunStatus.COMPLETED else []
        for step in [*steps, *ends]:
            if (run_id, step) not in confirmed:
                yield f"run {run_id}: the app never returned what is recorded for {step}"


async def damaged_rows(directory: Path, stored: Stored) -> list[str]:
    """What the server's own storage cannot read back; it compares each row with its checksum."""
    problems: list[str] = []
    storage = SQLiteStorage(directory)
    await storage.open()
    try:
        for run_ids in slices(stored.runs):
            try:
                journals = await storage.journals(run_ids)
                if missing := [run_id for run_id in run_ids if run_id not in journals]:
                    problems.append(f"runs without a journal: {missing[:3]}")
            except StorageError as error:
                problems.append(str(error))
        for internal_ids in slices(stored.events):
            try:
                await storage.get(EventRow, internal_ids)
            except StorageError as error:
                problems.append(str(error))
        counts = await storage.counts()
        if counts.live_runs:
            problems.append(f"{counts.live_runs} runs have not ended")
    finally:
        await storage.close()
    return problems


def slices(keys: Iterable[str]) -> Iterator[list[str]]:
    taken: list[str] = []
    for key in keys:
        taken.append(key)
        if len(taken) == ROWS_PER_READ:
            yield taken
            taken = []
    if taken:
        yield taken
