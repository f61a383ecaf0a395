"""A server killed with SIGKILL under load loses nothing and doubles nothing. See `crash_loop.py`."""

import asyncio
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.integration.audit import audit
from tests.integration.crash_loop import ANSWER_DELAY_MS, RULES_MET, CrashLoop
from tests.integration.sigkill_app import APP_ID, step_hash

pytestmark = [pytest.mark.integration, pytest.mark.slow]

KILLS = 3
CALLS_IN_FLIGHT = 20
"""At each kill at least so many, or the test would show little."""
NOT_SURELY_MET = ("overtaken", "cancelled_for_pause", "heavy_full", "shared_full")
SURELY_MET = [name for name in RULES_MET if name not in NOT_SURELY_MET]
"""Rules that make a difference however short the load is."""
LOAD_S = 3.0
"""Of the run whose records are damaged: each rule has to be met in it."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_server_killed_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(3))

    result = await CrashLoop(tmp_path, seed).run(KILLS)

    print(f"seed {seed}\n{result}")
    assert not result.findings.problem_count, f"seed {seed}, files in {tmp_path}\n{result}"
    assert result.kills >= KILLS
    assert min(result.in_flight) >= CALLS_IN_FLIGHT
    assert result.acknowledged > 0
    assert all(result.findings.figures[name] for name in SURELY_MET), str(result)


OF = "(SELECT slug FROM functions WHERE functions.function_id = runs.function_id)"
META = "UPDATE journal SET meta = CAST(replace(CAST(meta AS TEXT), {}) AS BLOB)"
URGENT = f"SELECT min(run_id) FROM runs WHERE {OF} = '{APP_ID}-urgent'"
DAMAGES = {
    "was acknowledged and is gone": "DELETE FROM events WHERE internal_id = :event",
    "is stored as": "UPDATE events SET name = 'sigkill/five' WHERE internal_id = :event",
    "has 0 runs": "DELETE FROM runs WHERE run_id = :run",
    "has 2 runs": "INSERT INTO runs SELECT '0' || substr(run_id, 2, 25) || 'X', shard, function_id, "
    "function_version, event_id, event_name, cron, parent, status, created_at_ms, started_at_ms, "
    "ended_at_ms, output, crc, batch_id, original_run_id, priority_ms FROM runs WHERE run_id = :run",
    "it is Failed": "UPDATE runs SET status = 'Failed' WHERE run_id = :run",
    "have not ended": "UPDATE runs SET ended_at_ms = NULL, status = 'Running' WHERE run_id = :run",
    "its output is": "UPDATE runs SET output = CAST('{}' AS BLOB) WHERE run_id = :run",
    "journal entry 3 follows 1": "DELETE FROM journal WHERE run_id = :run AND n = 2",
    "does not end with its end": "DELETE FROM journal WHERE run_id = :run AND kind = 'ended'",
    "was given": "UPDATE journal SET payload = :memo WHERE run_id = :run AND step_id = :step",
    "never returned": "UPDATE journal SET payload = :memo WHERE run_id = :run AND step_id = :step",
    "changed on disk": "UPDATE journal SET payload = :memo WHERE run_id = :run AND n = 1",
    "it is Completed": "UPDATE runs SET status = 'Completed' WHERE status = 'Cancelled'",
    "it invoked one function, which has 0 runs": "UPDATE runs SET parent = 'x' WHERE parent IS NOT NULL",
    "and its child returned": "UPDATE runs SET output = CAST('{}' AS BLOB) WHERE run_id = "
    "(SELECT min(run_id) FROM runs WHERE parent IS NOT NULL)",
    "was recorded twice": "UPDATE journal SET step_id = :step WHERE run_id = :run AND kind = 'memo'",
    "rows are left in items": "INSERT INTO items SELECT run_id, shard, run_id, 'discovery', '', 0, 0, 1, 0, "
    "'sent', 0, 0, 0, '' FROM runs WHERE run_id = :run",
    "rows are left in meters": "INSERT INTO meters VALUES ('t/x', 0, 0)",
    "jobs are not done": "UPDATE jobs SET status = 'running'",
    "is in 0 batches": f"DELETE FROM runs WHERE {OF} = '{APP_ID}-batched'",
    "is in 2 batches": "INSERT INTO batched_events SELECT run_id, 99, shard, event_id FROM batched_events "
    "LIMIT 1",
    "events of several keys": "INSERT INTO batched_events SELECT (SELECT max(run_id) FROM runs "
    f"WHERE {OF} = '{APP_ID}-batched'), 100 + row_number() OVER (), 0, internal_id "
    f"FROM events WHERE name = '{APP_ID}/batched'",
    "and was closed too early": "UPDATE runs SET created_at_ms = 0",
    "its window was closed too early": "UPDATE runs SET created_at_ms = 0",
    "not those of its batch": "DELETE FROM batched_events",
    "no run stands for it": f"UPDATE events SET ts_ms = 2 * ts_ms WHERE name = '{APP_ID}/debounced' AND "
    "internal_id NOT IN (SELECT event_id FROM runs)",
    "is older than the window of the run before": "UPDATE runs SET created_at_ms = -created_at_ms",
    "a run of throttled was let through": "UPDATE runs SET started_at_ms = 1000000",
    "a run of rated was let through": "UPDATE runs SET created_at_ms = 1000000",
    "runs, and is to have one in a day": f"DELETE FROM runs WHERE {OF} = '{APP_ID}-ordered'",
    "no note that it was dropped": "DELETE FROM marks WHERE key LIKE 'why/%'",
    "runs of heavy with one key were under way at once": "UPDATE runs SET started_at_ms = 0",
    "runs of replacing with one key were under way at once": "UPDATE runs SET started_at_ms = 0",
    "two runs of skipping": f"UPDATE runs SET created_at_ms = 0 WHERE {OF} = '{APP_ID}-skipping'",
    "which was not there then": f"UPDATE runs SET created_at_ms = 0 WHERE {OF} = '{APP_ID}-skipping' AND "
    "status = 'Skipped'",
    "no later run replaces it": f"UPDATE runs SET status = 'Cancelled' WHERE {OF} = '{APP_ID}-replacing'",
    "it was replaced because of": META.format("'singleton: run', 'timeout'"),
    "which was first in line": "UPDATE runs SET started_at_ms = started_at_ms + 30000 "
    f"WHERE run_id = ({URGENT})",
    "it timed out too early": "UPDATE runs SET ended_at_ms = started_at_ms + 999 WHERE started_at_ms > 0",
    "it was skipped because of": META.format("'FunctionPaused', 'Singleton'"),
    "while its function was paused": f"UPDATE runs SET created_at_ms = :paused WHERE {OF} = "
    f"'{APP_ID}-pausable'",
    "of them skipped": f"DELETE FROM runs WHERE {OF} = '{APP_ID}-pausable'",
    "was not about it": f"UPDATE runs SET created_at_ms = 2 * created_at_ms WHERE {OF} = '{APP_ID}-doomed'",
    "left it out": f"UPDATE runs SET created_at_ms = 0, started_at_ms = 0 WHERE {OF} = '{APP_ID}-doomed'",
    "was answered with 200 and is not stored": "DELETE FROM jobs",
}
"""What the auditor must say, and what is done to the database before."""


async def test_the_auditor_notices_each_kind_of_damage(tmp_path: Path) -> None:
    loop = CrashLoop(tmp_path, seed=1)
    result = await loop.run(kills=0, last_load_s=LOAD_S)
    assert not result.findings.problem_count, str(result)
    assert all(result.findings.figures[name] for name in SURELY_MET), str(result)
    with sqlite3.connect(tmp_path / "data" / "main.db") as connection:
        run_id, event_id = connection.execute(
            "SELECT runs.run_id, internal_id FROM runs JOIN events ON runs.event_id = events.internal_id "
            "WHERE name = ? AND events.event_id = internal_id LIMIT 1",
            (f"{APP_ID}/parallel3",),
        ).fetchone()
    connection.close()
    pause = loop.asked.pauses[0]
    values = {
        "run": run_id,
        "event": event_id,
        "step": step_hash("left"),
        "memo": b'{"data":"x"}',
        "paused": (pause.paused_ms + pause.resume_asked_ms) // 2,
    }

    for told, sql in DAMAGES.items():
        data = tmp_path / "damaged" / "data"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(tmp_path / "data", data)
        with sqlite3.connect(data / "main.db") as connection:
            assert connection.execute(sql, values).rowcount > 0, sql
        connection.close()
        findings = await asyncio.to_thread(
            audit, data, loop.witness, loop.acknowledged, loop.asked, answer_delay_ms=ANSWER_DELAY_MS
        )
        assert any(told in problem for problem in findings.problems), (told, findings.problems)
