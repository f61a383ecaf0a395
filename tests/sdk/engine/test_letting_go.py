"""Steps that the code gives up, asks for while it is left, or starts where it must not."""

import asyncio
import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

import inngest

from .builders import make_client, serve
from .driver import CheckpointApi


async def one(value: Any) -> Any:
    return value


@pytest.mark.parametrize("seed", range(6))
def test_a_step_in_finally_of_a_plain_branch_waits_for_the_one_before_it(seed: int) -> None:
    log: list[str] = []

    def fn(ctx: inngest.ContextSync) -> None:
        def branch(name: str) -> None:
            try:
                ctx.step.run(name, log.append, name)
            finally:
                ctx.step.run(f"clean {name}", log.append, f"clean {name}")

        ctx.group.parallel((lambda: branch("a"), lambda: branch("b")))

    server = serve(fn)
    server.random = Random(seed)
    server.run()

    assert len(log) == 4
    assert log.index("a") < log.index("clean a")
    assert log.index("b") < log.index("clean b")


def test_a_plain_branch_that_swallows_everything_is_waited_for() -> None:
    log: list[str] = []

    def fn(ctx: inngest.ContextSync) -> None:
        def branch(name: str) -> None:
            with contextlib.suppress(BaseException):
                ctx.step.run(name, log.append, name)

        ctx.group.parallel((lambda: branch("a"), lambda: branch("b")))
        ctx.step.run("after", log.append, "after")

    serve(fn).run()

    assert sorted(log[:2]) == ["a", "b"]
    assert log[2:] == ["after"]


def test_a_step_in_a_thread_of_the_users_own_is_refused() -> None:
    def fn(ctx: inngest.ContextSync) -> list[int]:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda number: ctx.step.run(f"s{number}", int, number), range(4)))

    outcome = serve(fn, make_client()).run()

    assert outcome.error is not None
    assert "ctx.group.parallel" in outcome.error["message"]


def test_a_step_given_up_while_the_one_before_is_saved_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fn(ctx: inngest.Context) -> str:
        await ctx.step.run("a", one, 1)
        try:
            async with asyncio.timeout(0.01):
                await ctx.step.run("b", one, 2)
        except TimeoutError:
            return "timed out"
        return "done"

    async def slowly(self: CheckpointApi, run_id: str, body: str) -> int:
        await asyncio.sleep(0.1)
        return self.checkpoint_sync(run_id, body)

    monkeypatch.setattr(CheckpointApi, "checkpoint", slowly)
    outcome = serve(fn, make_client()).run()

    assert (outcome.output, outcome.error, outcome.requests) == ("timed out", None, 1)


def test_a_handler_that_waited_for_something_cancelled_fails_its_step() -> None:
    async def fn(ctx: inngest.Context) -> str:
        async def wait_for_cancelled() -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step.run("x", wait_for_cancelled))
        return "went on without the step"

    outcome = serve(fn).run()

    assert [op["op"] for op in outcome.ops][-1] in ("StepError", "StepFailed")
    assert outcome.output is None


class OddError(BaseException):
    pass


@pytest.mark.parametrize("raised", [OddError, GeneratorExit, asyncio.CancelledError])
def test_any_exception_out_of_a_plain_function_is_its_error(raised: type[BaseException]) -> None:
    def fn(ctx: inngest.ContextSync) -> None:
        raise raised("odd")

    server = serve(fn)
    answer = server.call(server.request())

    assert answer.status == 500
    assert f"raised {raised.__name__}: odd" in json.loads(answer.text)["message"]
