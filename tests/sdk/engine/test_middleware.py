"""Hooks: which, when, in which order, and what they may change."""

import json
from typing import Any

import pytest

import inngest
from inngest._engine.ids import hash_step_id

from .builders import make_client, serve
from .driver import Server


async def one(value: Any) -> Any:
    return value


HOOKS = (
    "transform_input",
    "before_memoization",
    "after_memoization",
    "before_execution",
    "after_execution",
    "transform_output",
)


def recorder(name: str, log: list[str], base: type = inngest.MiddlewareSync) -> Any:
    """A middleware that notes each of its hooks."""

    def hook(kind: str) -> Any:
        def note(self: object, *args: object) -> None:
            log.append(f"{name}.{kind}")

        return note

    return type(name, (base,), {kind: hook(kind) for kind in HOOKS})


@pytest.mark.parametrize("is_async", [True, False])
def test_hooks_run_once_for_each_request_in_their_order(is_async: bool) -> None:
    log: list[str] = []

    async def fn(ctx: inngest.Context) -> None:
        log.append("replay")
        await ctx.step.run("a", one, 1)
        log.append("new")

    def fn_sync(ctx: inngest.ContextSync) -> None:
        log.append("replay")
        ctx.step.run("a", int, 1)
        log.append("new")

    client = make_client(checkpointing=False, middleware=[recorder("m", log)])
    server = serve(fn if is_async else fn_sync, client)
    server.steps[hash_step_id("a")] = {"data": 1}
    server.stack.append(hash_step_id("a"))

    server.call(server.request())

    expected = [f"m.{hook}" for hook in HOOKS]
    assert log == [*expected[:2], "replay", *expected[2:4], "new", *expected[4:]]


