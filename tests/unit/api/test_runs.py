"""Runs over REST."""

import json
from typing import Any

import pytest

from inngest_server.runs.facts import CallFailed, Returned
from inngest_server.runs.records import RunRow
from tests.builders import T0_MS, make_ulid
from tests.unit.api.harness import InProcess
from tests.unit.apps.bodies import make_function

ORDER = {"name": "shop/order.created", "data": {"id": 7}}
STRANGER = make_ulid(99)
"""A well-formed id of nothing."""


async def start_run(server: InProcess) -> dict[str, Any]:
    await server.register(make_function())
    [event_id] = await server.send(ORDER)
    return await server.run_of(event_id)


async def test_a_run_is_there_as_soon_as_its_event_is_accepted(server: InProcess) -> None:
    run = await start_run(server)

    answer = await server.get(f"/v1/runs/{run['run_id']}")

    assert answer.status == 200
    assert answer.data == run
    assert run["status"] in ("Scheduled", "Running")


async def test_a_timeline_is_text_for_people(server: InProcess) -> None:
    run = await start_run(server)
    call = await server.call(0)
    server.clock.ms += 1500
    await server.answer(call, Returned(b"null"))

    answer = await server.get(f"/v1/runs/{run['run_id']}/timeline")

    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    first, second = answer.body.decode().splitlines()
    assert first.split() == ["Run", "COMPLETED", "0.000s", "1.500s", "request"]
    assert second.split() == ["Function", "body", "COMPLETED", "0.000s", "1.500s", "request"]
    assert (await server.get(f"/v1/runs/{STRANGER}/timeline")).status == 404


async def test_a_run_has_the_documented_shape(server: InProcess) -> None:
    run = await start_run(server)
    call = await server.call(0)
    server.clock.ms += 1500
    await server.answer(call, Returned(b'{"total":12345678901234567890,"ok":true}'))

    answer = await server.get(f"/v1/runs/{run['run_id']}")

    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["metadata"] == {"fetched_at": "2026-09-21T14:13:21.5Z"}
    assert b"12345678901234567890" in answer.body
    assert answer.data == {
        "run_id": call.item.run_id,
        "run_started_at": "2026-09-21T14:13:20Z",
        "function_id": call.function_id,
        "function_version": 1,
        "environment_id": "00000000-0000-4000-b000-000000000000",
        "event_id": run["event_id"],
        "batch_id": None,
        "original_run_id": None,
        "cron": None,
        "status": "Completed",
        "ended_at": "2026-09-21T14:13:21.5Z",
        "output": {"total": 12345678901234567890, "ok": True},
    }


async def test_times_that_have_not_come_are_null(server: InProcess) -> None:
    await server.register(make_function())
    [event_id] = await server.send({**ORDER, "ts": T0_MS + 60_000})

    run = await server.run_of(event_id)

    assert (run["status"], run["run_started_at"], run["ended_at"]) == ("Scheduled", None, None)
    assert run["output"] is None


async def test_the_output_of_a_failed_run_is_its_error(server: InProcess) -> None:
    run = await start_run(server)
    error = {"name": "CardError", "message": "declined", "stack": "at charge"}
    failure = CallFailed(json.dumps(error).encode(), "function_error", retriable=False, retry_after_ms=None)
    await server.answer(await server.call(0), failure)

    shown = (await server.get(f"/v1/runs/{run['run_id']}")).data

    assert shown["status"] == "Failed"
    assert shown["output"] == error


async def test_the_jobs_of_a_run_are_its_live_items(server: InProcess) -> None:
    run = await start_run(server)
    path = f"/v1/runs/{run['run_id']}/jobs"
    call = await server.call(0)

    [job] = (await server.get(path)).data
    assert job == {
        "JobID": call.item.item_id,
        "at": "2026-09-21T14:13:20Z",
        "position": 0,
        "kind": "discovery",
        "attempt": 0,
        "Raw": {
            "state": "sent",
            "step_id": None,
            "generation": 1,
            "queued_at": "2026-09-21T14:13:20Z",
            "sent_at": "2026-09-21T14:13:20Z",
        },
    }

    await server.answer(call, Returned(b"1"))
    assert (await server.get(path)).data == []


