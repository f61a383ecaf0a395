"""`inngest pause` and `inngest resume` against a real server that is killed in between."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import wait_for
from tests.support.scripted import Answer, App, step_hash, wait_ended
from tests.support.server import COMMAND, ServerProcess

pytestmark = [pytest.mark.integration]

SLUG = "scripted-order"


def order(memos: dict[str, Any]) -> Answer:
    """Waits for a payment, and returns it."""
    paid = memos.get(step_hash("paid"))
    if paid is None:
        opts = {"event": "test/paid", "timeout": "1h"}
        return 206, [{"op": "WaitForEvent", "id": step_hash("paid"), "name": "paid", "opts": opts}]
    return 200, paid["data"]


def inngest(*words: str, directory: Path) -> str:
    """What a command prints that asks the server of a directory."""
    done = subprocess.run(
        [COMMAND, *words, "--sqlite-dir", directory], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_paused_function_stands_still_over_a_kill_and_goes_on_where_it_was(
    tmp_path: Path, make_app: Callable[..., App]
) -> None:
    app = make_app(order=order)
    data = tmp_path / "data"
    server = ServerProcess(data, "dev", "--no-poll")
    with server:
        app.register_at(server)

        def work() -> dict[str, int]:
            return server.api.call("GET", f"/api/ui/v1/functions/{SLUG}")["work"]

        held = server.api.send("test/order")
        wait_for(lambda: app.calls and not any(work().values()), "the run waits for its event")
        assert "is paused since" in inngest("pause", SLUG, directory=data)
        server.api.send("test/paid", {"amount": 5})
        wait_for(lambda: work()["parked"] == 1, "the wait has ended, and its request is held back")
        server.kill()
        server.start()

        assert work() == {"queued": 0, "parked": 1, "sent": 0}
        assert len(app.calls) == 1
        skipped = server.api.send("test/order")
        assert [run["status"] for run in server.api.runs_of_event(skipped)] == ["Skipped"]

        assert inngest("resume", SLUG, directory=data) == f"{SLUG} is active\n"
        assert wait_ended(server, held) == ("Completed", {"amount": 5})
        assert len(app.calls) == 2
