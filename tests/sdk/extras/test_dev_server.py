"""`dev_server`: a real server for the tests of an app."""

import os
import socket
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

import inngest
from inngest.experimental import dev_server
from inngest.experimental.dev_server import DevServer, DevServerError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[DevServer]:
    monkeypatch.setenv("DEV_SERVER_PORT", "0")
    made = DevServer()
    yield made
    made.stop()


def command(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Make `inngest` a command of the test's own."""
    path = folder / "inngest"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(dev_server, "find_command", lambda: str(path))


def health(port: int) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.integration
async def test_a_started_server_takes_events_of_clients_that_are_made_afterwards(server: DevServer) -> None:
    server.start()
    client = inngest.Inngest(app_id="shop")

    ids = await client.send(inngest.Event(name="order"))
    await client.aclose()

    assert client.event_api_origin == server.origin
    assert len(ids) == 1


@pytest.mark.integration
def test_a_stopped_server_is_gone_with_its_variable_and_can_be_started_again(server: DevServer) -> None:
    server.start()
    first = server.port
    server.start()
    assert (server.port, health(first), os.environ["INNGEST_DEV"]) == (first, 200, server.origin)

    server.stop()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        health(first)
    assert "INNGEST_DEV" not in os.environ

    server.start()
    assert health(server.port) == 200


@pytest.mark.integration
@pytest.mark.parametrize(
    ("before", "during"), [("1", None), ("0", "0"), ("http://127.0.0.1:1", "http://127.0.0.1:1")]
)
def test_the_variable_is_only_changed_where_it_leaves_the_server_open(
    server: DevServer, monkeypatch: pytest.MonkeyPatch, before: str, during: str | None
) -> None:
    monkeypatch.setenv("INNGEST_DEV", before)

    server.start()
    assert os.environ["INNGEST_DEV"] == (during or server.origin)

    server.stop()
    assert os.environ["INNGEST_DEV"] == before


def test_the_port_is_the_one_of_dev_mode_unless_a_variable_names_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = DevServer()
    assert (server.port, server.origin) == (8288, "http://127.0.0.1:8288")

    monkeypatch.setenv("DEV_SERVER_PORT", "9000")
    assert server.port == 9000

    monkeypatch.setenv("DEV_SERVER_PORT", "ninety")
    with pytest.raises(DevServerError, match="DEV_SERVER_PORT is 'ninety'"):
        _ = server.port


def test_a_taken_port_is_named_with_what_to_do(server: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv("DEV_SERVER_PORT", str(port))

        with pytest.raises(DevServerError, match=f"port {port} is taken.*DEV_SERVER_PORT=0"):
            server.start()


@pytest.mark.parametrize("value", ["0", "false"])
def test_a_variable_turns_it_off(
    server: DevServer, monkeypatch: pytest.MonkeyPatch, value: str, tmp_path: Path
) -> None:
    command(tmp_path, monkeypatch, f"touch {tmp_path}/started")
    monkeypatch.setenv("DEV_SERVER_ENABLED", value)

    server.start()
    server.stop()

    assert not (tmp_path / "started").exists()


def test_a_server_that_ends_at_once_is_quoted(
    server: DevServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command(tmp_path, monkeypatch, "echo unknown flag --no-poll >&2; exit 3")

    with pytest.raises(DevServerError, match=r"with status 3. It said:\nunknown flag --no-poll"):
        server.start()


def test_a_server_that_does_not_answer_is_ended(
    server: DevServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; exec sleep 600")
    monkeypatch.setattr(dev_server, "START_MAX_S", 0.3)

    with pytest.raises(DevServerError, match=r"did not answer on port \d+ within 0\.3 seconds"):
        server.start()

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_server_that_ignores_the_request_to_end_is_killed(
    server: DevServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # It says that it works on a port of its own, and then ends only when killed.
    script = (
        "import http.server as h, signal, sys\n"
        "class H(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers()\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "h.HTTPServer(('127.0.0.1', int(sys.argv[5])), H).serve_forever()\n"
    )
    (tmp_path / "deaf.py").write_text(script)
    command(tmp_path, monkeypatch, f'exec {sys.executable} {tmp_path}/deaf.py "$@"')
    monkeypatch.setattr(dev_server, "STOP_MAX_S", 0.1)
    server.start()
    port = server.port

    server.stop()

    with pytest.raises(ConnectionRefusedError):
        health(port)


def test_the_command_beside_the_interpreter_comes_before_the_one_on_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder in ("beside", "on_path"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "inngest").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "on_path"))

    monkeypatch.setattr(sys, "executable", str(tmp_path / "beside" / "python"))
    assert dev_server.find_command() == str(tmp_path / "beside" / "inngest")

    monkeypatch.setattr(sys, "executable", str(tmp_path / "elsewhere" / "python"))
    assert dev_server.find_command() == str(tmp_path / "on_path" / "inngest")


def test_without_the_command_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    with pytest.raises(DevServerError, match=r"no command `inngest`.*inngest-server.*pip install \./server"):
        dev_server.find_command()


def test_the_documented_server_is_there() -> None:
    assert isinstance(dev_server.server, DevServer)
