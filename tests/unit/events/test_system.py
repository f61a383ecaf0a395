"""The bodies of system events. Source: protocol 5.3 and 5.17."""

from typing import Any

import pytest

from inngest_server.events.system import run_ended_body, system_event, timer_body
from inngest_server.wire import json
from inngest_server.wire.limits import EVENT_BYTES_MAX
from tests.builders import RUN_ID, T0_MS

TRIGGER = b'{"data":{"a":1},"id":"evt-1","name":"shop/order.placed","ts":1790000000000,"user":{}}'


def make_body(**changes: Any) -> bytes:
    return run_ended_body(
        **{
            "name": "inngest/function.finished",
            "event_id": "evt-2",
            "ts_ms": T0_MS,
            "function_slug": "shop-fulfil",
            "run_id": RUN_ID,
            "status": "Completed",
            "trigger_body": TRIGGER,
            "correlation_id": None,
            "output": b'{"ok":true}',
            "error": None,
            **changes,
        }
    )


def test_a_completed_run_publishes_its_result() -> None:
    assert json.parse(make_body()) == {
        "name": "inngest/function.finished",
        "id": "evt-2",
        "ts": T0_MS,
        "user": {},
        "data": {
            "function_id": "shop-fulfil",
            "run_id": RUN_ID,
            "event": json.parse(TRIGGER),
            "events": [json.parse(TRIGGER)],
            "result": {"ok": True},
            "_inngest": {"status": "Completed"},
        },
    }


def test_a_result_of_null_is_there() -> None:
    assert json.parse(make_body(output=b"null"))["data"]["result"] is None


def test_an_invoked_run_names_its_correlation() -> None:
    assert json.parse(make_body(correlation_id="parent.step"))["data"]["correlation_id"] == "parent.step"


def test_a_failed_run_publishes_its_error_and_raw_output() -> None:
    error = {"error": "Error: boom", "name": "Error", "message": "boom"}
    data = json.parse(make_body(status="Failed", error=error, output=b'{"name":"Error","message":"boom"}'))[
        "data"
    ]
    assert data["error"] == error
    assert data["result"] == {"name": "Error", "message": "boom"}
    assert data["_inngest"] == {"status": "Failed"}


def test_a_cancelled_run_publishes_no_result() -> None:
    error = {"error": "Error: Function cancelled", "name": "Error", "message": "Function cancelled"}
    data = json.parse(make_body(status="Cancelled", output=None, error=error))["data"]
    assert "result" not in data
    assert data["error"] == error


@pytest.mark.parametrize("text", ['a"b', "a\\b", "ü", "\n"])
def test_texts_are_escaped(text: str) -> None:
    body = json.parse(make_body(function_slug=text, correlation_id=text, event_id=text))
    assert body["data"]["function_id"] == body["data"]["correlation_id"] == body["id"] == text


def test_bodies_are_canonical() -> None:
    body = make_body(correlation_id="p.s", error={"error": "e", "message": "m", "name": "n"})
    assert body == json.canonical(json.parse(body))


def test_a_cron_slot_publishes_when_it_was_meant_and_when_it_fired() -> None:
    body = timer_body(
        event_id="2024-05-01T09:00:00Z",
        cron="TZ=Europe/Paris 0 11 * * *",
        scheduled_at="2024-05-01T09:00:00Z",
        fire_at="2024-05-01T09:00:12Z",
        ts_ms=1714554012000,
    )
    assert json.parse(body) == {
        "name": "inngest/scheduled.timer",
        "id": "2024-05-01T09:00:00Z",
        "ts": 1714554012000,
        "data": {
            "cron": "TZ=Europe/Paris 0 11 * * *",
            "scheduledAt": "2024-05-01T09:00:00Z",
            "fireAt": "2024-05-01T09:00:12Z",
        },
        "user": {},
    }


def test_the_servers_own_events_are_not_compared_with_earlier_ones() -> None:
    event = system_event(internal_id="i", event_id="e", name="n", ts_ms=1, now_ms=2, body=b"{}")
    assert (event.internal_id, event.event_id, event.ts_ms, event.received_at_ms) == ("i", "e", 1, 2)
    assert not event.repeatable


def test_a_batch_publishes_all_its_events() -> None:
    data = json.parse(make_body(further=[b'{"id":"evt-2"}', b'{"id":"evt-3"}']))["data"]
    assert [event["id"] for event in data["events"]] == ["evt-1", "evt-2", "evt-3"]
    assert data["event"]["id"] == "evt-1"


def test_events_of_a_batch_that_are_more_than_an_event_may_have_are_left_out_but_the_first() -> None:
    huge = b'{"x":"' + b"x" * EVENT_BYTES_MAX + b'"}'
    data = json.parse(make_body(further=[huge]))["data"]
    assert (data["event"], data["events"]) == (json.parse(TRIGGER), [])
    alone = json.parse(make_body(trigger_body=huge))["data"]
    assert alone["events"] == [alone["event"]]
