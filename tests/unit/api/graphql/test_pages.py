"""Lists of runs and events: every row once, in order, and counts that agree with them."""

import random
from typing import Any

import pytest

from inngest_server.runs.facts import CallFailed, Returned
from inngest_server.runs.records import RunRow
from inngest_server.storage.protocol import RunQuery
from inngest_server.wire.times import format_rfc3339, parse_rfc3339_ms
from tests.builders import T0_MS
from tests.unit.api.graphql.operations import ask, code_of
from tests.unit.api.harness import InProcess
from tests.unit.apps.bodies import make_body, make_function

LIST = """
query List($first: Int!, $after: String, $filter: RunsFilterV2!, $orderBy: [RunsV2OrderBy!]!) {
  runs(first: $first, after: $after, filter: $filter, orderBy: $orderBy) {
    edges { cursor node { id status queuedAt startedAt endedAt function { slug } } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    totalCount
  }
}"""
EVENTS = """
query Events($first: Int!, $after: String, $filter: EventsFilter!) {
  eventsV2(first: $first, after: $after, filter: $filter) {
    edges { cursor node { id name } } pageInfo { hasNextPage hasPreviousPage endCursor } totalCount
  }
}"""
MOMENTS = {"QUEUED_AT": "queuedAt", "STARTED_AT": "startedAt", "ENDED_AT": "endedAt"}


async def fill(server: InProcess) -> list[RunRow]:
    """Forty runs of two functions: completed, failed, running, cancelled, and two that have not begun."""
    chance = random.Random(3)
    url = "http://app:80/x?fnId=g"
    other = make_function(
        id="shop-other",
        triggers=[{"event": "shop/order.created", "expression": "event.data.n % 3 == 0"}],
        steps={"step": {"id": "step", "name": "step", "runtime": {"type": "http", "url": url}}},
    )
    await server.register(make_function(), other)
    sent = 0
    for n in range(28):
        server.clock.ms += chance.choice([0, 0, 1, 700])
        await server.send({"name": "shop/order.created", "data": {"n": n}})
        calls = 2 if n % 3 == 0 else 1
        for index in range(sent, sent + calls):
            call = await server.call(index)
            server.clock.ms += chance.choice([0, 5, 900])
            match chance.randrange(4):
                case 0:
                    await server.answer(call, Returned(b"{}"))
                case 1:
                    failure = CallFailed(b'{"name":"E","message":"m"}', "function_error", retriable=False,
                                         retry_after_ms=None)  # fmt: skip
                    await server.answer(call, failure)
                case 2:
                    await server.delete(f"/v1/runs/{call.item.run_id}")
        sent += calls
    for _ in range(2):
        await server.send({"name": "shop/order.created", "data": {"n": 1}, "ts": server.clock.ms + 3_600_000})
    return await server.storage.list_runs(RunQuery(limit=1000))


async def walk(server: InProcess, first: int, filter: dict[str, Any], **order: str) -> list[dict[str, Any]]:
    """All nodes of a list, page after page."""
    nodes: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        page = (await ask(server, LIST, first=first, after=after, filter=filter, orderBy=[order]))["runs"]
        info = page["pageInfo"]
        assert info["hasPreviousPage"] is (after is not None)
        nodes += [edge["node"] for edge in page["edges"]]
        if page["edges"]:
            assert info["startCursor"] == page["edges"][0]["cursor"]
            # A search has looked further than it has found.
            assert "query" in filter or info["endCursor"] == page["edges"][-1]["cursor"]
        if not info["hasNextPage"]:
            assert page["totalCount"] == len(nodes)
            return nodes
        assert len(page["edges"]) == first
        after = info["endCursor"]


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
@pytest.mark.parametrize("field", MOMENTS)
async def test_the_pages_of_an_order_have_every_run_once(
    server: InProcess, field: str, direction: str
) -> None:
    rows = await fill(server)
    filter_ = {"from": "2000-01-01T00:00:00Z", "timeField": field}

    nodes = await walk(server, 7, filter_, field=field, direction=direction)

    moments = [parse_rfc3339_ms(node[MOMENTS[field]]) for node in nodes]
    if field != "QUEUED_AT":  # That order is the one of ids, whose time is that of the event.
        assert moments == sorted(moments, reverse=direction == "DESC")
    ids = [node["id"] for node in nodes]
    assert len(set(ids)) == len(ids)
    known = {"QUEUED_AT": lambda row: True, "STARTED_AT": lambda row: row.started_at_ms is not None,
             "ENDED_AT": lambda row: row.ended_at_ms is not None}[field]  # fmt: skip
    assert set(ids) == {row.run_id for row in rows if known(row)}


async def test_times_that_have_not_come_are_null(server: InProcess) -> None:
    await fill(server)

    nodes = await walk(server, 400, {"from": "2000-01-01T00:00:00Z"}, field="QUEUED_AT", direction="DESC")

    for node in nodes:
        assert node["status"] != "QUEUED" or node["startedAt"] is None
        assert (node["endedAt"] is None) is (node["status"] in ("QUEUED", "RUNNING"))
    assert sum(node["startedAt"] is None for node in nodes if node["status"] == "QUEUED") == 2


