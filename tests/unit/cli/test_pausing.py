"""The commands `pause` and `resume`, and the client that asks a server: against one that answers by heart."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from inngest_server.cli.main import main
from inngest_server.storage.sqlite.lock import FILE_NAME as LOCK_NAME
from inngest_server.wire.signature import bearer_hash

PAUSE = {"since": "2026-09-21T14:13:20Z", "cancels_runs_at": "2026-09-28T14:13:20Z"}
PAUSED = {"slug": "shop-f", "state": "paused", "pause": PAUSE}
CANCELLED = {**PAUSED, "pause": {**PAUSE, "cancels_runs_at": None}}
ACTIVE = {"slug": "shop-f", "state": "active", "pause": None}
KEY = "a1b2c3d4"


class Parrot(ThreadingHTTPServer):
    """Answers every request alike and keeps it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: tuple[int, bytes] = (200, b"{}")
        self.speaks_http = True
        self.requests: list[tuple[str, str, Any, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def says(self, body: object, status: int = 200) -> None:
        self.answer = status, json.dumps(body).encode()


class Handler(BaseHTTPRequestHandler):
    server: Parrot

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((self.command, self.path, body, self.headers["authorization"] or ""))
        if not self.server.speaks_http:
            self.wfile.write(b"SSH-2.0-x\r\n")
            return
        status, answer = self.server.answer
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def parrot() -> Iterator[Parrot]:
    with Parrot() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration file, no server's directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "body", "answer", "said"),
    [
        (
            ["pause", "shop-f"],
            {"in_flight": "hold"},
            PAUSED,
            "shop-f is paused since 2026-09-21T14:13:20Z; its runs are held until 2026-09-28T14:13:20Z, "
            "and then cancelled",
        ),
        (
            ["pause", "shop-f", "--in-flight", "cancel"],
            {"in_flight": "cancel"},
            CANCELLED,
            "shop-f is paused since 2026-09-21T14:13:20Z; its runs are cancelled",
        ),
        (["resume", "shop-f"], {}, ACTIVE, "shop-f is active"),
    ],
)
def test_what_was_asked_for_is_done_and_said(
    parrot: Parrot, capsys: pytest.CaptureFixture[str], words: list[str], body: Any, answer: Any, said: str
) -> None:
    parrot.says(answer)
    assert main([*words, "--server", parrot.url]) == 0
    assert capsys.readouterr().out == f"{said}\n"
    assert parrot.requests == [("POST", f"/api/ui/v1/functions/shop-f/{words[0]}", body, "")]


def test_json_is_the_answer_itself(parrot: Parrot, capsys: pytest.CaptureFixture[str]) -> None:
    parrot.says(ACTIVE)
    assert main(["resume", "shop-f", "--json", "--server", parrot.url]) == 0
    assert json.loads(capsys.readouterr().out) == ACTIVE


def test_the_key_is_sent_as_its_hash(parrot: Parrot) -> None:
    parrot.says(ACTIVE)
    assert main(["resume", "shop-f", "--signing-key", KEY, "--server", parrot.url]) == 0
    assert parrot.requests[0][3] == f"Bearer {bearer_hash(KEY)}"


def test_a_slug_is_one_part_of_the_path(parrot: Parrot) -> None:
    parrot.says(ACTIVE)
    main(["resume", "a/b c", "--server", parrot.url])
    assert parrot.requests[0][1] == "/api/ui/v1/functions/a%2Fb%20c/resume"


def test_the_server_of_a_directory_is_asked(parrot: Parrot, tmp_path: Path) -> None:
    parrot.says(ACTIVE)
    (tmp_path / LOCK_NAME).write_text(json.dumps({"url": parrot.url}))
    assert main(["resume", "shop-f", "--sqlite-dir", str(tmp_path)]) == 0
    assert len(parrot.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, {"message": "no such function", "hint": "look again"}, "no such function; look again"),
        (503, {"message": "the disk is full", "hint": ""}, "the disk is full"),
        (401, {}, "wants its signing key: give --signing-key or INNGEST_SIGNING_KEY"),
        (500, ["x"], "refused: HTTP 500"),
    ],
)
def test_a_refusal_is_said_and_the_exit_status_is_1(
    parrot: Parrot, capsys: pytest.CaptureFixture[str], status: int, body: Any, said: str
) -> None:
    parrot.says(body, status)
    assert main(["pause", "shop-f", "--server", parrot.url]) == 1
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pause"], "takes the slug of one function"),
        (["resume", "a", "b"], "takes the slug of one function"),
        (["pause", "a", "--in-flight", "stop"], "'stop' is not one of hold, cancel"),
        (["pause", "a", "--server", "localhost"], "'localhost' is no URL"),
        (["pause", "a", "--server", "http://[::"], "is no URL"),
        (["pause", "a", "--server", "http://"], "is no URL"),
        (["pause", "a", "--server", "http://localhost:99999"], "is no URL"),
        (["pause", ""], "takes the slug of one function"),
        (["pause", "a", "--signing-key", "xyz"], "--signing-key"),
    ],
)
def test_mistakes_are_answered_before_anybody_is_asked(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_a_key_that_is_not_the_servers_is_called_so(
    parrot: Parrot, capsys: pytest.CaptureFixture[str]
) -> None:
    parrot.says({}, 401)
    assert main(["pause", "a", "--signing-key", KEY, "--server", parrot.url]) == 1
    assert "has another signing key" in capsys.readouterr().err


def test_where_nothing_listens_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert main(["pause", "a", "--server", url]) == 1
    assert f"no server answers at {url}" in capsys.readouterr().err


def test_what_does_not_speak_http_is_called_so(parrot: Parrot, capsys: pytest.CaptureFixture[str]) -> None:
    parrot.speaks_http = False
    assert main(["pause", "a", "--server", parrot.url]) == 1
    assert "does not speak HTTP: 'SSH-2.0" in capsys.readouterr().err


def test_a_server_that_answers_nonsense_is_named(parrot: Parrot, capsys: pytest.CaptureFixture[str]) -> None:
    parrot.answer = 200, b"no JSON"
    assert main(["pause", "a", "--server", parrot.url]) == 1
    assert f"the server at {parrot.url} does not answer" in capsys.readouterr().err
