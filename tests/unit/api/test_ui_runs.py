"""Starting one run again: rerun, rerun from a step, fork."""

import asyncio
import json
from typing import Any

import pytest

from inngest_server.events.records import EventRow
from inngest_server.runs.facts import Returned
from inngest_server.runs.records import RunRow
from inngest_server.storage.protocol import RunQuery
from tests.builders import DAY_MS, make_ulid
from tests.unit.api.harness import InProcess, dev
from tests.unit.apps.bodies import make_function

ORDER = {"name": "shop/order.created", "data": {"id": 7}, "user": {"name": "Ann"}}
MISSING = make_ulid(99)


def ran(step: str, data: Any, **fields: Any) -> dict[str, Any]:
    return {"op": "StepRun", "id": step, "displayName": f"{step} it", "data": data, **fields}


async def lived(server: InProcess, *, sdk: str = "js:v4.24.0", ends: bool = True) -> str:
    """The id of a run of two steps."""
    await server.register(make_function(), sdk=sdk)
    await server.send(ORDER)
    for number, step in enumerate(("load", "charge")):
        await server.report(await server.call(number), ran(step, number))
    call = await server.call(2)
    if ends:
        await server.answer(call, Returned(b'"done"'))
    return call.item.run_id


async def ask(server: InProcess, run_id: str, action: str, body: Any = None, **headers: str) -> Any:
    return await server.post(f"/api/ui/v1/runs/{run_id}/{action}", body or {}, **headers)


async def memos_of(server: InProcess, call_number: int) -> dict[str, Any]:
    call = await server.call(call_number)
    return {step_id: json.loads(memo) for step_id, memo in call.run.loaded.memos.items()}


async def run_count(server: InProcess) -> int:
    return len(await server.storage.list_runs(RunQuery(limit=100)))


async def test_a_rerun_begins_from_the_start(server: InProcess) -> None:
    run_id = await lived(server)

    answer = await ask(server, run_id, "rerun")

    assert answer.status == 201
    call = await server.call(3)
    new_id = answer.json()["run_id"]
    assert answer.json() == {
        "run_id": call.item.run_id,
        "original_run_id": run_id,
        "status": "Running",
        "kept": [],
        "edited": [],
    }
    assert await memos_of(server, 3) == {}
    shown = (await server.get(f"/v1/runs/{new_id}")).data
    assert (shown["original_run_id"], shown["batch_id"]) == (run_id, None)
    assert (await server.get(f"/v1/runs/{run_id}")).data["original_run_id"] is None


async def test_a_fork_keeps_and_replaces_results_and_executes_the_rest(server: InProcess) -> None:
    run_id = await lived(server)

    answer = await ask(server, run_id, "fork", {"replace": {"charge it": {"data": {"paid": False}}}})

    assert (answer.json()["kept"], answer.json()["edited"]) == (["load it"], ["charge it"])
    assert await memos_of(server, 3) == {"load": {"data": 0}, "charge": {"data": {"paid": False}}}
    call = await server.call(3)
    await server.report(call, ran("mail", 1))
    await server.answer(await server.call(4), Returned(b'"other"'))
    assert (await server.get(f"/v1/runs/{answer.json()['run_id']}")).data["output"] == "other"
    assert (await server.get(f"/v1/runs/{run_id}")).data["output"] == "done"
    trace = (await server.get(f"/v1/runs/{answer.json()['run_id']}/timeline")).body.decode()
    assert [line.split()[0] for line in trace.splitlines()][1:4] == ["load", "charge", "mail"]
    assert "kept" in trace
    assert "edited" in trace


async def test_a_run_that_still_goes_on_can_be_forked(server: InProcess) -> None:
    run_id = await lived(server, ends=False)
    parent = await server.call(2)

    assert (await ask(server, run_id, "fork", {"keep": ["load it"]})).status == 201
    await server.report(parent, ran("mail", 1))

    assert await memos_of(server, 3) == {"load": {"data": 0}}
    assert list(await memos_of(server, 4)) == ["load", "charge", "mail"]


