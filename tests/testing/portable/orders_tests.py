"""Tests as users write them. They know nothing of the SDK, nor where the app runs."""

import os
from typing import Any

import pytest


def test_the_sdk_is_the_one_that_is_meant(world: Any) -> None:
    assert os.environ["ORDERS_SDK"] in world.send("which", {}).run.output


def test_an_order_goes_its_way(world: Any) -> None:
    run = world.send("order/placed", {"id": 1, "amount": 5}).run

    assert run.status == "Running"
    assert run.steps["reserve"].output == "reserved 5"
    assert run.steps["paid"].status == "Waiting"

    world.advance(hours=5)
    world.send("order/paid", {"id": 2})
    assert run.steps["paid"].status == "Waiting"
    world.send("order/paid", {"id": 1})

    assert run.steps["paid"].output["data"] == {"id": 1}
    assert run.steps["charge"].output == {"charged": 5}
    assert [run.steps[name].output for name in ("mail", "sms")] == ["said mail", "said sms"]
    assert [child.status for child in world.runs("charge")] == ["Completed"]

    world.advance(days=6, hours=23)
    assert run.status == "Running"
    world.advance(hours=1)
    assert run.status == "Completed"
    assert run.output == ["reserved 5", {"charged": 5}, ["said mail", "said sms"]]


def test_an_order_that_is_not_paid_expires(world: Any) -> None:
    run = world.send("order/placed", {"id": 1, "amount": 5}).run
    world.advance(days=2)
    assert run.output == "expired"
    assert [event["name"] for event in world.sent_events] == ["order/placed", "order/expired"]


def test_a_step_that_fails_is_tried_again(world: Any) -> None:
    run = world.send("order/placed", {"id": 1, "amount": 5, "fails": 2}).run
    assert run.steps["reserve"].attempts == 1
    assert run.steps["reserve"].error.message == "no stock, try 0"
    world.advance(minutes=5)
    assert run.steps["reserve"].attempts == 3
    assert run.steps["reserve"].status == "Completed"


def test_a_run_that_fails_tells_its_handler(world: Any) -> None:
    run = world.send("order/placed", {"id": 1, "amount": 5, "fails": 9}).run
    world.advance(hours=1)
    assert run.status == "Failed"
    assert run.error.name == "ValueError"
    assert run.error.message == "no stock, try 2"
    [handler] = world.runs("order-failure")
    assert handler.output == "sorry about no stock, try 2"


@pytest.mark.parametrize("failure", ["refused", "lost_answer"])
def test_a_call_that_fails_is_made_again(world: Any, failure: str) -> None:
    world.fail_call(function="order", failure=failure)
    run = world.send("order/placed", {"id": 1, "amount": 5}).run
    assert "paid" not in run.steps
    world.advance(minutes=1)
    assert run.steps["reserve"].output == "reserved 5"
    assert run.steps["paid"].status == "Waiting"


def test_a_report_is_made_every_day(world: Any) -> None:
    world.advance(days=10)
    assert [run.output for run in world.runs("report")] == ["reported"] * 10


def test_functions_that_block_are_served_too(world: Any) -> None:
    run = world.send("blocking", {}).run
    world.until_idle()
    assert run.output == ["one", "two"]


def test_another_function_can_be_replaced(world: Any) -> None:
    world.stub_function("charge", {"charged": "nothing"})
    run = world.send("order/placed", {"id": 1, "amount": 5}).run
    world.send("order/paid", {"id": 1})
    assert run.steps["charge"].output == {"charged": "nothing"}


def test_code_follows_its_own_histories(world: Any) -> None:
    run = world.send("order/placed", {"id": 1, "amount": 5, "fails": 1}).run
    histories = [run.history]
    world.advance(hours=1)
    world.send("order/paid", {"id": 1})
    histories.append(run.history)
    world.until_idle()
    histories.append(run.history)
    world.check_histories(histories)
    assert len(world.runs("charge")) == 1


def test_flask_serves_as_well(inngest_world: Any, address: str | None) -> None:
    if address is not None:
        return
    from orders_flask import app

    inngest_world.serve(app)
    run = inngest_world.send("blocking", {}).run
    inngest_world.advance(hours=1)
    assert run.output == ["one", "two"]
