"""Events over REST: the list, one, and what they started."""

import json
from typing import Any

import pytest

from inngest_server.events.records import EventRow
from inngest_server.runs.facts import CallFailed, Returned
from tests.builders import T0_MS, make_ulid
from tests.unit.api.harness import InProcess, dev
from tests.unit.apps.bodies import make_function

ORDER = {"name": "shop/order.created", "data": {"id": 7}}
SYSTEM_EVENTS = ("inngest/function.finished", "inngest/function.failed", "inngest/function.cancelled")


async def test_an_event_has_the_documented_shape(server: InProcess) -> None:
    event = {
        "name": "a/b",
        "id": "order-1",
        "data": {"n": 12345678901234567890},
        "ts": 1700000000000,
        "v": "1",
    }
    [event_id] = await server.send(event)

    answer = await server.get(f"/v1/events/{event_id}")

    assert answer.headers["cache-control"] == "no-store"
    assert b'"n":12345678901234567890' in answer.body
    assert answer.json()["metadata"] == {"fetched_at": "2026-09-21T14:13:20Z"}
    assert answer.data == {
        "internal_id": event_id,
        "account_id": "00000000-0000-4000-a000-000000000000",
        "environment_id": "00000000-0000-4000-b000-000000000000",
        "source": "",
        "source_id": None,
        "received_at": "2026-09-21T14:13:20Z",
        "id": "order-1",
        "name": "a/b",
        "data": {"n": 12345678901234567890},
        "user": {},
        "ts": 1700000000000,
        "v": "1",
    }


@pytest.mark.parametrize("user", [{}, {"v": "}}"}, {"nested": {"deep": {}}}])
async def test_an_event_without_version_shows_none(server: InProcess, user: dict[str, Any]) -> None:
    [event_id] = await server.send({"name": "a/b", "user": user})

    shown = (await server.get(f"/v1/events/{event_id}")).data

    assert (shown["v"], shown["user"], shown["id"]) == (None, user, event_id)


@pytest.mark.parametrize("v", ["}}", '"}', "1"])
async def test_a_version_is_shown_whatever_it_is(server: InProcess, v: str) -> None:
    [event_id] = await server.send({"name": "a/b", "v": v, "user": {"a": {}}})

    assert (await server.get(f"/v1/events/{event_id}")).data["v"] == v


async def test_an_event_of_nothing_is_not_found(server: InProcess) -> None:
    answer = await server.get(f"/v1/events/{make_ulid(3)}")

    assert answer.status == 404
    assert answer.json()["error"] == "Event not found"


async def test_the_id_that_a_user_gave_is_refused_with_a_hint(server: InProcess) -> None:
    await server.send({"name": "a/b", "id": "order-1"})

    answer = await server.get("/v1/events/order-1")

    assert answer.status == 400
    assert "`ids` that sending returned" in answer.json()["error"]


async def test_all_runs_of_an_event_are_listed(server: InProcess) -> None:
    await server.register(*(make_function(id=f"shop-{name}") for name in ("a", "b", "c")))
    [event_id] = await server.send(ORDER)

    runs = (await server.get(f"/v1/events/{event_id}/runs")).data

    assert len(runs) == len({run["function_id"] for run in runs}) == 3
    assert {run["event_id"] for run in runs} == {event_id}


async def test_an_event_that_started_nothing_has_no_runs(server: InProcess) -> None:
    [event_id] = await server.send(ORDER)

    assert (await server.get(f"/v1/events/{event_id}/runs")).data == []


# The list.


async def names(server: InProcess, query: str = "") -> list[str]:
    answer = await server.get(f"/v1/events{query}")
    assert answer.status == 200, answer.body
    return [event["name"] for event in answer.data]


async def test_events_are_listed_newest_first_by_page(server: InProcess) -> None:
    await server.send(*({"name": f"n/{number}"} for number in range(25)))

    first = (await server.get("/v1/events")).data
    cursor = first[-1]["internal_id"]

    assert [event["name"] for event in first] == [f"n/{number}" for number in range(24, 4, -1)]
    assert await names(server, f"?cursor={cursor}&limit=3") == ["n/4", "n/3", "n/2"]
    assert await names(server, f"?cursor={cursor.lower()}&limit=51") == ["n/4", "n/3", "n/2", "n/1", "n/0"]


async def test_the_longest_page_has_51_events(server: InProcess) -> None:
    await server.send(*({"name": "n/x"} for _ in range(60)))

    assert len(await names(server, "?limit=51")) == 51


async def test_events_are_found_by_name_and_time_of_receipt(server: InProcess) -> None:
    for name in ("a/1", "a/2", "a/3"):
        await server.send({"name": name})
        server.clock.ms += 60_000

    assert await names(server, "?name=a/2") == ["a/2"]
    assert await names(server, "?name=a%2F2&cursor=&limit=&received_after=") == ["a/2"]
    assert await names(server, "?name=%F0%9F%A6%80") == []
    assert await names(server, "?received_after=2026-09-21T14:13:20Z") == ["a/3", "a/2"]
    assert await names(server, "?received_before=2026-09-21T14:14:20Z") == ["a/1"]
    # A client that forgets to encode the plus of its zone.
    assert await names(server, "?received_after=2026-09-21T16:14:20+02:00") == ["a/3"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=52", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.5", "limit"),
        ("limit=ten", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("cursor=x", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=" + "8" + "Z" * 25, "cursor"),
        ("received_after=yesterday", "received_after"),
        ("received_after=2026-13-01T00:00:00Z", "received_after"),
        ("received_after=2026-09-21", "received_after"),
        ("received_before=1700000000", "received_before"),
        ("received_before=%FF%FE", "received_before"),
    ],
)
async def test_a_bad_parameter_is_named(server: InProcess, query: str, parameter: str) -> None:
    answer = await server.get(f"/v1/events?{query}")

    assert answer.status == 400
    assert answer.json()["error"].startswith(f"{parameter} must be")
    assert len(answer.json()["error"]) < 300


