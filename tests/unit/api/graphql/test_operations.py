"""Every operation of the reference interface, against a real engine."""

import json
from typing import Any

import pytest

from inngest_server.runs.facts import CallFailed, Returned
from tests.builders import make_ulid
from tests.unit.api.graphql.operations import EVER, OPERATIONS, RUNS, ask, code_of, do
from tests.unit.api.harness import InProcess
from tests.unit.apps.bodies import PYTHON, make_body, make_function

ORDER = {"name": "shop/order.created", "data": {"id": 7, "b": 1, "a": 12345678901234567890}, "id": "order-7"}
CHARGE = {
    "id": "a" * 40,
    "op": "StepRun",
    "displayName": "charge",
    "data": {"charged": 1},
    "opts": {"input": [7, "eur"]},
}


def test_there_are_28_operations() -> None:
    assert len(OPERATIONS) == 28


async def run_to_the_second_call(server: InProcess) -> str:
    """A run that took a step, and whose next request is under way; its id."""
    await server.register(make_function())
    await server.send(ORDER)
    call = await server.call(0)
    server.clock.ms += 1500
    await server.report(call, CHARGE)
    await server.call(1)
    return call.item.run_id


async def run_to_the_end(server: InProcess) -> str:
    run_id = await run_to_the_second_call(server)
    server.clock.ms += 500
    await server.answer(await server.call(1), Returned(b'{"z":1,"a":10000000000000000001}'))
    return run_id


async def test_the_list_of_runs(server: InProcess) -> None:
    run_id = await run_to_the_second_call(server)

    [edge] = (await do(server, "GetRuns", **RUNS))["runs"]["edges"]

    assert edge["node"] == {
        "app": {"externalID": "shop", "name": "shop"},
        "cronSchedule": None,
        "eventName": "shop/order.created",
        "function": {"name": "Order", "slug": "shop-order"},
        "id": run_id,
        "isBatch": False,
        "queuedAt": "2026-09-21T14:13:20Z",
        "startedAt": "2026-09-21T14:13:20Z",
        "endedAt": None,
        "status": "RUNNING",
        "hasAI": False,
        "isDeferred": False,
        "deferredFrom": [],
    }
    assert (await do(server, "CountRuns", **RUNS))["runs"]["totalCount"] == 1


async def test_variables_that_an_operation_does_not_declare_are_ignored(server: InProcess) -> None:
    await run_to_the_end(server)

    data = await do(server, "CountRuns", **RUNS, endTime=EVER, celQuery="][", unknown={"a": 1})

    assert data["runs"]["totalCount"] == 1


async def test_a_run_with_its_trace(server: InProcess) -> None:
    run_id = await run_to_the_end(server)

    run = (await do(server, "GetRun", runID=run_id, preview=True))["run"]
    linkage = (await do(server, "GetRunLinkage", runID=run_id))["run"]

    assert (run["status"], run["hasAI"]) == ("COMPLETED", False)
    assert run["function"]["app"] == {"name": "shop", "method": "SERVE"}
    assert linkage == {"defers": [], "siblingDefers": [], "deferredFrom": []}
    root = run["trace"]
    assert (root["name"], root["isRoot"], root["status"], root["duration"]) == (
        "Run",
        True,
        "COMPLETED",
        2000,
    )
    charge, end = root["childrenSpans"]
    assert (charge["name"], charge["stepOp"], charge["stepType"]) == ("charge", "RUN", "RUN")
    assert (charge["status"], charge["stepID"], charge["attempts"]) == ("COMPLETED", CHARGE["id"], 0)
    assert (end["name"], end["stepType"], end["stepID"]) == ("Finalization", "FINALIZATION", None)
    assert {span["parentSpanID"] for span in (charge, end)} == {root["spanID"]}
    assert root == (await do(server, "GetRunTrace", runID=run_id))["runTrace"]
    upward = "query R($id: String!) { runTrace(runID: $id) {"
    upward += " childrenSpans { parentSpan { isRoot name status } } } }"
    for span in (await ask(server, upward, id=run_id))["runTrace"]["childrenSpans"]:
        assert span["parentSpan"] == {"isRoot": True, "name": "Run", "status": "COMPLETED"}


