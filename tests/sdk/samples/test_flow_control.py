"""Samples of functions with rules: batches, debounce, priority, rate limit, throttle, several triggers."""

from datetime import datetime, timedelta
from typing import Any

import pytest

import inngest
from inngest_server.testing import World
from tests.sdk.samples.conftest import Show
from tests.sdk.samples.play import Calls, error_of, module_and_client, run, serve
from tests.sdk.samples.shown import body, put, python_comments

BATCH = put('user_id"          if="event.data.account_type', 'user_id", if_exp="event.data.account_type')
"""The page has a blank where a comma must be, and a keyword as the name of an argument."""
CALL = {"user_id": "u1", "endpoint": "/a", "account_type": "free"}


def test_a_batch_read_by_attributes_is_an_error(show: Show, world: World) -> None:
    serve(world, show("P-01").edited(BATCH).play(to_datetime=str))
    ended = run(world, "log/api.call", CALL)

    assert error_of(ended).name == "AttributeError"
    assert "user_id" in error_of(ended).message


def test_a_batch_of_one_user_s_events_and_none_of_paying_accounts(show: Show, world: World) -> None:
    """The same with the items of dictionaries. A paying account's event is a batch of its own."""
    written: list[Any] = []

    async def bulk_write(attrs: list[dict[str, Any]]) -> list[Any]:
        written.append(attrs)
        return attrs

    class Db:
        pass

    db = Db()
    db.bulk_write = bulk_write  # type: ignore[attr-defined]
    shown = show("P-01").edited(BATCH, *(put(f"evt.data.{name}", f'evt.data["{name}"]') for name in CALL))
    serve(world, shown.play(db=db, to_datetime=lambda ms: datetime.fromtimestamp(ms / 1000).isoformat()))
    for event in (
        CALL,
        {**CALL, "endpoint": "/b"},
        {**CALL, "user_id": "u2"},
        {**CALL, "account_type": "pro"},
    ):
        world.send("log/api.call", event)
    world.until_idle()

    assert sorted(run.output["recorded"] for run in world.runs("docs-record-api-calls")) == [1, 1, 2]
    assert sorted(len(attrs) for attrs in written) == [1, 1, 2]


def both(client: inngest.Inngest) -> dict[str, Any]:
    return {"inngest_client": client, "inngest": module_and_client(client)}


def test_a_debounced_function_gets_the_last_event(show: Show, world: World) -> None:
    shown = show("P-08").edited(python_comments, put("    pass", "    return ctx.event.data"))
    serve(world, shown.play(**both(inngest.Inngest(app_id="docs"))))
    for number in range(3):
        world.send("intercom/company.updated", {"account_id": "a", "n": number})
    world.until_idle()

    assert [run.output["n"] for run in world.runs("docs-handle-webhook")] == [2]


def test_a_function_starts_by_either_event_or_the_cron(show: Show, world: World) -> None:
    shown = show("P-20").edited(body("def my_handler", "return ctx.event.name"))
    serve(world, shown.play())

    assert run(world, "user.created").output == "user.created"
    assert run(world, "user.updated").output == "user.updated"
    world.advance(days=1, hours=1)
    outputs = [run.output for run in world.runs("docs-resync-user-data")]
    assert sorted(set(outputs)) == ["inngest/scheduled.timer", "user.created", "user.updated"]


@pytest.mark.parametrize("sample", ["P-21", "P-22", "P-30"])
def test_a_function_with_an_id_and_a_rule_runs(show: Show, world: World, sample: str) -> None:
    """`id=` and `Trigger` are other spellings of `fn_id` and `TriggerEvent`; the body is the reader's."""
    shown = show(sample).edited(body("async def", 'return "ran"'))
    serve(world, shown.play(**both(inngest.Inngest(app_id="docs"))))
    event = "intercom/company.updated" if sample == "P-22" else "ai/summary.requested"

    assert run(world, event, {"account_type": "enterprise", "company_id": 1, "user_id": 1}).output == "ran"


def test_a_rate_limit_lets_one_of_a_key_pass(show: Show, world: World) -> None:
    shown = show("P-22").edited(body("async def", "return ctx.event.data"))
    serve(world, shown.play(**both(inngest.Inngest(app_id="docs"))))
    for company in (1, 1, 2, 1):
        world.send("intercom/company.updated", {"company_id": company})
    world.until_idle()

    outputs = [run.output for run in world.runs("docs-synchronize-data") if run.status == "Completed"]
    assert sorted(output["company_id"] for output in outputs) == [1, 2]


def test_a_throttle_spreads_starts(show: Show, world: World) -> None:
    """Its limit has an older name on the page, `count`: two a minute, so the third waits."""
    calls = Calls({"insert_one": None})
    module = show("PY-33").play(db=type("Db", (), {"syncs": calls}), get_data_from_external_source=lambda: 1)
    serve(world, module)
    for _ in range(3):
        world.send("auto/sync.request")
    world.until_idle()

    runs = world.runs("docs-sync-systems")
    assert [run.status for run in runs] == ["Completed"] * 3
    ends = [run.ended_at for run in runs if run.ended_at is not None]
    assert max(ends) - min(ends) >= timedelta(seconds=25)
