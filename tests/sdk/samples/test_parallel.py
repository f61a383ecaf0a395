"""Samples of steps that run in parallel."""

import asyncio
import functools
import typing
from types import SimpleNamespace
from typing import Any

import pytest

from inngest_server.testing import World
from tests.sdk.samples.conftest import Show
from tests.sdk.samples.play import Calls, error_of, run, serve
from tests.sdk.samples.shown import put

RETURNED = "  return [updated_user, sent_email]\n"


def helpers() -> dict[str, Any]:
    return {
        "update_user": lambda user_id: f"updated {user_id}",
        "send_email": lambda user_id: f"sent to {user_id}",
    }


@pytest.mark.parametrize(
    ("sample", "indent"), [("P-27", 1), ("S-23", 2)], ids=["plain function", "async function"]
)
def test_steps_of_a_group_give_a_tuple(show: Show, world: World, sample: str, indent: int) -> None:
    shown = show(sample).edited(lambda text: text + "  " * (indent - 1) + RETURNED)
    serve(world, shown.play(**helpers()))
    ended = run(world, "my-event", {"user_id": "u1"})

    assert ended.output == ["updated u1", "sent to u1"]
    assert sorted(ended.steps) == ["send-email", "update-user"]


def test_a_step_that_is_no_variable_is_an_error(show: Show, world: World) -> None:
    """The page takes `step` from nowhere."""
    serve(world, show("P-26").play(**helpers()))
    ended = run(world, "my-event", {"user_id": "u1"})

    assert error_of(ended).name == "NameError"
    assert "'step'" in error_of(ended).message


def test_a_group_with_the_context_s_step(show: Show, world: World) -> None:
    shown = show("P-26").edited(put("step.run", "ctx.step.run"), lambda text: text + RETURNED)
    serve(world, shown.play(**helpers()))

    assert run(world, "my-event", {"user_id": "u1"}).output == ["updated u1", "sent to u1"]


def test_a_plain_function_has_no_tasks(show: Show, world: World) -> None:
    """An option that does nothing any more is let in; `create_task` needs an async function."""
    serve(world, show("P-28").play(asyncio=asyncio, **helpers()))
    ended = run(world, "my-event", {"user_id": "u1"})

    assert ended.status == "Failed"
    assert error_of(ended).name in ("RuntimeError", "TypeError")


def test_gather_runs_steps_in_parallel(show: Show, world: World) -> None:
    """The same sample without the option, and as the async function that `gather` needs."""
    shown = show("P-28").edited(
        put("  _experimental_execution=True,\n", ""),
        put("def fn(ctx: inngest.ContextSync)", "async def fn(ctx: inngest.Context)"),
        put("asyncio.gather", "await asyncio.gather"),
        lambda text: text + RETURNED,
    )
    serve(world, shown.play(asyncio=asyncio, **helpers()))
    ended = run(world, "my-event", {"user_id": "u1"})

    assert ended.output == ["updated u1", "sent to u1"]
    assert sorted(ended.steps) == ["send-email", "update-user"]


def test_a_race_runs_the_fast_group_first(show: Show, world: World) -> None:
    """Its steps really sleep, for up to ten seconds: here a thousandth of that. The order is the page's."""
    ran: list[float] = []

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / 1000)
        ran.append(seconds)

    shown = show("P-29").edited(put("import asyncio\n", ""))
    serve(world, shown.play(asyncio=SimpleNamespace(sleep=sleep)))
    ended = run(world, "my-event")

    assert ended.status == "Completed"
    assert sorted(ended.steps) == ["a", "b", "x", "y"]
    assert ran == [1, 1, 10, 10]


def test_a_group_is_made_in_a_loop(show: Show, world: World) -> None:
    calls = Calls({"update_user": True})

    async def update_user(user_id: int) -> bool:
        return calls.update_user(user_id)

    line = "    return updated_users\n"
    shown = show("S-24").edited(lambda text: text + line)
    serve(world, shown.play(typing=typing, functools=functools, update_user=update_user))
    ended = run(world, "my-event", {"user_ids": [1, 2, 3]})

    assert ended.output == [True, True, True]
    assert sorted(args for _, args, _ in calls.made) == [(1,), (2,), (3,)]
    assert sorted(ended.steps) == ["get-user-1", "get-user-2", "get-user-3"]


# Two functions of one event, of which the second has the parameters of older versions.


def stripe(calls: Calls) -> Any:
    return SimpleNamespace(
        Customer=SimpleNamespace(create=calls.customer),
        Subscription=SimpleNamespace(create=calls.subscription),
    )


def test_the_page_s_two_functions_meet_names_that_are_not_there(show: Show, world: World) -> None:
    """`step` in the first, and `customer.id` of a step's output, which is JSON, in the second."""
    calls = Calls({"customer": {"id": "cus_1"}})
    serve(world, show("P-13").play(send_email=calls.send_email, stripe=stripe(calls)))
    runs = world.send("app/user.signup", {"user": {"email": "ada@example.com"}})
    world.until_idle()

    assert sorted(error_of(run).name for run in runs) == ["AttributeError", "NameError"]
    assert calls.names == ["customer"]  # Once: its output is kept, and read wrongly by the next step.


def test_a_handler_of_older_versions_gets_the_step(show: Show, world: World) -> None:
    calls = Calls({"customer": {"id": "cus_1"}})
    shown = show("P-13").edited(
        put('await step.run("send-email"', 'await ctx.step.run("send-email"'),
        put("customer.id", 'customer["id"]'),
    )
    serve(world, shown.play(send_email=calls.send_email, stripe=stripe(calls)))
    runs = world.send("app/user.signup", {"user": {"email": "ada@example.com"}})
    world.until_idle()

    assert [run.status for run in runs] == ["Completed", "Completed"]
    assert sorted(calls.names) == ["customer", "send_email", "subscription"]
    options = {name: options for name, _, options in calls.made}
    assert options["subscription"]["customer"] == "cus_1"
    assert options["send_email"] == {"email": "ada@example.com", "template": "welcome"}
