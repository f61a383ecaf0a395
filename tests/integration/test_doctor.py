"""`inngest doctor`: well on every database that a server left, and what it says about damaged ones."""

import asyncio
import json
import os
import random
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inngest_server.cli.main import main
from inngest_server.engine.engine import Engine
from inngest_server.storage.sqlite import SQLiteStorage
from tests.support.api import request
from tests.support.server import COMMAND, ServerProcess
from tests.unit.engine.builders import Office, make_function
from tests.unit.runs.builders import make_failure, make_op, ran

pytestmark = pytest.mark.integration

PLACED = "shop/order.placed"
CHECKS = 10


class SQLiteOffice(Office):
    """An engine over a real file."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.file = SQLiteStorage(directory, shard_count=4)
        self.engine = Engine(self.file, self.clock, random.Random(7))
        self.engine.driver = self.desk


async def fill(directory: Path) -> None:
    """Runs in every state: completed, failed, asleep, called with a cancelOn, waiting for a child."""
    office = SQLiteOffice(directory)
    stop = {"cancel": [{"event": "shop/stop"}]}
    await office.open(make_function("fulfil", PLACED, retries=0, **stop), make_function("child"))

    async def call() -> Any:
        await office.send(PLACED, {"id": 1})
        return office.desk.calls[-1]

    await office.complete(await call())
    await office.answer(await call(), make_failure())
    await office.report(await call(), ran("a", 1))
    await office.report(await call(), make_op("Sleep", "nap", opts={"duration": "1h"}))
    invoke = make_op("InvokeFunction", "child", opts={"function_id": "shop-child", "payload": {"data": {}}})
    await office.report(await call(), invoke)
    await call()
    await office.file.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    asyncio.run(fill(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def examine(capsys: pytest.CaptureFixture[str]) -> Callable[[Path], tuple[int, dict[str, Any]]]:
    def run(directory: Path) -> tuple[int, dict[str, Any]]:
        status = main(["doctor", "--json", "--sqlite-dir", str(directory)])
        return status, json.loads(capsys.readouterr().out)

    return run


def change(directory: Path, *statements: str) -> None:
    connection = sqlite3.connect(directory / "main.db", isolation_level=None)
    for statement in statements:
        assert connection.execute(statement).rowcount != 0, statement
    connection.close()


def problems_of(report: dict[str, Any]) -> dict[str, list[str]]:
    return {check["name"]: check["problems"] for check in report["checks"] if check["problem_count"]}


def test_a_database_that_was_closed_is_well_and_stays_as_it_is(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file.name: file.read_bytes() for file in directory.iterdir()}

    assert main(["doctor", "--sqlite-dir", str(directory)]) == 0

    shown = capsys.readouterr().out
    assert "no server runs on it" in shown
    assert (shown.count("\nok "), shown.splitlines()[-1]) == (CHECKS, "All is well.")
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == before


LIVE = "(SELECT min(run_id) FROM runs WHERE ended_at_ms IS NULL)"
ENDED = "(SELECT min(run_id) FROM runs WHERE ended_at_ms IS NOT NULL)"
ASLEEP = "(SELECT run_id FROM waits WHERE kind = 'sleep')"


@pytest.mark.parametrize(
    ("statements", "check", "problem"),
    [
        ([f"DELETE FROM items WHERE run_id = {LIVE}"], "reasons to wake", "neither work nor a wait"),
        (["DELETE FROM waits WHERE kind = 'sleep'"], "reasons to wake", "neither work nor a wait"),
        (["UPDATE events SET body = NULL, crc = 0"], "reasons to wake", "its event is missing"),
        (["DELETE FROM functions"], "reasons to wake", "its function is missing"),
        ([f"UPDATE items SET run_id = {ENDED}"], "work", "which has ended as"),
        (["DELETE FROM runs WHERE ended_at_ms IS NULL"], "work", "which does not exist"),
        (["UPDATE items SET state = 'lost'"], "work", "has the state 'lost', which does not exist"),
        (["UPDATE items SET shard = shard + 1"], "work", "and its run on shard"),
        (["UPDATE items SET item_id = 'x.' || item_id"], "work", "is named for another run"),
        ([f"UPDATE waits SET run_id = {ENDED} WHERE kind = 'sleep'"], "waits", "which has ended as"),
        (["UPDATE waits SET kind = 'nap' WHERE kind = 'sleep'"], "waits", "has the kind 'nap'"),
        (["INSERT INTO messages VALUES (0, 0, 1, x'5b5d', 223132457)"], "messages", "cannot be understood"),
        (
            ["""INSERT INTO messages VALUES (0, 0, 1, CAST('["child_ended","gone","w","m"]' AS BLOB), 0)"""],
            "messages",
            "for run gone, which does not exist",
        ),
        (
            [f"UPDATE runs SET status = 'Completed' WHERE run_id = {LIVE}"],
            "statuses",
            "time of ending is missing",
        ),
        (
            [f"UPDATE runs SET status = 'Running' WHERE run_id = {ENDED}"],
            "statuses",
            "is Running, and its time",
        ),
        ([f"UPDATE runs SET started_at_ms = NULL WHERE run_id = {LIVE}"], "statuses", "starting is missing"),
        ([f"UPDATE runs SET ended_at_ms = 1 WHERE run_id = {ENDED}"], "statuses", "in another order"),
        (["UPDATE runs SET status = 'Odd'"], "statuses", "the status 'Odd', which does not exist"),
        (["DELETE FROM journal WHERE n = 1"], "journals", "entry 2 follows 0"),
        (["UPDATE journal SET meta = x'7b7d'"], "journals", "changed on disk since written"),
        (["DELETE FROM journal WHERE kind = 'ended'"], "journals", "the last entry of its journal is"),
        ([f"DELETE FROM journal WHERE run_id = {ENDED}"], "journals", "has ended and has no journal"),
        ([f"DELETE FROM runs WHERE run_id = {ASLEEP}"], "journals", "there is no such run"),
        (["UPDATE events SET body = x'7b7d'"], "checksums", "body changed on disk since written"),
        (
            ["UPDATE runs SET output = x'31' WHERE status = 'Completed'"],
            "checksums",
            "output changed on disk",
        ),
        (["UPDATE functions SET config = x'31'"], "checksums", "config changed on disk"),
        (["DROP TABLE marks"], "structure", "no such table"),
    ],
)
def test_damage_is_found_and_explained(
    statements: list[str],
    check: str,
    problem: str,
    directory: Path,
    examine: Callable[[Path], tuple[int, dict[str, Any]]],
) -> None:
    change(directory, *statements)
    status, report = examine(directory)
    assert (status, report["healthy"]) == (1, False)
    assert any(problem in line for line in problems_of(report)[check]), report


def test_pages_that_were_overwritten_are_found(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = directory / "main.db"
    connection = sqlite3.connect(path)
    roots = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name IN ('journal', 'events')")
    data = bytearray(path.read_bytes())
    for (page,) in roots:
        data[(page - 1) * 4096 : (page - 1) * 4096 + 600] = os.urandom(600)
    connection.close()
    path.write_bytes(data)
    assert main(["doctor", "--sqlite-dir", str(directory)]) == 1
    shown = capsys.readouterr().out
    assert "WRONG  structure" in shown
    assert "restore a backup" in shown


def test_what_cannot_be_examined_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--sqlite-dir", str(tmp_path)]) == 2
    assert "there is no database" in capsys.readouterr().err
    (tmp_path / "main.db").write_bytes(b"not a database" * 500)
    assert main(["doctor", "--sqlite-dir", str(tmp_path)]) == 2
    assert "cannot be read: file is not a database" in capsys.readouterr().err
    (tmp_path / "main.db").unlink()
    sqlite3.connect(tmp_path / "main.db").execute("CREATE TABLE t (x)").connection.close()
    assert main(["doctor", "--sqlite-dir", str(tmp_path)]) == 2
    assert "was made by another program" in capsys.readouterr().err


def run_doctor(directory: Path) -> dict[str, Any]:
    words = [COMMAND, "doctor", "--json", "--sqlite-dir", directory]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_server_is_examined_while_it_runs_and_after_it_was_killed(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", "dev", "--no-poll")
    with server:
        for number in range(50):
            body = [{"name": PLACED, "data": {"number": number, "part": part}} for part in range(20)]
            assert request("POST", f"{server.url}/e/key", body)[0] == 200
        live = run_doctor(tmp_path / "data")
        assert (live["live"], live["healthy"]) == (True, True)
        server.kill()
        killed = run_doctor(tmp_path / "data")
        assert (killed["live"], killed["healthy"]) == (False, True)
        checksums = next(check for check in killed["checks"] if check["name"] == "checksums")
        assert checksums["rows"] == 1000
