"""What a stranger sees first: `make run`."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.processes import REPOSITORY, Process, free_port, wait_for

# One at a time: they share the port of the example app.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.xdist_group("demo")]

STEPS = ("reserve stock", "wait for the courier", "notify customer")


def demo(tmp_path: Path, port: int, *options: str) -> Process:
    command = [sys.executable, REPOSITORY / "examples" / "demo.py", "--port", str(port)]
    return Process(
        [*command, "--directory", tmp_path / "data", *options],
        log=tmp_path / "demo.log",
        cwd=tmp_path,
        env={"COLUMNS": "80"},
    ).start()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_without_a_terminal_it_shows_the_finished_run_with_its_steps_and_ends(tmp_path: Path) -> None:
    port = free_port()
    with demo(tmp_path, port, "--once") as process:
        wait_for(lambda: not process.is_running, "the demo ends", timeout_s=40)
        said = process.log_text()

        assert process.stop() == 0, said
        picture = said[said.index("Run 01") :]
        assert "Completed" in picture
        assert '"shelf": "B12"' in picture
        positions = [picture.index(step) for step in STEPS]
        assert positions == sorted(positions)
        assert not listens(port)


def test_it_serves_until_ctrl_c_and_ends_both_processes(tmp_path: Path) -> None:
    port = free_port()
    with demo(tmp_path, port) as process:
        wait_for(lambda: "Ctrl-C" in process.log_text(), "the demo serves", timeout_s=40)
        api = Api(f"http://localhost:{port}")
        (run,) = api.wait_runs(api.send("shop/order.placed", {"order": 7}))
        assert run["status"] == "Completed"
        assert run["output"]["order"] == 7

        os.kill(process.pid, signal.SIGINT)
        wait_for(lambda: not process.is_running, "the demo ends")
        said = process.log_text()
        assert process.stop() == 0, said
        assert said.rstrip().endswith("Stopped.")
        assert "Traceback" not in said
        assert not listens(port)


def test_a_port_in_use_is_said_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with demo(tmp_path, port, "--once") as process:
            wait_for(lambda: not process.is_running, "the demo ends")
            said = process.log_text()
            assert process.stop() == 1
            assert f"Port {port} is in use" in said
            assert "--port" in said
            assert "Traceback" not in said
