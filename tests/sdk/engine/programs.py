"""Random programs of steps, what they must give, and the same program as an async and as a plain function."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import inngest

JOINS = ("gather", "task group", "as completed", "group", "race")
BARE = ("group of steps", "race of steps")
"""Their branches are steps and nothing else, as in `lambda: ctx.step.run(...)`."""


@dataclass(frozen=True)
class Node:
    """`kind` is step, failing, sleep, sequence, or parallel; `parts` belong to the latter two."""

    kind: str
    name: str = ""
    join: str = ""
    parts: tuple["Node", ...] = ()


def make_program(random: Random, depth: int = 3, prefix: str = "") -> Node:
    """A sequence of steps and parallel branches.

    Ids repeat now and then, but never in two branches: which use comes first would depend on time.
    """
    parts = (_part(random, depth, prefix, number) for number in range(random.randint(1, 4)))
    return Node("sequence", parts=tuple(parts))


def _part(random: Random, depth: int, prefix: str, number: int) -> Node:
    chance = random.random()
    if depth and chance < 0.4:
        branches = range(random.randint(1, 4))
        if random.random() < 0.3:
            steps = (Node(random.choice(("step", "sleep")), f"{prefix}{number}.{b}.bare") for b in branches)
            return Node("parallel", join=random.choice(BARE), parts=tuple(steps))
        parts = tuple(_branch(random, depth - 1, f"{prefix}{number}.{branch}.") for branch in branches)
        return Node("parallel", join=random.choice(JOINS), parts=parts)
    kind = "sleep" if chance > 0.9 else "failing" if chance > 0.8 else "step"
    return Node(kind, f"{prefix}{random.choice('aabcdefghijk')}" + ("-fails" if kind == "failing" else ""))


def _branch(random: Random, depth: int, prefix: str) -> Node:
    if random.random() < 0.5:
        return Node("step", f"{prefix}step")
    return make_program(random, depth, prefix)


def expected(node: Node) -> Any:
    """What the program returns when nothing is durable. Completion orders are not part of it."""
    match node.kind:
        case "step":
            return node.name
        case "failing":
            return f"no {node.name}"
        case "sleep":
            return None
        case "parallel" if node.join == "as completed":
            return sorted(repr(expected(part)) for part in node.parts)
        case _:
            return [expected(part) for part in node.parts]


def count_of(node: Node, kind: str) -> int:
    return (node.kind == kind) + sum(count_of(part, kind) for part in node.parts)


class Executions(Counter[str]):
    """How often the handlers of steps were executed."""

    def step(self, name: str) -> str:
        self[name] += 1
        return name

    async def step_later(self, name: str) -> str:
        await asyncio.sleep(0)
        return self.step(name)

    def fail(self, name: str) -> str:
        raise inngest.NonRetriableError(f"no {name}", quiet=True)


async def play(node: Node, ctx: inngest.Context, done: Executions) -> Any:
    """The program in an asynchronous function."""
    match node.kind:
        case "step" | "sleep":
            return await _bare(node, ctx, done)
        case "failing":
            try:
                await ctx.step.run(node.name, done.fail, node.name)
            except inngest.StepError as error:
                return error.message
        case "sequence":
            return [await play(part, ctx, done) for part in node.parts]
        case _:
            return await _join(node, ctx, done)


def _bare(node: Node, ctx: inngest.Context, done: Executions) -> Awaitable[Any]:
    if node.kind == "sleep":
        return ctx.step.sleep(node.name, 1000)
    handler: Callable[[str], Any] = done.step if len(node.name) % 2 else done.step_later
    return ctx.step.run(node.name, handler, node.name)


async def _join(node: Node, ctx: inngest.Context, done: Executions) -> Any:
    branches = [partial(play, part, ctx, done) for part in node.parts]
    match node.join:
        case "gather":
            return await asyncio.gather(*(branch() for branch in branches))
        case "task group":
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(branch()) for branch in branches]
            return [task.result() for task in tasks]
        case "as completed":
            results = [await one for one in asyncio.as_completed([branch() for branch in branches])]
            return sorted(repr(result) for result in results)
        case _:
            if node.join in BARE:
                branches = [partial(_bare, part, ctx, done) for part in node.parts]
            mode = inngest.ParallelMode.RACE if node.join.startswith("race") else None
            return list(await ctx.group.parallel(tuple(branches), parallel_mode=mode))


def play_sync(node: Node, ctx: inngest.ContextSync, done: Executions) -> Any:
    """The program in a plain function."""
    match node.kind:
        case "step":
            return ctx.step.run(node.name, done.step, node.name)
        case "failing":
            try:
                ctx.step.run(node.name, done.fail, node.name)
            except inngest.StepError as error:
                return error.message
        case "sleep":
            return ctx.step.sleep(node.name, 1000)
        case "sequence":
            return [play_sync(part, ctx, done) for part in node.parts]
        case _:
            branches = tuple(partial(play_sync, part, ctx, done) for part in node.parts)
            mode = inngest.ParallelMode.RACE if node.join.startswith("race") else None
            results = ctx.group.parallel(branches, parallel_mode=mode)
            return sorted(map(repr, results)) if node.join == "as completed" else list(results)
