"""A request is freed as soon as it is answered: circles would wait for the collector, which costs more."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import inngest
from inngest._engine.ids import hash_step_id

from .builders import serve

FOLDER = str(Path(inngest.__file__).parent)


def circles_of(ask: Callable[[], Awaitable[Any]]) -> list[str]:
    """What is left of a request that only the collector finds. Threads of other tests leave things, too."""

    async def ask_twice() -> list[str]:
        await ask()  # What is made once.
        gc.collect()
        gc.disable()
        await ask()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return [type(one).__name__ for one in gc.garbage if is_ours(one)]

    try:
        return asyncio.run(ask_twice())
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def is_ours(one: object) -> bool:
    code = getattr(one, "cr_code", None) or getattr(one, "f_code", None)
    return type(one).__module__.startswith("inngest") or (
        code is not None and code.co_filename.startswith(FOLDER)
    )


async def one(value: Any) -> Any:
    return value


@pytest.mark.parametrize("memos", [0, 1, 3])
@pytest.mark.parametrize("kind", ["row", "group", "branches", "plain"])
def test_a_request_is_freed_as_soon_as_it_is_answered(kind: str, memos: int) -> None:
    async def row(ctx: inngest.Context) -> None:
        for number in range(3):
            await ctx.step.run(f"s{number}", one, number)

    async def group(ctx: inngest.Context) -> None:
        await ctx.group.parallel(tuple((lambda n=n: ctx.step.run(f"s{n}", one, n)) for n in range(3)))

    async def branches(ctx: inngest.Context) -> None:
        await asyncio.gather(*(ctx.step.run(f"s{number}", one, number) for number in range(3)))

    def plain(ctx: inngest.ContextSync) -> None:
        for number in range(3):
            ctx.step.run(f"s{number}", str, number)

    server = serve({"row": row, "group": group, "branches": branches, "plain": plain}[kind])
    for number in range(memos):
        server.steps[hash_step_id(f"s{number}")] = {"data": number}
        server.stack.append(hash_step_id(f"s{number}"))

    request = server.request()

    assert circles_of(lambda: server.answer(request)) == []


@pytest.mark.parametrize("kind", ["row", "group", "branches"])
def test_a_request_that_is_given_up_within_a_step_is_freed_at_once(kind: str) -> None:
    async def row(ctx: inngest.Context, step: Callable[[], Awaitable[None]]) -> None:
        await ctx.step.run("a", step)

    async def group(ctx: inngest.Context, step: Callable[[], Awaitable[None]]) -> None:
        await ctx.group.parallel((lambda: ctx.step.run("a", step), lambda: ctx.step.run("b", step)))

    async def branches(ctx: inngest.Context, step: Callable[[], Awaitable[None]]) -> None:
        await asyncio.gather(ctx.step.run("a", step), ctx.step.run("b", step))

    code = {"row": row, "group": group, "branches": branches}[kind]
    began: list[asyncio.Event] = []

    async def wait() -> None:
        began[-1].set()
        await asyncio.Event().wait()

    async def fn(ctx: inngest.Context) -> None:
        await code(ctx, wait)

    server = serve(fn)

    async def give_up() -> None:
        began.append(asyncio.Event())
        request = asyncio.create_task(server.answer(server.request(hash_step_id("a"))))
        await began[-1].wait()
        request.cancel()
        await asyncio.wait([request])

    assert circles_of(give_up) == []
