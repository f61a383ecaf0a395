"""Sending events and invoking functions. Source: protocol 1."""

import asyncio
import json
from typing import Any

import pytest

from inngest_server.events.records import EventRow
from inngest_server.runs.facts import Returned
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import (
    Batch,
    CommitResult,
    EventQuery,
    Outcome,
    RunQuery,
    StorageUnavailableError,
)
from inngest_server.wire.ulid import is_ulid
from tests.builders import T0_MS
from tests.unit.api.harness import BEARER, EVENT_KEY, InProcess, Response, dev, start
from tests.unit.apps.bodies import make_function

ORDER = {"name": "shop/order.created", "data": {"id": 7}}
SEED = "1743130137367,eii2YKXRVTJPuA=="
SEEDED_IDS = ["01JQDAE4RQF8MBCR55T5AK4KXR", "01JQDAE4RQF8MBCR55T5AK4KXS", "01JQDAE4RQF8MBCR55T5AK4KXT"]
"""Index 0, 1 and 2 of the seed. Source: protocol 11."""
SEED_MS = 1743130137367
EVENT_BYTES_MAX = 3 * 1024 * 1024


async def post(server: InProcess, body: Any, **headers: str) -> Response:
    return await server.request("POST", f"/e/{EVENT_KEY}", body, headers)


async def stored(server: InProcess) -> list[EventRow]:
    return (await server.storage.list_events(EventQuery(limit=10_000)))[::-1]


async def body_of(server: InProcess, event_id: str) -> dict[str, Any]:
    [row] = await server.storage.get(EventRow, [event_id])
    assert row.body is not None
    return json.loads(row.body)


async def run_count(server: InProcess) -> int:
    return len(await server.storage.list_runs(RunQuery(limit=10_000)))


# What is accepted.


async def test_the_answer_holds_internal_ids_in_order_and_a_status(server: InProcess) -> None:
    answer = await post(server, [{"name": "a/1", "id": "mine"}, {"name": "a/2"}])

    ids = answer.json()["ids"]
    assert answer.status == 200
    assert answer.json() == {"ids": ids, "status": 200}
    assert [is_ulid(one) for one in ids] == [True, True]
    assert [(row.internal_id, row.event_id) for row in await stored(server)] == [
        (ids[0], "mine"),
        (ids[1], ids[1]),
    ]


async def test_one_event_needs_no_array(server: InProcess) -> None:
    assert len((await post(server, ORDER)).json()["ids"]) == 1


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json", "application/octet-stream"])
async def test_the_first_token_decides_whatever_the_content_type(
    server: InProcess, content_type: str
) -> None:
    headers = {"content-type": content_type} if content_type else {}

    answer = await server.request("POST", "/e/k", b'  \n {"name":"a/b"}\n', headers)

    assert answer.status == 200


@pytest.mark.parametrize("body", [b"", b"  \n", b"[]"])
async def test_no_events_are_fine(server: InProcess, body: bytes) -> None:
    answer = await post(server, body)

    assert (answer.status, answer.json()) == (200, {"ids": [], "status": 200})


async def test_what_functions_receive_is_complete(server: InProcess) -> None:
    [bare, full] = await server.send(
        {"name": "a/b"},
        {
            "name": "a/b",
            "id": "x",
            "data": {"k": [1]},
            "user": {"u": 1},
            "ts": 1700000000000,
            "v": "2",
            "extra": 1,
        },
    )

    assert await body_of(server, bare) == {"name": "a/b", "id": bare, "data": {}, "user": {}, "ts": T0_MS}
    assert await body_of(server, full) == {
        "name": "a/b",
        "id": "x",
        "data": {"k": [1]},
        "user": {"u": 1},
        "ts": 1700000000000,
        "v": "2",
    }


@pytest.mark.parametrize(
    "fields", [{"data": None}, {"ts": 0}, {"ts": None}, {"id": ""}, {"user": None}, {"v": ""}]
)
async def test_empty_fields_count_as_absent(server: InProcess, fields: dict[str, Any]) -> None:
    [event_id] = await server.send({"name": "a/b", **fields})

    expected = {"name": "a/b", "id": event_id, "data": {}, "user": {}, "ts": T0_MS}
    assert await body_of(server, event_id) == expected


async def test_what_only_the_server_may_write_into_data_is_removed(server: InProcess) -> None:
    [event_id] = await server.send({"name": "a/b", "data": {"_inngest": {"fn_id": "x"}, "a": 1}})

    assert (await body_of(server, event_id))["data"] == {"a": 1}