async def test_what_a_step_and_a_run_took_and_gave(server: InProcess) -> None:
    run_id = await run_to_the_end(server)
    root = (await do(server, "GetRunTrace", runID=run_id))["runTrace"]

    charge = await do(server, "GetTraceResult", traceID=root["childrenSpans"][0]["outputID"])
    whole = await do(server, "GetTraceResult", traceID=root["outputID"])

    assert charge["runTraceSpanOutputByID"] == {"input": '[7,"eur"]', "data": '{"charged":1}', "error": None}
    # Keys in their order, and numbers with all their digits.
    assert whole["runTraceSpanOutputByID"]["data"] == '{"z":1,"a":10000000000000000001}'


async def test_the_error_of_a_failed_run(server: InProcess) -> None:
    run_id = await run_to_the_second_call(server)
    error = {"name": "CardError", "message": "declined", "stack": "at charge", "cause": {"deep": [1]}}
    failure = CallFailed(json.dumps(error).encode(), "function_error", retriable=False, retry_after_ms=None)
    await server.answer(await server.call(1), failure)

    root = (await do(server, "GetRunTrace", runID=run_id))["runTrace"]
    result = (await do(server, "GetTraceResult", traceID=root["outputID"]))["runTraceSpanOutputByID"]

    assert root["status"] == "FAILED"
    assert result == {"input": None, "data": None, "error": error}


async def test_what_started_a_run(server: InProcess) -> None:
    run_id = await run_to_the_end(server)

    trigger = (await do(server, "GetTrigger", runID=run_id))["runTrigger"]

    assert trigger["eventName"] == "shop/order.created"
    assert (trigger["isBatch"], trigger["batchID"], trigger["cron"]) == (False, None, None)
    [payload] = trigger["payloads"]
    assert '"a":12345678901234567890' in payload
    assert json.loads(payload)["id"] == "order-7"


async def test_a_run_that_a_schedule_started_has_no_event_name(server: InProcess) -> None:
    await server.register(make_function(triggers=[{"cron": "* * * * *"}]))
    server.clock.ms += 120_000
    await server.get("/health")  # Makes the engine look at the clock.
    run_id = (await server.call(0)).item.run_id

    trigger = (await do(server, "GetTrigger", runID=run_id))["runTrigger"]

    assert (trigger["eventName"], trigger["cron"]) == (None, "* * * * *")
    assert json.loads(trigger["payloads"][0])["name"] == "inngest/scheduled.timer"


async def test_the_list_of_events_and_one_event(server: InProcess) -> None:
    run_id = await run_to_the_end(server)

    events = (await do(server, "GetEventsV2", startTime=EVER))["eventsV2"]
    everything = (await do(server, "GetEventsV2", startTime=EVER, includeInternalEvents=True))["eventsV2"]

    assert (events["totalCount"], everything["totalCount"]) == (1, 2)
    [edge] = events["edges"]
    assert edge["node"]["runs"][0]["id"] == run_id
    event_id = edge["node"]["id"]
    event = (await do(server, "GetEventV2", eventID=event_id))["eventV2"]
    assert event == {
        "name": "shop/order.created",
        "id": event_id,
        "receivedAt": "2026-09-21T14:13:20Z",
        "idempotencyKey": "order-7",
        "occurredAt": "2026-09-21T14:13:20Z",
        "version": None,
        "source": None,
    }
    raw = json.loads((await do(server, "GetEventV2Payload", eventID=event_id.lower()))["eventV2"]["raw"])
    assert raw["data"] == ORDER["data"]
    [run] = (await do(server, "GetEventV2Runs", eventID=event_id))["eventV2"]["runs"]
    assert run["trace"] == {"skipReason": None, "skipExistingRunID": None}