async def test_a_rerun_from_a_step_keeps_what_came_before(server: InProcess) -> None:
    run_id = await lived(server)
    answer = await ask(server, run_id, "rerun", {"from_step": "charge it"})
    assert answer.json()["kept"] == ["load it"]
    assert await memos_of(server, 3) == {"load": {"data": 0}}
    assert (await server.call(3)).item.kind == "discovery"


async def test_a_step_gets_an_edited_input(server: InProcess) -> None:
    run_id = await lived(server)
    answer = await ask(server, run_id, "rerun", {"from_step": "charge it", "input": [{"sum": 5}]})
    assert (answer.json()["kept"], answer.json()["edited"]) == (["load it"], ["charge it"])
    call = await server.call(3)
    assert (call.item.kind, call.item.step_id) == ("step", "charge")
    actions = (await server.get(f"/v0/runs/{call.item.run_id}/actions")).json()
    assert actions == {"charge": {"input": [{"sum": 5}]}, "load": {"data": 0}}


async def test_python_runs_get_no_edited_input_and_a_hint(server: InProcess) -> None:
    run_id = await lived(server, sdk="py:v0.5.19")
    answer = await ask(server, run_id, "rerun", {"from_step": "charge it", "input": [{"sum": 5}]})
    assert answer.status == 400
    error = answer.json()
    assert error["code"] == "input_not_editable"
    assert "result" in error["hint"]
    assert await run_count(server) == 1


async def test_an_unknown_step_is_refused_with_those_there_are(server: InProcess) -> None:
    run_id = await lived(server)
    answer = await ask(server, run_id, "fork", {"keep": ["refund"]})
    assert (answer.status, answer.json()["code"]) == (400, "unknown_step")
    assert "load it, charge it" in answer.json()["hint"]


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("fork", {"keep": "none"}),
        ("fork", {"keep": [1]}),
        ("fork", {"again": "charge it"}),
        ("fork", {"replace": []}),
        ("fork", {"event": []}),
        ("fork", {"steps": []}),
        ("rerun", {"from_step": 1}),
        ("rerun", {"input": [1]}),
        ("rerun", {"from_step": "charge it", "input": {"a": 1}}),
        ("rerun", {"event": {"name": "shop/other"}}),
    ],
)
async def test_a_body_that_means_nothing_is_refused(server: InProcess, action: str, body: Any) -> None:
    run_id = await lived(server)
    answer = await ask(server, run_id, action, body)
    assert (answer.status, answer.json()["code"]) == (400, "invalid_parameter")
    assert await run_count(server) == 1


async def test_what_is_not_there_is_refused(server: InProcess) -> None:
    run_id = await lived(server)
    assert (await ask(server, MISSING, "fork")).json()["code"] == "run_not_found"
    assert (await ask(server, "no-id", "fork")).json()["code"] == "invalid_id"
    await server.register(make_function(id="shop-other"))
    assert (await ask(server, run_id, "rerun")).json()["code"] == "function_not_found"
    server.storage._rows[EventRow].clear()
    assert (await ask(server, run_id, "rerun")).json()["code"] == "event_not_found"


async def test_the_event_can_be_edited(server: InProcess) -> None:
    run_id = await lived(server)

    await ask(server, run_id, "fork", {"event": {"data": {"id": 8}}})

    call = await server.call(3)
    event = json.loads(call.run.loaded.event_body)
    assert (event["name"], event["data"], event["user"]) == ("shop/order.created", {"id": 8}, {"name": "Ann"})
    first = json.loads((await server.call(0)).run.loaded.event_body)
    assert (event["ts"], event["id"] != first["id"]) == (first["ts"], True)
    # Nothing else is started by it, and it is there to be looked at.
    assert await run_count(server) == 2
    shown = (await server.get(f"/v1/events/{call.run.row.event_id}")).data
    assert shown["data"] == {"id": 8}


