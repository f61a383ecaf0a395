"""Random programs in which branches are cancelled, fail, wait for each other and clean up with steps.

What a program returns depends on who wins; what must hold for each of them is in `test_wild_programs`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any

import anyio

import inngest

from .programs import Executions

LEAVES = ("step", "failing", "sleep", "pause")
JOINS = (
    "sequence",
    "gather",
    "semaphore",
    "anyio",
    "failing task group",
    "first completed",
    "first exception",
    "generator",
    "context manager",
    "shield",
    "queue",
    "event",
    "timeout",
)
RACES = ("failing task group", "first completed", "first exception")
Part = Callable[[], Coroutine[Any, Any, Any]]


@dataclass(frozen=True)
class Wild:
    kind: str
    name: str
    parts: tuple["Wild", ...] = ()


def make_wild_program(random: Random) -> Wild:
    return Wild("sequence", "root", tuple(_make(random, 3, f"{number}", False) for number in range(3)))


def _make(random: Random, depth: int, name: str, in_race: bool) -> Wild:
    kind = random.choice(LEAVES + JOINS if depth else LEAVES)
    if kind in LEAVES:
        # Who wins must not depend on time outside of steps.
        return Wild("step" if in_race and kind == "pause" else kind, name)
    in_race = in_race or kind in RACES
    count = random.randint(1, 3)
    return Wild(
        kind, name, tuple(_make(random, depth - 1, f"{name}.{number}", in_race) for number in range(count))
    )


async def play_wild(node: Wild, ctx: inngest.Context, done: Executions) -> Any:
    parts: list[Part] = [lambda part=part: play_wild(part, ctx, done) for part in node.parts]

    def step(suffix: str = "") -> Coroutine[Any, Any, str]:
        return ctx.step.run(node.name + suffix, done.step_later, node.name + suffix)

    match node.kind:
        case "step":
            return await step()
        case "failing":
            with contextlib.suppress(inngest.StepError):
                await ctx.step.run(node.name, done.fail, node.name)
        case "sleep":
            await ctx.step.sleep(node.name, 1000)
        case "pause":
            await asyncio.sleep(0.001)
        case "sequence":
            return [await part() for part in parts]
        case "gather":
            return await asyncio.gather(step(), *(part() for part in parts))
        case "shield":
            return [await asyncio.shield(part()) for part in parts]
        case "timeout":
            async with asyncio.timeout(60):
                return [await asyncio.wait_for(part(), 60) for part in parts]
        case "failing task group":
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    for part in parts:
                        group.create_task(part())
                    group.create_task(ctx.step.run(node.name, done.fail, node.name))
            return await step("-after")
        case "first completed":
            return await step(f"-after-{await _first(parts)}")
        case "first exception":
            failing = asyncio.create_task(ctx.step.run(node.name, done.fail, node.name))
            tasks = [failing, *(asyncio.create_task(part()) for part in parts)]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            await _cancel(tasks)
            return await step("-after")
        case "generator":
            return [value async for value in _generated(parts, step)]
        case "context manager":
            async with _entered(step):
                return [await part() for part in parts]
        case _:
            return await _play_together(node.kind, parts, step)
    return None


async def _first(parts: list[Part]) -> int:
    tasks = [asyncio.create_task(part()) for part in parts]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await _cancel(tasks)
    return next(number for number, task in enumerate(tasks) if task in done)


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _generated(
    parts: list[Part], step: Callable[[str], Coroutine[Any, Any, str]]
) -> AsyncIterator[Any]:
    try:
        for part in parts:
            yield await part()
    finally:
        await step("-end")


@contextlib.asynccontextmanager
async def _entered(step: Callable[[str], Coroutine[Any, Any, str]]) -> AsyncIterator[None]:
    await step("-begin")
    try:
        yield
    finally:
        await step("-end")


async def _play_together(kind: str, parts: list[Part], step: Callable[..., Coroutine[Any, Any, str]]) -> Any:
    results: list[Any] = []
    match kind:
        case "semaphore":
            two = asyncio.Semaphore(2)

            async def admitted(part: Part) -> Any:
                async with two:
                    return await part()

            return await asyncio.gather(*(admitted(part) for part in parts))
        case "anyio":
            async with anyio.create_task_group() as group:
                for part in parts:
                    group.start_soon(part)
        case "queue":
            queue: asyncio.Queue[bool] = asyncio.Queue()

            async def fill() -> None:
                for part in parts:
                    await part()
                    await queue.put(True)
                await queue.put(False)

            filling = asyncio.create_task(fill())
            while await queue.get():
                results.append(await step(f"-{len(results)}"))
            await filling
        case "event":
            event = asyncio.Event()

            async def wait() -> None:
                await event.wait()
                results.append(await step())

            async def announce() -> None:
                for part in parts:
                    await part()
                event.set()

            await asyncio.gather(wait(), announce())
        case _:
            raise ValueError(kind)
    return results
