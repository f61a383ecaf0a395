"""Signals, functions of an app, spans."""

import asyncio
from typing import Any

import pytest

from tests.unit.api.harness import InProcess, quoted
from tests.unit.apps.bodies import make_function

STEP = "a" * 40


async def wait_for_signal(server: InProcess, signal: str = "order-1") -> str:
    """A run that waits for the signal; its id."""
    await server.register(make_function())
    await server.send({"name": "shop/order.created"})
    call = await server.call(0)
    op = {"op": "WaitForSignal", "id": STEP, "opts": {"signal": signal, "timeout": "1h"}}
    await server.report(call, op)
    return call.item.run_id


async def test_a_signal_resumes_the_run_that_waits_for_it(server: InProcess) -> None:
    run_id = await wait_for_signal(server)

    answer = await server.post("/v1/signals", {"signal": "order-1", "data": {"paid": True}})

    assert answer.status == 200
    assert answer.data == {"run_id": run_id}
    call = await server.call(1)
    assert call.run.loaded.memos[STEP] == b'{"data":{"signal":"order-1","data":{"paid":true}}}'


async def test_a_signal_without_data_carries_null(server: InProcess) -> None:
    await wait_for_signal(server)

    await server.post("/v1/signals", {"signal": "order-1"})

    call = await server.call(1)
    assert call.run.loaded.memos[STEP] == b'{"data":{"signal":"order-1","data":null}}'


async def test_a_signal_that_nobody_waits_for_is_not_found(server: InProcess) -> None:
    await wait_for_signal(server)

    answer = await server.post("/v1/signals", {"signal": "order-2"})

    assert answer.status == 404
    assert answer.json()["error"] == "No signal found"


async def test_only_one_of_two_signals_is_told_that_it_arrived(server: InProcess) -> None:
    """The run's content is not in memory, so that both are taken before either is decided."""
    run_id = await wait_for_signal(server)
    run = server.engine.live.find_run(run_id)
    assert run is not None
    run.content = None

    answers = await asyncio.gather(
        *[server.post("/v1/signals", {"signal": "order-1", "data": number}) for number in range(2)]
    )

    assert sorted(answer.status for answer in answers) == [200, 404]
    winner = [answer.status for answer in answers].index(200)
    call = await server.call(1)
    assert call.run.loaded.memos[STEP] == b'{"data":{"signal":"order-1","data":%d}}' % winner


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{}", b'{"signal":""}', b'{"signal":5}', b'{"signal":null}', b"{", b"\xff"]
)
async def test_a_malformed_signal_is_a_client_error(server: InProcess, body: bytes) -> None:
    assert (await server.post("/v1/signals", body)).status == 400


async def test_a_signal_may_be_as_large_as_an_event(server: InProcess) -> None:
    await wait_for_signal(server)

    answer = await server.post("/v1/signals", {"signal": "order-1", "data": "x" * 3 * 1024 * 1024})

    assert answer.status == 413


# Functions.


async def test_the_functions_of_an_app_are_a_bare_array(server: InProcess) -> None:
    await server.register(make_function(id="shop-b", name="B"), make_function(id="shop-a", name="A"))

    answer = await server.get("/v1/apps/shop/functions")

    first, second = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert (first["id"], first["name"], second["id"]) == ("shop-a", "A", "shop-b")
    assert first["config"]["triggers"] == [{"event": "shop/order.created"}]
    assert first["env_id"] == "00000000-0000-4000-b000-000000000000"
    assert first["app_id"] == second["app_id"]
    assert (first["created_at"], first["archived_at"]) == ("2026-09-21T14:13:20Z", None)
    assert set(first) == {
        "internal_id",
        "env_id",
        "app_id",
        "id",
        "name",
        "config",
        "created_at",
        "archived_at",
    }


async def test_functions_that_an_app_no_longer_has_are_not_listed(server: InProcess) -> None:
    await server.register(make_function(id="shop-a"), make_function(id="shop-b"))
    await server.register(make_function(id="shop-b"))

    assert [one["id"] for one in (await server.get("/v1/apps/shop/functions")).json()] == ["shop-b"]


@pytest.mark.parametrize("name", ["nothing", "\0", "é/🦀", "x" * 5000, "%", "\udc80"])
async def test_an_app_that_never_registered_is_not_found(server: InProcess, name: str) -> None:
    assert (await server.get(f"/v1/apps/{quoted(name)}/functions")).status == 404


async def test_a_path_that_is_not_there_is_shown_no_longer_than_needed(server: InProcess) -> None:
    answer = await server.get("/" + "x" * 50_000)

    assert answer.json()["error"] == "there is nothing at /" + "x" * 199


async def test_an_app_is_found_by_any_name(server: InProcess) -> None:
    await server.register(make_function(), appName="mein Laden/é")

    assert len((await server.get(f"/v1/apps/{quoted('mein Laden/é')}/functions")).json()) == 1


# Spans.


@pytest.mark.parametrize("path", ["/v1/traces/userland", "/dev/traces"])
async def test_spans_are_taken_in_either_encoding(server: InProcess, path: str) -> None:
    binary = await server.request("POST", path, b"\x0a\x00", {"content-type": "application/x-protobuf"})
    text: Any = await server.post(path, {"resourceSpans": []})

    assert (binary.status, binary.body) == (200, b"")
    assert binary.headers["content-type"] == "application/x-protobuf"
    assert (text.status, text.json()) == (200, {"partialSuccess": {}})


async def test_spans_have_a_limit(server: InProcess) -> None:
    assert (await server.post("/v1/traces/userland", b"x" * 8 * 1024 * 1024)).status == 200
    assert (await server.post("/v1/traces/userland", b"x" * (8 * 1024 * 1024 + 1))).status == 413
