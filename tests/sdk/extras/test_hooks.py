"""Hooks that the middleware of this folder stands on: around each executed step, and what steps ask for."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

import inngest
from inngest.experimental import mocked

EVENT = inngest.Event(name="order")
TRIGGER = inngest.TriggerEvent(event="order")


async def three_steps(ctx: inngest.Context) -> Any:
    await ctx.step.run("load", lambda: {"n": 1})
    await ctx.step.sleep("wait", "1d")
    return await ctx.step.invoke_by_id("pay", function_id="pay", data={"n": 2})


def three_steps_sync(ctx: inngest.ContextSync) -> Any:
    ctx.step.run("load", lambda: {"n": 1})
    ctx.step.sleep("wait", "1d")
    return ctx.step.invoke_by_id("pay", function_id="pay", data={"n": 2})


def run(handler: Any, *middleware: Any, **options: Any) -> mocked.Result:
    client = mocked.Inngest(app_id="shop", middleware=middleware)
    fn = client.create_function(fn_id="order", trigger=TRIGGER, **options)(handler)
    # The function is called first to load, then to wait, and so on; only "pay" has a stub.
    return mocked.trigger(fn, EVENT, client, step_stubs={"pay": "paid"})


@pytest.mark.parametrize("handler", [three_steps, three_steps_sync])
def test_what_a_step_asks_the_server_for_is_shown_and_is_no_output(handler: Any) -> None:
    seen: list[Any] = []

    class Seer(inngest.MiddlewareSync):
        def transform_output(self, result: inngest.TransformOutputResult) -> None:
            if result.step is not None and result.is_request:
                seen.append((result.step.id, result.step.op, result.output, result.has_output()))

    run(handler, Seer)

    assert seen == [
        ("load", "StepPlanned", None, False),
        ("wait", "Sleep", None, False),
        ("pay", "InvokeFunction", None, False),
    ]


@pytest.mark.parametrize("handler", [three_steps, three_steps_sync])
def test_a_hook_that_changes_every_output_without_asking_harms_nothing(handler: Any) -> None:
    class Texts(inngest.MiddlewareSync):
        def transform_input(self, ctx: Any, function: Any, steps: inngest.StepMemos) -> None:
            for output in steps.values():
                if isinstance(output.data, str) and output.data.startswith("{"):
                    output.data = json.loads(output.data)

        def transform_output(self, result: inngest.TransformOutputResult) -> None:
            result.output = json.dumps(result.output)

    assert run(handler, Texts).output == '"paid"'


def around(log: list[str], name: str) -> type[inngest.MiddlewareSync]:
    class Around(inngest.MiddlewareSync):
        @contextmanager
        def around_step(self, step_id: str) -> Generator[None]:
            log.append(f"{name} begins {step_id}")
            try:
                yield
            except ValueError as error:
                log.append(f"{name} sees {error}")
                raise
            finally:
                log.append(f"{name} ends {step_id}")

    return Around


async def two_of_a_name(ctx: inngest.Context) -> None:
    for _ in range(2):
        await ctx.step.run("load", lambda: None)


def two_of_a_name_sync(ctx: inngest.ContextSync) -> None:
    for _ in range(2):
        ctx.step.run("load", lambda: None)


@pytest.mark.parametrize("handler", [two_of_a_name, two_of_a_name_sync])
def test_each_step_is_executed_once_inside_all_that_is_around_it(handler: Any) -> None:
    log: list[str] = []

    run(handler, around(log, "outer"), around(log, "inner"))

    assert log == [
        *("outer begins load", "inner begins load", "inner ends load", "outer ends load"),
        *("outer begins load:1", "inner begins load:1", "inner ends load:1", "outer ends load:1"),
    ]


async def broken(ctx: inngest.Context) -> None:
    async def fail() -> None:
        raise ValueError("no money")

    await ctx.step.run("pay for it", fail)


def broken_sync(ctx: inngest.ContextSync) -> None:
    def fail() -> None:
        raise ValueError("no money")

    ctx.step.run("pay for it", fail)


@pytest.mark.parametrize("handler", [broken, broken_sync])
def test_the_error_of_a_step_passes_through_what_is_around_it(handler: Any) -> None:
    log: list[str] = []

    failed = run(handler, around(log, "it"), retries=0)

    assert isinstance(failed.error, ValueError)
    assert log == ["it begins pay for it", "it sees no money", "it ends pay for it"]


@pytest.mark.parametrize("handler", [two_of_a_name, two_of_a_name_sync])
def test_what_cannot_be_entered_fails_the_step(handler: Any) -> None:
    class Locked(inngest.MiddlewareSync):
        @contextmanager
        def around_step(self, step_id: str) -> Generator[None]:
            raise TimeoutError("the lock is held")
            yield

    failed = run(handler, Locked, retries=0)

    assert isinstance(failed.error, TimeoutError)