# Cancelling.


async def test_a_cancelled_run_has_ended_when_the_answer_comes(server: InProcess) -> None:
    run = await start_run(server)

    answer = await server.delete(f"/v1/runs/{run['run_id']}")

    assert (answer.status, answer.body) == (200, b"")
    shown = (await server.get(f"/v1/runs/{run['run_id']}")).data
    assert (shown["status"], shown["output"]) == ("Cancelled", None)
    assert shown["ended_at"] is not None


async def test_v0_cancels_with_204_and_no_length(server: InProcess) -> None:
    run = await start_run(server)

    answer = await server.delete(f"/v0/runs/{run['run_id']}")

    assert (answer.status, answer.body) == (204, b"")
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("version", ["v0", "v1"])
async def test_a_run_that_has_ended_cannot_be_cancelled(server: InProcess, version: str) -> None:
    run = await start_run(server)
    await server.answer(await server.call(0), Returned(b"1"))

    answer = await server.delete(f"/{version}/runs/{run['run_id']}")

    assert answer.status == 409
    assert answer.json() == {
        "code": "run_ended",
        "error": "the run cannot be cancelled: it has ended already, as Completed",
        "data": None,
        "status": 409,
    }


async def test_a_run_whose_content_was_dropped_from_memory_can_be_cancelled(server: InProcess) -> None:
    run = await start_run(server)
    await server.call(0)
    held = server.engine.live.find_run(run["run_id"])
    assert held is not None
    held.content = None

    assert (await server.delete(f"/v1/runs/{run['run_id']}")).status == 200


# What SDKs fetch.

STEP_1, STEP_2, STEP_3, STEP_4 = ("a" * 40, "b" * 40, "c" * 40, "d" * 40)


async def test_actions_are_the_memos_that_the_next_request_carries(server: InProcess) -> None:
    run = await start_run(server)
    path = f"/v0/runs/{run['run_id']}/actions"
    assert (await server.get(path)).json() == {}

    error = {"name": "E", "message": "m"}
    await server.report(
        await server.call(0),
        {"op": "StepRun", "id": STEP_1, "data": {"n": 1}},
        {"op": "StepFailed", "id": STEP_2, "error": error},
    )
    wait = {"op": "WaitForEvent", "id": STEP_3, "opts": {"event": "shop/paid", "timeout": "1h"}}
    await server.report(await server.call(1), wait)
    await server.send({"name": "shop/paid", "data": {"by": "card"}, "id": "pay-1", "ts": T0_MS})
    call = await server.call(2)

    answer = await server.get(path)

    assert answer.status == 200
    assert answer.json() == {
        STEP_1: {"data": {"n": 1}},
        STEP_2: {"error": error},
        STEP_3: {"data": {"by": "card"}, "id": "pay-1", "name": "shop/paid", "ts": T0_MS, "user": {}},
    }
    memos = call.run.loaded.memos
    assert [key.encode() in answer.body and memos[key] in answer.body for key in memos] == [True] * 3


async def test_the_batch_is_an_array_of_the_triggering_events(server: InProcess) -> None:
    run = await start_run(server)
    call = await server.call(0)

    answer = await server.get(f"/v0/runs/{run['run_id']}/batch")

    assert answer.body == b"[" + call.run.loaded.event_body + b"]"


@pytest.mark.parametrize("what", ["batch", "actions"])
async def test_the_state_of_a_run_that_ended_is_gone(server: InProcess, what: str) -> None:
    run = await start_run(server)
    await server.answer(await server.call(0), Returned(b"1"))

    answer = await server.get(f"/v0/runs/{run['run_id']}/{what}")

    assert answer.status == 410
    assert answer.json()["status"] == 410
    assert "ended as Completed" in answer.json()["error"]
    assert (await server.get(f"/v0/runs/{STRANGER}/{what}")).status == 410


