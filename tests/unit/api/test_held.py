"""What is set aside, over HTTP: shown, cancelled, released, repaired."""

from typing import Any

import pytest

from inngest_server.engine import engine as engine_module
from inngest_server.engine import events
from inngest_server.runs.facts import Answered, Returned
from tests.unit.api.harness import InProcess
from tests.unit.apps.bodies import make_function

CREATED = {"name": "shop/order.created"}
REASON = "ZeroDivisionError: planted"


@pytest.fixture
async def held(server: InProcess, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run whose answer could not be decided."""
    decide = engine_module.decide

    def broken(run: Any, fact: Any, moment: Any) -> Any:
        if isinstance(fact, Answered):
            raise ZeroDivisionError("planted")
        return decide(run, fact, moment)

    await server.register(make_function())
    await server.send(CREATED)
    call = await server.call(0)
    with monkeypatch.context() as planted:
        planted.setattr(engine_module, "decide", broken)
        with pytest.raises(engine_module.EngineUnavailableError):
            await server.answer(call, Returned(b"1"))
    return call.item.run_id


async def test_a_held_run_says_so_and_others_are_shown_as_ever(server: InProcess, held: str) -> None:
    shown = (await server.get(f"/v1/runs/{held}")).data
    assert shown["held"]["reason"] == REASON
    assert shown["status"] == "Running"
    [event_id] = await server.send(CREATED)
    assert "held" not in await server.run_of(event_id)


async def test_what_is_held_is_listed_and_counted(server: InProcess, held: str) -> None:
    [one] = (await server.get("/v1/held")).data
    assert one.pop("since").startswith("20")
    assert (one["id"], one["kind"], one["reason"]) == (held, "run", REASON)
    assert one["function"].startswith("shop-")
    assert (await server.get("/health")).json() == {"status": 200, "message": "OK", "held": 1}


async def test_health_tells_strangers_nothing_of_it(locked: InProcess) -> None:
    locked.engine._work.hold("x" * 26, "run", "planted", 0)
    assert (await locked.request("GET", "/health")).json() == {"status": 200, "message": "OK"}


async def test_a_held_run_is_cancelled(server: InProcess, held: str) -> None:
    assert (await server.delete(f"/v1/runs/{held}")).status == 200
    assert (await server.get(f"/v1/runs/{held}")).data["status"] == "Cancelled"
    assert (await server.get("/v1/held")).data == []


async def test_a_held_run_is_released_and_called_again(server: InProcess, held: str) -> None:
    assert (await server.post(f"/v1/held/{held}/release", {})).data == {"id": held}
    again = await server.call(1)
    assert again.item.run_id == held
    answer = await server.post(f"/v1/held/{held}/release", {})
    assert (answer.status, answer.json()["code"]) == (404, "not_held")


async def test_a_request_that_cannot_be_decided_gets_a_503_with_its_code(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = events.accept

    def broken(work: Any, event: Any, *rest: Any) -> None:
        if event.name == "bad":
            raise ZeroDivisionError("planted")
        accept(work, event, *rest)

    monkeypatch.setattr(events, "accept", broken)
    answer = await server.post("/e/key", {"name": "bad"})
    assert answer.status == 503
    assert answer.headers["retry-after"] == "60"
    assert "ZeroDivisionError: planted" in answer.json()["error"]
    await server.send({"name": "good"})


async def test_a_repair_says_what_it_did(server: InProcess) -> None:
    [event_id] = await server.send(CREATED)
    wanted = [{"kind": "wake_run", "key": event_id}, {"kind": "drop_message", "key": "1/2/3"}]
    assert (await server.post("/v1/repairs", {"repairs": wanted})).data == [
        {"kind": "wake_run", "key": event_id, "done": True, "detail": "nothing: it is right by now"},
        {"kind": "drop_message", "key": "1/2/3", "done": True, "detail": "it was removed"},
    ]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"repairs": {}},
        {"repairs": [{}]},
        {"repairs": [{"kind": "wake_run"}]},
        {"repairs": [{"kind": "nap", "key": "0" * 26}]},
        {"repairs": [{"kind": "wake_run", "key": "x"}]},
        {"repairs": [{"kind": "drop_message", "key": "1/2"}]},
        {"repairs": [{"kind": "drop_message", "key": f"1/2/{'9' * 5000}"}]},
        {"repairs": [{"kind": "drop_message", "key": "1/-2/3"}]},
        {"repairs": [{"kind": "mend_item", "key": "x" * 201}]},
        {"repairs": [{"kind": "set_crons", "key": "x"}]},
        {"repairs": [{"kind": "wake_run", "key": "0" * 26}] * 101},
    ],
)
async def test_a_repair_that_cannot_be_meant_is_refused(server: InProcess, body: Any) -> None:
    answer = await server.post("/v1/repairs", body)
    assert (answer.status, answer.json()["code"]) == (400, "invalid_repair")
