"""The command `replay`: what it reads, says and leaves as its exit status."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inngest_server.cli.main import main
from inngest_server.wire.signature import verify
from tests.support.processes import free_port
from tests.testing.apps import App
from tests.testing.serving import served

KEY = "a1b2c3d4"
RUN = {
    "format": 1,
    "run_id": "01RUN",
    "function": "shop-order",
    "status": "Completed",
    "events": [{"name": "order", "data": {}, "id": "e", "ts": 1, "user": {}}],
    "steps": [
        {"id": "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8", "name": "a", "op": "StepRun", "memo": {"data": 1}}
    ],
    "open": [],
    "output": 1,
}


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration file, no server's directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def app() -> App:
    return App(order=lambda event, steps: steps.run("a", lambda: 1 / 0))


@pytest.fixture
def url(app: App) -> Iterator[str]:
    with served(app) as url:
        yield url


@pytest.fixture
def histories(tmp_path: Path) -> Path:
    path = tmp_path / "histories.jsonl"
    path.write_text(f"{json.dumps(RUN)}\n\n{json.dumps({**RUN, 'run_id': '02RUN'})}\n")
    return path


def test_runs_that_are_followed_leave_0(
    histories: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(histories), "--url", url]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok         01RUN  shop-order",
        "ok         02RUN  shop-order",
        "",
        "2 of 2 runs follow; 0 differ; 0 could not be asked",
    ]


def test_a_run_that_differs_leaves_1(
    histories: Path, url: str, app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    app.functions["order"] = lambda event, steps: steps.run("b", lambda: 1 / 0)
    assert main(["replay", str(histories), "-u", url]) == 1
    assert capsys.readouterr().out.splitlines()[:2] == [
        "DIFFERS    01RUN  shop-order",
        "           at the start (0 of 1 results): the run went on with 'a'; the code asks for 'b'",
    ]


def test_an_app_that_does_not_answer_leaves_2(histories: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(histories), "--url", f"http://127.0.0.1:{free_port()}/api/inngest"]) == 2
    out = capsys.readouterr().out
    assert "NOT ASKED  01RUN  shop-order" in out
    assert "unreachable" in out


def test_json_has_all_of_it(histories: Path, url: str, app: App, capsys: pytest.CaptureFixture[str]) -> None:
    app.functions["order"] = lambda event, steps: "early"
    assert main(["replay", str(histories), "--url", url, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["runs"][0] == {
        "run_id": "01RUN",
        "function": "shop-order",
        "outcome": "differs",
        "difference": {
            "code": "returned",
            "position": 0,
            "message": "at the start (0 of 1 results): the run went on with 'a'; the code returns",
            "expected": "a",
            "found": [],
        },
        "notes": [],
        "requests": 1,
        "detail": "",
    }


def test_another_output_is_a_note_unless_it_is_to_count(
    histories: Path, url: str, app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    app.functions["order"] = lambda event, steps: steps.run("a", lambda: 1) + 1
    assert main(["replay", str(histories), "--url", url]) == 0
    assert "note: returns something else than the run did" in capsys.readouterr().out
    assert main(["replay", str(histories), "--url", url, "--compare-output"]) == 1


def test_histories_come_from_the_input_too(
    histories: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(histories.read_text()))
    assert main(["replay", "-", "--url", url]) == 0


def test_requests_are_signed_with_the_key(histories: Path, url: str, app: App) -> None:
    seen: list[tuple[str, bytes, str]] = []
    inner = app.wsgi

    def noting(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        seen.append((environ["HTTP_X_INNGEST_SIGNATURE"], body, environ["HTTP_X_INNGEST_SERVER_KIND"]))
        return inner({**environ, "wsgi.input": io.BytesIO(body)}, start_response)

    app.wsgi = noting
    with served(app) as signed_url:
        assert (
            main(["replay", str(histories), "--url", signed_url, "--signing-key", f"signkey-prod-{KEY}"]) == 0
        )
    assert {kind for _, _, kind in seen} == {"cloud"}
    for header, body, _ in seen:
        now_s = int(header.removeprefix("t=").partition("&")[0])
        verify(body, header, KEY, now_s)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--url", "http://localhost/"], "takes files of histories"),
        (["missing.jsonl", "--url", "http://localhost/"], "missing.jsonl cannot be read"),
        (["histories.jsonl"], "--url is missing"),
        (["histories.jsonl", "--url", "localhost:8000"], "is no URL"),
        (["histories.jsonl", "--url", "http://localhost/", "--signing-key", "xyz"], "signing-key"),
        (["empty.jsonl", "--url", "http://localhost/"], "there is no history in empty.jsonl"),
        (["bad.jsonl", "--url", "http://localhost/"], "bad.jsonl line 2"),
    ],
)
def test_what_cannot_be_done_leaves_2_and_says_why(
    histories: Path, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "bad.jsonl").write_text(f"{json.dumps(RUN)}\n{{}}\n")
    assert main(["replay", *words]) == 2
    assert said in capsys.readouterr().err