async def test_sessions_are_merged_by_the_documented_rule(server: InProcess) -> None:
    sessions = {"order": 7, "gone": None}
    propagated = {"e": "5", "b": "2", "a": "1", "d": "4", "c": "3", "order": "old", "gone": "old"}
    [event_id] = await server.send(
        {"name": "a/b", "meta": {"sessions": sessions, "propagated_sessions": propagated}}
    )

    shown = (await body_of(server, event_id))["meta"]
    assert shown == {"sessions": {"order": "7", "a": "1", "b": "2", "c": "3", "d": "4"}}


# What is refused.


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({}, "event name"),
        ({"name": ""}, "event name"),
        ({"name": 5}, "event name"),
        (
            {"name": "inngest/function.failed"},
            "event name is reserved for internal use: inngest/function.failed",
        ),
        ({"name": "INNGEST/x"}, "event name is reserved for internal use: INNGEST/x"),
        ({"name": "x" * 257}, "at most 256"),
        ({"name": "a", "data": []}, "event data must be an object"),
        ({"name": "a", "data": "text"}, "event data must be an object"),
        ({"name": "a", "user": 1}, "event user must be an object"),
        ({"name": "a", "id": 5}, "event id must be a text"),
        ({"name": "a", "v": 5}, "event v must be a text"),
        ({"name": "a", "ts": 1.5}, "whole milliseconds"),
        ({"name": "a", "ts": 1700000000000.0}, "whole milliseconds"),
        ({"name": "a", "ts": "1700000000000"}, "whole milliseconds"),
        ({"name": "a", "ts": True}, "whole milliseconds"),
        ({"name": "a", "ts": 315532799999}, "timestamp is before Jan 1, 1980"),
        ({"name": "a", "ts": 4102444800001}, "timestamp is after Jan 1, 2100"),
        ({"name": "a", "ts": 10**30}, "timestamp is after Jan 1, 2100"),
        ({"name": "a", "meta": {"sessions": {str(n): "x" for n in range(6)}}}, "at most 5 entries"),
        (None, "an event must be an object"),
        ([], "an event must be an object"),
    ],
)
async def test_a_bad_event_is_refused_with_the_reason(server: InProcess, event: object, why: str) -> None:
    answer = await post(server, [event])

    assert answer.status == 400
    assert answer.json()["status"] == 400
    assert answer.json()["ids"] == []
    assert why in answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"5",
        b'"x"',
        b"null",
        b"true",
        b"{",
        b"[{]",
        b"\xff\xfe",
        b"NaN",
        b"a=b&name=x",
        b"[" * 100_000,
        b"{}{}",
    ],
)
async def test_other_bodies_are_refused(server: InProcess, body: bytes) -> None:
    answer = await post(server, body)

    assert answer.status == 400
    assert answer.json()["ids"] == []
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"name=a%2Fb&data=x"),
        (
            "multipart/form-data; boundary=B",
            b'--B\r\ncontent-disposition: form-data; name="name"\r\n\r\na/b\r\n--B--',
        ),
    ],
)
async def test_forms_are_read_and_make_no_event(server: InProcess, content_type: str, body: bytes) -> None:
    answer = await server.request("POST", "/e/k", body, {"content-type": content_type})

    assert (answer.status, answer.json()["ids"]) == (400, [])
    assert "got an array; fields of a form are lists of texts: send JSON" in answer.json()["error"]


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_body_that_begins_like_json_is_json_also_when_it_is_called_a_form(
    server: InProcess, kind: str
) -> None:
    """As `curl -d '{...}'` sends it."""
    answer = await server.request("POST", "/e/k", b' {"name":"a/b"}', {"content-type": kind})

    assert answer.status == 200


async def test_a_form_that_is_none_is_refused_with_the_reason(server: InProcess) -> None:
    answer = await server.request("POST", "/e/k", b"x", {"content-type": "multipart/form-data; boundary=B"})

    assert (answer.status, answer.json()["error"]) == (400, "the form does not end with its boundary")


@pytest.mark.parametrize(
    ("ts", "unit"),
    [
        (1_790_000_000, "seconds"),
        (1_790_000_000.5, "seconds"),
        (1_790_000_000_000_000, "microseconds"),
        (1_790_000_000_000_000_000, "nanoseconds"),
    ],
)
async def test_a_time_in_another_unit_is_recognised(server: InProcess, ts: float, unit: str) -> None:
    answer = await post(server, {"name": "a/b", "ts": ts})

    assert answer.status == 400
    assert answer.json()["error"].endswith(f": milliseconds expected, and this looks like {unit}")


