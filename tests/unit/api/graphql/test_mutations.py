"""What GraphQL changes: apps, runs, and starting a function."""

import asyncio
import json
from typing import Any

import pytest

from inngest_server.apps.app_error import AppError
from inngest_server.events.records import EventRow
from inngest_server.runs.facts import Returned
from inngest_server.storage.protocol import RunQuery
from tests.builders import make_ulid
from tests.unit.api.graphql.operations import EVER, OPERATIONS, ask, code_of, do, refusal
from tests.unit.api.harness import InProcess, dev
from tests.unit.apps.bodies import make_function

ORDER = {"name": "shop/order.created", "data": {"id": 7}}
APPS = "{ apps { id name url error connected functionCount } }"


async def started(server: InProcess) -> str:
    await server.register(make_function())
    await server.send(ORDER)
    return (await server.call(0)).item.run_id


# Starting a function


async def test_a_function_is_invoked_whatever_its_triggers(server: InProcess) -> None:
    await server.register(make_function(triggers=[]))
    data = {"b": 1, "a": 12345678901234567890}

    answer = await do(
        server, "InvokeFunction", functionSlug="shop-order", data=data, user={"name": "Ann"},
        meta={"sessions": {"s": "1"}},
    )  # fmt: skip

    assert answer == {"invokeFunction": True}
    event = json.loads((await server.call(0)).run.loaded.event_body)
    assert event["name"] == "inngest/function.invoked"
    assert event["data"] == {**data, "_inngest": {"fn_id": "shop-order"}}
    assert (event["user"], event["meta"]) == ({"name": "Ann"}, {"sessions": {"s": "1"}})


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"functionSlug": "none"}, "function_not_found"),
        ({"functionSlug": "\ufffd" * 5000}, "function_not_found"),
        ({"functionSlug": "shop-order", "meta": {"other": 1}}, "invalid_event"),
        ({"functionSlug": "shop-order", "meta": {"sessions": 7}}, "invalid_event"),
        ({"functionSlug": "shop-order", "data": []}, "variables_invalid"),
        ({"functionSlug": "shop-order", "data": "text"}, "variables_invalid"),
        ({"functionSlug": None}, "variables_invalid"),
    ],
)
async def test_an_invocation_that_cannot_be_is_refused(
    server: InProcess, variables: dict[str, Any], code: str
) -> None:
    await server.register(make_function())

    assert await code_of(server, OPERATIONS["InvokeFunction"], **variables) == code
    assert server.app.calls == []


async def test_an_event_that_is_too_large_is_refused() -> None:
    async with InProcess(dev(event_bytes_max=1000)) as server:
        await server.register(make_function())

        code = await code_of(
            server, OPERATIONS["InvokeFunction"], functionSlug="shop-order", data={"x": "y" * 1000}
        )

        assert code == "invalid_event"


# Cancelling


async def test_a_run_is_cancelled_and_once_more_alike(server: InProcess) -> None:
    run_id = await started(server)

    assert (await do(server, "CancelRun", runID=run_id))["cancelRun"] == {"id": run_id}
    assert (await do(server, "CancelRun", runID=run_id))["cancelRun"] == {"id": run_id}
    run = (await ask(server, "query R($id: String!) { run(runID: $id) { status endedAt } }", id=run_id))[
        "run"
    ]
    assert run == {"status": "CANCELLED", "endedAt": "2026-09-21T14:13:20Z"}


async def test_a_run_that_ended_in_another_way_cannot_be_cancelled(server: InProcess) -> None:
    run_id = await started(server)
    await server.answer(await server.call(0), Returned(b"1"))

    error = await refusal(server, OPERATIONS["CancelRun"], runID=run_id)

    assert error["code"] == "run_ended"
    assert error["message"].startswith("cannot cancel an ended run")
    assert await code_of(server, OPERATIONS["CancelRun"], runID=make_ulid(99)) == "run_not_found"


# Running again


async def test_a_run_is_made_again_on_the_same_event(server: InProcess) -> None:
    run_id = await started(server)
    await server.answer(await server.call(0), Returned(b"1"))

    again = (await do(server, "Rerun", runID=run_id))["rerun"]

    call = await server.call(1)
    assert call.item.run_id == again != run_id
    assert json.loads(call.run.loaded.event_body)["data"] == {"id": 7}
    [event] = (await ask(server, "{ events(query: {}) { functionRuns { id } } }"))["events"]
    assert {run["id"] for run in event["functionRuns"]} == {run_id, again}
    await server.answer(call, Returned(b"2"))
    status = "query R($id: String!) { run(runID: $id) { status output } }"
    assert (await ask(server, status, id=again))["run"] == {"status": "COMPLETED", "output": "2"}


