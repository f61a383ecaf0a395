"""`inngest.experimental.mocked`: functions run to their end without a server."""

import asyncio
import contextvars
import datetime
from collections.abc import Callable
from typing import Any

import pydantic
import pytest

import inngest
from inngest.experimental import mocked
from inngest.experimental.ai import openai
from inngest.experimental.mocked.errors import RunAbortedError, StubInvalidError
from inngest.step import FetchResponse

APP = inngest.Inngest(app_id="shop", is_production=False)
EVENT = inngest.Event(name="shop/order.created", data={"id": 7})
TRIGGER = inngest.TriggerEvent(event="shop/order.created")


@pytest.fixture
def client() -> mocked.Inngest:
    return mocked.Inngest(app_id="test")


def function(handler: Callable[..., Any], **options: Any) -> inngest.Function[Any]:
    return APP.create_function(fn_id="order", trigger=TRIGGER, **options)(handler)


def test_an_async_function_runs_to_its_end_in_a_plain_call(client: mocked.Inngest) -> None:
    async def order(ctx: inngest.Context) -> str:
        first = await ctx.step.run("first", lambda: 1)
        await ctx.step.sleep("wait", datetime.timedelta(days=30))
        second = await ctx.step.run("second", lambda: first + 1)
        return f"{ctx.event.data['id']}: {second}"

    run = mocked.trigger(function(order), EVENT, client)

    assert (run.status, run.output, run.error) == (mocked.Status.COMPLETED, "7: 2", None)


def test_a_plain_function_runs_to_its_end(client: mocked.Inngest) -> None:
    def order(ctx: inngest.ContextSync) -> int:
        until = datetime.datetime.now() + datetime.timedelta(days=300)
        ctx.step.sleep_until("wait", until)
        return ctx.step.run("count", len, ctx.events)

    assert mocked.trigger(function(order), [EVENT, EVENT], client).output == 2


async def test_an_async_function_runs_inside_a_running_event_loop(client: mocked.Inngest) -> None:
    seen = contextvars.ContextVar("seen", default="nothing")
    seen.set("the caller's value")
    outer = asyncio.get_running_loop()

    async def order(ctx: inngest.Context) -> str:
        assert asyncio.get_running_loop() is not outer
        return await ctx.step.run("read", seen.get)

    assert mocked.trigger(function(order), EVENT, client).output == "the caller's value"


async def test_a_plain_function_never_runs_inside_the_callers_event_loop(client: mocked.Inngest) -> None:
    def order(ctx: inngest.ContextSync) -> int:
        return asyncio.run(asyncio.sleep(0, 7))

    assert mocked.trigger(function(order), EVENT, client).output == 7


def test_the_event_loop_that_a_test_has_set_stays(client: mocked.Inngest) -> None:
    async def order(ctx: inngest.Context) -> None: ...

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        mocked.trigger(function(order), EVENT, client)
        assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_an_error_inside_a_running_loop_reaches_the_caller(client: mocked.Inngest) -> None:
    async def order(ctx: inngest.Context) -> None:
        await ctx.step.invoke_by_id("pay", function_id="pay")

    async def main() -> None:
        mocked.trigger(function(order), EVENT, client)

    with pytest.raises(mocked.UnstubbedStepError):
        asyncio.run(main())


def test_a_step_is_executed_once_however_often_the_function_is_replayed(client: mocked.Inngest) -> None:
    calls: list[str] = []

    async def order(ctx: inngest.Context) -> None:
        for name in ("a", "b", "c"):
            await ctx.step.run(name, lambda name=name: calls.append(name))

    mocked.trigger(function(order), EVENT, client)

    assert calls == ["a", "b", "c"]


def test_a_repeated_step_id_is_a_step_of_its_own(client: mocked.Inngest) -> None:
    def order(ctx: inngest.ContextSync) -> list[int]:
        return [ctx.step.run("square", lambda n=n: n * n) for n in range(4)]

    assert mocked.trigger(function(order), EVENT, client).output == [0, 1, 4, 9]


def test_results_of_steps_pass_through_json(client: mocked.Inngest) -> None:
    async def order(ctx: inngest.Context) -> bool:
        pair: Any = await ctx.step.run("pair", lambda: (1, 2))
        return pair == [1, 2]

    assert mocked.trigger(function(order), EVENT, client).output is True


def test_a_result_without_json_form_fails_as_it_would_on_a_server(client: mocked.Inngest) -> None:
    async def order(ctx: inngest.Context) -> object:
        return object()

    run = mocked.trigger(function(order), EVENT, client)

    assert run.status is mocked.Status.FAILED
    assert "has no JSON form" in str(run.error)


