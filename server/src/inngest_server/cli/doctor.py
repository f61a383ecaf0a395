"""The command `doctor`: examines a database, says what was found, and puts right what can be."""

import fcntl
import json
import os
import sqlite3
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from inngest_server.cli.config import Config
from inngest_server.cli.config_file import ConfigError
from inngest_server.cli.examination import Check, Reindex, Result, examine, no_findings
from inngest_server.cli.live_server import LiveServer, ServerRefusedError
from inngest_server.cli.repair import back_up, rebuild_indexes, repair_stopped
from inngest_server.engine.repairs import Repair, Repaired, RepairKind
from inngest_server.storage.protocol import StorageError
from inngest_server.storage.sqlite.lock import FILE_NAME as LOCK_NAME
from inngest_server.storage.sqlite.log_file import what_is_lost
from inngest_server.storage.sqlite.migrations import readable_version
from inngest_server.storage.sqlite.storage import FILE_NAME
from inngest_server.wire.signature import InvalidSigningKeyError, check_signing_key

HEALTHY, SICK, NOT_DONE = 0, 1, 2
PROGRESS_S = 0.2
PASSES_MAX = 5
"""A repair may show what another one hid, as an event whose run is gone; each pass examines everything."""
SHOWN_MAX = 20
"""Repairs of a pass that are listed; the JSON report has all."""

HELD = Check(
    "held",
    "the server has set no run and no schedule aside",
    "The server's log has the error. Cancel what is held, or try it again: POST /v1/held/{id}/release.",
    no_findings,
)


class Patient(NamedTuple):
    """A database that is open for reading."""

    path: Path
    connection: sqlite3.Connection
    version: int
    is_live: bool
    log_damage: str
    """See `what_is_lost`."""
    """Whether a server runs on it."""

    @property
    def directory(self) -> Path:
        return self.path.parent


class NotDoneError(Exception):
    """The database cannot be examined, or not repaired; the message says why."""


class Treatment(NamedTuple):
    """One repair that was asked for."""

    wanted: Repair | Reindex
    why: str
    result: Repaired

    def shown(self) -> dict[str, Any]:
        """For the JSON report."""
        return {
            "repair": _name(self.wanted),
            "why": self.why,
            "done": self.result.is_done,
            "detail": self.result.detail,
        }


@dataclass(slots=True)
class Case:
    """What the report is about."""

    results: list[Result] = field(default_factory=list[Result])
    """Of the last examination."""
    backup: Path | None = None
    treatments: list[Treatment] = field(default_factory=list[Treatment])

    @property
    def problem_count(self) -> int:
        return sum(result.problem_count for result in self.results)

    @property
    def repairs(self) -> list[tuple[Repair | Reindex, str]]:
        return [repair for result in self.results for repair in result.repairs]


def doctor(config: Config) -> int:
    """Examine the database, repair it if that was asked for, and report; returns the exit status.

    Raises:
        ConfigError: the signing key is none.
    """
    directory, signing_key = Path(config.text("sqlite-dir")), _signing_key(config)
    report = _JSONReport() if config.switch("json") else _TextReport()
    case = Case()
    try:
        _examine(directory, signing_key, case, report)
        if config.switch("repair"):
            _repair(directory, signing_key, case, report, with_backup=not config.switch("no-backup"))
    except (NotDoneError, ServerRefusedError) as error:
        print(f"inngest: {error}", file=sys.stderr)
        return NOT_DONE
    report.end(case)
    return HEALTHY if case.problem_count == 0 else SICK


def _signing_key(config: Config) -> str | None:
    if config.values["signing-key"] is None:
        return None
    try:
        return check_signing_key(config.text("signing-key"))
    except InvalidSigningKeyError as error:
        raise ConfigError(f"{config.where('signing-key')}: {error}") from error