async def test_reruns_that_are_asked_for_at_once_are_as_many_runs(server: InProcess) -> None:
    run_id = await started(server)

    ids = await asyncio.gather(*[do(server, "Rerun", runID=run_id) for _ in range(5)])

    assert len({answer["rerun"] for answer in ids}) == 5
    assert len(await server.storage.list_runs(RunQuery(limit=100))) == 6


async def test_a_rerun_survives_a_restart(server: InProcess) -> None:
    run_id = await started(server)
    await server.answer(await server.call(0), Returned(b"1"))
    again = (await do(server, "Rerun", runID=run_id))["rerun"]
    await server.call(1)

    async with InProcess(dev(), storage=server.storage, now_ms=server.clock.ms) as successor:
        call = await successor.call(0)

        assert call.item.run_id == again
        assert json.loads(call.run.loaded.event_body)["data"] == {"id": 7}


async def test_a_rerun_of_a_child_tells_no_parent(server: InProcess) -> None:
    child = make_function(id="shop-child", triggers=[])
    await server.register(make_function(), child)
    await server.send(ORDER)
    parent = await server.call(0)
    invoke = {"id": "c" * 40, "op": "InvokeFunction", "displayName": "child",
              "opts": {"function_id": "shop-child", "payload": {"data": {}}, "timeout": "1h"}}  # fmt: skip
    await server.report(parent, invoke)
    first = await server.call(1)

    again = (await do(server, "Rerun", runID=first.item.run_id))["rerun"]
    await server.answer(await server.call(2), Returned(b'"second"'))
    source = "query R($id: String!) { run(runID: $id) { sourceID status } }"

    assert (await ask(server, source, id=again))["run"] == {"sourceID": None, "status": "COMPLETED"}
    told = (await ask(server, source, id=first.item.run_id))["run"]
    assert told == {"sourceID": parent.item.run_id, "status": "RUNNING"}
    assert len(server.app.calls) == 3


async def test_a_run_is_made_again_from_a_step_with_what_was_done_before(server: InProcess) -> None:
    run_id = await started(server)
    for number, step in enumerate(("load", "charge")):
        op = {"op": "StepRun", "id": step, "displayName": step, "data": number}
        await server.report(await server.call(number), op)
    await server.answer(await server.call(2), Returned(b"1"))

    answer = await do(server, "RerunFromStep", runID=run_id, fromStep={"stepID": "charge"})

    again = await server.call(3)
    assert again.item.run_id == answer["rerun"]
    assert list(again.run.loaded.memos) == ["load"]


async def test_a_step_is_executed_again_with_an_edited_input(server: InProcess) -> None:
    await server.register(make_function(), sdk="js:v4.24.0")
    await server.send(ORDER)
    call = await server.call(0)
    await server.report(call, {"op": "StepRun", "id": "load", "displayName": "load", "data": 1})
    step = {"stepID": "load", "input": '[{"id": 8}]'}

    answer = await do(server, "RerunFromStep", runID=call.item.run_id, fromStep=step)

    again = await server.call(2)
    assert (again.item.run_id, again.item.step_id) == (answer["rerun"], "load")
    assert again.run.loaded.inputs == {"load": b'{"input":[{"id":8}]}'}


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ({"stepID": "a" * 40}, "unknown_step"),
        ({"stepID": "load", "input": "{}"}, "invalid_input"),
        ({"stepID": "load", "input": "[1"}, "invalid_input"),
        ({"stepID": "load", "input": "[1]"}, "input_not_editable"),
    ],
)
async def test_a_rerun_from_a_step_that_cannot_be_is_refused(
    server: InProcess, step: dict[str, str], code: str
) -> None:
    run_id = await started(server)
    await server.report(await server.call(0), {"op": "StepRun", "id": "load", "data": 1})

    assert await code_of(server, OPERATIONS["RerunFromStep"], runID=run_id, fromStep=step) == code
    assert len(await server.storage.list_runs(RunQuery(limit=100))) == 1


async def test_a_rerun_that_cannot_be_is_refused(server: InProcess) -> None:
    run_id = await started(server)

    assert await code_of(server, OPERATIONS["Rerun"], runID=make_ulid(99)) == "run_not_found"
    await server.register(make_function(id="shop-other"))
    assert await code_of(server, OPERATIONS["Rerun"], runID=run_id) == "function_not_found"
    server.storage._rows[EventRow].clear()
    assert await code_of(server, OPERATIONS["Rerun"], runID=run_id) == "event_not_found"
    assert len(await server.storage.list_runs(RunQuery(limit=100))) == 1


# Apps


class Answering:
    """Apps that say why they do not announce themselves."""

    def __init__(self, error: AppError | None = None) -> None:
        self.error = error
        self.urls: list[str] = []
        self.asked = asyncio.Event()

    async def sync(self, url: str) -> AppError | None:
        self.urls.append(url)
        self.asked.set()
        return self.error


def with_syncer(server: InProcess, syncer: Answering) -> Answering:
    object.__setattr__(server.router._context, "syncer", syncer)
    return syncer