@pytest.mark.parametrize("target", [None, "b", "gone"])
def test_hooks_run_when_a_group_has_all_stored_results_and_waits_for_others(
    target: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inngest._shells.aio.TARGET_WAIT_S", 0.01)
    log: list[str] = []

    async def fn(ctx: inngest.Context) -> None:
        await ctx.group.parallel(tuple((lambda name=name: ctx.step.run(name, one, 1)) for name in "abc"))

    server = serve(fn, make_client(checkpointing=False, middleware=[recorder("m", log)]))
    server.steps[hash_step_id("a")] = {"data": 1}
    server.stack.append(hash_step_id("a"))

    server.call(server.request(hash_step_id(target) if target else "step"))

    outputs = {None: 2, "b": 1, "gone": 0}[target]
    hooks = HOOKS[:4] if target == "gone" else HOOKS[:5]
    assert log == [f"m.{hook}" for hook in hooks] + outputs * ["m.transform_output"]


def test_the_clients_middleware_comes_first_and_looking_back_goes_in_reverse() -> None:
    log: list[str] = []

    async def fn(ctx: inngest.Context) -> None:
        """No step."""

    client = make_client(middleware=[recorder("a", log), recorder("b", log, inngest.Middleware)])
    server = serve(fn, client, middleware=[recorder("c", log)])
    server.call(server.request())

    assert log[:3] == ["a.transform_input", "b.transform_input", "c.transform_input"]
    assert log[-6:] == [
        *("c.after_execution", "b.after_execution", "a.after_execution"),
        *("c.transform_output", "b.transform_output", "a.transform_output"),
    ]


def test_what_middleware_puts_into_the_context_reaches_the_function() -> None:
    class Inject(inngest.Middleware):
        def __init__(self, client: inngest.Inngest, raw_request: object) -> None:
            self.seen = raw_request

        def transform_input(self, ctx: Any, function: Any, steps: Any) -> None:
            ctx.greeting = f"hello {function.local_id}"

    async def fn(ctx: inngest.Context) -> str:
        return ctx.greeting

    assert serve(fn, make_client(middleware=[Inject])).run().output == "hello fn"


def test_factories_make_middleware_too() -> None:
    log: list[str] = []
    kind = recorder("made", log)

    async def fn(ctx: inngest.Context) -> None:
        """No step."""

    serve(fn, make_client(middleware=[lambda client, raw: kind(client, raw)])).run()

    assert log


def test_stored_results_can_be_changed_before_the_code_sees_them() -> None:
    class Upper(inngest.MiddlewareSync):
        def transform_input(self, ctx: Any, function: Any, steps: inngest.StepMemos) -> None:
            for output in steps.values():
                output.data = str(output.data).upper()

    async def fn(ctx: inngest.Context) -> Any:
        return await ctx.step.run("a", one, "x")

    server = serve(fn, make_client(middleware=[Upper]))
    server.steps[hash_step_id("a")] = {"data": "x"}
    server.stack.append(hash_step_id("a"))

    assert server.run().output == "X"


class Wrap(inngest.MiddlewareSync):
    """Wraps results on their way out, and unwraps them on their way in."""

    def transform_input(self, ctx: Any, function: Any, steps: inngest.StepMemos) -> None:
        for output in steps.values():
            output.data = output.data["wrapped"]  # type: ignore[index]

    def transform_output(self, result: inngest.TransformOutputResult) -> None:
        if result.step is not None and result.has_output():
            result.output = {"wrapped": result.output}


@pytest.mark.parametrize("is_async", [True, False])
def test_a_changed_output_ends_the_request_so_that_the_code_sees_what_is_stored(is_async: bool) -> None:
    async def fn(ctx: inngest.Context) -> Any:
        return [await ctx.step.run(f"s{number}", one, number) for number in range(3)]

    def fn_sync(ctx: inngest.ContextSync) -> Any:
        return [ctx.step.run(f"s{number}", int, number) for number in range(3)]

    server: Server = serve(fn if is_async else fn_sync, make_client(middleware=[Wrap]))
    outcome = server.run()

    assert outcome.output == [0, 1, 2]
    assert outcome.requests == 4
    assert server.steps[hash_step_id("s1")] == {"data": {"wrapped": 1}}


def test_an_output_hook_that_changes_nothing_costs_no_request() -> None:
    class Watch(inngest.MiddlewareSync):
        def transform_output(self, result: inngest.TransformOutputResult) -> None:
            """Only looks."""

    async def fn(ctx: inngest.Context) -> Any:
        return [await ctx.step.run(f"s{number}", one, number) for number in range(3)]

    assert serve(fn, make_client(middleware=[Watch])).run().requests == 1


def test_middleware_can_replace_an_error() -> None:
    class Final(inngest.MiddlewareSync):
        def transform_output(self, result: inngest.TransformOutputResult) -> None:
            if isinstance(result.error, LookupError):
                result.error = inngest.NonRetriableError("looked up in vain")

    async def fn(ctx: inngest.Context) -> None:
        raise LookupError

    outcome = serve(fn, make_client(middleware=[Final])).run()

    assert outcome.error is not None
    assert (outcome.error["message"], outcome.requests) == ("looked up in vain", 1)


def test_middleware_that_fails_is_an_error_of_the_function() -> None:
    class Broken(inngest.Middleware):
        def transform_input(self, ctx: Any, function: Any, steps: Any) -> None:
            raise ValueError("cannot read this")

    async def fn(ctx: inngest.Context) -> None:
        """Never begins."""

    server = serve(fn, make_client(middleware=[Broken]))
    answer = server.call(server.request())

    assert (answer.status, json.loads(answer.text)["message"]) == (500, "cannot read this")


def test_an_asynchronous_hook_around_a_plain_function_is_refused_by_name() -> None:
    class Waits(inngest.Middleware):
        async def before_execution(self) -> None:
            """Cannot be waited for by a thread."""

    def fn(ctx: inngest.ContextSync) -> None:
        """No step."""

    server = serve(fn, make_client(middleware=[Waits]))
    body = json.loads(server.call(server.request()).text)

    assert body["name"] == "AsyncUnsupportedError"
    assert "Waits.before_execution" in body["message"]