async def test_an_unknown_parameter_is_refused_with_those_that_there_are(server: InProcess) -> None:
    answer = await server.get("/v1/events?limit=1&recieved_after=2026-01-01T00:00:00Z")

    assert (answer.status, answer.json()["code"]) == (400, "invalid_parameter")
    assert answer.json()["error"] == (
        "there is no parameter 'recieved_after'; "
        "there are limit, cursor, name, received_after, received_before"
    )


@pytest.mark.parametrize(
    "query",
    [
        "",
        "&&&",
        "=",
        "limit",
        "name=" + "x" * 60_000,
        "name=%00",
        "name=%ED%A0%80",
        "received_after=0001-01-01T00:00:00Z&received_before=9999-12-31T23:59:59.999Z",
        "limit=5&limit=zero",
    ],
)
async def test_odd_queries_do_no_harm(server: InProcess, query: str) -> None:
    assert (await server.get(f"/v1/events?{query}")).status == 200


# System events.


async def end_three_runs(server: InProcess) -> list[str]:
    """One run that completes, one that fails and one that is cancelled; their ids."""
    await server.register(make_function())
    runs: list[str] = []
    for number, answer in enumerate((Returned(b'{"total":1}'), FAILURE)):
        await server.send(ORDER)
        call = await server.call(number)
        await server.answer(call, answer)
        runs.append(call.item.run_id)
    [event_id] = await server.send(ORDER)
    runs.append((await server.run_of(event_id))["run_id"])
    await server.delete(f"/v1/runs/{runs[2]}")
    return runs


FAILURE = CallFailed(
    b'{"message":"declined","code":402}', "function_error", retriable=False, retry_after_ms=None
)


async def system_events(server: InProcess) -> list[dict[str, Any]]:
    events = (await server.get("/v1/events")).data
    return sorted(
        (event for event in events if event["name"] in SYSTEM_EVENTS),
        key=lambda event: (event["data"]["run_id"], event["name"]),
    )


async def test_system_events_that_nobody_hears_are_put_together_when_read(server: InProcess) -> None:
    completed, failed, cancelled = await end_three_runs(server)

    shown = {
        (event["name"].rpartition(".")[2], event["data"]["run_id"]): event
        for event in await system_events(server)
    }

    assert set(shown) == {
        ("finished", completed),
        ("finished", failed),
        ("failed", failed),
        ("finished", cancelled),
        ("cancelled", cancelled),
    }
    data = shown["finished", completed]["data"]
    assert (data["function_id"], data["result"], data["_inngest"]) == (
        "shop-order",
        {"total": 1},
        {"status": "Completed"},
    )
    assert data["event"]["name"] == "shop/order.created"
    assert data["events"] == [data["event"]]
    assert "error" not in data
    failure = shown["failed", failed]
    assert failure["id"] == failed
    assert failure["data"]["error"] == {
        "error": "Error: declined",
        "name": "Error",
        "message": "declined",
        "code": 402,
    }
    end = shown["cancelled", cancelled]
    assert (end["id"], end["data"]["error"]["message"]) == (cancelled, "Function cancelled")
    assert "result" not in end["data"]


async def test_a_system_event_is_read_as_a_function_on_it_would_receive_it() -> None:
    """The same history twice, once with a listener: what is stored there is what is put together here."""
    listener = make_function(id="shop-audit", triggers=[{"event": name} for name in SYSTEM_EVENTS])
    read: list[Any] = []
    for listens in (False, True):
        async with InProcess(dev()) as server:
            if listens:
                await server.register(listener, appName="audit", url="http://audit/x")
                await server.register(make_function())
                # Its own calls come between those of the app, so each run is found by its function.
            read.append(await end_with(server))
            rows = await server.storage.list_events(_every())
            stored = [row.body is not None for row in rows if row.name in SYSTEM_EVENTS]
            assert stored == [listens] * 2
    assert read[0] == read[1]


async def end_with(server: InProcess) -> list[bytes]:
    """Bytes of the system events of one failed run, without what differs between two servers."""
    await server.register(make_function())
    [event_id] = await server.send({**ORDER, "id": "order-1"})
    call = await server.call(0)
    await server.answer(call, FAILURE)
    bodies: list[bytes] = []
    for event in await system_events(server):
        answer = await server.get(f"/v1/events/{event['internal_id']}")
        bare = answer.body.partition(b'"received_at"')[2]
        for varying in (call.item.run_id, event_id, event["id"]):
            bare = bare.replace(varying.encode(), b"-")
        bodies.append(bare)
    return bodies


def _every() -> Any:
    from inngest_server.storage.protocol import EventQuery

    return EventQuery(limit=1000)


async def test_a_system_event_of_a_forgotten_run_still_reads(server: InProcess) -> None:
    orphan = EventRow(
        make_ulid(5), 3, make_ulid(6), "inngest/function.finished", T0_MS, T0_MS, None, make_ulid(6)
    )
    from tests.builders import make_batch

    await server.storage.commit(make_batch({3: server.engine.live.shards[3].epoch}, orphan))

    shown = (await server.get(f"/v1/events/{make_ulid(5)}")).data

    assert shown["data"] == {"run_id": make_ulid(6)}
    assert json.dumps(shown)
