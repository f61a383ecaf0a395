"""The command `explain`, against a server that answers by heart."""

import io
import json
import sys
from typing import Any

import pytest

from inngest_server.cli import explain as explain_command
from inngest_server.cli.client import ServerRefusedError
from inngest_server.cli.main import main

RUN_ID = "01M7XS5QAHR7NVEGQZWEPCV45A"
STORED = {
    "id": "stored",
    "label": "Event stored",
    "verdict": "pass",
    "says": "its event is stored",
    "since": None,
    "eta": None,
    "ends": "",
    "facts": [],
    "holders": [],
    "link": None,
}
SLOT = {
    **STORED,
    "id": "concurrency:step",
    "label": "Concurrency of requests",
    "verdict": "block",
    "says": "waits for a slot",
    "since": "2026-09-21T14:13:20Z",
    "ends": "when one is free",
    "limit": 2,
    "used": 2,
    "facts": [{"k": "ahead", "v": 3, "unit": ""}, {"k": "every", "v": 5, "unit": "ms"}],
    "holders": [{"run": "r", "step": "s", "since": "2026-09-21T14:13:00Z", "function": "shop-f"}],
}
RUN = {
    "run": RUN_ID,
    "summary": "Run waits.",
    "blocking": "concurrency:step",
    "gates": [STORED, SLOT],
    "actions": [{"id": "x", "label": "Cancel it", "confirm": True, "method": "DELETE", "path": "/v1/runs/r"}],
}
RUN_LINES = """\
Run waits.

  ✓ Event stored               its event is stored
  ■ Concurrency of requests    waits for a slot
                               since 2026-09-21T14:13:20Z
                               ends when one is free
                               2 of 2 used
                               ahead: 3
                               every: 5 ms
                               held by r of shop-f, step s, since 2026-09-21T14:13:00Z

What helps
  Cancel it: DELETE /v1/runs/r
"""
EVENT = {
    "event": RUN_ID,
    "summary": "Event waits.",
    "functions": [{"function": "shop-f", "says": "is batched", "blocking": None, "gates": [STORED]}],
    "near": [{"function": "shop-g", "trigger": "a/B", "why": "differs only by upper and lower case"}],
    "others": 2,
}
EVENT_LINES = """\
Event waits.

shop-f: is batched
  ✓ Event stored               its event is stored

2 other functions look for events of other names
"""


class Parrot:
    """Says for each path what it was told to say."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []

    def call(self, method: str, path: str) -> Any:
        assert method == "GET"
        self.asked.append(path)
        answer = self.answers.get(path, ServerRefusedError("none", f"{path.split('/')[1][:-1]}_not_found"))
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Parrot:
    parrot = Parrot()
    monkeypatch.chdir(tmp_path)  # No configuration file.
    monkeypatch.setattr(explain_command, "client_of", lambda config: parrot)
    return parrot


def test_a_run_is_shown_with_what_holds_it_back(parrot: Parrot, capsys: pytest.CaptureFixture[str]) -> None:
    parrot.answers[f"/runs/{RUN_ID}/explain"] = RUN
    assert main(["explain", RUN_ID]) == 0
    assert capsys.readouterr().out == RUN_LINES


def test_what_is_no_run_is_asked_for_as_an_event(parrot: Parrot, capsys: pytest.CaptureFixture[str]) -> None:
    parrot.answers[f"/events/{RUN_ID}/explain"] = EVENT
    assert main(["explain", RUN_ID]) == 0
    assert capsys.readouterr().out == EVENT_LINES
    assert parrot.asked == [f"/runs/{RUN_ID}/explain", f"/events/{RUN_ID}/explain"]


def test_triggers_of_nearly_its_name_are_shown_of_an_event_that_no_function_looks_for(
    parrot: Parrot, capsys: pytest.CaptureFixture[str]
) -> None:
    parrot.answers["/events/order-1/explain"] = {**EVENT, "functions": []}
    assert main(["explain", "order-1"]) == 0
    assert capsys.readouterr().out == (
        "Event waits.\n  ? a/B of shop-g differs only by upper and lower case\n"
    )


def test_an_id_of_a_sender_is_an_event_at_once(parrot: Parrot) -> None:
    parrot.answers["/events/order%2F1/explain"] = EVENT
    assert main(["explain", "order/1"]) == 0
    assert parrot.asked == ["/events/order%2F1/explain"]


def test_json_is_the_answer_itself(parrot: Parrot, capsys: pytest.CaptureFixture[str]) -> None:
    parrot.answers[f"/runs/{RUN_ID}/explain"] = RUN
    assert main(["explain", RUN_ID, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == RUN


def test_a_terminal_that_knows_few_letters_gets_what_it_can_show(
    parrot: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    parrot.answers[f"/runs/{RUN_ID}/explain"] = RUN
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    assert main(["explain", RUN_ID]) == 0
    sys.stdout.flush()
    assert raw.getvalue().decode() == RUN_LINES.replace("✓", "?").replace("■", "?")


def test_names_of_users_cannot_move_the_cursor(parrot: Parrot, capsys: pytest.CaptureFixture[str]) -> None:
    parrot.answers["/events/x/explain"] = {**EVENT, "summary": "Event \x1b[2J\n."}
    main(["explain", "x"])
    assert capsys.readouterr().out.startswith("Event ?[2J?.\n")


@pytest.mark.parametrize("name", [RUN_ID, "order-1"])
def test_what_is_neither_is_said(parrot: Parrot, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["explain", name]) == 1
    assert f"there is no run or event {name}" in capsys.readouterr().err


def test_a_server_that_refuses_is_not_asked_twice(parrot: Parrot, capsys: pytest.CaptureFixture[str]) -> None:
    parrot.answers[f"/runs/{RUN_ID}/explain"] = ServerRefusedError("wants its signing key")
    assert main(["explain", RUN_ID]) == 1
    assert capsys.readouterr().err == "inngest: wants its signing key\n"
    assert len(parrot.asked) == 1


@pytest.mark.parametrize("words", [[], ["a", "b"]])
def test_one_id_is_wanted(parrot: Parrot, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(["explain", *words]) == 2
    assert "takes the id of one run or event" in capsys.readouterr().err