@pytest.mark.parametrize("mode", [None, inngest.ParallelMode.WAIT, inngest.ParallelMode.RACE])
def test_parallel_steps_of_an_async_function(
    client: mocked.Inngest, mode: inngest.ParallelMode | None
) -> None:
    calls: list[int] = []

    async def work(number: int) -> int:
        calls.append(number)
        return number

    async def order(ctx: inngest.Context) -> Any:
        async def two() -> int:
            first = await ctx.step.run("b", work, 2)
            return await ctx.step.run("c", work, first + 1)

        return await ctx.group.parallel((lambda: ctx.step.run("a", work, 1), two), parallel_mode=mode)

    run = mocked.trigger(function(order), EVENT, client)

    assert run.output == (1, 3)
    assert sorted(calls) == [1, 2, 3]


def test_gathered_steps_and_the_steps_after_them(client: mocked.Inngest) -> None:
    async def order(ctx: inngest.Context) -> int:
        numbers = await asyncio.gather(*(ctx.step.run("n", lambda n=n: n) for n in range(5)))
        return await ctx.step.run("sum", sum, numbers)

    assert mocked.trigger(function(order), EVENT, client).output == 10


def test_parallel_steps_of_a_plain_function(client: mocked.Inngest) -> None:
    def order(ctx: inngest.ContextSync) -> Any:
        return ctx.group.parallel(
            (lambda: ctx.step.run("a", lambda: 1), lambda: ctx.step.run("b", lambda: 2))
        )

    assert mocked.trigger(function(order), EVENT, client).output == (1, 2)


def test_a_step_beats_a_sleep_in_a_race(client: mocked.Inngest) -> None:
    async def order(ctx: inngest.Context) -> str:
        async def work() -> str:
            await ctx.step.run("one", lambda: None)
            return await ctx.step.run("two", lambda: "work")

        async def timeout() -> str:
            await ctx.step.sleep("timeout", "1h")
            return "timeout"

        tasks = [asyncio.ensure_future(work()), asyncio.ensure_future(timeout())]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()

    assert mocked.trigger(function(order), EVENT, client).output == "work"


def test_a_step_is_tried_as_often_as_the_function_says(client: mocked.Inngest) -> None:
    attempts: list[int] = []

    async def order(ctx: inngest.Context) -> str:
        def flaky() -> str:
            attempts.append(ctx.attempt)
            if len(attempts) < 3:
                raise ConnectionError("try again")
            return "done"

        return await ctx.step.run("flaky", flaky)

    assert mocked.trigger(function(order, retries=2), EVENT, client).output == "done"
    assert attempts == [0, 1, 2]


def test_a_function_is_tried_four_times_more_by_default(client: mocked.Inngest) -> None:
    attempts: list[int] = []

    def order(ctx: inngest.ContextSync) -> None:
        attempts.append(ctx.attempt)
        raise ConnectionError("never works")

    run = mocked.trigger(function(order), EVENT, client)

    assert attempts == [0, 1, 2, 3, 4]
    assert run.status is mocked.Status.FAILED
    assert isinstance(run.error, ConnectionError)


def test_a_non_retriable_error_ends_the_run_at_once(client: mocked.Inngest) -> None:
    attempts: list[int] = []

    async def order(ctx: inngest.Context) -> None:
        attempts.append(ctx.attempt)
        raise inngest.NonRetriableError("no such order")

    run = mocked.trigger(function(order), EVENT, client)

    assert attempts == [0]
    assert isinstance(run.error, inngest.NonRetriableError)


def test_a_retry_after_error_does_not_make_the_test_wait(client: mocked.Inngest) -> None:
    async def order(ctx: inngest.Context) -> int:
        if ctx.attempt == 0:
            raise inngest.RetryAfterError("busy", datetime.timedelta(hours=20))
        return ctx.attempt

    assert mocked.trigger(function(order), EVENT, client).output == 1


@pytest.mark.parametrize("is_caught", [False, True])
def test_the_function_can_go_on_after_a_failed_step(client: mocked.Inngest, is_caught: bool) -> None:
    async def order(ctx: inngest.Context) -> str:
        def broken() -> None:
            raise ValueError("no money")

        try:
            await ctx.step.run("pay", broken)
        except inngest.StepError as error:
            if is_caught:
                return f"{error.name}: {error.message}"
            raise
        return "paid"

    run = mocked.trigger(function(order, retries=1), EVENT, client)

    if is_caught:
        assert (run.status, run.output) == (mocked.Status.COMPLETED, "ValueError: no money")
    else:
        # As the step raised it, not as the function saw it.
        assert (run.status, type(run.error)) == (mocked.Status.FAILED, ValueError)


