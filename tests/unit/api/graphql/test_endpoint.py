"""Who may ask, how much at a time, and that nothing hostile gets anything but a coded answer."""

import asyncio
import random
import threading

import pytest

from inngest_server.api.lane import Lane
from inngest_server.storage.protocol import RunQuery, StorageUnavailableError
from tests.unit.api.graphql.operations import EVER, OPERATIONS, RUNS, ask, code_of, post
from tests.unit.api.harness import InProcess, dev, start
from tests.unit.apps.bodies import make_function

HOSTILE = [
    "", " ", "\0", "\u202e", "'", '"', "'; DROP TABLE runs; --", "%", "_", "../../etc/passwd", "NaN", "null",
    "{}", "[]", "\ufffd", "\U0001f4a9", "a" * 70_000, "1e999", "9" * 400, "-1", "inngest/", "*", "\\", "\r\n",
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2024-02-30T00:00:00Z", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
    "ZZZZZZZZZZZZZZZZZZZZZZZZZZ", "00000000000000000000000000", "00000000-0000-0000-0000-000000000000",
]  # fmt: skip
NAMES = [
    "appIDs", "startTime", "status", "timeField", "functionRunCursor", "celQuery", "preview", "isDeferred",
    "runID", "traceID", "cursor", "endTime", "eventNames", "includeInternalEvents", "eventID", "id",
    "functionSlug", "appID", "orderBy", "first", "input", "data", "meta", "user", "fromStep", "debugRunID",
]  # fmt: skip
NOT_OURS = {"internal", "storage_error"}


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
async def test_hostile_values_get_coded_answers(server: InProcess, operation: str) -> None:
    await server.register(make_function())
    await server.send({"name": "shop/order.created"})
    chance = random.Random(operation)
    sensible = {"startTime": EVER, "timeField": "QUEUED_AT", "first": 5, "id": "x", "appID": HOSTILE[-1]}
    for value in HOSTILE:
        for shape in (value, [value], {"url": value, "id": value, "stepID": value, "a": value}):
            names = chance.sample(NAMES, 4)
            variables = {**sensible, **dict.fromkeys(NAMES[8:10], value), **dict.fromkeys(names, shape)}

            for error in (await post(server, OPERATIONS[operation], **variables)).get("errors", ()):
                assert error["extensions"]["code"] not in NOT_OURS, (variables, error)


async def test_a_server_without_its_interface_has_no_graphql() -> None:
    async with InProcess(dev(ui=False)) as server:
        answer = await server.post("/v0/gql", {"query": "{ apps { name } }"})

        assert (answer.status, answer.json()["code"]) == (404, "graphql_off")
        assert "--no-ui" in answer.json()["error"]


async def test_it_is_closed_without_the_bearer(locked: InProcess) -> None:
    body = {"query": "{ apps { name } }"}

    assert (await locked.request("POST", "/v0/gql", body)).status == 401
    assert (await locked.post("/v0/gql", body)).json() == {"data": {"apps": []}}


async def test_pages_of_other_sites_may_not_ask(server: InProcess) -> None:
    body = {"query": "{ apps { name } }"}
    own = {"origin": "http://localhost:5173"}

    preflight = await server.request("OPTIONS", "/v0/gql", headers=own)
    assert preflight.headers["access-control-allow-origin"] == "http://localhost:5173"
    assert {"GET", "POST", "OPTIONS"} <= set(preflight.headers["access-control-allow-methods"].split(", "))
    assert (await server.request("POST", "/v0/gql", body, own)).status == 200
    assert (await server.request("POST", "/v0/gql", body, {"origin": "https://evil.example"})).status == 403
    simple = {**own, "content-type": "text/plain"}
    assert (await server.request("POST", "/v0/gql", body, simple)).status == 403


async def test_beyond_what_may_wait_it_answers_503(server: InProcess) -> None:
    let_go = threading.Event()
    lane = Lane(threads=1, waiting_max=0)
    object.__setattr__(server.router._context, "lane", lane)
    blocked = asyncio.create_task(lane.do(let_go.wait))
    await asyncio.sleep(0)

    answer = await server.post("/v0/gql", {"query": "{ apps { name } }"})

    assert (answer.status, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    let_go.set()
    await blocked
    assert (await server.post("/v0/gql", {"query": "{ apps { name } }"})).status == 200
    lane.close()


async def test_a_storage_that_cannot_be_read_is_said_with_its_code(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(query: RunQuery) -> list[object]:
        raise StorageUnavailableError("disk on fire at /secret/place")

    monkeypatch.setattr(server.storage, "list_runs", broken)

    [error] = (await post(server, OPERATIONS["GetRuns"], **RUNS))["errors"]

    assert error["extensions"] == {"code": "storage_unavailable"}
    assert "secret" not in error["message"]


async def test_a_mistake_of_the_server_is_not_shown(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(query: RunQuery) -> list[object]:
        raise RuntimeError("some secret")

    monkeypatch.setattr(server.storage, "list_runs", broken)

    [error] = (await post(server, OPERATIONS["GetRuns"], **RUNS))["errors"]

    assert (error["message"], error["extensions"]) == ("internal error", {"code": "internal"})


async def test_answers_are_made_beside_the_loop(server: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing, checking and resolving happen on threads of the lane."""
    from inngest_server.api.graphql import answer, documents

    seen: set[str] = set()
    for module, name in ((documents, "parse"), (documents, "validate"), (answer, "_execute_sync")):
        inner = getattr(module, name)

        def spied(*given: object, inner: object = inner, **named: object) -> object:
            seen.add(threading.current_thread().name)
            return inner(*given, **named)  # type: ignore[operator]

        monkeypatch.setattr(module, name, spied)

    await ask(server, "{ apps { name url id } functions { slug } }")

    assert seen
    assert all(name.startswith("answers") for name in seen)


async def test_one_answer_is_of_one_moment(server: InProcess) -> None:
    """Status, output and trace agree however the run goes on between two reads."""
    await server.register(make_function())
    await server.send({"name": "shop/order.created"})
    run_id = (await server.call(0)).item.run_id
    document = "query R($id: String!) { run(runID: $id) { status endedAt output trace { status endedAt } } }"

    async def watch() -> list[tuple[str, str]]:
        seen: list[tuple[str, str]] = []
        while not seen or seen[-1][0] == "RUNNING":
            run = (await ask(server, document, id=run_id))["run"]
            assert run["endedAt"] == run["trace"]["endedAt"]
            assert (run["output"] is None) is (run["status"] == "RUNNING")
            seen.append((run["status"], run["trace"]["status"]))
        return seen

    from inngest_server.runs.facts import Returned

    watching = asyncio.create_task(watch())
    await ask(server, document, id=run_id)
    await server.answer(await server.call(0), Returned(b"1"))

    assert all(status == of_trace for status, of_trace in await watching)


async def test_a_locked_server_says_nothing_of_apps(locked: InProcess) -> None:
    assert await code_of(locked, "{ nothing }") == "query_invalid"
    async with InProcess(start()) as other:
        assert (await other.request("POST", "/v0/gql", b"{", bearer=None)).status == 401
