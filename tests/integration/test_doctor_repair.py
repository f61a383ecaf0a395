"""`inngest doctor --repair`: what it does about each finding, on a stopped database and beside a server."""

import asyncio
import json
import os
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inngest_server.cli.main import main
from inngest_server.engine.repairs import NOTHING, Repair, RepairKind, repair
from tests.integration.test_doctor import ASLEEP, ENDED, LIVE, PLACED, SQLiteOffice, change, fill, problems_of
from tests.support.server import COMMAND, ServerProcess
from tests.unit.engine.builders import make_function

pytestmark = pytest.mark.integration

Doctor = Callable[..., tuple[int, dict[str, Any]]]

ORPHAN = "01M3250V0006WZZGW89W6QDKY4"
ITEM = "'discovery', '', 0, 0, 0, 0, 'queued', 1, 1, 0, ''"


async def sync(directory: Path) -> None:
    """The functions of `fill`, and one with a schedule."""
    office = SQLiteOffice(directory)
    stop = {"cancel": [{"event": "shop/stop"}]}
    nightly = make_function("nightly", triggers=[{"cron": "0 3 * * *"}])
    await office.open(make_function("fulfil", PLACED, retries=0, **stop), make_function("child"), nightly)
    await office.file.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    asyncio.run(fill(tmp_path / "data"))
    asyncio.run(sync(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def doctor(directory: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    def run(*flags: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        status = main(["doctor", "--json", "--sqlite-dir", str(directory), *flags])
        return status, json.loads(capsys.readouterr().out)

    return run


def query(directory: Path, sql: str) -> list[Any]:
    connection = sqlite3.connect(directory / "main.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


MESSAGE = """INSERT INTO messages VALUES (0, 0, 1, CAST('["child_ended","gone","w","m"]' AS BLOB), 0)"""
FUNCTION, EVENT = "(SELECT max(function_id) FROM functions)", "(SELECT max(internal_id) FROM events)"
WINDOW = """INSERT INTO windows
    SELECT 'w', 1, {function}, 'debounce', '', 1, 99999999999999, NULL, 1, 0, 0, 1, {events}, ''"""
JOB = f"""INSERT INTO jobs SELECT run_id, 1, 'cancel', '', {FUNCTION}, x'7b7d', 1, 0, '', 'running', 1, NULL,
    0, 0, 0, x'5b5d', 1 FROM runs LIMIT 1"""
REPAIRABLE = [
    pytest.param([f"DELETE FROM items WHERE run_id = {LIVE}"], "wake_run", id="no work"),
    pytest.param(["DELETE FROM waits WHERE kind = 'sleep'"], "wake_run", id="no wait"),
    pytest.param(["DELETE FROM events"], "fail_run", id="no event"),
    pytest.param(["UPDATE events SET body = x'7b7d'"], "mend_event", id="event damaged"),
    pytest.param([f"UPDATE items SET run_id = {ENDED}"], "mend_item", id="work of an ended run"),
    pytest.param(["UPDATE items SET state = 'lost'"], "mend_item", id="work in no state"),
    pytest.param(["UPDATE items SET shard = shard + 1"], "mend_item", id="work on another shard"),
    pytest.param(["UPDATE items SET item_id = 'x.' || item_id"], "mend_item", id="work misnamed"),
    pytest.param(
        [f"UPDATE waits SET run_id = {ENDED} WHERE kind = 'sleep'"], "mend_wait", id="wait of ended"
    ),
    pytest.param(["UPDATE waits SET kind = 'nap' WHERE kind = 'sleep'"], "mend_wait", id="wait of no kind"),
    pytest.param(["UPDATE waits SET captured = x'5b305d'"], "mend_wait", id="wait damaged"),
    pytest.param(["INSERT INTO messages VALUES (0, 0, 1, x'5b5d', 223132457)"], "drop_message", id="garbled"),
    pytest.param([MESSAGE], "drop_message", id="message to nobody"),
    pytest.param(
        [f"INSERT INTO terms VALUES ({ENDED}, 1, NULL, '', '', '')"], "drop_row", id="terms of ended"
    ),
    pytest.param([WINDOW.format(function=FUNCTION, events="'gone'")], "drop_row", id="window of no event"),
    pytest.param([WINDOW.format(function="'gone'", events=EVENT)], "drop_row", id="window of no function"),
    pytest.param(["INSERT INTO pauses VALUES ('gone', 1, 1, NULL)"], "drop_row", id="pause of no function"),
    pytest.param(
        [f"INSERT INTO rekeys VALUES ({FUNCTION}, 1, x'5b5d', 1)"], "drop_row", id="former keys damaged"
    ),
    pytest.param([JOB], "drop_row", id="job damaged"),
    pytest.param(
        [f"UPDATE runs SET status = 'Completed' WHERE run_id = {LIVE}"], "settle_run", id="live as ended"
    ),
    pytest.param(
        [f"UPDATE runs SET status = 'Running' WHERE run_id = {ENDED}"], "settle_run", id="ended as live"
    ),
    pytest.param(
        [f"UPDATE runs SET ended_at_ms = NULL, status = 'Running' WHERE run_id = {ENDED}"],
        "settle_run",
        id="ended as running",
    ),
    pytest.param(
        [f"UPDATE runs SET started_at_ms = NULL WHERE run_id = {LIVE}"], "settle_run", id="no start"
    ),
    pytest.param([f"UPDATE runs SET ended_at_ms = 1 WHERE run_id = {ENDED}"], "settle_run", id="order"),
    pytest.param(["UPDATE runs SET status = 'Odd'"], "settle_run", id="status"),
    pytest.param(["DELETE FROM journal WHERE n = 1"], "mend_journal", id="entry missing"),
    pytest.param(["UPDATE journal SET meta = x'7b7d'"], "mend_journal", id="entries damaged"),
    pytest.param(["DELETE FROM journal WHERE kind = 'ended'"], "settle_run", id="end missing"),
    pytest.param([f"DELETE FROM journal WHERE run_id = {ENDED}"], "settle_run", id="no journal"),
    pytest.param(
        ["UPDATE runs SET output = x'31' WHERE status = 'Completed'"], "mend_output", id="output damaged"
    ),
    pytest.param(["UPDATE crons SET cron_id = 'x', function_id = 'gone'"], "set_crons", id="schedule lost"),
]


@pytest.mark.parametrize(("statements", "kind"), REPAIRABLE)
def test_what_can_be_repaired_is_and_nothing_is_wrong_afterwards(
    statements: list[str], kind: str, directory: Path, doctor: Doctor
) -> None:
    change(directory, *statements)
    status, report = doctor()
    assert status == 1
    assert kind in {one["repair"].split()[0] for one in report["repairable"]}, report

    status, report = doctor("--repair")

    assert (status, report["healthy"]) == (0, True), report
    assert all(one["done"] for one in report["repairs"])
    again, report = doctor("--repair")
    assert (again, report["repairs"], report["backup"]) == (0, [], None)


def test_the_plan_is_shown_and_nothing_is_changed_without_repair(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(directory, f"DELETE FROM items WHERE run_id = {LIVE}")
    before = (directory / "main.db").read_bytes()
    assert main(["doctor", "--sqlite-dir", str(directory)]) == 1
    shown = capsys.readouterr().out
    assert "With --repair this would be done:\n- wake_run" in shown
    assert (directory / "main.db").read_bytes() == before


def test_a_repair_makes_a_copy_first_unless_told_not_to(directory: Path, doctor: Doctor) -> None:
    change(directory, "UPDATE runs SET output = x'31' WHERE status = 'Completed'")
    _, report = doctor("--repair")
    backup = Path(report["backup"])
    assert backup.name.startswith("main.db.before-repair-")
    assert os.stat(backup).st_mode & 0o777 == 0o600
    connection = sqlite3.connect(backup)
    kept = connection.execute("SELECT output FROM runs WHERE status = 'Completed'").fetchall()
    connection.close()
    assert kept == [(b"1",)]

    change(directory, "UPDATE runs SET output = x'31' WHERE status = 'Completed'")
    _, report = doctor("--repair", "--no-backup")
    assert report["backup"] is None
    assert len(list(directory.glob("*.before-repair-*"))) == 1


def test_a_run_whose_memo_is_damaged_fails_and_the_others_stay_as_they_are(
    directory: Path, doctor: Doctor
) -> None:
    [(run_id,)] = query(directory, f"SELECT {ASLEEP}")
    others = f"SELECT run_id, status FROM runs WHERE run_id <> '{run_id}' ORDER BY run_id"
    before = query(directory, others)
    change(directory, f"UPDATE journal SET meta = x'7b7d' WHERE run_id = '{run_id}'")

    assert doctor("--repair")[0] == 0

    [(status, output)] = query(directory, f"SELECT status, output FROM runs WHERE run_id = '{run_id}'")
    assert (status, json.loads(output)["name"]) == ("Failed", "data_damaged")
    assert query(directory, others) == before
    [(kind,)] = query(
        directory, f"SELECT kind FROM journal WHERE run_id = '{run_id}' ORDER BY n DESC LIMIT 1"
    )
    assert kind == "ended"


def test_a_run_that_only_its_row_calls_ended_goes_on(directory: Path, doctor: Doctor) -> None:
    [(run_id,)] = query(directory, f"SELECT {ASLEEP}")
    change(
        directory,
        f"UPDATE runs SET status = 'Completed', ended_at_ms = created_at_ms + 1 WHERE run_id = '{run_id}'",
    )
    assert doctor("--repair")[0] == 0
    assert query(directory, f"SELECT status FROM runs WHERE run_id = '{run_id}'") == [("Running",)]
    [(items,)] = query(directory, f"SELECT count(*) FROM items WHERE run_id = '{run_id}'")
    assert items == 1


def test_a_run_that_its_event_calls_ended_stays_so(directory: Path, doctor: Doctor) -> None:
    [(run_id,)] = query(directory, "SELECT run_id FROM runs WHERE status = 'Completed'")
    change(directory, f"DELETE FROM journal WHERE run_id = '{run_id}' AND kind = 'ended'")
    assert doctor("--repair")[0] == 0
    assert query(directory, f"SELECT status FROM runs WHERE run_id = '{run_id}'") == [("Completed",)]


def test_a_damaged_function_comes_back_with_the_next_sync_and_its_runs_go_on(
    directory: Path, doctor: Doctor
) -> None:
    change(directory, "UPDATE functions SET config = x'31' WHERE slug = 'shop-fulfil'")
    status, report = doctor("--repair")
    assert status == 1
    assert "sync its app again" in str(problems_of(report)["reasons to wake"])

    asyncio.run(sync(directory))
    assert doctor()[0] == 0


def test_broken_indexes_are_made_anew(directory: Path, doctor: Doctor) -> None:
    hide_index(directory, "events_by_name", "INSERT INTO events SELECT {columns} FROM events LIMIT 1")
    status, report = doctor()
    assert (status, {one["repair"] for one in report["repairable"]}) == (1, {"reindex events"})

    assert doctor("--repair")[0] == 0


def hide_index(directory: Path, name: str, statement: str) -> None:
    """Insert a row that an index does not learn of."""
    path = directory / "main.db"
    of_index = f"FROM sqlite_schema WHERE name = '{name}'"
    columns = [row[1] for row in query(directory, "PRAGMA table_info(events)")]
    copied = [f"'00' || substr({one}, 3)" if one == "internal_id" else one for one in columns]
    for step in (
        [f"CREATE TABLE hidden AS SELECT * {of_index}", "PRAGMA writable_schema = ON", f"DELETE {of_index}"],
        [statement.format(columns=", ".join(copied))],
        ["PRAGMA writable_schema = ON", "INSERT INTO sqlite_schema SELECT * FROM hidden"],
        ["DROP TABLE hidden"],
    ):
        connection = sqlite3.connect(path, isolation_level=None)
        for sql in step:
            connection.execute(sql)
        connection.close()


def test_a_file_that_is_damaged_itself_is_not_written_to(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = directory / "main.db"
    [(page,)] = query(directory, "SELECT rootpage FROM sqlite_schema WHERE name = 'events'")
    data = bytearray(path.read_bytes())
    data[(page - 1) * 4096 : page * 4096] = bytes(4096)
    path.write_bytes(data)
    change(directory, f"DELETE FROM items WHERE run_id = {LIVE}")
    before = path.read_bytes()

    assert main(["doctor", "--repair", "--sqlite-dir", str(directory)]) == 2

    assert "restore a backup" in capsys.readouterr().err
    assert path.read_bytes() == before


# Beside a server.


async def test_a_repair_finds_nothing_to_do_where_all_is_well(tmp_path: Path) -> None:
    await fill(tmp_path)
    office = SQLiteOffice(tmp_path)
    await office.engine.start(at_rest=True)
    keys = {
        "run": "SELECT run_id FROM runs",
        "item": "SELECT item_id FROM items",
        "wait": "SELECT wait_id FROM waits",
        "event": "SELECT internal_id FROM events",
    }
    rows = {name: [key for (key,) in query(tmp_path, sql)] for name, sql in keys.items()}
    dump = [
        sorted(query(tmp_path, f"SELECT * FROM {table}")) for table in ("runs", "journal", "items", "waits")
    ]
    deciding = asyncio.create_task(office.engine.run())
    for kind, name in (
        (RepairKind.WAKE_RUN, "run"),
        (RepairKind.FAIL_RUN, "run"),
        (RepairKind.MEND_JOURNAL, "run"),
        (RepairKind.SETTLE_RUN, "run"),
        (RepairKind.MEND_OUTPUT, "run"),
        (RepairKind.MEND_EVENT, "event"),
        (RepairKind.MEND_ITEM, "item"),
        (RepairKind.MEND_WAIT, "wait"),
    ):
        for key in rows[name]:
            assert (await repair(office.engine, Repair(kind, key))).is_done
    for key in ("0" * 26, "0" * 26 + ".x"):
        for kind in (RepairKind.WAKE_RUN, RepairKind.FAIL_RUN, RepairKind.MEND_ITEM, RepairKind.MEND_JOURNAL):
            assert (await repair(office.engine, Repair(kind, key))).detail == NOTHING
    deciding.cancel()
    await asyncio.gather(deciding, return_exceptions=True)
    await office.file.close()
    assert dump == [
        sorted(query(tmp_path, f"SELECT * FROM {table}")) for table in ("runs", "journal", "items", "waits")
    ]


def damage(database: Path, *statements: str) -> None:
    connection = sqlite3.connect(database, timeout=10)
    with connection:
        for statement in statements:
            assert connection.execute(statement).rowcount, statement
    connection.close()


def run_doctor(directory: Path, *flags: str) -> tuple[int, dict[str, Any], str]:
    words = [COMMAND, "doctor", "--json", "--sqlite-dir", directory, *flags]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


@pytest.mark.slow
def test_a_server_repairs_its_own_database_and_a_stopped_one_is_repaired_without(tmp_path: Path) -> None:
    key = "a1b2c3d4e5f60718293a4b5c6d7e8f900112233445566778899aabbccddeeff0"
    directory = tmp_path / "data"
    server = ServerProcess(directory, "start", signing_key=key, event_key="event-key")
    lost = "UPDATE events SET body = x'7b7d' WHERE name = 'shop/other'"
    with server:
        server.api.send("shop/other")
        kept = server.api.send(PLACED)
        damage(server.database, lost, f"INSERT INTO items SELECT '{ORPHAN}.0', 1, '{ORPHAN}', {ITEM}")

        status, _, said = run_doctor(directory, "--repair")
        assert (status, "INNGEST_SIGNING_KEY" in said) == (2, True)
        status, report, said = run_doctor(directory, "--repair", "--signing-key", key)
        assert (status, report["live"], report["healthy"]) == (0, True, True), (report, said)
        assert len(report["repairs"]) == 2
        names = [event["name"] for event in server.api.call("GET", "/v1/events")]
        assert names == [PLACED, "shop/other"]
        server.kill()
    damage(server.database, lost.replace("shop/other", PLACED))
    status, report, said = run_doctor(directory, "--repair")
    assert status == 0, said
    assert (report["live"], report["healthy"]) == (False, True)
    with server.start():
        data = server.api.call("GET", f"/v1/events/{kept}")["data"]
        assert data["_inngest"]["error"]["name"] == "event_lost"