@pytest.mark.parametrize("seed", range(12))
async def test_counts_and_lists_agree_for_any_filter(server: InProcess, seed: int) -> None:
    rows = await fill(server)
    chance = random.Random(seed)
    functions = {row.function_id for row in rows}
    for _ in range(4):
        field = chance.choice(list(MOMENTS))
        from_ms = chance.choice([0, chance.choice(rows).created_at_ms])
        filter_: dict[str, Any] = {"from": format_rfc3339(from_ms), "timeField": field}
        if chance.random() < 0.5:
            filter_["until"] = format_rfc3339(chance.choice(rows).created_at_ms + chance.randrange(2))
        if chance.random() < 0.5:
            filter_["status"] = chance.sample(["COMPLETED", "FAILED", "CANCELLED", "RUNNING", "QUEUED"], 2)
        if chance.random() < 0.3:
            filter_["functionIDs"] = chance.sample(sorted(functions), 1)
        if chance.random() < 0.3:
            filter_["query"] = "event.data.n % 2 == 0"

        nodes = await walk(server, 5, filter_, field=field, direction=chance.choice(["ASC", "DESC"]))

        for node in nodes:
            moment = node[MOMENTS[field]]
            if field != "QUEUED_AT":
                assert from_ms <= parse_rfc3339_ms(moment)
            assert node["status"] in filter_.get("status", [node["status"]])


async def test_the_end_of_a_range_is_honoured(server: InProcess) -> None:
    await server.register(make_function())
    await server.send({"name": "shop/order.created"})
    server.clock.ms += 60_000
    await server.send({"name": "shop/order.created"})
    range_ = {"from": format_rfc3339(T0_MS), "until": format_rfc3339(T0_MS + 60_000)}

    assert len(await walk(server, 40, range_, field="QUEUED_AT", direction="DESC")) == 1


async def test_filters_by_app_and_empty_lists(server: InProcess) -> None:
    await server.register(make_function())
    step = {"id": "step", "name": "step", "runtime": {"type": "http", "url": "http://b:80/x"}}
    second = make_function(id="other-order", steps={"step": step})
    await server.post("/fn/register", make_body(second, appName="other", url="http://b/x"))
    await server.send({"name": "shop/order.created"})
    apps = {app["name"]: app["id"] for app in (await ask(server, "{ apps { id name } }"))["apps"]}

    async def slugs(**fields: Any) -> list[str]:
        filter_ = {"from": "2000-01-01T00:00:00Z", **fields}
        nodes = await walk(server, 40, filter_, field="QUEUED_AT", direction="DESC")
        return sorted(node["function"]["slug"] for node in nodes)

    assert await slugs(appIDs=[apps["other"]]) == ["other-order"]
    assert await slugs(appIDs=[], status=[], functionIDs=[]) == ["other-order", "shop-order"]
    assert await slugs(appIDs=["00000000-0000-0000-0000-000000000000"]) == []
    assert await slugs(isDeferred=False) == ["other-order", "shop-order"]
    assert await slugs(isDeferred=True) == []


@pytest.mark.parametrize(("asked_for", "got"), [(3, 3), (0, 40), (-1, 40), (401, 40), (400, 45)])
async def test_the_size_of_a_page(server: InProcess, asked_for: int, got: int) -> None:
    await server.send(*[{"name": "a/b"}] * 45)
    filter_ = {"from": "2000-01-01T00:00:00Z"}

    page = (await ask(server, EVENTS, first=asked_for, filter=filter_))["eventsV2"]

    assert len(page["edges"]) == got
    assert page["totalCount"] == 45


async def test_the_pages_of_events_have_every_event_once(server: InProcess) -> None:
    names = ["a/b", "c/d"]
    ids = await server.send(*[{"name": names[n % 2], "data": {"n": n}} for n in range(45)])
    filter_: dict[str, Any] = {"from": "2000-01-01T00:00:00Z"}
    after, found = None, []
    while True:
        page = (await ask(server, EVENTS, first=7, after=after, filter=filter_))["eventsV2"]
        found += [edge["node"]["id"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert found == ids[::-1]

    filter_["eventNames"] = ["c/d"]
    assert (await ask(server, EVENTS, first=7, filter=filter_))["eventsV2"]["totalCount"] == 22


ORDER = {"field": "QUEUED_AT", "direction": "DESC"}
ENDED = {"field": "ENDED_AT", "direction": "DESC"}


@pytest.mark.parametrize(
    "changes",
    [
        {"after": "x"},
        {"after": "W10"},
        {"after": "\u00e9\u00e9"},
        {"after": "WyJxdWV1ZWQgZG93biIsMCwiLi4vIl0"},
        {"orderBy": [ORDER, ENDED]},
        {"orderBy": [ENDED]},
    ],
)
async def test_a_place_or_an_order_that_is_none_is_refused(
    server: InProcess, changes: dict[str, Any]
) -> None:
    variables = {"first": 3, "filter": {"from": "2000-01-01T00:00:00Z"}, "orderBy": [ORDER], **changes}

    assert await code_of(server, LIST, **variables) == "invalid_parameter"


async def test_a_cursor_of_another_order_is_refused(server: InProcess) -> None:
    await fill(server)
    filter_ = {"from": "2000-01-01T00:00:00Z", "timeField": "ENDED_AT"}
    page = await ask(server, LIST, first=1, filter=filter_, orderBy=[ENDED])
    cursor = page["runs"]["pageInfo"]["endCursor"]

    code = await code_of(
        server, LIST, first=1, after=cursor, filter={"from": "2000-01-01T00:00:00Z"}, orderBy=[ORDER]
    )

    assert code == "invalid_parameter"