async def test_an_event_in_the_older_form(server: InProcess) -> None:
    run_id = await run_to_the_second_call(server)
    wait = {"id": "b" * 40, "op": "WaitForEvent", "name": "shop/paid", "opts": {"timeout": "1h"}}
    await server.report(await server.call(1), wait)
    [edge] = (await do(server, "GetEventsV2", startTime=EVER))["eventsV2"]["edges"]

    event = (await do(server, "GetEvent", id=edge["node"]["id"]))["event"]

    assert (event["status"], event["pendingRuns"]) == ("RUNNING", 1)
    [run] = event["functionRuns"]
    assert (run["id"], run["pendingSteps"]) == (run_id, 1)
    assert run["waitingFor"] == {
        "expiryTime": "2026-09-21T15:13:21.5Z",
        "eventName": "shop/paid",
        "expression": None,
    }


async def test_functions_and_apps(server: InProcess) -> None:
    answer = await server.post("/fn/register", PYTHON)
    assert answer.status == 200

    functions = (await do(server, "GetFunctions"))["functions"]
    order = (await do(server, "GetFunction", functionSlug="shop-order"))["functionBySlug"]
    batch = (await do(server, "GetFunction", functionSlug="shop-batch"))["functionBySlug"]
    [app] = (await do(server, "GetApps"))["apps"]

    assert [function["slug"] for function in functions] == ["shop-batch", "shop-batch-failure", "shop-order"]
    assert order["configuration"] == {
        "cancellations": [{"event": "x/y", "timeout": "1h", "condition": "event.data.id == async.data.id"}],
        "retries": {"value": 3, "isDefault": False},
        "priority": "1",
        "eventsBatch": None,
        "concurrency": [
            {
                "scope": "FUNCTION",
                "limit": {"value": 5, "isPlanLimit": False},
                "key": "event.data.user_id",
            }
        ],
        "rateLimit": {"limit": 1, "period": "4h0m0s", "key": None},
        "debounce": {"period": "5m0s", "key": None},
        "throttle": {"burst": 1, "key": None, "limit": 10, "period": "1m0s"},
        "singleton": {"key": None, "mode": "SKIP"},
    }
    config = json.loads(order["config"])
    assert (config["fv"], config["slug"], config["throttle"]["period"]) == (1, "shop-order", "1m0s")
    assert config["concurrency"][0].keys() == {"limit", "key", "scope", "hash"}
    assert "fnId=shop-order" in config["steps"][0]["uri"]
    assert batch["failureHandler"] == {"slug": "shop-batch-failure"}
    assert batch["configuration"]["concurrency"][0]["limit"] == {"value": -1, "isPlanLimit": True}
    assert batch["configuration"]["eventsBatch"] == {"maxSize": 10, "timeout": "5s", "key": None}
    assert (app["sdkLanguage"], app["sdkVersion"], app["functionCount"]) == ("py", "v0.5.19", 3)
    one = (await do(server, "GetApp", id=app["id"]))["app"]
    assert one["functions"][0]["triggers"] == [{"type": "EVENT", "value": "a/b"}]


async def test_there_are_no_connected_workers(server: InProcess) -> None:
    app_id = "00000000-0000-0000-0000-000000000000"
    variables: dict[str, Any] = {"appID": app_id, "startTime": EVER, "status": []}

    data = await do(server, "GetWorkerConnections", **variables, timeField="CONNECTED_AT", first=20)
    count = await do(server, "CountWorkerConnections", **variables)

    assert (data["workerConnections"]["edges"], data["workerConnections"]["totalCount"]) == ([], 0)
    assert count["workerConnections"]["totalCount"] == 0


@pytest.mark.parametrize("name", ["GetDebugRun", "GetDebugSession", "CreateDebugSession"])
async def test_the_debugger_is_not_there_and_says_so(server: InProcess, name: str) -> None:
    answer = await server.post(
        "/v0/gql", {"query": OPERATIONS[name], "variables": {"query": {}, "input": {}}}
    )

    assert {error["extensions"]["code"] for error in answer.json()["errors"]} == {"query_invalid"}


async def test_what_is_not_there(server: InProcess) -> None:
    stranger = make_ulid(99)

    assert (await do(server, "GetRun", runID=stranger))["run"] is None
    assert (await do(server, "GetFunction", functionSlug="none"))["functionBySlug"] is None
    assert (await do(server, "GetEvent", id=stranger))["event"] is None
    assert await code_of(server, OPERATIONS["GetRunTrace"], runID=stranger) == "run_not_found"
    assert await code_of(server, OPERATIONS["GetTrigger"], runID=stranger) == "run_not_found"
    assert await code_of(server, OPERATIONS["GetEventV2"], eventID=stranger) == "event_not_found"