async def test_one_bad_event_keeps_all_out_and_every_bad_one_is_named(server: InProcess) -> None:
    answer = await post(server, [ORDER, {"name": ""}, ORDER, {"name": "a", "ts": 1}])

    assert (answer.status, answer.json()["ids"]) == (400, [])
    assert "event 1: " in answer.json()["error"]
    assert "event 3: timestamp is before Jan 1, 1980" in answer.json()["error"]
    assert await stored(server) == []


async def test_a_request_holds_5000_events_and_no_more(server: InProcess) -> None:
    accepted = await post(server, [{"name": "n/x"}] * 5000)
    refused = await post(server, [{"name": "n/x"}] * 5001)

    assert accepted.status == 200
    assert len(set(accepted.json()["ids"])) == 5000
    assert [row.internal_id for row in await stored(server)] == sorted(accepted.json()["ids"])
    assert refused.status == 400
    assert refused.json()["error"] == "Cannot have more than 5000 events in a batch"


def event_of(size: int) -> bytes:
    """An event of exactly so many bytes."""
    frame = b'{"name":"n/x","data":{"d":"%b"}}'
    return frame % (b"x" * (size - len(frame) + 2))


@pytest.mark.parametrize("many", [False, True])
async def test_an_event_has_3_mebibytes_and_no_more(server: InProcess, many: bool) -> None:
    largest, larger = event_of(EVENT_BYTES_MAX), event_of(EVENT_BYTES_MAX + 1)
    assert (len(largest), len(larger)) == (3145728, 3145729)

    accepted = await post(server, b"[%b,%b]" % (largest, largest) if many else largest)
    refused = await post(server, b"[%b,%b]" % (largest, larger) if many else larger)

    assert accepted.status == 200
    assert refused.status == 400
    assert "Event is over the max size: Max 3145728 bytes / Size 3145729 bytes" in refused.json()["error"]


async def test_a_lower_limit_of_the_server_holds() -> None:
    async with InProcess(dev(event_bytes_max=1000)) as server:
        assert (await post(server, event_of(1000))).status == 200
        assert (await post(server, event_of(1001))).status == 400


async def test_a_body_beyond_64_mebibytes_is_not_read_to_its_end(server: InProcess) -> None:
    answer = await post(server, b"[" + b" " * (64 * 1024 * 1024) + b"]")

    assert (answer.status, answer.json()["ids"]) == (413, [])


# The same again.


async def test_a_seed_gives_the_ids_of_the_test_vectors() -> None:
    async with InProcess(dev(), now_ms=SEED_MS) as server:
        ids = await server.send({"name": "a/1"}, {"name": "a/2"}, **{"x-inngest-event-id-seed": SEED})

        assert ids == SEEDED_IDS[1:]
        assert [row.event_id for row in await stored(server)] == ids


@pytest.mark.parametrize(
    "seed", ["x", "1,x", "1743130137367,", ",eii2YKXRVTJPuA==", "-1,eii2YKXRVTJPuA==", "9" * 99]
)
async def test_a_malformed_seed_is_ignored(server: InProcess, seed: str) -> None:
    [first] = await server.send(ORDER, **{"x-inngest-event-id-seed": seed})
    [second] = await server.send(ORDER, **{"x-inngest-event-id-seed": seed})

    assert first != second


@pytest.mark.parametrize("skew_ms", [-3_600_000, 0, 3_600_000])
async def test_a_repeated_request_changes_nothing(skew_ms: int) -> None:
    async with InProcess(dev(), now_ms=SEED_MS + skew_ms) as server:
        await repeat_a_request(server)


async def repeat_a_request(server: InProcess) -> None:
    await server.register(make_function())
    seed = {"x-inngest-event-id-seed": SEED}
    first = await server.send(ORDER, ORDER, **seed)
    before = await stored(server)
    await server.answer(await server.call(0), Returned(b"1"))
    server.clock.ms += 5000

    second = await server.send(ORDER, ORDER, **seed)

    assert first == second
    assert [row for row in await stored(server) if row.body is not None] == before
    assert await run_count(server) == 2


@pytest.mark.parametrize("skew_ms", [0, 10 * 365 * 86_400_000])
async def test_requests_repeated_at_the_same_time_start_one_run(skew_ms: int) -> None:
    async with InProcess(dev(), now_ms=SEED_MS + skew_ms) as server:
        await server.register(make_function())
        seed = {"x-inngest-event-id-seed": SEED}

        answers = await asyncio.gather(*[server.send(ORDER, **seed) for _ in range(20)])

        assert await run_count(server) == 1
        if skew_ms == 0:
            assert answers == [SEEDED_IDS[1:2]] * 20


