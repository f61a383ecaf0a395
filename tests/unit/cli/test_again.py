"""The commands `rerun` and `fork`, against a server that answers by heart."""

import json
from pathlib import Path
from typing import Any

import pytest

from inngest_server.cli.main import main
from tests.unit.cli.test_pausing import Parrot, parrot

__all__ = ["parrot"]

STARTED = {"run_id": "R2", "original_run_id": "R1", "status": "Running", "kept": ["load"], "edited": ["pay"]}


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration file, no server's directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        (["rerun", "R1"], "rerun", {}),
        (["rerun", "R1", "--from", "pay#2"], "rerun", {"from_step": "pay#2"}),
        (
            ["rerun", "R1", "--from", "pay", "--input", "[5]", "--event", '{"data": {"a": 1}}'],
            "rerun",
            {"from_step": "pay", "input": [5], "event": {"data": {"a": 1}}},
        ),
        (["fork", "R1"], "fork", {"again": []}),
        (["fork", "R1", "--keep", "load,pay"], "fork", {"keep": ["load", "pay"], "again": []}),
        (
            ["fork", "R1", "--again", "mail", "--again", "log", "--replace", '{"pay": {"data": 1}}'],
            "fork",
            {"again": ["mail", "log"], "replace": {"pay": {"data": 1}}},
        ),
        (["fork", "R1", "--dry-run"], "fork?dry_run=true", {"again": []}),
    ],
)
def test_what_was_asked_for_is_sent(parrot: Parrot, words: list[str], path: str, body: Any) -> None:
    parrot.says(STARTED)
    assert main([*words, "--server", parrot.url]) == 0
    assert parrot.requests == [("POST", f"/api/ui/v1/runs/R1/{path}", body, "")]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (STARTED, "run R2 is running; kept: load; edited: pay"),
        ({**STARTED, "status": "Skipped"}, "run R2 is skipped: `inngest explain R2` says why"),
        ({"kept": ["load", "pay"], "edited": []}, "nothing was started; kept: load, pay"),
    ],
)
def test_what_came_of_it_is_said(
    parrot: Parrot, capsys: pytest.CaptureFixture[str], answer: Any, said: str
) -> None:
    parrot.says(answer)
    assert main(["fork", "R1", "--server", parrot.url]) == 0
    assert capsys.readouterr().out == f"{said}\n"


def test_json_is_the_answer_itself(parrot: Parrot, capsys: pytest.CaptureFixture[str]) -> None:
    parrot.says(STARTED)
    assert main(["fork", "R1", "--json", "--server", parrot.url]) == 0
    assert json.loads(capsys.readouterr().out) == STARTED


def test_a_refusal_is_said_and_the_exit_status_is_1(
    parrot: Parrot, capsys: pytest.CaptureFixture[str]
) -> None:
    parrot.says({"message": "the run has no step 'x'", "hint": "its steps are load, pay"}, 400)
    assert main(["fork", "R1", "--again", "x", "--server", parrot.url]) == 1
    assert "its steps are load, pay" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fork"], "the id of one run"),
        (["rerun", "R1", "R2"], "the id of one run"),
        (["fork", "R1", "--replace", "{"], "--replace is no JSON"),
        (["fork", "R1", "--replace", "[]"], "--replace must be an object"),
        (["fork", "R1", "--replace", "[" * 100_000], "--replace is nested too deeply"),
        (["fork", ""], "the id of one run"),
        (["rerun", "R1", "--input", "{}"], "--input must be an array"),
        (["rerun", "R1", "--replace", "{}"], "--replace"),
    ],
)
def test_a_mistake_in_the_command_asks_nobody(
    parrot: Parrot, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main([*words, "--server", parrot.url]) == 2
    assert said in capsys.readouterr().err
    assert parrot.requests == []
