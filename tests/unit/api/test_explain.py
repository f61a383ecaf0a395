"""Why a run is not running and what became of an event, over HTTP."""

from typing import Any

import pytest

from inngest_server.engine.engine import Engine
from inngest_server.events.records import EventRow
from inngest_server.runs.placement import shard_of_run
from inngest_server.runs.records import JournalRow
from inngest_server.storage.protocol import DAMAGED, CorruptDataError
from tests.builders import HOUR_MS, SECOND_MS, T0_MS, make_ulid
from tests.unit.api.harness import InProcess, quoted
from tests.unit.apps.bodies import make_function

NAME = "shop/order.created"


async def explain(server: InProcess, kind: str, name: str) -> Any:
    answer = await server.get(f"/api/ui/v1/{kind}/{quoted(name)}/explain")
    assert answer.status == 200, answer.body
    return answer.json()


async def row_of(server: InProcess, event_id: str) -> Any:
    """What became of the event at the only function that it concerns."""
    [row] = (await explain(server, "events", event_id))["functions"]
    return row


async def register(server: InProcess, expression: str | None = None, **options: Any) -> None:
    trigger = {"event": NAME} if expression is None else {"event": NAME, "expression": expression}
    await server.register(make_function(triggers=[trigger], **options))


async def order(server: InProcess, **fields: Any) -> str:
    [internal_id] = await server.send({"name": NAME, "data": {}, **fields})
    return internal_id


# Runs.


async def test_a_run_is_explained(server: InProcess) -> None:
    await register(server, concurrency=1)
    await order(server)
    await server.call(0)
    event_id = await order(server)
    run = await server.run_of(event_id)

    shown = await explain(server, "runs", run["run_id"])

    assert shown.keys() == {"run", "at", "state", "summary", "blocking", "eta", "ends", "actions", "gates"}
    assert (shown["run"], shown["state"], shown["blocking"]) == (run["run_id"], "queued", "concurrency:step")
    assert (shown["at"], shown["eta"]) == ("2026-09-21T14:13:20Z", None)
    [gate] = [gate for gate in shown["gates"] if gate["id"] == shown["blocking"]]
    assert (gate["verdict"], gate["limit"], gate["used"], gate["position"]) == ("block", 1, 1, 1)
    [holder] = gate["holders"]
    assert holder["since"] == "2026-09-21T14:13:20Z"
    assert shown["actions"][0]["path"] == f"/v1/runs/{holder['run']}"
    assert shown["gates"][0]["id"] == "stored"
    assert all(gate["verdict"] in ("pass", "block", "skip") for gate in shown["gates"])


async def test_a_run_that_has_ended_is_explained(server: InProcess) -> None:
    await register(server, singleton={"mode": "skip"})
    await order(server)
    event_id = await order(server)
    run = await server.run_of(event_id)
    shown = await explain(server, "runs", run["run_id"])
    assert (shown["state"], shown["blocking"]) == ("skipped", "singleton")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"runs/{make_ulid(99)}", 404, "run_not_found"),
        ("runs/x", 400, "invalid_id"),
        (f"events/{make_ulid(99)}", 404, "event_not_found"),
        ("events/my-own-id", 404, "event_not_found"),
    ],
)
async def test_what_is_not_there_has_a_code(server: InProcess, path: str, status: int, code: str) -> None:
    answer = await server.get(f"/api/ui/v1/{path}/explain")
    assert (answer.status, answer.json()["code"]) == (status, code)


