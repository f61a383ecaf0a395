"""Async checkpoints, from inside a request that goes on."""

from typing import Any

import pytest

from inngest_server.execution.driver import Call
from inngest_server.runs.facts import CallFailed, Returned
from tests.builders import make_ulid
from tests.unit.api.harness import BEARER, InProcess, Response
from tests.unit.apps.bodies import make_function

STEP_1, STEP_2 = ("a" * 40, "b" * 40)
PREFIXES = ("/v1/checkpoint", "/v1/http/runs")


async def first_call(server: InProcess) -> Call:
    await server.register(make_function())
    if server.settings.is_open:
        await server.send({"name": "shop/order.created"})
    else:
        await server.request("POST", "/e/event-key-1", {"name": "shop/order.created"})
    return await server.call(0)


def step(step_id: str = STEP_1, data: object = 1, **fields: object) -> dict[str, object]:
    return {"op": "StepRun", "id": step_id, "data": data, "name": "charge", "displayName": "Charge", **fields}


def body_for(call: Call, *steps: object, **fields: object) -> dict[str, object]:
    """What TypeScript 4 sends."""
    return {
        "run_id": call.item.run_id,
        "fn_id": call.function_id,
        "qi_id": call.item.item_id,
        "request_id": make_ulid(1),
        "generation_id": call.item.generation,
        "request_started_at": 1_790_000_000_000,
        "steps": list(steps),
        "ts": 1_790_000_000_500,
        **fields,
    }


async def post(server: InProcess, call: Call, body: Any, prefix: str = PREFIXES[0]) -> Response:
    return await server.post(f"{prefix}/{call.item.run_id}/async", body)


async def memos(server: InProcess, call: Call) -> Any:
    return (await server.get(f"/v0/runs/{call.item.run_id}/actions")).json()


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_checkpoint_stores_steps_and_sends_nothing(server: InProcess, prefix: str) -> None:
    call = await first_call(server)

    answer = await post(server, call, body_for(call, step(data={"ok": True})), prefix)

    assert (answer.status, answer.body) == (200, b"")
    assert await memos(server, call) == {STEP_1: {"data": {"ok": True}}}
    assert len(server.app.calls) == 1


async def test_the_request_of_a_checkpoint_goes_on(server: InProcess) -> None:
    call = await first_call(server)
    await post(server, call, body_for(call, step(STEP_1)))
    await post(server, call, body_for(call, step(STEP_2)))

    await server.report(call, {"op": "RunComplete", "id": "c" * 40, "data": "done"})

    run = (await server.get(f"/v1/runs/{call.item.run_id}")).data
    assert (run["status"], run["output"]) == ("Completed", "done")


async def test_the_first_result_of_a_step_wins(server: InProcess) -> None:
    call = await first_call(server)

    for data in (1, 2):
        assert (await post(server, call, body_for(call, step(data=data)))).status == 200

    assert await memos(server, call) == {STEP_1: {"data": 1}}


async def test_a_checkpoint_gives_the_next_step_all_its_tries(server: InProcess) -> None:
    call = await first_call(server)
    failure = CallFailed(b'{"name":"E","message":"m"}', "function_error", retriable=True, retry_after_ms=0)
    await server.answer(call, failure)
    server.clock.ms += 3_600_000
    await server.send({"name": "any/thing"})  # Wakes the loop, which looks at its timers.
    call = await server.call(1)
    assert call.item.attempt == 1

    await post(server, call, body_for(call, step()))

    [job] = (await server.get(f"/v1/runs/{call.item.run_id}/jobs")).data
    assert job["attempt"] == 0


@pytest.mark.parametrize("steps", [[], None])
async def test_no_steps_are_fine(server: InProcess, steps: object) -> None:
    call = await first_call(server)

    assert (await post(server, call, {**body_for(call), "steps": steps})).status == 200


async def test_internals_of_an_sdk_are_not_looked_at(server: InProcess) -> None:
    call = await first_call(server)
    internals = {"mode": "sync", "rawArgs": [1], "promise": {}, "middleware": None, "fn": None, "opts": None}

    answer = await post(server, call, body_for(call, step(**internals), unknown={"a": 1}))

    assert answer.status == 200
    assert await memos(server, call) == {STEP_1: {"data": 1}}


async def test_a_planned_step_is_only_a_mark(server: InProcess) -> None:
    call = await first_call(server)

    answer = await post(server, call, body_for(call, {"op": "StepPlanned", "id": STEP_1, "data": None}))

    assert answer.status == 200
    assert await memos(server, call) == {}
    assert len(server.app.calls) == 1


async def test_a_legacy_step_is_stored_as_it_came(server: InProcess) -> None:
    call = await first_call(server)

    await post(server, call, body_for(call, {"op": "Step", "id": STEP_1, "data": {"data": 5}}))

    assert await memos(server, call) == {STEP_1: {"data": 5}}