async def introduced(server: InProcess) -> None:
    """Wait until everything that a handler has left behind is done."""
    await asyncio.gather(*server.router._context.left_running)


async def test_an_app_is_there_with_an_error_until_it_announces_itself(server: InProcess) -> None:
    syncer = with_syncer(server, Answering())

    made = (await do(server, "CreateApp", input={"url": "app/x?deployId=1"}))["createApp"]
    await introduced(server)

    assert (made, syncer.urls) == ({"url": "http://app/x"}, ["http://app/x"])
    [app] = (await ask(server, APPS))["apps"]
    assert (app["url"], app["error"], app["connected"]) == ("http://app/x", "unreachable", False)
    await do(server, "CreateApp", input={"url": "http://app/x"})
    assert len((await ask(server, APPS))["apps"]) == 1

    await server.register(make_function())

    [app] = (await ask(server, APPS))["apps"]
    assert (app["name"], app["error"], app["connected"], app["functionCount"]) == ("shop", None, True, 1)


async def test_why_an_app_could_not_be_asked_is_kept(server: InProcess) -> None:
    with_syncer(server, Answering(AppError("not_sdk", "something else answers")))

    await do(server, "CreateApp", input={"url": "http://app/x"})
    await introduced(server)

    [app] = (await ask(server, APPS))["apps"]
    assert app["error"] == "not_sdk: something else answers"


async def test_an_app_moves_to_another_url(server: InProcess) -> None:
    syncer = with_syncer(server, Answering())
    await server.register(make_function())
    [app] = (await ask(server, APPS))["apps"]

    moved = (await do(server, "UpdateApp", input={"id": app["id"], "url": "http://new/x"}))["updateApp"]
    await introduced(server)

    assert (moved, syncer.urls) == ({"url": "http://new/x", "id": app["id"]}, ["http://new/x"])
    [app] = (await ask(server, APPS))["apps"]
    assert (app["name"], app["url"], app["error"]) == ("shop", "http://new/x", "unreachable")
    await server.register(make_function(), url="http://new/x")
    [app] = (await ask(server, APPS))["apps"]
    assert (app["name"], app["url"], app["error"]) == ("shop", "http://new/x", None)


@pytest.mark.parametrize("by", ["id", "name"])
async def test_an_app_is_deleted_with_its_functions(server: InProcess, by: str) -> None:
    run_id = await started(server)
    [app] = (await ask(server, APPS))["apps"]

    if by == "id":
        assert (await do(server, "DeleteApp", id=app["id"]))["deleteApp"] == app["id"]
    else:
        assert await ask(server, 'mutation { deleteAppByName(name: "shop") }') == {"deleteAppByName": True}

    assert (await ask(server, "{ apps { id } functions { id } }")) == {"apps": [], "functions": []}
    assert (await ask(server, f'{{ app(id: "{app["id"]}") {{ id }} }}')) == {"app": None}
    # Its runs are shown as before.
    shown = "query R($id: String!) { run(runID: $id) { app { name } function { slug } } }"
    run = (await ask(server, shown, id=run_id))["run"]
    assert run == {"app": {"name": "shop"}, "function": {"slug": "shop-order"}}
    assert await code_of(server, OPERATIONS["DeleteApp"], id=app["id"]) == "app_not_found"
    assert await ask(server, 'mutation { deleteAppByName(name: "shop") }') == {"deleteAppByName": False}


@pytest.mark.parametrize(
    "url", ["", "http://", "ftp://app/x", "http://app x", "http://app:99999/x", "x" * 3000]
)
async def test_a_url_that_is_none_is_refused(server: InProcess, url: str) -> None:
    assert await code_of(server, OPERATIONS["CreateApp"], input={"url": url}) == "invalid_url"
    id_ = make_ulid(1)
    assert await code_of(server, OPERATIONS["UpdateApp"], input={"id": id_, "url": url}) == "invalid_url"
    assert await code_of(server, OPERATIONS["UpdateApp"], input={"id": id_, "url": "http://a/x"}) == (
        "app_not_found"
    )
    assert (await ask(server, APPS))["apps"] == []


async def test_mutations_are_done_one_after_the_other(server: InProcess) -> None:
    await server.register(make_function())
    document = """mutation {
      a: invokeFunction(functionSlug: "shop-order", data: {n: 1})
      b: invokeFunction(functionSlug: "none")
      c: invokeFunction(functionSlug: "shop-order", data: {n: 3})
    }"""

    answer = await server.post("/v0/gql", {"query": document})

    assert answer.json()["data"] == {"a": True, "b": None, "c": True}
    assert [error["path"] for error in answer.json()["errors"]] == [["b"]]
    events = (await do(server, "GetEventsV2", startTime=EVER, includeInternalEvents=True))["eventsV2"]
    assert events["totalCount"] == 2
