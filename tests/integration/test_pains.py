"""What users of other servers have reported, on a real process. `docs/explanation/pains.md` has the threads.

Here is only what no other test would have caught.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import free_port, wait_for
from tests.support.scripted import Answer, App, done, ran, rows, step_hash, wait_ended
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ORPHANS = 300


def op(code: str, step: str, **opts: object) -> Answer:
    return 206, [{"op": code, "id": step_hash(step), "name": step, "opts": opts}]


def cron_runs(server: ServerProcess) -> int:
    return rows(server, "SELECT count(*) FROM runs WHERE cron IS NOT NULL")[0][0]


def test_crons_go_on_after_a_kill_though_no_app_registers_again(
    tmp_path: Path, make_app: Callable[..., App]
) -> None:
    app = make_app()
    server = ServerProcess(tmp_path / "data", "dev", "--no-poll")
    with server:
        app.register_at(server, crons={"tick": "@every 1s"})
        wait_for(lambda: cron_runs(server) > 0, "the cron fires")
        server.kill()
        before = cron_runs(server)
        server.start()
        wait_for(lambda: cron_runs(server) >= before + 2, "it fires again")
        assert "sync.done" not in server.log_text().rpartition("server.listening")[2]


def test_a_waiting_child_can_be_cancelled_after_a_kill_and_its_parent_goes_on(
    tmp_path: Path, make_app: Callable[..., App]
) -> None:
    def parent(memos: dict[str, Any]) -> Answer:
        memo = memos.get(step_hash("call"))
        if memo is None:
            return op("InvokeFunction", "call", function_id="scripted-child", payload={"data": {}})
        return 200, "told" if "error" in memo else "not told"

    def child(memos: dict[str, Any]) -> Answer:
        return op("WaitForEvent", "wait", event="test/never", timeout="1h")

    app = make_app(parent=parent, child=child)
    server = ServerProcess(tmp_path / "data", "dev", "--no-poll")
    with server:
        app.register_at(server)
        event_id = server.api.send("test/parent")
        waiting = "SELECT run_id FROM waits WHERE kind = 'event'"
        ((child_id,),) = wait_for(lambda: rows(server, waiting) or None, "the child waits")
        server.kill()
        server.start()
        server.api.cancel(child_id)
        assert server.api.run(child_id)["status"] == "Cancelled"
        assert wait_ended(server, event_id) == ("Completed", "told")
        assert rows(server, "SELECT count(*) FROM waits") == [(0,)]


def test_runs_of_an_app_that_is_gone_starve_nobody_and_can_be_cancelled(
    tmp_path: Path, make_app: Callable[..., App]
) -> None:
    gone, here = (
        make_app(lost=done),
        make_app(steps=lambda memos: ran("a", 1) if not memos else (200, "done")),
    )
    with ServerProcess(tmp_path / "data", "dev", "--no-poll", "--retry-interval", "1") as server:
        gone.url = f"http://127.0.0.1:{free_port()}/api/inngest"  # Nobody will ever answer there.
        gone.name = "gone"
        gone.register_at(server)
        here.register_at(server)
        orphans = server.api.send_all([{"name": "test/lost"}] * ORPHANS)
        for _ in range(5):
            event_id = server.api.send("test/steps")
            assert wait_ended(server, event_id, timeout_s=10) == ("Completed", "done")
        server.kill()
        server.start()
        assert wait_ended(server, server.api.send("test/steps"), timeout_s=10) == ("Completed", "done")
        (run,) = server.api.runs_of_event(orphans[0])
        if run["status"] == "Running":
            server.api.cancel(run["run_id"])
        server.api.wait_ended(run["run_id"])


def test_an_event_that_starts_nothing_is_kept_and_says_so(
    tmp_path: Path, make_app: Callable[..., App]
) -> None:
    app = make_app(noop=done)
    with ServerProcess(tmp_path / "data", "dev", "--no-poll") as server:
        early = server.api.send("test/noop", {"number": 1})
        app.register_at(server)
        assert server.api.call("GET", f"/v1/events/{early}")["data"] == {"number": 1}
        assert server.api.runs_of_event(early) == []
        assert wait_ended(server, server.api.send("test/noop")) == ("Completed", "done")