def test_events_are_not_sent_but_kept(client: mocked.Inngest) -> None:
    async def order(ctx: inngest.Context) -> Any:
        one = await ctx.step.send_event("one", inngest.Event(name="a"))
        two = await ctx.step.send_event("two", [inngest.Event(name="b"), inngest.Event(name="c")])
        await client.send(inngest.Event(name="d"))
        return [one, two]

    run = mocked.trigger(function(order), EVENT, client)

    ids = ["00000000000000000000000000"]
    assert run.output == [ids, ids * 2]
    assert [event.name for event in run.sent_events] == ["a", "b", "c", "d"]
    assert mocked.trigger(function(order), EVENT, client).sent_events == run.sent_events


def test_middleware_of_the_mocked_client_and_of_the_function_is_called() -> None:
    seen: list[str] = []

    def recorder(name: str) -> type[inngest.MiddlewareSync]:
        class Recorder(inngest.MiddlewareSync):
            def transform_input(self, ctx: Any, function: Any, steps: inngest.StepMemos) -> None:
                seen.append(f"{name} in {steps.size}")

            def transform_output(self, result: inngest.TransformOutputResult) -> None:
                if result.step is None:
                    seen.append(f"{name} out")
                    result.output = f"{result.output} {name}"

            def before_response(self) -> None:
                seen.append(f"{name} response")

        return Recorder

    client = mocked.Inngest(app_id="test", middleware=[recorder("client")])

    async def order(ctx: inngest.Context) -> str:
        return await ctx.step.run("a", lambda: "result")

    run = mocked.trigger(function(order, middleware=[recorder("function")]), EVENT, client)

    assert run.output == "result function client"
    one_request = ["client response", "function response"]
    assert seen == [
        *("client in 0", "function in 0", *one_request),
        *("client in 1", "function in 1", "function out", "client out", *one_request),
    ]


class User(pydantic.BaseModel):
    name: str


def test_the_serializer_of_the_mocked_client_is_used() -> None:
    client = mocked.Inngest(app_id="test", serializer=inngest.PydanticSerializer())

    async def order(ctx: inngest.Context) -> User:
        user = await ctx.step.run("load", lambda: User(name="Ann"), output_type=User)
        assert isinstance(user, User)
        return user

    assert mocked.trigger(function(order, output_type=User), EVENT, client).output == {"name": "Ann"}


# Stubs.


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_an_unstubbed_step_names_itself_and_how_to_stub_it(client: mocked.Inngest, kind: str) -> None:
    async def waits(ctx: inngest.Context) -> None:
        await ctx.step.wait_for_event("reply", event="reply", timeout=1000)

    def waits_too(ctx: inngest.ContextSync) -> None:
        ctx.step.wait_for_event("reply", event="reply", timeout=1000)

    with pytest.raises(
        mocked.UnstubbedStepError, match=r"step 'reply' is not stubbed.*step_stubs=\{'reply': "
    ):
        mocked.trigger(function(waits if kind == "async" else waits_too), EVENT, client)


@pytest.mark.parametrize(
    ("stub", "seen"),
    [
        (inngest.Event(name="reply", data={"text": "yes"}), "yes"),
        ({"name": "reply", "data": {"text": "yes"}}, "yes"),
        (mocked.Timeout, None),
        (None, None),
    ],
)
def test_a_wait_gets_its_stub(client: mocked.Inngest, stub: object, seen: object) -> None:
    async def order(ctx: inngest.Context) -> object:
        event = await ctx.step.wait_for_event("reply", event="reply", timeout="1d")
        return event and event.data["text"]

    assert mocked.trigger(function(order), EVENT, client, step_stubs={"reply": stub}).output == seen


def test_the_stub_of_one_use_of_an_id_wins_over_that_of_all(client: mocked.Inngest) -> None:
    async def order(ctx: inngest.Context) -> Any:
        return [await ctx.step.invoke_by_id("poll", function_id="poll") for _ in range(3)]

    run = mocked.trigger(function(order), EVENT, client, step_stubs={"poll": "wait", "poll:2": "done"})

    assert run.output == ["wait", "wait", "done"]


def test_a_signal_gets_its_stub(client: mocked.Inngest) -> None:
    async def order(ctx: inngest.Context) -> Any:
        signal = await ctx.step.wait_for_signal("go", signal="go-7", timeout="1d")
        return signal and [signal.signal, signal.data]

    fn = function(order)

    assert mocked.trigger(fn, EVENT, client, step_stubs={"go": {"by": "Ann"}}).output == [
        "go-7",
        {"by": "Ann"},
    ]
    assert mocked.trigger(fn, EVENT, client, step_stubs={"go": mocked.Timeout}).output is None