def _examine(directory: Path, signing_key: str | None, case: Case, report: "_TextReport") -> None:
    case.results = []
    patient = _open(directory)
    try:
        report.begin(patient)
        progress = _Progress()
        for result in examine(
            patient.connection, progress, is_live=patient.is_live, log_damage=patient.log_damage
        ):
            progress.clear()
            case.results.append(result)
            report.examined(result)
    finally:
        patient.connection.close()
    if not patient.is_live and _is_live(directory):
        raise NotDoneError("a server was started meanwhile; examine the database again")
    if patient.is_live:
        try:
            held = LiveServer(directory, signing_key).held()
        except ServerRefusedError as error:
            print(f"inngest: what the server has set aside is not known: {error}", file=sys.stderr)
            return
        result = Result(HELD, len(held), len(held))
        result.problems = [f"{one['kind']} {one['id']} since {one['since']}: {one['reason']}" for one in held]
        case.results.append(result)
        report.examined(result)


# ---- repairing ----------------------------------------------------------------------------------


def _repair(
    directory: Path, signing_key: str | None, case: Case, report: "_TextReport", *, with_backup: bool
) -> None:
    """Repair and examine in turn, until nothing is left that could be repaired, or a pass does nothing.

    Raises:
        NotDoneError: it could not be begun, or not ended; each repair that was done is whole.
        ServerRefusedError: the same, by the server that runs on the directory.
    """
    for _ in range(PASSES_MAX):
        _refuse_broken(case)
        wanted = case.repairs
        if not wanted:
            return
        if with_backup and case.backup is None:
            case.backup = _back_up(directory)
        report.repairing(wanted)
        indexes = [one for one, _ in wanted if isinstance(one, Reindex)]
        # What is read through a broken index cannot be trusted, so everything else comes in the next pass.
        chosen = indexes or sorted([one for one, _ in wanted if isinstance(one, Repair)], key=_turn_of)
        results = _treat(directory, signing_key, chosen)
        reasons = dict(wanted)
        done = [Treatment(one, reasons[one], result) for one, result in zip(chosen, results, strict=True)]
        case.treatments += done
        report.repaired(done)
        _examine(directory, signing_key, case, report)
        if not any(one.result.is_done for one in done):
            return


def _turn_of(wanted: Repair) -> int:
    """Whether a run has ended is settled before its work is looked at, and what wakes it after that."""
    turns = {RepairKind.SETTLE_RUN: 0, RepairKind.WAKE_RUN: 2}
    return turns.get(wanted.kind, 1)


def _refuse_broken(case: Case) -> None:
    for result in case.results:
        if result.check.name == "structure" and result.problem_count and not result.repairs:
            raise NotDoneError(
                "the file itself is damaged, and writing to it could make that worse; restore a backup"
            )


def _back_up(directory: Path) -> Path:
    patient = _open(directory)
    try:
        return back_up(patient.connection, patient.path)
    except (OSError, sqlite3.Error) as error:
        raise NotDoneError(f"no backup could be made, so nothing was repaired: {error}") from error
    finally:
        patient.connection.close()


def _treat(directory: Path, signing_key: str | None, chosen: Sequence[Repair | Reindex]) -> list[Repaired]:
    indexes = [one for one in chosen if isinstance(one, Reindex)]
    repairs = [one for one in chosen if isinstance(one, Repair)]
    try:
        if indexes:
            return rebuild_indexes(directory, directory / FILE_NAME, indexes)
        if _is_live(directory):
            return LiveServer(directory, signing_key).repair(repairs)
        return repair_stopped(directory, repairs)
    except (StorageError, sqlite3.Error) as error:
        raise NotDoneError(f"the repair could not be done: {error}") from error


def _name(wanted: Repair | Reindex) -> str:
    return f"reindex {wanted.table}" if isinstance(wanted, Reindex) else f"{wanted.kind} {wanted.key}"


# ---- opening ------------------------------------------------------------------------------------


