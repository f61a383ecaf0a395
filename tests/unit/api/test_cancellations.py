"""`/v1/cancellations`. Source: protocol 7.3, features-2 14a and EXT-15."""

import asyncio
from typing import Any

import pytest

from inngest_server.wire.times import format_rfc3339
from inngest_server.wire.ulid import is_ulid
from tests.builders import HOUR_MS, SECOND_MS, T0_MS, make_ulid
from tests.unit.api.harness import InProcess
from tests.unit.apps.bodies import make_function

CREATED = "shop/order.created"


def body(**fields: Any) -> dict[str, Any]:
    given = {"app_id": "shop", "function_id": "order", "started_before": format_rfc3339(T0_MS), **fields}
    return {key: value for key, value in given.items() if value is not None}


async def with_runs(server: InProcess, count: int = 1) -> list[str]:
    """Events that have each started a run; then a second passes."""
    await server.register(make_function())
    ids = await server.send(*({"name": CREATED, "data": {"n": n}} for n in range(count)))
    server.clock.ms += SECOND_MS
    return ids


async def cancel(server: InProcess, **fields: Any) -> dict[str, Any]:
    answer = await server.post("/v1/cancellations", body(**fields))
    assert answer.status == 200, answer.body
    return answer.data


async def until_done(server: InProcess, cancellation_id: str) -> dict[str, Any]:
    for _ in range(2_000):
        for one in (await server.get("/v1/cancellations")).data:
            if one["id"] == cancellation_id and one["progress"]["status"] == "done":
                return one
        await asyncio.sleep(0.002)
    raise AssertionError("the cancellation is not done")


async def statuses(server: InProcess, event_ids: list[str]) -> list[str]:
    return [(await server.run_of(event_id))["status"] for event_id in event_ids]


async def test_a_cancellation_has_the_documented_fields_and_cancels(server: InProcess) -> None:
    event_ids = await with_runs(server, 3)
    made = await cancel(
        server,
        started_after=format_rfc3339(T0_MS - HOUR_MS),
        started_before=format_rfc3339(T0_MS + 500),
        **{"if": "event.data.n != 1"},
    )
    functions = (await server.get("/v1/apps/shop/functions")).json()
    assert is_ulid(made["id"])
    shown = {key: made[key] for key in made if key not in ("id", "name", "account_id", "progress")}
    assert shown == {
        "created_at": format_rfc3339(T0_MS + SECOND_MS),
        "environment_id": "00000000-0000-4000-b000-000000000000",
        "app_id": functions[0]["app_id"],
        "function_internal_id": functions[0]["internal_id"],
        "function_id": "shop-order",
        "started_after": format_rfc3339(T0_MS - HOUR_MS),
        "started_before": format_rfc3339(T0_MS + 500),
        "if": "event.data.n != 1",
        "kind": "bulk_run",
        "cause": "api",
    }
    done = await until_done(server, made["id"])
    assert done["progress"] == {"status": "done", "seen": 3, "cancelled": 2, "undecided": 0, "errors": []}
    assert await statuses(server, event_ids) == ["Cancelled", "Running", "Cancelled"]


async def test_the_upper_bound_is_exclusive_and_the_lower_one_inclusive(server: InProcess) -> None:
    event_ids = await with_runs(server)
    await until_done(server, (await cancel(server, started_before=format_rfc3339(T0_MS)))["id"])
    assert await statuses(server, event_ids) == ["Running"]
    bounds = {"started_after": format_rfc3339(T0_MS), "started_before": format_rfc3339(T0_MS + 1)}
    await until_done(server, (await cancel(server, **bounds))["id"])
    assert await statuses(server, event_ids) == ["Cancelled"]


@pytest.mark.parametrize("function_id", ["order", "shop-order"])
async def test_a_function_is_named_by_its_own_id_or_its_slug(server: InProcess, function_id: str) -> None:
    event_ids = await with_runs(server)
    made = await cancel(server, function_id=function_id, started_before=format_rfc3339(T0_MS + 1))
    await until_done(server, made["id"])
    assert await statuses(server, event_ids) == ["Cancelled"]


