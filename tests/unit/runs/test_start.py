"""The birth of a run."""

from typing import Any

import pytest

from inngest_server.apps.config import FunctionConfig
from inngest_server.events.event import make_event, read_event
from inngest_server.runs.records import ItemState, WaitKind
from inngest_server.runs.start import NewRun, start_run
from inngest_server.wire import json
from tests.builders import DAY_MS, FUNCTION_ID, HOUR_MS, RUN_ID, SHARD, T0_MS

URL = "http://localhost:8000/api/inngest?fnId=shop-fulfil&stepId=step"


def make_new_run(
    *, ts: int | None = None, data: Any = None, parent: str | None = None, **config: Any
) -> NewRun:
    draft = read_event({"name": "shop/order.placed", "data": data or {"id": 7}, "ts": ts})
    raw = {
        "id": "shop-fulfil",
        "name": "Fulfil",
        "triggers": [{"event": "shop/order.placed"}],
        "steps": {"step": {"id": "step", "name": "step", "runtime": {"type": "http", "url": URL}}},
        **config,
    }
    return start_run(
        RUN_ID,
        shard=SHARD,
        function_id=FUNCTION_ID,
        version=3,
        config=FunctionConfig.from_json(raw),
        event=make_event(draft, internal_id="internal-1", received_at_ms=T0_MS, repeatable=False),
        now_ms=T0_MS,
        parent=parent,
    )


def test_a_new_run_is_scheduled_with_one_request_due_now() -> None:
    new = make_new_run(parent="parent.step")
    row, item = new.row, new.first_item
    assert (row.status, row.created_at_ms, row.started_at_ms, row.ended_at_ms) == (
        "Scheduled",
        T0_MS,
        None,
        None,
    )
    assert (row.function_version, row.event_id, row.event_name) == (3, "internal-1", "shop/order.placed")
    assert row.parent == "parent.step"
    assert (item.kind, item.attempt, item.generation, item.state) == ("discovery", 0, 0, ItemState.QUEUED)
    assert (item.due_at_ms, item.stack_index, item.run_id) == (T0_MS, 0, RUN_ID)
    assert new.content.event["data"] == {"id": 7}


@pytest.mark.parametrize(("ts", "due_at_ms"), [(T0_MS + HOUR_MS, T0_MS + HOUR_MS), (T0_MS - HOUR_MS, T0_MS)])
def test_an_event_of_the_future_delays_the_start(ts: int, due_at_ms: int) -> None:
    new = make_new_run(ts=ts)
    assert new.first_item.due_at_ms == due_at_ms
    assert new.row.created_at_ms == T0_MS


def test_every_cancel_on_is_a_wait_for_a_year() -> None:
    new = make_new_run(cancel=[{"event": "shop/cancelled"}, {"event": "shop/refunded"}])
    assert [(wait.kind, wait.name, wait.expression) for wait in new.waits] == [
        (WaitKind.CANCEL, "shop/cancelled", ""),
        (WaitKind.CANCEL, "shop/refunded", ""),
    ]
    assert {wait.fires_at_ms for wait in new.waits} == {T0_MS + 365 * DAY_MS}
    assert len({wait.wait_id for wait in new.waits}) == 2


def test_a_cancel_on_keeps_the_values_of_the_triggering_event_and_its_own_lifetime() -> None:
    match = "event.data.id == async.data.id"
    new = make_new_run(cancel=[{"event": "shop/cancelled", "if": match, "timeout": "1h"}])
    (wait,) = new.waits
    assert (wait.expression, json.parse(wait.captured)) == (match, [7])
    assert wait.fires_at_ms == T0_MS + HOUR_MS


def test_a_cancel_on_that_can_never_be_true_is_no_wait() -> None:
    new = make_new_run(cancel=[{"event": "shop/cancelled", "if": "event.data.id == 8"}])
    assert new.waits == ()