async def test_a_list_reads_the_storage_twice_at_most(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.register(make_function())
    await server.send(*[{"name": "shop/order.created", "data": {"n": n}} for n in range(30)])
    reads: list[str] = []
    for name in dir(server.storage):
        method = getattr(server.storage, name)
        # The storage in memory asks itself for these.
        if not name.startswith("_") and callable(method) and name not in ("get", "runs_of_event"):

            def spied(*given: Any, name: str = name, method: Any = method, **named: Any) -> Any:
                reads.append(name)
                return method(*given, **named)

            monkeypatch.setattr(server.storage, name, spied)

    await do(server, "GetRuns", **RUNS)
    assert sorted(reads) == ["list_runs", "runs_that_opened"]
    reads.clear()
    await do(server, "GetEventsV2", startTime=EVER)
    assert sorted(reads) == ["count_events", "list_events", "runs_of_events"]


async def test_the_stream_has_what_users_sent_and_what_schedules_started(server: InProcess) -> None:
    await server.register(make_function(triggers=[{"event": "shop/order.created"}, {"cron": "* * * * *"}]))
    [event_id] = await server.send(ORDER)
    server.clock.ms += 60_000
    await server.get("/health")  # Makes the engine look at the clock.
    by_schedule = (await server.call(1)).item.run_id
    await server.delete(f"/v1/runs/{by_schedule}")
    document = (
        "query S($query: StreamQuery!) { stream(query: $query) { id type trigger inBatch runs { id cron } } }"
    )

    shown = (await ask(server, document, query={}))["stream"]
    everything = (await ask(server, document, query={"includeInternalEvents": True}))["stream"]

    assert [(item["type"], item["trigger"]) for item in shown] == [
        ("CRON", "* * * * *"),
        ("EVENT", "shop/order.created"),
    ]
    assert shown[0]["runs"] == [{"id": by_schedule, "cron": "* * * * *"}]
    assert len(everything) > 2
    assert (await ask(server, document, query={"after": event_id}))["stream"] == shown[:1]
    assert (await ask(server, document, query={"before": shown[0]["id"]}))["stream"] == shown[1:]
    assert (await ask(server, document, query={"limit": 1}))["stream"] == shown[:1]


async def test_a_run_in_the_older_form(server: InProcess) -> None:
    run_id = await run_to_the_end(server)
    document = """query R($id: ID!) { functionRun(query: {functionRunId: $id}) {
      id status output startedAt finishedAt pendingSteps waitingFor { expiryTime } event { externalID status }
    } }"""

    assert (await ask(server, document, id=run_id))["functionRun"] == {
        "id": run_id,
        "status": "COMPLETED",
        "output": '{"z":1,"a":10000000000000000001}',
        "startedAt": "2026-09-21T14:13:20Z",
        "finishedAt": "2026-09-21T14:13:22Z",
        "pendingSteps": 0,
        "waitingFor": None,
        "event": {"externalID": "order-7", "status": "COMPLETED"},
    }


async def test_a_run_of_a_function_that_was_registered_in_between_is_shown(server: InProcess) -> None:
    """One query reads the catalogue first and the runs after it."""
    await server.register(make_function())
    inner = server.storage.list_runs

    async def late(query: Any) -> Any:
        step = {"id": "step", "name": "step", "runtime": {"type": "http", "url": "http://b:80/x"}}
        await server.post(
            "/fn/register",
            make_body(make_function(id="other-f", steps={"step": step}), appName="other", url="http://b/x"),
        )
        await server.send(ORDER)
        return await inner(query)

    server.storage.list_runs = late
    document = (
        "{ apps { name } "
        + f'runs(orderBy: [], filter: {{from: "{EVER}"}})'
        + (" { edges { node { function { slug } app { name } } } } }")
    )

    nodes = [edge["node"] for edge in (await ask(server, document))["runs"]["edges"]]

    assert {node["app"]["name"] for node in nodes} == {"shop", "other"}
