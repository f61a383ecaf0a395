"""Runs that were skipped, as the APIs show them."""

from typing import Any

from tests.unit.api.graphql.operations import OPERATIONS, code_of, do
from tests.unit.api.harness import InProcess
from tests.unit.apps.bodies import make_function

ORDER = {"name": "shop/order.created", "data": {"id": 7}}


async def two_runs(server: InProcess) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run that goes on, and one that was skipped for it."""
    await server.register(make_function(singleton={"mode": "skip"}))
    [first], [second] = await server.send(ORDER), await server.send(ORDER)
    return await server.run_of(first), await server.run_of(second)


async def test_a_skipped_run_says_why_and_for_which_run(server: InProcess) -> None:
    first, second = await two_runs(server)
    shown = (await server.get(f"/v1/runs/{second['run_id']}")).data
    assert shown == {**second, "skipped": {"reason": "Singleton", "blocked_by": first["run_id"]}}
    assert (shown["status"], shown["output"], shown["run_started_at"]) == ("Skipped", None, None)
    assert shown["ended_at"] is not None
    assert "skipped" not in (await server.get(f"/v1/runs/{first['run_id']}")).data


async def test_its_timeline_is_one_line(server: InProcess) -> None:
    _, second = await two_runs(server)
    answer = await server.get(f"/v1/runs/{second['run_id']}/timeline")
    assert answer.body.decode().split()[:2] == ["Run", "SKIPPED"]


async def test_it_cannot_be_cancelled(server: InProcess) -> None:
    _, second = await two_runs(server)
    answer = await server.delete(f"/v1/runs/{second['run_id']}")
    assert (answer.status, answer.json()["code"]) == (409, "run_ended")


async def test_a_rate_limited_invocation_is_refused(server: InProcess) -> None:
    await server.register(make_function(rateLimit={"limit": 1, "period": "1m"}))
    statuses = [(await server.post("/invoke/shop-order", {"data": {}})).status for _ in range(2)]
    assert statuses == [200, 429]


async def test_a_rate_limited_invocation_that_is_sent_again_is_refused_again(server: InProcess) -> None:
    """As the first of its id, whose answer may have got lost; no run was made of it."""
    await server.register(make_function(rateLimit={"limit": 1, "period": "1m"}))
    asked = [{"data": {}, "id": one} for one in ("first", "second", "second", "first")]
    statuses = [(await server.post("/invoke/shop-order", body)).status for body in asked]
    assert statuses == [200, 429, 429, 200]


async def test_graphql_links_the_run_in_its_way(server: InProcess) -> None:
    first, second = await two_runs(server)
    shown = await do(server, "GetEventV2Runs", eventID=second["event_id"])
    [run] = shown["eventV2"]["runs"]
    assert run["status"] == "SKIPPED"
    assert run["trace"] == {"skipReason": "Singleton", "skipExistingRunID": first["run_id"]}


async def test_a_rate_limited_invocation_is_refused_over_graphql(server: InProcess) -> None:
    await server.register(make_function(rateLimit={"limit": 1, "period": "1m"}))
    assert (await server.post("/invoke/shop-order", {"data": {}})).status == 200
    code = await code_of(server, OPERATIONS["InvokeFunction"], functionSlug="shop-order", data={})
    assert code == "rate_limited"