@pytest.mark.parametrize("what", ["batch", "actions"])
async def test_an_invalid_run_id_has_the_documented_error(server: InProcess, what: str) -> None:
    answer = await server.get(f"/v0/runs/x/{what}")

    assert answer.json() == {
        "code": "invalid_id",
        "error": "The run ID specified is invalid",
        "data": None,
        "status": 400,
    }


async def test_telemetry_is_taken(server: InProcess) -> None:
    assert (await server.post("/v0/telemetry", {"any": "thing"})).status == 200


# Metadata.


async def test_metadata_is_accepted_up_to_its_limit(server: InProcess) -> None:
    run = await start_run(server)
    path = f"/v1/runs/{run['run_id']}/metadata"
    body = {"target": {}, "metadata": [{"kind": "userland.x", "op": "merge", "values": {"a": 1}}]}

    assert (await server.post(path, body)).status == 200
    assert (await server.post(path, b'"' + b"x" * (65536 - 2) + b'"')).status == 200
    assert (await server.post(path, b'"' + b"x" * (65536 - 1) + b'"')).status == 413
    assert (await server.post(path, b"{")).status == 400
    assert (await server.post(f"/v1/runs/{STRANGER}/metadata", body)).status == 404


# Ids of nothing.

ODD_IDS = [
    "x",
    "%00",
    "%F0%9F%A6%80",
    "0" * 25 + "%00",
    "!" * 26,
    "U" * 26,
    "8" + "Z" * 25,
    "%C4%B1" * 26,
    "%FF" * 26,
    "0" * 25,
    "0" * 27,
    "A" * 60_000,
    "..",
    "%2e%2e%2f%2e%2e",
    "'; DROP TABLE runs; --",
    "undefined",
    "null",
]
RUN_ROUTES = [
    ("GET", "/v0/runs/{}/batch"),
    ("GET", "/v0/runs/{}/actions"),
    ("DELETE", "/v0/runs/{}"),
    ("GET", "/v1/runs/{}"),
    ("DELETE", "/v1/runs/{}"),
    ("GET", "/v1/runs/{}/jobs"),
    ("POST", "/v1/runs/{}/metadata"),
    ("POST", "/v1/checkpoint/{}/async"),
    ("POST", "/v1/http/runs/{}/async"),
    ("GET", "/v1/events/{}"),
    ("GET", "/v1/events/{}/runs"),
]


@pytest.mark.parametrize(("method", "path"), RUN_ROUTES)
async def test_any_text_as_an_id_is_a_client_error(server: InProcess, method: str, path: str) -> None:
    for text in ODD_IDS:
        body = {"qi_id": text, "steps": []} if method == "POST" else b""
        answer = await server.request(method, path.format(text), body)

        assert answer.status == 400, (text[:40], answer.body)
        assert answer.json()["status"] == 400
        assert answer.headers["content-type"] == "application/json"
    assert server.engine.failure is None
    assert server.engine.held == {}


@pytest.mark.parametrize(("method", "path"), RUN_ROUTES)
async def test_a_well_formed_id_of_nothing_is_a_client_error(
    server: InProcess, method: str, path: str
) -> None:
    for text in (STRANGER, "0" * 26, "7" + "Z" * 25):
        body = {"qi_id": f"{text}.0", "steps": []} if method == "POST" else b""
        answer = await server.request(method, path.format(text), body)

        if path == "/v1/events/{}/runs":
            assert (answer.status, answer.data) == (200, [])
        else:
            assert answer.status in (400, 404, 410), answer.body


async def test_an_id_in_lower_case_is_the_same_id(server: InProcess) -> None:
    run = await start_run(server)

    answer = await server.get(f"/v1/runs/{run['run_id'].lower()}")

    assert answer.data["run_id"] == run["run_id"]


async def test_nothing_is_cancelled_while_the_storage_fails(server: InProcess) -> None:
    run = await start_run(server)
    server.engine._refusal = "disk full"

    answer = await server.delete(f"/v1/runs/{run['run_id']}")

    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    [row] = await server.storage.get(RunRow, [run["run_id"]])
    assert row.ended_at_ms is None
