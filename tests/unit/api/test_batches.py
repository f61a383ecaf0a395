"""Runs on batches, as REST and GraphQL show them."""

import json

from inngest_server.runs.facts import Returned
from tests.unit.api.graphql.operations import RUNS, ask, do
from tests.unit.api.harness import InProcess
from tests.unit.apps.bodies import make_function

ORDERS = [{"name": "shop/order.created", "data": {"n": n}} for n in range(3)]


async def start_batch(server: InProcess) -> tuple[str, list[str]]:
    """A run on three events: its id, and theirs."""
    await server.register(make_function(batchEvents={"maxSize": 3, "timeout": "5s"}))
    ids = await server.send(*ORDERS)
    call = await server.call(0)
    return call.item.run_id, ids


async def test_sdks_fetch_all_events_of_a_batch_in_their_order(server: InProcess) -> None:
    run_id, ids = await start_batch(server)
    batch = (await server.get(f"/v0/runs/{run_id}/batch")).json()
    assert [(event["id"], event["data"]["n"]) for event in batch] == list(zip(ids, range(3), strict=True))


async def test_a_run_on_a_batch_is_found_by_each_of_its_events(server: InProcess) -> None:
    run_id, ids = await start_batch(server)
    run = (await server.get(f"/v1/runs/{run_id}")).data
    assert run["batch_id"] is not None
    assert run["event_id"] == ids[0]
    for event_id in ids:
        assert await server.run_of(event_id) == run


async def test_the_end_of_a_batch_shows_all_its_events(server: InProcess) -> None:
    _, ids = await start_batch(server)
    await server.answer(await server.call(0), Returned(b"1"))
    listed = (await server.get("/v1/events?name=inngest/function.finished")).data
    [finished] = [event for event in listed if event["name"] == "inngest/function.finished"]
    assert [event["id"] for event in finished["data"]["events"]] == ids
    assert finished["data"]["event"]["id"] == ids[0]


async def test_a_batch_in_graphql(server: InProcess) -> None:
    run_id, ids = await start_batch(server)
    batch_id = (await server.get(f"/v1/runs/{run_id}")).data["batch_id"]

    [edge] = (await do(server, "GetRuns", **RUNS))["runs"]["edges"]
    assert edge["node"]["isBatch"] is True
    trigger = (await do(server, "GetTrigger", runID=run_id))["runTrigger"]
    assert (trigger["isBatch"], trigger["batchID"], trigger["IDs"]) == (True, batch_id, ids)
    assert [json.loads(payload)["data"]["n"] for payload in trigger["payloads"]] == [0, 1, 2]
    query = "query R($id: String!) { run(runID: $id) { triggerIDs batchCreatedAt } }"
    run = (await ask(server, query, id=run_id))["run"]
    assert run == {"triggerIDs": ids, "batchCreatedAt": "2026-09-21T14:13:20Z"}