async def test_an_event_that_is_edited_into_none_is_refused(server: InProcess) -> None:
    run_id = await lived(server)
    answer = await ask(server, run_id, "fork", {"event": {"data": 5}})
    assert (answer.status, answer.json()["code"]) == (400, "invalid_event")


async def test_the_same_key_gives_the_same_run(server: InProcess) -> None:
    run_id = await lived(server)
    answers = await asyncio.gather(
        *[ask(server, run_id, "fork", **{"Idempotency-Key": "k1"}) for _ in range(5)]
    )

    assert len({answer.json()["run_id"] for answer in answers}) == 1
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 200, 201]
    other = await ask(server, run_id, "fork", **{"Idempotency-Key": "k2"})
    assert other.json()["run_id"] != answers[0].json()["run_id"]
    server.clock.ms += DAY_MS
    later = await ask(server, run_id, "fork", **{"Idempotency-Key": "k1"})
    assert later.json()["run_id"] != answers[0].json()["run_id"]
    assert await run_count(server) == 4


async def test_a_key_is_remembered_when_the_run_has_ended_and_the_server_was_restarted(
    server: InProcess,
) -> None:
    run_id = await lived(server)
    first = await ask(server, run_id, "fork", **{"Idempotency-Key": "k1"})
    await server.answer(await server.call(3), Returned(b"1"))

    async with InProcess(dev(), storage=server.storage, now_ms=server.clock.ms) as successor:
        again = await ask(successor, run_id, "fork", **{"Idempotency-Key": "k1"})

    assert (again.status, again.json()["run_id"]) == (200, first.json()["run_id"])
    assert again.json()["status"] == "Completed"


async def test_a_key_that_is_too_long_is_refused(server: InProcess) -> None:
    run_id = await lived(server)
    assert (await ask(server, run_id, "fork", **{"Idempotency-Key": "k" * 257})).status == 400


async def test_what_a_fork_would_do_can_be_asked(server: InProcess) -> None:
    run_id = await lived(server)
    answer = await server.post(f"/api/ui/v1/runs/{run_id}/fork?dry_run=true", {"again": ["load it"]})
    assert (answer.status, answer.json()) == (200, {"kept": ["charge it"], "edited": []})
    assert await run_count(server) == 1


@pytest.mark.parametrize("query", ["dryrun=true", "dry_run=maybe", "dry_run=true&x=1"])
async def test_a_mistyped_question_starts_nothing(server: InProcess, query: str) -> None:
    run_id = await lived(server)
    answer = await server.post(f"/api/ui/v1/runs/{run_id}/fork?{query}", {})
    assert (answer.status, answer.json()["code"]) == (400, "invalid_parameter")
    assert await run_count(server) == 1


async def test_a_key_whose_run_retention_forgot_is_as_new(server: InProcess) -> None:
    run_id = await lived(server)
    first = (await ask(server, run_id, "rerun", **{"Idempotency-Key": "k1"})).json()["run_id"]
    await server.answer(await server.call(3), Returned(b"1"))
    del server.storage._rows[RunRow][first]
    server.clock.ms += 1

    again = await ask(server, run_id, "rerun", **{"Idempotency-Key": "k1"})

    assert again.status == 201
    assert again.json()["run_id"] != first


async def test_what_a_fork_would_do_is_told_for_a_key_that_was_used_too(server: InProcess) -> None:
    run_id = await lived(server)
    await ask(server, run_id, "fork", **{"idempotency-key": "k"})
    answer = await server.post(f"/api/ui/v1/runs/{run_id}/fork?dry_run=true", {}, **{"idempotency-key": "k"})
    assert answer.json() == {"kept": ["load it", "charge it"], "edited": []}


@pytest.mark.parametrize("action", ["rerun", "fork"])
async def test_a_run_whose_function_is_missing_is_refused_before_the_engine_meets_it(
    server: InProcess, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    run_id = await lived(server)
    monkeypatch.setattr(server.engine.functions, "find", lambda name: None)
    answer = await ask(server, run_id, action)
    assert (answer.status, answer.json()["code"]) == (404, "function_not_found")
    assert await run_count(server) == 1
