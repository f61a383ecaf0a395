"""Samples of retries, errors, failure handlers and rollbacks."""

from types import SimpleNamespace
from typing import Any

import pytest

import inngest
from inngest_server.testing import World
from tests.sdk.samples.conftest import Show
from tests.sdk.samples.play import Calls, error_of, lasted_s, run, serve
from tests.sdk.samples.shown import body, put

AWAITED = put("ctx.step.run", "await ctx.step.run")
UNAWAITED = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")


def test_a_plain_step_s_error_fails_an_async_function(show: Show, world: World) -> None:
    """No retries: one attempt, and the error is the run's."""
    serve(world, show("PY-16").play())
    ended = run(world, "store/import.requested")

    assert (ended.status, error_of(ended).name, error_of(ended).message) == ("Failed", "ValueError", "foo")


@UNAWAITED
@pytest.mark.parametrize("sample", ["PY-17", "PY-18", "PY-20"])
def test_a_step_that_is_not_awaited_does_not_run(show: Show, world: World, sample: str) -> None:
    serve(world, show(sample).play())
    ended = run(world, "store/import.requested")

    assert list(ended.steps) == []


@pytest.mark.parametrize("retries", [0, 4])
def test_a_non_retriable_error_is_not_tried_again(show: Show, world: World, retries: int) -> None:
    serve(world, show("PY-17").edited(AWAITED, put("retries=0", f"retries={retries}")).play())
    ended = run(world, "store/import.requested")

    assert ended.status == "Failed"
    assert (error_of(ended).name, error_of(ended).message) == (
        "NonRetriableError",
        "non-retriable-step-error",
    )
    assert ended.steps["step_1"].attempts == 1


@pytest.mark.parametrize("retries", [0, 2])
def test_a_number_of_milliseconds_is_the_time_until_the_next_attempt(
    show: Show, world: World, retries: int
) -> None:
    serve(world, show("PY-18").edited(AWAITED, put("retries=0", f"retries={retries}")).play())
    ended = run(world, "store/import.requested")

    assert ended.status == "Failed"
    assert error_of(ended).message == "rate-limit-hit"
    assert ended.steps["step_1"].attempts == retries + 1
    assert lasted_s(ended) == pytest.approx(retries, abs=1.9)


def test_an_error_of_a_step_becomes_another_error(show: Show, world: World) -> None:
    class MyError(Exception):
        pass

    serve(world, show("PY-20").edited(AWAITED).play(MyError=MyError))
    ended = run(world, "store/import.requested")

    assert (ended.status, error_of(ended).name, error_of(ended).message) == ("Failed", "MyError", "I am new")


def test_a_failing_function_is_tried_as_often_as_it_says(show: Show, world: World) -> None:
    """The page's body is a comment. Ten retries are eleven attempts."""
    attempts: list[int] = []
    line = "attempts.append(ctx.attempt); raise ValueError('no')"
    serve(world, show("PY-22").edited(body("def click_recorder", line)).play(attempts=attempts))
    ended = run(world, "app/button.clicked")

    assert ended.status == "Failed"
    assert attempts == list(range(11))


class UserNotFoundError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "name", "message", "attempts"),
    [
        (UserNotFoundError("u1"), "NonRetriableError", "User no longer exists; stopping", 5),
        (ValueError("down"), "ValueError", "down", 5),
    ],
)
def test_the_name_of_a_step_s_error_decides(
    show: Show, world: World, error: Exception, name: str, message: str, attempts: int
) -> None:
    """The step itself is tried five times before its error reaches the function."""

    def find_one(_: str) -> Any:
        raise error

    db = SimpleNamespace(users=SimpleNamespace(find_one=find_one))
    serve(world, show("PY-24").play(db=db, send_digest=Calls().send_digest))
    ended = run(world, "user/weekly.digest.requested", {"userId": "u1"})

    assert (ended.status, error_of(ended).name, error_of(ended).message) == ("Failed", name, message)
    assert ended.steps["get-user-email"].attempts == attempts