def test_an_invoked_function_that_takes_too_long_raises(client: mocked.Inngest) -> None:
    def order(ctx: inngest.ContextSync) -> str:
        try:
            ctx.step.invoke_by_id("pay", function_id="pay", timeout="1m")
        except inngest.StepError as error:
            return error.name
        return "paid"

    run = mocked.trigger(function(order), EVENT, client, step_stubs={"pay": mocked.Timeout})

    assert run.output == "InngestInvokeTimeoutError"


def test_an_ai_step_and_a_request_get_their_stubs(client: mocked.Inngest) -> None:
    async def order(ctx: inngest.Context) -> Any:
        adapter = openai.Adapter(auth_key="key", model="gpt-4o")
        answer = await ctx.step.ai.infer("ask", adapter=adapter, body={"messages": []})
        page = await ctx.step.fetch("page", "https://example.com/x")
        gone = await ctx.step.fetch("gone", "https://example.com/y")
        return [answer["id"], page.url, page.body, gone.status_code]

    stubs = {
        "ask": {"id": "answer-1"},
        "page": "hello",
        "gone": FetchResponse(url="", status_code=404, headers={}, body=""),
    }

    assert mocked.trigger(function(order), EVENT, client, step_stubs=stubs).output == [
        *("answer-1", "https://example.com/x", "hello", 404),
    ]


def test_a_step_that_could_run_may_be_stubbed_and_is_not_executed(client: mocked.Inngest) -> None:
    executed: list[str] = []

    async def order(ctx: inngest.Context) -> Any:
        one = await ctx.step.run("one", executed.append, "one")
        rest = await asyncio.gather(
            ctx.step.run("two", executed.append, "two"), ctx.step.run("three", executed.append, "three")
        )
        return [one, *rest]

    run = mocked.trigger(function(order), EVENT, client, step_stubs={"one": 1, "three": 3})

    assert run.output == [1, None, 3]
    assert executed == ["two"]


@pytest.mark.parametrize("is_caught", [False, True])
def test_an_exception_as_stub_makes_its_step_fail(client: mocked.Inngest, is_caught: bool) -> None:
    declined = ValueError("card declined")

    async def order(ctx: inngest.Context) -> str:
        try:
            await ctx.step.run("charge", lambda: "charged")
        except inngest.StepError as error:
            if is_caught:
                return error.message
            raise
        return "charged"

    run = mocked.trigger(function(order), EVENT, client, step_stubs={"charge": declined})

    assert (run.output, run.error) == (("card declined", None) if is_caught else (None, declined))


@pytest.mark.parametrize(
    ("step", "stub", "why"),
    [
        ("wait", "a text", "its stub is an inngest.Event or mocked.Timeout, not str"),
        ("run", mocked.Timeout, "cannot time out"),
        ("fetch", 404, "its stub is the answer's body"),
    ],
)
def test_a_stub_that_cannot_be_the_result_is_refused(
    client: mocked.Inngest, step: str, stub: object, why: str
) -> None:
    async def order(ctx: inngest.Context) -> None:
        if step == "wait":
            await ctx.step.wait_for_event("wait", event="reply", timeout=1000)
        elif step == "run":
            await ctx.step.run("run", lambda: None)
        else:
            await ctx.step.fetch("fetch", "https://example.com")

    with pytest.raises(StubInvalidError, match=why):
        mocked.trigger(function(order), EVENT, client, step_stubs={step: stub})


# What cannot end.


def test_a_function_with_endless_steps_is_stopped(
    client: mocked.Inngest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inngest.experimental.mocked.runs.STEPS_MAX", 50)

    def order(ctx: inngest.ContextSync) -> None:
        while True:
            ctx.step.run("again", lambda: None)

    with pytest.raises(RunAbortedError, match="has done 50 steps"):
        mocked.trigger(function(order), EVENT, client)


def test_an_empty_batch_is_refused(client: mocked.Inngest) -> None:
    with pytest.raises(inngest.errors.ConfigError, match="needs an event"):
        mocked.trigger(function(lambda ctx: None), [], client)


def test_what_the_code_changes_in_an_event_is_gone_in_the_next_request(client: mocked.Inngest) -> None:
    event = inngest.Event(name="a", data={"items": []})
    lengths: list[int] = []

    async def order(ctx: inngest.Context) -> None:
        ctx.event.data["items"].append(1)
        lengths.append(len(ctx.event.data["items"]))
        await ctx.step.sleep("wait", 1000)

    mocked.trigger(function(order), event, client)

    assert lengths == [1, 1]
    assert event.data == {"items": []}
