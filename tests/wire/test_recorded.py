"""Recorded exchanges with the official SDKs, replayed: same requests, same ends. See `record.py`."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from inngest_server.apps.registration import parse_registration
from inngest_server.execution.answers import read_answer
from inngest_server.runs.facts import CallFailed, Reported, Returned
from tests.wire.normal import Bindings, unpacked
from tests.wire.replay import Headers, Replay

FOLDER = Path(__file__).parent / "fixtures"
REGISTRATION = "registration"
SDKS = sorted(path.name for path in FOLDER.iterdir())
CASES = [
    (sdk, path.stem)
    for sdk in SDKS
    for path in sorted((FOLDER / sdk).glob("*.json"))
    if path.stem != REGISTRATION
]


@cache
def fixture(sdk: str, case: str) -> dict[str, Any]:
    return json.loads((FOLDER / sdk / f"{case}.json").read_text())


def registration(sdk: str) -> dict[str, Any]:
    """The request with which the app registered itself."""
    (found,) = [
        entry for entry in fixture(sdk, REGISTRATION)["entries"] if entry.get("path") == "/fn/register"
    ]
    return found


def without_crons(request: dict[str, Any]) -> dict[str, Any]:
    """The registration of the app without functions that start by themselves while another case is played."""
    body = request["body"]["json"]
    kept = [
        function
        for function in body["functions"]
        if not any("cron" in trigger for trigger in function["triggers"])
    ]
    return {**request, "body": {"json": {**body, "functions": kept}}}


@pytest.mark.parametrize(("sdk", "case"), CASES)
async def test_the_engine_does_what_it_did_when_recorded(sdk: str, case: str) -> None:
    recorded = fixture(sdk, case)
    announced = registration(sdk)
    if case != "cron":
        announced = without_crons(announced)
    replay = Replay(recorded["begun_at_ms"] - 1000)
    await replay.start()
    try:
        await replay.register(announced)
        await replay.play(recorded["entries"], recorded["begun_at_ms"])
        slugs = await replay.slugs(announced["body"]["json"])
        for run in recorded["runs"]:
            run_id = replay.bindings.filled(run["run_id"])
            ended = await replay.get(f"/v1/runs/{run_id}")
            end = {
                "status": ended["status"],
                "output": ended["output"],
                "function": slugs[ended["function_id"]],
            }
            wanted = {name: unpacked(run[name]) for name in ("status", "output", "function")}
            replay.bindings.unify(wanted, end, f"the end of {run['function']}")
    finally:
        await replay.close()


@pytest.mark.parametrize("sdk", SDKS)
async def test_the_sync_is_understood_whole(sdk: str) -> None:
    """No function has a problem or a warning, and our answer is the one that the SDK took."""
    recorded = fixture(sdk, REGISTRATION)
    request = registration(sdk)

    parsed = parse_registration(request["body"]["json"])

    slugs = [function["id"] for function in request["body"]["json"]["functions"]]
    assert [config.id for config in parsed.functions] == slugs
    assert parsed.warnings == ()
    assert all(config.url.startswith("http://localhost:3000/api/inngest?") for config in parsed.functions)
    retries = {
        config.id.removeprefix(f"{parsed.app_name}-"): config.max_attempts for config in parsed.functions
    }
    assert (retries["noop"], retries["child-fails"], retries["function-fails"]) == (5, 1, 2)
    (answer,) = [entry for entry in recorded["entries"] if entry.get("of") == request["number"]]
    assert (answer["status"], answer["body"]["json"]["ok"]) == (200, True)


@pytest.mark.parametrize("sdk", SDKS)
def test_every_recorded_answer_is_read(sdk: str) -> None:
    """No answer of an official SDK is malformed for us, and its headers say which version it speaks."""
    for path in sorted((FOLDER / sdk).glob("*.json")):
        for entry in fixture(sdk, path.stem)["entries"]:
            if entry["kind"] != "response" or entry["to"] != "app" or path.stem == REGISTRATION:
                continue
            content: Any = (entry["body"] or {}).get("json")
            raw = json.dumps(unpacked(content)).encode()

            answer = read_answer(entry["status"], Headers(entry["headers"]), raw, 0)

            status = content["status"] if entry["status"] == 201 else entry["status"]
            match answer:
                case Reported():
                    assert status == 206
                    # Version 3 of the TypeScript SDK asks for version 1 unless it is told otherwise.
                    assert answer.version in ((1, 2) if sdk == "typescript-3.54.2" else (2,))
                case Returned():
                    assert status == 200
                case CallFailed():
                    assert status in (400, 500)
                    assert answer.code == "function_error"
                    assert answer.retriable is (entry["headers"].get("x-inngest-no-retry") != "true")


def test_a_mismatch_names_the_place() -> None:
    """The tool itself: ids are bound where they first appear and compared afterwards."""
    bindings = Bindings()
    bindings.unify({"run": "<ulid:1>", "item": "<ulid:1>.0", "ts": 1}, {"run": "A", "item": "A.0", "ts": 2})

    assert bindings.filled("<ulid:1>") == "A"
    with pytest.raises(AssertionError, match=r"at\.run: recorded \"A\", sent \"B\""):
        bindings.unify({"run": "<ulid:1>"}, {"run": "B"}, "at")
