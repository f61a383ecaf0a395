"""Calls that were recorded with the official SDK, asked of ours: the same operations come back.

The functions are those of the interop app, which `import inngest` alone makes ours. `ours` lists every
difference that there is, each with the decision behind it.
"""

import importlib.util
import json
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlencode

import pytest

from inngest._http.handler import Handler
from inngest._http.messages import Request
from tests.sdk.http.server import Asked, Scripted, Server, serving
from tests.wire.normal import unpacked

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "tests/wire/fixtures/python-0.5.19"
APP = ROOT / "tests/interop/python/app.py"
CASES = sorted(path.stem for path in FIXTURES.glob("*.json") if path.stem != "registration")
CREATED = 201


@cache
def entries(case: str) -> list[dict[str, Any]]:
    return json.loads((FIXTURES / f"{case}.json").read_text())["entries"]


def calls(case: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each recorded call with its answer."""
    for entry in entries(case):
        if entry["kind"] == "request" and entry["to"] == "app":
            for answer in entries(case):
                if answer.get("of") == entry["number"]:
                    yield entry, answer


def said_by_server(case: str, since: int, asked: Asked) -> Scripted:
    """What the server answered when it was asked the same, after the entry numbered `since`."""
    for entry in entries(case):
        if entry["kind"] != "request" or entry["to"] != "server" or entry["number"] < since:
            continue
        same = entry["path"] == unquote(asked.target)
        if same or (asked.target.startswith("/e/") and entry["path"].startswith("/e/")):
            (answer,) = [one for one in entries(case) if one.get("of") == entry["number"]]
            return answer["status"], unpacked(answer["body"]["json"])
    raise AssertionError(f"never recorded: {asked.method} {asked.target}")


class Interop:
    """The interop app with our SDK; its server is a recording."""

    def __init__(self, module: ModuleType, server: Server) -> None:
        self.server = server
        for function in module.functions:
            # The official SDK answers each step with its own request.
            for one in (function, function.failure_function):
                if one is not None:
                    one.checkpointing = None
        self._handler = Handler(module.client, module.functions, framework="fast_api")

    async def ask(self, recorded: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        url = f"http://localhost:3000{recorded['path']}?{urlencode(recorded['query'])}"
        body = json.dumps(unpacked(recorded["body"]["json"])).encode()
        response = await self._handler.handle(Request("POST", url, recorded["headers"], body))
        return response.status, json.loads(response.body), response.headers


@pytest.fixture
async def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    with serving() as server:
        monkeypatch.setenv("INNGEST_DEV", server.url)
        monkeypatch.setenv("STEP_LOG", str(tmp_path / "steps"))
        spec = importlib.util.spec_from_file_location("interop_app", APP)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield Interop(module, server)
        await module.client.aclose()


def unstreamed(answer: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
    """Status, body and headers of a recorded answer, out of its envelope if it was streamed."""
    body = unpacked((answer["body"] or {}).get("json"))
    if answer["status"] != CREATED:
        return answer["status"], body, answer["headers"]
    inner = body["body"]
    return (
        body["status"],
        json.loads(inner) if isinstance(inner, str) else inner,
        {**answer["headers"], **body["headers"]},
    )


def ours(case: str, status: int, body: Any, headers: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
    """What our SDK answers where the official one was recorded with this."""
    kept = {name: headers[name] for name in ("x-inngest-no-retry", "retry-after") if name in headers}
    if "retry-after" in kept:
        # A delay is sent as one, so that a server whose clock is not the app's waits exactly that long.
        kept["retry-after"] = "2"
    if case == "step-non-retriable" and status == 500:
        # decisions.md: recorded as StepFailed, so that a replay sees what the first run saw.
        return 206, [{"op": "StepFailed", "step": "doomed", "error": error_of(body), "data": None}], kept
    if case == "step-retry-after" and status == 500:
        # The same reason: an error inside of a step is the step's.
        return 206, [{"op": "StepError", "step": "later", "error": error_of(body), "data": None}], kept
    return status, told(body), kept


def told(body: Any) -> Any:
    """What an answer says, without what the SDKs may spell differently."""
    if isinstance(body, dict) and {"code", "name", "message"} <= body.keys():
        return error_of(body)
    if not (isinstance(body, list) and body and all(isinstance(op, dict) and "op" in op for op in body)):
        return body
    return [op_told(op) for op in body]


def op_told(op: dict[str, Any]) -> dict[str, Any]:
    step = (
        op["userland"]["id"]
        if not op["userland"]["index"]
        else f"{op['userland']['id']}:{op['userland']['index']}"
    )
    found = {"op": op["op"], "step": step, "data": op["data"]}
    opts = {name: value for name, value in (op["opts"] or {}).items() if value is not None}
    match op["op"]:
        case "Sleep":
            # decisions.md: a duration for `sleep`, an instant for `sleep_until`.
            found["is_until"] = step == "until"
            if found["is_until"]:
                found["until"] = op["name"]
        case "WaitForEvent":
            # The name is in the options as well, where protocol 4.4 wants it.
            found["opts"] = {"event": op["name"], **opts}
        case "InvokeFunction":
            # No nulls, and data that was not given is an empty object, as in an event.
            payload = {name: value for name, value in opts["payload"].items() if value is not None}
            found["opts"] = {**opts, "payload": {"data": {}, **payload}}
        case _:
            found["opts"] = opts
            if op.get("error") is not None:
                found["error"] = error_of(op["error"])
                del found["opts"]
    return found


def error_of(error: dict[str, Any]) -> dict[str, Any]:
    """Without the trace, which names other files, and with nothing that ours adds (`noRetry`)."""
    assert isinstance(error["stack"], str)
    return {name: error[name] for name in ("code", "name", "message")}


@pytest.mark.parametrize("case", CASES)
async def test_our_sdk_answers_as_the_official_one_did(case: str, app: Interop) -> None:
    asked = 0
    for recorded, answer in calls(case):
        app.server.answer = partial(said_by_server, case, recorded["number"])
        status, body, headers = await app.ask(recorded)

        wanted = ours(case, *unstreamed(answer))
        kept = {name: headers[name] for name in ("x-inngest-no-retry", "retry-after") if name in headers}
        assert (status, told(body), kept) == wanted, f"call {recorded['number']}, {recorded['query']}"
        assert headers["x-inngest-req-version"] == "2"
        asked += 1
    assert asked > 0


async def test_the_registration_says_what_was_recorded(app: Interop) -> None:
    (request,) = [entry for entry in entries("registration") if entry.get("path") == "/fn/register"]
    recorded = request["body"]["json"]
    app.server.answers = [(200, {"ok": True, "modified": True})]

    put = Request("PUT", "http://localhost:3000/api/inngest", {"x-inngest-server-kind": "dev"}, b"")
    response = await app._handler.handle(put)

    sent = app.server.asked[0].json()
    assert response.status == 200
    # It leaves empty lists in the failure functions; we leave out what is empty.
    wanted = [{key: value for key, value in one.items() if value != []} for one in recorded["functions"]]
    # The app has got functions since.
    known = {one["id"] for one in wanted}
    assert [one for one in sent["functions"] if one["id"] in known] == wanted
    assert (sent["appName"], sent["deployType"]) == (recorded["appname"], recorded["deploy_type"])
    for name in ("framework", "url", "v"):
        assert sent[name] == recorded[name]
    assert sent["capabilities"] == {**recorded["capabilities"], "edited_input": "v1"}
    assert sent["sdk"].startswith("py:v")