async def test_a_repeated_event_id_is_stored_and_starts_nothing(server: InProcess) -> None:
    await server.register(make_function())
    event = {**ORDER, "id": "order-1"}

    first, second = await server.send(event, event)

    assert first != second
    assert len(await stored(server)) == 2
    assert await run_count(server) == 1
    assert len((await server.get(f"/v1/events/{first}/runs")).data) == 1


async def test_an_event_id_is_forgotten_after_a_day(server: InProcess) -> None:
    await server.register(make_function())
    event = {**ORDER, "id": "order-1"}

    await server.send(event)
    server.clock.ms += 24 * 3_600_000 - 1
    await server.send(event)
    assert await run_count(server) == 1
    server.clock.ms += 2
    await server.send(event)

    assert await run_count(server) == 2


# Keys.


@pytest.mark.parametrize("key", ["NO_EVENT_KEY_SET", "x", "%F0%9F%A6%80", "a" * 500])
async def test_in_development_any_key_is_good(server: InProcess, key: str) -> None:
    assert (await server.request("POST", f"/e/{key}", ORDER)).status == 200


async def test_with_keys_only_an_exact_one_is_good(locked: InProcess) -> None:
    assert (await locked.request("POST", f"/e/{EVENT_KEY}", ORDER)).status == 200
    for wrong in ("x", EVENT_KEY.upper(), EVENT_KEY[:-1], EVENT_KEY + "1", "%F0%9F%A6%80", "%FF", "%00"):
        answer = await locked.request("POST", f"/e/{wrong}", ORDER, bearer=BEARER)

        assert (answer.status, answer.json()["error"]) == (401, "Event key not found")
        assert answer.json()["status"] == 401


async def test_any_of_several_keys_is_good() -> None:
    async with InProcess(start(event_keys=("one", "two"))) as server:
        assert (await server.request("POST", "/e/one", ORDER)).status == 200
        assert (await server.request("POST", "/e/two", ORDER)).status == 200


async def test_without_any_key_a_server_that_needs_one_says_so() -> None:
    async with InProcess(start(event_keys=())) as server:
        answer = await server.request("POST", "/e/x", ORDER)

        assert (answer.status, answer.json()["status"]) == (503, 503)
        assert answer.json()["error"] == "Event keys are required to process events securely"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
async def test_events_are_only_posted(locked: InProcess, method: str) -> None:
    assert (await locked.request(method, f"/e/{EVENT_KEY}")).status == 405


# When the server cannot store.


class BrokenStorage(MemoryStorage):
    is_broken = False

    async def commit(self, batch: Batch) -> CommitResult:
        if self.is_broken:
            return CommitResult(Outcome.FAILED, frozenset(), "no space left")
        return await super().commit(batch)

    async def open(self) -> None:
        if self.is_broken:
            from inngest_server.storage.protocol import StorageUnavailableError

            raise StorageUnavailableError("no space left")


async def test_an_event_that_could_not_be_stored_is_not_accepted() -> None:
    storage = BrokenStorage(shard_count=16)
    async with InProcess(dev(), storage=storage) as server:
        storage.is_broken = True

        first = await post(server, ORDER)
        second = await post(server, ORDER)  # Refused before its body is read.
        health = await server.get("/health")

        for answer in (first, second):
            assert answer.status == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["ids"] == []
            assert "no space left" in answer.json()["error"]
        assert (health.status, health.json()) == (503, {"status": 503, "message": "no space left"})


async def test_with_keys_health_tells_strangers_no_details() -> None:
    storage = BrokenStorage(shard_count=16)
    async with InProcess(start(), storage=storage) as server:
        storage.is_broken = True
        await server.request("POST", f"/e/{EVENT_KEY}", ORDER)

        health = await server.request("GET", "/health")

        assert (health.status, health.json()["message"]) == (503, "unavailable")


class UnreadableStorage(MemoryStorage):
    is_broken = False

    async def get(self, *given: Any) -> Any:
        if self.is_broken:
            raise StorageUnavailableError("I/O error")
        return await super().get(*given)


async def test_health_reads_the_storage() -> None:
    storage = UnreadableStorage(shard_count=16)
    async with InProcess(dev(), storage=storage) as server:
        storage.is_broken = True

        health = await server.get("/health")

        assert (health.status, health.json()) == (503, {"status": 503, "message": "I/O error"})


