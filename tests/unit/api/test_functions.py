"""The interface's own API about functions: what it shows, pausing and resuming, and how it says no."""

from typing import Any

import pytest

from inngest_server.runs.facts import Returned
from inngest_server.wire.times import format_rfc3339
from tests.builders import T0_MS
from tests.unit.api.harness import BEARER, InProcess
from tests.unit.apps.bodies import make_function

CREATED = {"name": "shop/order.created"}
DAY_MS = 24 * 3_600_000
PATH = "/api/ui/v1/functions"


async def slug_of(server: InProcess) -> str:
    """The one function that is registered."""
    await server.register(make_function())
    (function,) = server.engine.functions.active()
    return function.row.slug


async def test_a_function_shows_its_state_and_its_work(server: InProcess) -> None:
    slug = await slug_of(server)
    await server.send(CREATED)
    await server.call(0)
    shown = (await server.get(f"{PATH}/{slug}")).json()
    function = server.engine.functions.find(slug)
    assert function is not None
    assert shown == {
        "id": function.id,
        "slug": slug,
        "name": function.config.name,
        "app": function.app_name,
        "version": 1,
        "state": "active",
        "archived_at": None,
        "pause": None,
        "work": {"queued": 0, "parked": 0, "sent": 1},
    }
    assert (await server.get(f"{PATH}/{function.id}")).json() == shown


async def test_a_function_is_paused_and_goes_on(server: InProcess) -> None:
    slug = await slug_of(server)
    answer = await server.post(f"{PATH}/{slug}/pause", {"in_flight": "hold"})
    assert answer.status == 200
    assert answer.json()["state"] == "paused"
    assert answer.json()["pause"] == {
        "since": format_rfc3339(T0_MS),
        "cancels_runs_at": format_rfc3339(T0_MS + 7 * DAY_MS),
    }
    [event_id] = await server.send(CREATED)
    assert (await server.run_of(event_id))["status"] == "Skipped"

    answer = await server.post(f"{PATH}/{slug}/resume")
    assert (answer.status, answer.json()["state"], answer.json()["pause"]) == (200, "active", None)
    [event_id] = await server.send(CREATED)
    await server.answer(await server.call(0), Returned(b"1"))
    assert (await server.run_of(event_id))["status"] == "Completed"
    assert (await server.post(f"{PATH}/{slug}/resume", {})).status == 200  # Twice is once.


async def test_holding_is_what_happens_without_a_word(server: InProcess) -> None:
    slug = await slug_of(server)
    answer = await server.post(f"{PATH}/{slug}/pause")
    assert answer.json()["pause"]["cancels_runs_at"] is not None


async def test_with_cancel_nothing_is_kept_for_later(server: InProcess) -> None:
    slug = await slug_of(server)
    answer = await server.post(f"{PATH}/{slug}/pause", {"in_flight": "cancel"})
    assert answer.json()["pause"] == {"since": format_rfc3339(T0_MS), "cancels_runs_at": None}


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({"in_flight": "stop"}, "invalid_parameter", "in_flight is 'stop'"),
        ({"in_flight": None}, "invalid_parameter", "in_flight is 'None'"),
        ({"in_flight": ["hold"]}, "invalid_parameter", "in_flight is"),
        ({"inflight": "hold"}, "invalid_parameter", "unknown key 'inflight'"),
        ([], "invalid_parameter", "must be a JSON object"),
        (b"{", "invalid_json", "Invalid request"),
    ],
)
async def test_a_mistake_is_said_with_what_to_try(server: InProcess, body: Any, code: str, said: str) -> None:
    slug = await slug_of(server)
    answer = await server.post(f"{PATH}/{slug}/pause", body)
    shown = answer.json()
    assert (answer.status, shown["code"]) == (400, code)
    assert said in shown["message"]
    assert shown["docs"] == "docs/reference/errors.md"
    assert (await server.get(f"{PATH}/{slug}")).json()["state"] == "active"


@pytest.mark.parametrize(("method", "rest"), [("GET", ""), ("POST", "/pause"), ("POST", "/resume")])
async def test_a_function_that_is_not_there_is_not_found(server: InProcess, method: str, rest: str) -> None:
    answer = await server.request(method, f"{PATH}/shop-nobody{rest}", b"")
    shown = answer.json()
    assert (answer.status, shown["code"]) == (404, "function_not_found")
    assert "shop-nobody" in shown["message"]
    assert "slug" in shown["hint"]


@pytest.mark.parametrize("slug", ["shop-ordr", "order"])
async def test_a_slip_in_a_slug_is_told_which_was_meant(server: InProcess, slug: str) -> None:
    await server.register(make_function())
    answer = await server.post(f"{PATH}/{slug}/pause", {})
    assert (answer.status, answer.json()["hint"]) == (404, "did you mean shop-order?")


async def test_errors_of_the_router_have_the_same_shape(locked: InProcess) -> None:
    refused = await locked.request("GET", f"{PATH}/x")
    assert (refused.status, sorted(refused.json())) == (401, ["code", "docs", "hint", "message"])
    missing = await locked.request("GET", "/api/ui/v1/nothing", bearer=BEARER)
    assert (missing.status, missing.json()["code"]) == (404, "not_found")
    wrong = await locked.request("DELETE", f"{PATH}/x", bearer=BEARER)
    assert (wrong.status, wrong.json()["code"]) == (405, "method_not_allowed")