async def test_a_clock_that_is_a_little_ahead_is_no_error_and_later_runs_are_safe(server: InProcess) -> None:
    event_ids = await with_runs(server)
    made = await cancel(server, started_before=format_rfc3339(server.clock.ms + 5_000))
    event_ids += await server.send({"name": CREATED})
    await until_done(server, made["id"])
    assert await statuses(server, event_ids) == ["Cancelled", "Running"]


@pytest.mark.parametrize(
    ("fields", "status", "code", "text"),
    [
        ({"started_before": None}, 400, "invalid_parameter", "started_before is required"),
        ({"started_before": "yesterday"}, 400, "invalid_parameter", "RFC 3339"),
        ({"started_before": 1_700_000_000}, 400, "invalid_parameter", "RFC 3339"),
        ({"started_before": format_rfc3339(T0_MS + 5_001)}, 400, "invalid_parameter", "in the future"),
        ({"started_after": format_rfc3339(T0_MS + 1)}, 400, "invalid_parameter", "later than started_before"),
        ({"app_id": None}, 400, "invalid_parameter", "required"),
        ({"function_id": None}, 400, "invalid_parameter", "required"),
        ({"function_id": 7}, 400, "invalid_parameter", "function_id must be a text"),
        ({"function_id": "nothing"}, 404, "function_not_found", "nothing"),
        ({"app_id": "another"}, 404, "function_not_found", "another"),
        ({"if": "event.data.n =="}, 400, "expression_invalid", "invalid expression"),
        ({"if": "async.data.n == 1"}, 400, "expression_invalid", "async"),
        ({"if": True}, 400, "invalid_parameter", "if must be a text"),
        ({"if": " "}, 400, "expression_invalid", "if is empty"),
        ({"expression": "event.data.n == 1"}, 400, "invalid_parameter", "expression"),
    ],
)
async def test_what_cannot_be_meant_is_refused_and_makes_no_job(
    server: InProcess, fields: dict[str, Any], status: int, code: str, text: str
) -> None:
    await server.register(make_function())
    answer = await server.post("/v1/cancellations", body(**fields))
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert text in answer.json()["error"]
    assert (await server.get("/v1/cancellations")).data == []


@pytest.mark.parametrize("given", [[], "x", None, 1])
async def test_a_body_that_is_no_object_is_refused(server: InProcess, given: Any) -> None:
    assert (await server.post("/v1/cancellations", given)).status == 400


async def test_the_list_is_newest_first_and_deleted_ones_are_gone(server: InProcess) -> None:
    await with_runs(server)
    made = [(await cancel(server, name=f"number {n}"))["id"] for n in range(3)]
    assert [one["id"] for one in (await server.get("/v1/cancellations")).data] == made[::-1]
    for cancellation_id in made:
        await until_done(server, cancellation_id)
    answer = await server.delete(f"/v1/cancellations/{made[0]}")
    assert (answer.status, answer.data) == (200, {"ok": True})
    # It was over: there is nothing to take back, and it stays in the history.
    assert len((await server.get("/v1/cancellations")).data) == 3


async def test_a_cancellation_that_runs_is_stopped_by_deleting_it(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_ids = await with_runs(server, 3)
    begun, go_on = asyncio.Event(), asyncio.Event()
    list_runs = server.storage.list_runs

    async def slow(query: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await list_runs(query)

    monkeypatch.setattr(server.storage, "list_runs", slow)
    made = await cancel(server, started_before=format_rfc3339(T0_MS + 1))
    await begun.wait()
    for _ in range(2):  # A second time there is nothing left to stop.
        assert (await server.delete(f"/v1/cancellations/{made['id'].lower()}")).data == {"ok": True}
    go_on.set()
    monkeypatch.undo()
    assert (await server.get("/v1/cancellations")).data == []
    assert await statuses(server, event_ids) == ["Running"] * 3


@pytest.mark.parametrize(("cancellation_id", "status"), [("x", 400), (make_ulid(5), 404)])
async def test_deleting_what_is_not_there_is_refused(
    server: InProcess, cancellation_id: str, status: int
) -> None:
    assert (await server.delete(f"/v1/cancellations/{cancellation_id}")).status == status
