"""Histories of runs over HTTP."""

import pytest

from inngest_server.events.records import EventRow
from inngest_server.runs.facts import Returned
from inngest_server.traces.exported import from_json
from tests.builders import make_ulid
from tests.unit.api.harness import InProcess
from tests.unit.api.test_ui_runs import lived
from tests.unit.apps.bodies import make_function


async def test_a_history_has_what_code_can_be_checked_by(server: InProcess) -> None:
    run_id = await lived(server)

    answer = await server.get(f"/api/ui/v1/runs/{run_id}/history")

    run = from_json(answer.json())
    assert answer.status == 200
    assert (run.run_id, run.function, run.status, run.output) == (run_id, "shop-order", "Completed", "done")
    assert [(step.id, step.name, step.op, step.memo) for step in run.steps] == [
        ("load", "load it", "StepRun", {"data": 0}),
        ("charge", "charge it", "StepRun", {"data": 1}),
    ]
    assert run.open == []
    assert [event["data"] for event in run.events] == [{"id": 7}]


async def test_a_run_that_goes_on_has_what_it_waits_for(server: InProcess) -> None:
    await server.register(make_function())
    await server.send({"name": "shop/order.created", "data": {"total": 500}})
    call = await server.call(0)
    wait = {
        "op": "WaitForEvent",
        "id": "w",
        "displayName": "paid",
        "opts": {"event": "p", "timeout": "1h", "if": "1 == 1"},
    }
    await server.report(call, wait)

    run = from_json((await server.get(f"/api/ui/v1/runs/{call.item.run_id}/history")).json())

    assert (run.status, run.steps, run.output) == ("Running", [], None)
    assert [(step.id, step.name, step.op, step.about) for step in run.open] == [
        ("w", "paid", "WaitForEvent", {"event": "p", "if": "1 == 1"})
    ]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"runs/{make_ulid(99)}/history", 404, "run_not_found"),
        ("runs/nonsense/history", 400, "invalid_id"),
        ("functions/nothing/runs", 404, "function_not_found"),
        ("functions/shop-order/runs?limit=0", 400, "invalid_parameter"),
        ("functions/shop-order/runs?limit=1001", 400, "invalid_parameter"),
        ("functions/shop-order/runs?limit=many", 400, "invalid_parameter"),
        ("functions/shop-order/runs?status=odd", 400, "invalid_parameter"),
        ("functions/shop-order/runs?since=1", 400, "invalid_parameter"),
    ],
)
async def test_what_is_not_there_is_refused(server: InProcess, path: str, status: int, code: str) -> None:
    await lived(server)
    answer = await server.get(f"/api/ui/v1/{path}")
    assert (answer.status, answer.json()["code"]) == (status, code)


async def test_a_run_whose_event_is_gone_has_no_history(server: InProcess) -> None:
    run_id = await lived(server)
    server.storage._rows[EventRow].clear()  # As retention leaves it between two slices.
    answer = await server.get(f"/api/ui/v1/runs/{run_id}/history")
    assert (answer.status, answer.json()["code"]) == (404, "event_not_found")


async def test_the_latest_runs_of_a_function_are_listed(server: InProcess) -> None:
    first = await lived(server)
    await server.send({"name": "shop/order.created", "data": {}})
    second = (await server.call(3)).item.run_id

    async def ids(query: str) -> list[str]:
        return (await server.get(f"/api/ui/v1/functions/shop-order/runs{query}")).json()["run_ids"]

    assert set(await ids("")) == {first, second}
    assert await ids("?status=completed") == [first]
    assert await ids("?status=Running") == [second]
    assert len(await ids("?limit=1")) == 1
    await server.answer(await server.call(3), Returned(b"1"))
    assert set(await ids("?status=completed")) == {first, second}
