"""The command `jobs`, against a server that answers by heart."""

import json
from typing import Any

import pytest

from inngest_server.cli import jobs as jobs_command
from inngest_server.cli.client import ServerRefusedError
from inngest_server.cli.main import main

JOB = {
    "id": "01M7XS5QAHR7NVEGQZWEPCV45A",
    "kind": "replay",
    "name": "after the fix",
    "function": "shop-fulfil",
    "function_id": "f",
    "status": "running",
    "seen": 5,
    "total": 12,
    "affected": 4,
    "undecided": 1,
    "errors": [{"run_id": "r", "error": "event_gone: it is"}],
}
LINE = (
    "01M7XS5QAHR7NVEGQZWEPCV45A  running  replay shop-fulfil (after the fix): "
    "5 of 12 runs seen, 4 started again, 1 undecided\n"
)
BARE = {**JOB, "kind": "cancel", "name": "", "status": "done", "total": None, "undecided": 0, "errors": []}
STOPPED = {**BARE, "status": "deleted"}
BARE_LINE = "01M7XS5QAHR7NVEGQZWEPCV45A  done     cancel shop-fulfil: 5 runs seen, 4 cancelled\n"


class Parrot:
    def __init__(self) -> None:
        self.answer: Any = None
        self.asked: list[tuple[str, str]] = []

    def call(self, method: str, path: str) -> Any:
        self.asked.append((method, path))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Parrot:
    parrot = Parrot()
    monkeypatch.chdir(tmp_path)  # No configuration file.
    monkeypatch.setattr(jobs_command, "client_of", lambda config: parrot)
    return parrot


@pytest.mark.parametrize(
    ("words", "asked", "answer", "said"),
    [
        ([], ("GET", "/jobs"), {"jobs": [JOB, BARE], "next": None}, LINE + BARE_LINE),
        ([], ("GET", "/jobs"), {"jobs": [], "next": None}, "there are no jobs\n"),
        (
            [],
            ("GET", "/jobs"),
            {"jobs": [BARE], "next": "c"},
            f"{BARE_LINE}older ones: GET /api/ui/v1/jobs?cursor=c\n",
        ),
        (["x/y"], ("GET", "/jobs/x%2Fy"), JOB, f"{LINE}  r  event_gone: it is\n"),
        (["stop", "abc"], ("DELETE", "/jobs/abc"), BARE, BARE_LINE),
        (["stop", "abc"], ("DELETE", "/jobs/abc"), STOPPED, BARE_LINE.replace("done   ", "stopped")),
    ],
)
def test_jobs_are_shown_and_stopped(
    parrot: Parrot,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    asked: tuple[str, str],
    answer: Any,
    said: str,
) -> None:
    parrot.answer = answer
    assert main(["jobs", *words]) == 0
    assert capsys.readouterr().out == said
    assert parrot.asked == [asked]
    assert main(["jobs", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer


@pytest.mark.parametrize("words", [["stop"], ["go", "abc"], ["stop", "a", "b"]])
def test_words_that_mean_nothing_are_refused(parrot: Parrot, words: list[str]) -> None:
    assert main(["jobs", *words]) == 2
    assert parrot.asked == []


def test_a_refusal_is_said_and_the_exit_status_is_1(
    parrot: Parrot, capsys: pytest.CaptureFixture[str]
) -> None:
    parrot.answer = ServerRefusedError("no job has this id")
    assert main(["jobs", "abc"]) == 1
    assert "no job has this id" in capsys.readouterr().err