def _open(directory: Path) -> Patient:
    path = directory / FILE_NAME
    if not os.path.isfile(path):  # Raises nothing, whatever the name.
        raise NotDoneError(f"there is no database {path}; name its directory with --sqlite-dir")
    is_live = _is_live(directory)
    # Without a log nobody writes, and then SQLite need not make files beside the database to read it.
    has_log = path.with_name(f"{FILE_NAME}-wal").exists()
    mode = "mode=ro" if is_live or has_log else "immutable=1"
    connection = None
    log_damage = what_is_lost(path) if has_log else ""
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?{mode}", uri=True, timeout=5, isolation_level=None
        )
        connection.text_factory = _lenient_text
        return Patient(path, connection, readable_version(connection, path), is_live, log_damage)
    except (sqlite3.Error, StorageError, UnicodeDecodeError) as error:
        if connection is not None:
            connection.close()
        why = str(error) if isinstance(error, StorageError) else f"{path} cannot be read: {error}"
        raise NotDoneError(why) from error


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


# ---- reports ------------------------------------------------------------------------------------


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


class _TextReport:
    """Tells a person what is found and done, as it is."""

    def begin(self, patient: Patient) -> None:
        state = "a server runs on it" if patient.is_live else "no server runs on it"
        print(f"{patient.path}, schema {patient.version}, {state}\n", flush=True)

    def examined(self, result: Result) -> None:
        print("\n".join(_lines(result)), flush=True)

    def repairing(self, wanted: Sequence[tuple[Repair | Reindex, str]]) -> None:
        print(f"\n{_plan(wanted, 'Repairing')}\n", flush=True)

    def repaired(self, done: Sequence[Treatment]) -> None:
        for one in done[:SHOWN_MAX]:
            mark = "done  " if one.result.is_done else "FAILED"
            print(f"{mark} {_name(one.wanted)}: {one.result.detail}")
        print(
            f"{sum(one.result.is_done for one in done):,} of {len(done):,} done. Examining again.\n",
            flush=True,
        )

    def end(self, case: Case) -> None:
        if case.backup is not None:
            print(f"\nThe database as it was: {case.backup}")
        if case.problem_count == 0:
            print("\nAll is well.")
            return
        count = case.problem_count
        changed = "" if case.treatments else " Nothing was changed."
        print(f"\n{count:,} problem{'s' if count > 1 else ''} found.{changed}")
        if case.repairs and not case.treatments:
            print(f"\n{_plan(case.repairs, 'With --repair this would be done')}")


def _plan(wanted: Sequence[tuple[Repair | Reindex, str]], heading: str) -> str:
    lines = [f"{heading}:", *(f"- {_name(one)}: {why}" for one, why in wanted[:SHOWN_MAX])]
    if more := len(wanted) - SHOWN_MAX:
        lines += [f"- and {more:,} more"] if more > 0 else []
    return "\n".join(lines)


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


class _JSONReport(_TextReport):
    """Says everything at the end, as one object."""

    def __init__(self) -> None:
        self._patient: Patient | None = None

    def begin(self, patient: Patient) -> None:
        self._patient = patient

    def examined(self, result: Result) -> None: ...

    def repairing(self, wanted: Sequence[tuple[Repair | Reindex, str]]) -> None: ...

    def repaired(self, done: Sequence[Treatment]) -> None: ...

    def end(self, case: Case) -> None:
        assert self._patient is not None
        report = {
            "database": str(self._patient.path),
            "schema": self._patient.version,
            "live": self._patient.is_live,
            "healthy": case.problem_count == 0,
            "checks": [_shown(result) for result in case.results],
            "repairable": [{"repair": _name(one), "why": why} for one, why in case.repairs],
            "repairs": [one.shown() for one in case.treatments],
            "backup": str(case.backup) if case.backup is not None else None,
        }
        print(json.dumps(report, indent=2))


def _shown(result: Result) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": result.check.name,
        "promise": result.check.promise,
        "rows": result.examined,
        "problem_count": result.problem_count,
        "problems": result.problems,
    }
    return {**shown, "advice": result.check.advice} if result.problem_count else shown