def test_a_digest_goes_to_the_user_s_address(show: Show, world: World) -> None:
    calls = Calls({"find_one": {"email": "ada@example.com"}})
    db = SimpleNamespace(users=calls)
    serve(world, show("PY-24").play(db=db, send_digest=calls.send_digest))

    assert run(world, "user/weekly.digest.requested", {"userId": "u1"}).status == "Completed"
    assert [(name, args) for name, args, _ in calls.made] == [
        ("find_one", ("u1",)),
        ("send_digest", ("ada@example.com",)),
    ]


# Rollbacks.


@pytest.mark.parametrize("fails", [True, False])
def test_another_step_takes_the_place_of_one_that_failed(show: Show, world: World, fails: bool) -> None:
    calls = Calls({"midjourney": "image-m"})

    def draw() -> str:
        if fails:
            raise ValueError("no image today")
        return "image-d"

    module = show("PY-26").play(
        open_api_call_to_generate_image=draw,
        midjourney_call_to_generate_image=calls.midjourney,
        pusher=calls,
    )
    serve(world, module)

    assert run(world, "prompt.created", {"channelID": "c1"}).status == "Completed"
    image = (
        {"imageURL": "image-m", "via": "midjourney"} if fails else {"imageURL": "image-d", "via": "dall-e"}
    )
    assert calls.made[-1] == ("trigger", ("c1", "image-result", image), {})
    assert calls.names == (["midjourney", "trigger"] if fails else ["trigger"])


@pytest.mark.parametrize("fails", [True, False])
def test_a_step_is_rolled_back_and_another_may_fail(show: Show, world: World, fails: bool) -> None:
    calls = Calls()

    def refuse(*_: Any) -> None:
        raise ValueError("not now")

    module = show("PY-27").play(
        update_metric=refuse,
        create_row=calls.create_row,
        add_detail=refuse if fails else calls.add_detail,
        remove_row=calls.remove_row,
    )
    serve(world, module)

    assert run(world, "app/row.data.added", {"rowId": 7, "entry": "e"}).status == "Completed"
    # The step that fails is tried five times, and creates its row each time.
    assert calls.names == (["create_row"] * 5 + ["remove_row"] if fails else ["create_row", "add_detail"])
    assert calls.made[0] == ("create_row", (7,), {})


# Failure handlers.


def names_of_handlers() -> dict[str, Any]:
    return {"TriggerEvent": inngest.TriggerEvent, "Context": inngest.Context}


def test_nothing_handles_a_success(show: Show, world: World) -> None:
    serve(world, show("PY-15").play(**names_of_handlers()))

    assert run(world, "user/subscription.check", {"userId": "u1"}).status == "Completed"
    assert world.runs("docs-update-subscription-failure") == []
    assert world.runs("docs-global_failure_handler") == []


FAILING = put("pass # ...", "raise ValueError('no card')")


def test_the_page_s_failure_handler_reads_what_a_context_has_not(show: Show, world: World) -> None:
    """`ctx.data`: the handler fails, and the handler of all failures hears of both."""
    calls = Calls()
    serve(
        world, show("PY-15").edited(FAILING).play(unsubscribe_user=calls.unsubscribe, **names_of_handlers())
    )
    run(world, "user/subscription.check", {"userId": "u1"})
    (handled,) = world.runs("docs-update-subscription-failure")

    assert error_of(handled).name == "AttributeError"
    assert "data" in error_of(handled).message
    assert calls.made == []


def test_a_failure_handler_finds_the_event_of_the_failed_run(show: Show, world: World) -> None:
    users: list[str] = []

    async def unsubscribe_user(user: str) -> None:
        users.append(user)

    shown = show("PY-15").edited(FAILING, put("ctx.data.userId", 'ctx.event.data["event"]["data"]["userId"]'))
    serve(world, shown.play(unsubscribe_user=unsubscribe_user, **names_of_handlers()))
    ended = run(world, "user/subscription.check", {"userId": "u1"})

    assert (ended.status, error_of(ended).message) == ("Failed", "no card")
    assert users == ["u1"]
    assert [run.status for run in world.runs("docs-global_failure_handler")] == ["Completed"]