def assert_refused(answer: Response, status: int, run_id: str) -> str:
    error = answer.json()
    assert (answer.status, error["status"]) == (status, status), answer.body
    assert error["data"] == {"run_id": run_id}
    assert error["error"]
    return error["error"]


@pytest.mark.parametrize(
    "op", ["StepFailed", "StepError", "Sleep", "WaitForEvent", "InvokeFunction", "RunComplete", "Nonsense"]
)
async def test_other_opcodes_are_refused_and_nothing_is_stored(server: InProcess, op: str) -> None:
    call = await first_call(server)
    other = {"op": op, "id": STEP_2, "error": {"name": "E", "message": "m"}, "opts": {"duration": "1s"}}

    answer = await post(server, call, body_for(call, step(), other))

    assert op in assert_refused(answer, 400, call.item.run_id)
    assert await memos(server, call) == {}


@pytest.mark.parametrize("generation", [2, 7, 2**70])
async def test_a_dispatch_that_another_server_must_have_sent_is_to_be_asked_again(
    server: InProcess, generation: int
) -> None:
    """A conflict would tell the app that its request was replaced, and nothing would go on."""
    call = await first_call(server)

    answer = await post(server, call, body_for(call, step(), generation_id=generation))

    assert_refused(answer, 503, call.item.run_id)
    assert await memos(server, call) == {}


async def test_an_item_that_is_gone_is_a_conflict(server: InProcess) -> None:
    call = await first_call(server)
    await server.report(call, step(STEP_2))

    assert_refused(await post(server, call, body_for(call, step())), 409, call.item.run_id)


@pytest.mark.parametrize("generation", [0, None])
async def test_a_dispatch_without_generation_is_found_by_its_item(
    server: InProcess, generation: object
) -> None:
    call = await first_call(server)

    assert (await post(server, call, body_for(call, step(), generation_id=generation))).status == 200


async def test_a_step_that_is_too_large_is_refused_and_the_run_lives(server: InProcess) -> None:
    call = await first_call(server)

    answer = await post(server, call, body_for(call, step(data="x" * 4 * 1024 * 1024)))

    assert_refused(answer, 413, call.item.run_id)
    assert (await server.get(f"/v1/runs/{call.item.run_id}")).data["status"] == "Running"


async def test_a_run_that_ended_or_never_was_is_refused(server: InProcess) -> None:
    call = await first_call(server)
    await server.answer(call, Returned(b"1"))

    assert_refused(await post(server, call, body_for(call, step())), 400, call.item.run_id)
    stranger = make_ulid(99)
    answer = await server.post(f"/v1/checkpoint/{stranger}/async", body_for(call))
    assert_refused(answer, 400, stranger)


@pytest.mark.parametrize(
    "fields",
    [
        {"qi_id": None},
        {"qi_id": ""},
        {"qi_id": 5},
        {"generation_id": "1"},
        {"generation_id": 1.5},
        {"generation_id": True},
        {"generation_id": -1},
        {"generation_id": [1]},
        {"steps": "StepRun"},
        {"steps": 7},
        {"steps": [None]},
        {"steps": [[]]},
        {"steps": [{"op": "StepRun"}]},
        {"steps": [{"op": "StepRun", "id": 5}]},
        {"steps": [{"op": "StepRun", "id": "x" * 300}]},
        {"steps": [{"op": None, "id": "x"}]},
        {"steps": [{"id": "x"}]},
    ],
)
async def test_malformed_fields_are_client_errors(server: InProcess, fields: dict[str, Any]) -> None:
    call = await first_call(server)

    assert_refused(await post(server, call, {**body_for(call, step()), **fields}), 400, call.item.run_id)


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b'"x"', b"\xff", b"[" * 300, b"NaN"])
async def test_bodies_that_are_no_object_are_client_errors(server: InProcess, body: bytes) -> None:
    call = await first_call(server)

    assert_refused(await post(server, call, body), 400, call.item.run_id)


async def test_an_invalid_run_id_is_named_too(server: InProcess) -> None:
    answer = await server.post("/v1/checkpoint/%00x/async", {"qi_id": "q", "steps": []})

    assert_refused(answer, 400, "\0x")


async def test_checkpoints_need_the_signing_key(locked: InProcess) -> None:
    call = await first_call(locked)
    path = f"/v1/checkpoint/{call.item.run_id}/async"
    body = body_for(call, step())

    assert (await locked.request("POST", path, body)).status == 401
    assert (await locked.request("POST", path, body, bearer="Bearer ")).status == 401
    assert (await locked.request("POST", path, body, bearer=BEARER)).status == 200


@pytest.mark.parametrize("step_id", ["é", 'a"b', "a b", "\0", "a/b", "🦀"])
async def test_a_step_id_of_odd_characters_is_refused(server: InProcess, step_id: str) -> None:
    call = await first_call(server)

    assert_refused(await post(server, call, body_for(call, step(step_id))), 400, call.item.run_id)