async def test_a_server_without_its_memory_says_so_instead_of_guessing(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(server)
    event_id = await order(server)
    run = await server.run_of(event_id)
    monkeypatch.setattr(Engine, "failure", "the disk is full")
    for path in (f"runs/{run['run_id']}", f"events/{event_id}"):
        answer = await server.get(f"/api/ui/v1/{path}/explain")
        assert (answer.status, answer.json()["code"]) == (503, "unavailable")


async def test_a_run_whose_journal_is_damaged_is_explained_by_what_is_left(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(server)
    run = await server.run_of(await order(server))
    server.engine._work.hold(run["run_id"], "run", "its event or journal is missing or damaged", T0_MS)

    async def histories(run_ids: Any) -> Any:
        raise CorruptDataError("planted")

    async def salvage_journal(run_id: str) -> list[JournalRow]:
        return [JournalRow(run_id, 1, run_shard, "memo", "step", T0_MS, DAMAGED, DAMAGED)]

    run_shard = shard_of_run(run["run_id"])
    monkeypatch.setattr(server.storage, "histories", histories)
    monkeypatch.setattr(server.storage, "salvage_journal", salvage_journal)
    shown = await explain(server, "runs", run["run_id"])
    assert (shown["state"], shown["blocking"]) == ("held", "set_aside")


async def test_a_run_of_a_function_that_is_not_there_is_called_damage(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(server)
    run = await server.run_of(await order(server))
    monkeypatch.setattr(server.engine.functions, "find", lambda name: None)
    answer = await server.get(f"/api/ui/v1/runs/{run['run_id']}/explain")
    assert (answer.status, answer.json()["code"]) == (503, "storage_corrupt")


# Events.


async def test_an_event_that_started_a_run_names_it(server: InProcess) -> None:
    await register(server, "event.data.total > 100")
    event_id = await order(server, data={"total": 500}, id="order-1")
    run = await server.run_of(event_id)

    shown = await explain(server, "events", event_id)

    [row] = shown["functions"]
    assert (row["outcome"], row["blocking"]) == ("started", None)
    assert row["runs"] == [{"run": run["run_id"], "status": run["status"]}]
    assert shown["summary"] == f"Event {NAME}: {row['function']} started run {run['run_id']}."
    assert row["gates"][0]["says"] == f"{NAME} starts it where 500 > 100"
    assert await explain(server, "events", "order-1") == shown


async def test_a_condition_that_is_not_true_is_shown_with_its_values(server: InProcess) -> None:
    await register(server, "event.data.total > 100 && event.data.vip")
    row = await row_of(server, await order(server, data={"total": 50}))
    assert row["outcome"] == "matched"
    assert row["says"] == "did not start: its condition 50 > 100 && (missing) is not true"
    facts = {fact["k"]: fact["v"] for fact in row["gates"][0]["facts"]}
    assert (facts["event.data.total"], facts["event.data.vip"]) == ("50", "(missing)")


async def test_an_id_that_came_again_names_the_first_event(server: InProcess) -> None:
    await register(server)
    first = await order(server, id="order-1")
    again = await order(server, id="order-1")

    row = await row_of(server, again)

    assert (row["outcome"], row["gates"][-1]["link"]) == ("duplicate", f"/api/ui/v1/events/{first}/explain")
    assert (await explain(server, "events", again))["duplicate_of"] == first
    assert (await row_of(server, first))["outcome"] == "started"


@pytest.mark.parametrize(
    ("options", "outcome", "key"),
    [
        ({"rateLimit": {"limit": 1, "period": "1h", "key": "event.data.user"}}, "rate_limit", "ann"),
        ({"idempotency": "event.data.user"}, "idempotency", "ann"),
    ],
    ids=["rate limit", "idempotency"],
)
async def test_a_start_that_was_dropped_says_by_which_rule(
    server: InProcess, options: Any, outcome: str, key: str
) -> None:
    await register(server, **options)
    await order(server, data={"user": "ann"})
    row = await row_of(server, await order(server, data={"user": "ann"}))
    assert (row["outcome"], row["gates"][-1]["key"]) == (outcome, key)
    assert "another one may from 2026-09-2" in row["says"]


async def test_a_debounced_event_waits_and_the_one_before_it_was_replaced(server: InProcess) -> None:
    await register(server, debounce={"period": "1h"})
    older = await order(server)
    newer = await order(server)

    row = await row_of(server, newer)
    assert (row["outcome"], row["eta"]) == ("debounce", "2026-09-21T15:13:20Z")
    await server.post("/api/ui/v1/functions/shop-order/pause", {})
    gates = (await row_of(server, newer))["gates"]
    assert (gates[-1]["id"], gates[-1]["verdict"]) == ("paused", "skip")
    await server.post("/api/ui/v1/functions/shop-order/resume", {})
    replaced = await row_of(server, older)
    assert (replaced["outcome"], replaced["gates"][-1]["verdict"]) == ("debounce", "block")
    assert newer in replaced["says"]

    server.clock.ms = T0_MS + HOUR_MS
    await server.engine.run_once()
    await server.call(0)
    assert (await row_of(server, newer))["outcome"] == "started"
    assert "which is over" in (await row_of(server, older))["says"]


async def test_an_event_that_was_decided_later_than_it_came_belongs_to_the_window_it_opened(
    server: InProcess,
) -> None:
    await register(server, debounce={"period": "1h"})
    older = await order(server)
    newer = await order(server)
    for window in server.engine.live.windows:
        window.opened_at_ms += 5
    assert newer in (await row_of(server, older))["says"]
    assert (await row_of(server, newer))["outcome"] == "debounce"


async def test_a_batched_event_says_how_full_the_batch_is(server: InProcess) -> None:
    await register(server, batchEvents={"maxSize": 3, "timeout": "1h"})
    first = await order(server)
    await order(server)

    row = await row_of(server, first)
    assert (row["outcome"], row["gates"][-1]["used"], row["gates"][-1]["limit"]) == ("batch", 2, 3)

    await order(server)
    call = await server.call(0)
    assert (await row_of(server, first))["runs"][0]["run"] == call.item.run_id
    shown = await explain(server, "runs", call.item.run_id)
    batch = next(gate for gate in shown["gates"] if gate["id"] == "batch")
    assert {"k": "events", "v": 3, "unit": ""} in batch["facts"]


async def test_a_paused_function_and_a_singleton_skip_a_run(server: InProcess) -> None:
    await register(server, singleton={"mode": "skip"})
    first = await order(server)
    holder = (await server.run_of(first))["run_id"]
    row = await row_of(server, await order(server))
    assert (row["outcome"], row["runs"][0]["status"]) == ("singleton", "Skipped")
    assert holder in row["says"]

    await server.post("/api/ui/v1/functions/shop-order/pause", {})
    row = await row_of(server, await order(server))
    assert (row["outcome"], row["actions"][0]["id"]) == ("paused", "resume_function")


async def test_a_function_that_came_later_or_had_gone_says_so(server: InProcess) -> None:
    early = await order(server)
    server.clock.ms += 5 * SECOND_MS
    await register(server)
    row = await row_of(server, early)
    assert (row["outcome"], row["says"]) == ("archived", "was registered 5 s after the event came")

    await server.register(make_function(id="shop-other", triggers=[{"event": "a/b"}]))
    server.clock.ms += SECOND_MS
    late = await order(server)
    assert "had been removed from its app" in (await row_of(server, late))["says"]


@pytest.mark.parametrize(
    ("trigger", "why"),
    [
        ("shop/Order.created", "differs only by upper and lower case"),
        ("shop/order.create", "differs by one letter"),
        ("Shop/*", "differs only by upper and lower case"),
    ],
)
async def test_a_name_that_is_nearly_a_trigger_is_pointed_out(
    server: InProcess, trigger: str, why: str
) -> None:
    await server.register(make_function(triggers=[{"event": trigger}]))
    shown = await explain(server, "events", await order(server))
    assert shown["functions"] == []
    assert shown["near"] == [{"function": "shop-order", "trigger": trigger, "why": why}]
    assert shown["summary"] == f"Event {NAME} starts no function; similar: {trigger} of shop-order ({why})."


async def test_an_event_that_nobody_looks_for_says_so(server: InProcess) -> None:
    event_id = await order(server)
    shown = await explain(server, "events", event_id)
    assert shown["summary"] == f"Event {NAME} starts no function: none is registered."


async def test_an_invocation_is_an_event_of_the_function_that_it_names(server: InProcess) -> None:
    await register(server)
    answer = await server.post("/invoke/shop-order", {"data": {}})
    assert answer.status == 200, answer.body
    call = await server.call(0)
    shown = await explain(server, "events", call.run.row.event_id)
    assert [row["outcome"] for row in shown["functions"]] == ["started"]


async def test_the_event_of_an_end_that_nobody_listened_to_is_explained(server: InProcess) -> None:
    await register(server)
    await order(server)
    call = await server.call(0)
    await server.delete(f"/v1/runs/{call.item.run_id}")
    rows = [row for row in server.storage._all(EventRow) if row.name == "inngest/function.cancelled"]
    shown = await explain(server, "events", rows[0].internal_id)
    assert shown["functions"] == []
    assert "starts no function" in shown["summary"]
