"""The command `doctor`: opens a database without changing it, has it examined, and says what was found."""

import fcntl
import json
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from inngest_server.cli.config import Config
from inngest_server.cli.examination import Result, examine
from inngest_server.storage.protocol import StorageError
from inngest_server.storage.sqlite.lock import FILE_NAME as LOCK_NAME
from inngest_server.storage.sqlite.migrations import readable_version
from inngest_server.storage.sqlite.storage import FILE_NAME

HEALTHY, SICK, NOT_EXAMINED = 0, 1, 2
PROGRESS_S = 0.2


class Patient(NamedTuple):
    """A database that is open for reading."""

    path: Path
    connection: sqlite3.Connection
    version: int
    is_live: bool
    """Whether a server runs on it."""


class UnreadableError(Exception):
    """There is nothing that could be examined; the message says why."""


def doctor(config: Config) -> int:
    """Examine the database and print the findings; returns the exit status."""
    directory = Path(config.text("sqlite-dir"))
    try:
        patient = _open(directory)
    except UnreadableError as error:
        print(f"inngest: {error}", file=sys.stderr)
        return NOT_EXAMINED
    report = _report_json if config.switch("json") else _report_text
    try:
        is_healthy = report(patient)
    finally:
        patient.connection.close()
    if not patient.is_live and _is_live(directory):
        print("inngest: a server was started meanwhile; examine the database again", file=sys.stderr)
        return NOT_EXAMINED
    return HEALTHY if is_healthy else SICK


def _open(directory: Path) -> Patient:
    path = directory / FILE_NAME
    if not path.is_file():
        raise UnreadableError(f"there is no database {path}; name its directory with --sqlite-dir")
    is_live = _is_live(directory)
    # Without a log nobody writes, and then SQLite need not make files beside the database to read it.
    has_log = path.with_name(f"{FILE_NAME}-wal").exists()
    mode = "mode=ro" if is_live or has_log else "immutable=1"
    connection = None
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?{mode}", uri=True, timeout=5, isolation_level=None
        )
        connection.text_factory = _lenient_text
        return Patient(path, connection, readable_version(connection, path), is_live)
    except (sqlite3.Error, StorageError) as error:
        if connection is not None:
            connection.close()
        why = str(error) if isinstance(error, StorageError) else f"{path} cannot be read: {error}"
        raise UnreadableError(why) from error


def _lenient_text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _is_live(directory: Path) -> bool:
    """Whether a server holds the lock on the directory."""
    try:
        file = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


class _Progress:
    """Shows on a terminal how far a long check has come."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._next_s = time.monotonic() + PROGRESS_S

    def __call__(self, name: str, rows: int) -> None:
        if self._is_shown and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + PROGRESS_S
            print(f"\r\033[K{name}: {rows:,} rows", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._is_shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _report_text(patient: Patient) -> bool:
    state = "a server runs on it" if patient.is_live else "no server runs on it"
    print(f"{patient.path}, schema {patient.version}, {state}\n", flush=True)
    progress = _Progress()
    problem_count = 0
    for result in examine(patient.connection, progress):
        progress.clear()
        problem_count += result.problem_count
        print("\n".join(_lines(result)), flush=True)
    print(f"\n{_verdict(problem_count)}")
    return problem_count == 0


def _lines(result: Result) -> list[str]:
    check = result.check
    rows = "" if check.name == "structure" else f" ({result.examined:,} rows)"
    if not result.problem_count:
        return [f"ok     {check.name}: {check.promise}{rows}"]
    lines = [f"WRONG  {check.name}: not true that {check.promise}{rows}"]
    lines += [f"       - {problem}" for problem in result.problems]
    if more := result.problem_count - len(result.problems):
        lines.append(f"       and {more:,} more")
    return [*lines, f"       {check.advice}"]


def _verdict(problem_count: int) -> str:
    if problem_count == 0:
        return "All is well."
    return f"{problem_count:,} problem{'s' if problem_count > 1 else ''} found. Nothing was changed."


def _report_json(patient: Patient) -> bool:
    progress = _Progress()
    checks: list[dict[str, Any]] = []
    for result in examine(patient.connection, progress):
        check = {"name": result.check.name, "promise": result.check.promise, "rows": result.examined}
        check |= {"problem_count": result.problem_count, "problems": result.problems}
        if result.problem_count:
            check["advice"] = result.check.advice
        checks.append(check)
    progress.clear()
    is_healthy = not any(check["problem_count"] for check in checks)
    report = {
        "database": str(patient.path),
        "schema": patient.version,
        "live": patient.is_live,
        "healthy": is_healthy,
        "checks": checks,
    }
    print(json.dumps(report, indent=2))
    return is_healthy