async def test_health_has_the_documented_text(locked: InProcess) -> None:
    answer = await locked.request("GET", "/health")

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == b'{"status":200,"message":"OK"}\n'


# Invoking.


async def invoke(server: InProcess, slug: str = "shop-order", body: Any = b"{}", **headers: str) -> Response:
    return await server.request("POST", f"/invoke/{slug}", body, headers)


async def test_a_function_is_invoked_whatever_its_triggers(server: InProcess) -> None:
    await server.register(make_function())

    answer = await invoke(server, body={"data": {"a": 1}, "name": "ignored", "user": {"u": 1}})

    event_id = answer.json()["id"]
    assert (answer.status, answer.json()) == (200, {"id": event_id, "status": 200})
    event = await body_of(server, event_id)
    assert (event["name"], event["user"]) == ("inngest/function.invoked", {"u": 1})
    assert event["data"] == {"a": 1, "_inngest": {"fn_id": "shop-order"}}
    assert (await server.run_of(event_id))["event_id"] == event_id


async def test_an_unknown_function_is_a_public_error(server: InProcess) -> None:
    answer = await invoke(server, "no%2Fsuch%20one")

    assert answer.json() == {
        "code": "function_not_found",
        "error": "could not find function with ID: no/such one",
        "data": None,
        "status": 404,
    }


@pytest.mark.parametrize("body", [b"[]", b"5", b"{", b'{"data":[]}', b'{"ts":1.5}', b'{"id":5}'])
async def test_a_bad_invocation_is_refused(server: InProcess, body: bytes) -> None:
    await server.register(make_function())

    assert (await invoke(server, body=body)).status == 400


async def test_a_repeated_invocation_starts_one_run() -> None:
    async with InProcess(dev(), now_ms=SEED_MS) as server:
        await server.register(make_function())
        seed = {"x-inngest-event-id-seed": SEED}
        first = await invoke(server, **seed)
        await server.answer(await server.call(0), Returned(b"1"))
        server.clock.ms += 5000

        second = await invoke(server, **seed)

        assert first.json() == second.json() == {"id": SEEDED_IDS[0], "status": 200}
        assert await run_count(server) == 1


async def test_invocations_with_one_id_start_one_run(server: InProcess) -> None:
    """At the same time, and after that run has ended."""
    await server.register(make_function())
    body = {"data": {}, "id": "order-1"}

    answers = await asyncio.gather(*[invoke(server, body=body) for _ in range(20)])
    await server.answer(await server.call(0), Returned(b"1"))
    answers.append(await invoke(server, body=body))

    assert {answer.status for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 21  # Each is stored, as with other events.
    assert await run_count(server) == 1


async def test_invocations_with_one_seed_at_the_same_time_start_one_run() -> None:
    async with InProcess(dev(), now_ms=SEED_MS) as server:
        await server.register(make_function())

        answers = await asyncio.gather(
            *[invoke(server, **{"x-inngest-event-id-seed": SEED}) for _ in range(20)]
        )

        assert {answer.json()["id"] for answer in answers} == {SEEDED_IDS[0]}
        assert await run_count(server) == 1


async def test_one_id_starts_each_function_that_it_invokes(server: InProcess) -> None:
    await server.register(make_function(), make_function(id="shop-other", triggers=[]))

    await invoke(server, body={"id": "order-1"})
    await invoke(server, "shop-other", body={"id": "order-1"})

    assert await run_count(server) == 2


@pytest.mark.parametrize("bearer", [BEARER, f"Bearer {EVENT_KEY}"])
async def test_invoking_takes_either_key(locked: InProcess, bearer: str) -> None:
    await locked.register(make_function())

    assert (await locked.request("POST", "/invoke/shop-order", {}, bearer=bearer)).status == 200
    assert (await locked.request("POST", "/invoke/shop-order", {})).status == 401


# What the server says of itself.


async def test_a_dev_server_says_what_it_is(server: InProcess) -> None:
    await server.register(make_function())

    info = (await server.get("/dev")).json()

    assert info["version"] == "1.2.3-test"
    assert info["authed"] is False
    assert [function["id"] for function in info["functions"]] == ["shop-order"]
    assert {"startOpts", "handlers", "isSingleNodeService", "isMissingSigningKey", "features"} < set(info)


async def test_a_server_with_keys_is_no_dev_server(locked: InProcess) -> None:
    assert (await locked.get("/dev")).status == 404
    assert (await locked.request("GET", "/dev")).status == 401
