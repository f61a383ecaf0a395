"""Branches: what is planned, in which order results come back, and what a race sees."""

import asyncio
import json
import logging
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

import inngest
from inngest._engine.ids import hash_step_id
from inngest.errors import StepUsageError

from .builders import serve
from .driver import Server


def plan_of(server: Server) -> list[tuple[str, str, Any]]:
    answer = server.call(server.request())
    return [(op["displayName"], op["op"], op["opts"]) for op in json.loads(answer.text)]


async def one(value: Any) -> Any:
    return value


RACE = {"parallelMode": "race"}


def test_gathered_steps_are_planned_together() -> None:
    async def fn(ctx: inngest.Context) -> None:
        await asyncio.gather(ctx.step.run("a", one, 1), ctx.step.sleep("z", 1000), ctx.step.run("b", one, 2))

    plan = plan_of(serve(fn))

    assert plan == [
        ("a", "StepPlanned", None),
        ("z", "Sleep", {"duration": "1s"}),
        ("b", "StepPlanned", None),
    ]


def test_branches_of_the_users_own_go_on_without_waiting_for_each_other() -> None:
    async def fn(ctx: inngest.Context) -> None:
        async def branch(name: str) -> None:
            await ctx.step.run(f"{name}.1", one, 1)
            await ctx.step.run(f"{name}.2", one, 2)

        async with asyncio.TaskGroup() as group:
            group.create_task(branch("a"))
            group.create_task(branch("b"))

    assert plan_of(serve(fn)) == [("a.1", "StepPlanned", RACE), ("b.1", "StepPlanned", RACE)]


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(("mode", "opts"), [(None, None), (inngest.ParallelMode.RACE, RACE)])
def test_a_group_waits_or_races_as_it_is_told(is_async: bool, mode: Any, opts: Any) -> None:
    async def fn(ctx: inngest.Context) -> None:
        await ctx.group.parallel(
            (lambda: ctx.step.run("a", one, 1), lambda: ctx.step.run("b", one, 2)), parallel_mode=mode
        )

    def fn_sync(ctx: inngest.ContextSync) -> None:
        ctx.group.parallel(
            (lambda: ctx.step.run("a", int, 1), lambda: ctx.step.run("b", int, 2)), parallel_mode=mode
        )

    plan = plan_of(serve(fn if is_async else fn_sync))

    assert plan == [("a", "StepPlanned", opts), ("b", "StepPlanned", opts)]


def test_steps_deep_inside_of_groups_are_found_in_one_request() -> None:
    async def fn(ctx: inngest.Context) -> None:
        async def nest(name: str, depth: int) -> None:
            if depth == 0:
                await ctx.step.run(name, one, 1)
                return
            await asyncio.gather(nest(f"{name}l", depth - 1), nest(f"{name}r", depth - 1))

        await asyncio.gather(nest("x", 4), ctx.step.run("shallow", one, 1))

    assert len(plan_of(serve(fn))) == 17


@pytest.mark.parametrize("first", ["fast", "slow"])
def test_a_race_is_replayed_as_it_was_run(first: str) -> None:
    """The first request after the race sees one result, later ones see both: always the same winner."""

    async def fn(ctx: inngest.Context) -> str:
        async def branch(name: str) -> str:
            return await ctx.step.run(name, one, name)

        tasks = [asyncio.create_task(branch(name)) for name in ("fast", "slow")]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        [winner] = done
        for task in pending:
            task.cancel()
        await ctx.step.run(f"celebrate-{winner.result()}", one, 1)
        return winner.result()

    server = serve(fn)
    other = {"fast": "slow", "slow": "fast"}[first]
    for name in (first, other):
        server.steps[hash_step_id(name)] = {"data": name}
        server.stack.append(hash_step_id(name))

    outcome = server.run()

    assert outcome.output == first
    assert {op["displayName"] for op in outcome.ops} == {f"celebrate-{first}"}


def test_as_completed_gives_results_in_the_order_in_which_they_were_stored() -> None:
    async def fn(ctx: inngest.Context) -> list[str]:
        steps = [ctx.step.run(name, one, name) for name in "abc"]
        return [await step for step in asyncio.as_completed(steps)]

    server = serve(fn)
    for name in "cab":
        server.steps[hash_step_id(name)] = {"data": name}
        server.stack.append(hash_step_id(name))

    assert server.run().output == ["c", "a", "b"]


@pytest.mark.parametrize("is_async", [True, False])
def test_a_group_raises_after_all_of_its_branches_have_ended(is_async: bool) -> None:
    ended: list[str] = []

    async def fn(ctx: inngest.Context) -> str:
        async def good() -> None:
            await ctx.step.run("good.1", one, 1)
            await ctx.step.run("good.2", one, 2)
            ended.append("good")

        try:
            await ctx.group.parallel((lambda: ctx.step.run("bad", int, "x"), good))
        except inngest.StepError as error:
            return f"{error.name}, {ended[-1]} has ended"
        return "no error"

    def fn_sync(ctx: inngest.ContextSync) -> str:
        def good() -> None:
            ctx.step.run("good.1", int, 1)
            ctx.step.run("good.2", int, 2)
            ended.append("good")

        try:
            ctx.group.parallel((lambda: ctx.step.run("bad", int, "x"), good))
        except inngest.StepError as error:
            return f"{error.name}, {ended[-1]} has ended"
        return "no error"

    assert serve(fn if is_async else fn_sync).run().output == "ValueError, good has ended"


def test_an_id_that_two_branches_share_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    async def fn(ctx: inngest.Context) -> None:
        async def branch(number: int) -> None:
            await ctx.step.run(f"own-{number}", one, 1)
            await ctx.step.run("shared", one, number)

        await asyncio.gather(branch(1), branch(2))

    with caplog.at_level(logging.WARNING):
        serve(fn).run()

    assert "'shared' is used in several parallel branches" in caplog.text


def test_an_id_that_a_loop_repeats_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    async def fn(ctx: inngest.Context) -> None:
        for number in range(3):
            await ctx.step.run("again", one, number)

    with caplog.at_level(logging.WARNING):
        serve(fn).run()

    assert caplog.text == ""


def test_an_id_that_steps_of_one_group_share_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    async def fn(ctx: inngest.Context) -> list[int]:
        return list(
            await ctx.group.parallel(tuple((lambda n=n: ctx.step.run("a", one, n)) for n in range(3)))
        )

    assert serve(fn).run().output == [0, 1, 2]
    assert "parallel branches" not in caplog.text


def test_branches_after_the_step_that_a_request_is_for_are_not_begun() -> None:
    begun: list[int] = []

    async def fn(ctx: inngest.Context) -> None:
        def branch(number: int) -> Any:
            begun.append(number)
            return ctx.step.run(f"s{number}", one, number)

        await ctx.group.parallel(tuple((lambda n=n: branch(n)) for n in range(5)))

    server = serve(fn)
    answer = server.call(server.request(hash_step_id("s2")))

    assert [op["data"] for op in json.loads(answer.text)] == [2]
    assert begun == [0, 1, 2]


def test_the_last_step_of_a_branch_is_never_executed_beside_a_request_for_it() -> None:
    """Its plan may be on its way already: another branch raced ahead of it."""
    executed: list[str] = []

    async def fn(ctx: inngest.Context) -> None:
        async def branch(name: str) -> None:
            await ctx.step.run(name, lambda: executed.append(name))

        await asyncio.gather(branch("a"), branch("b"))

    server = serve(fn)
    server.steps[hash_step_id("a")] = {"data": None}
    server.stack.append(hash_step_id("a"))

    assert plan_of(server) == [("b", "StepPlanned", RACE)]
    assert executed == []


def test_branches_that_do_other_work_first_are_found_later() -> None:
    async def fn(ctx: inngest.Context) -> list[int]:
        async def late() -> int:
            await asyncio.sleep(0.01)
            return await ctx.step.run("late", one, 2)

        return list(await asyncio.gather(ctx.step.run("early", one, 1), late()))

    assert serve(fn).run().output == [1, 2]


def test_a_group_of_steps_in_place_of_functions_says_what_to_write() -> None:
    async def fn(ctx: inngest.Context) -> None:
        await ctx.group.parallel((ctx.step.run("a", one, 1), ctx.step.run("b", one, 2)))  # type: ignore[arg-type]

    def plain(ctx: inngest.ContextSync) -> None:
        ctx.group.parallel((5, lambda: ctx.step.run("b", len, "b")))  # type: ignore[arg-type]

    for handler, kind in ((fn, "coroutine"), (plain, "int")):
        error = serve(handler).run().error or {}

        assert error["name"] == "StepUsageError"
        assert error["message"] == (
            f"group.parallel takes functions without arguments, not {kind}; "
            "write (lambda: ctx.step.run(...), lambda: ctx.step.run(...))"
        )


def test_what_is_invoked_has_to_be_a_function_of_the_sdk() -> None:
    async def fn(ctx: inngest.Context) -> None:
        await ctx.step.invoke("call", function="billing")  # type: ignore[arg-type]

    def plain(ctx: inngest.ContextSync) -> None:
        ctx.step.invoke("call", function=one)  # type: ignore[arg-type]

    for handler in (fn, plain):
        error = serve(handler).run().error or {}

        assert error["name"] == "StepUsageError"
        assert "which `create_function` has not made" in error["message"]
        assert "invoke_by_id" in error["message"]


def test_a_request_for_one_of_many_steps_makes_no_task_for_the_others() -> None:
    tasks: list[int] = []

    async def count() -> None:
        tasks.append(len(asyncio.all_tasks()))

    async def fn(ctx: inngest.Context) -> None:
        await ctx.group.parallel(tuple((lambda n=n: ctx.step.run(f"s{n}", count)) for n in range(100)))

    server = serve(fn)
    answer = server.call(server.request(hash_step_id("s50")))

    assert [op["displayName"] for op in json.loads(answer.text)] == ["s50"]
    assert tasks[0] < 5


def test_a_step_in_a_group_of_one_is_planned_as_the_first_of_many_is() -> None:
    async def fn(ctx: inngest.Context) -> list[int]:
        return list(await ctx.group.parallel((lambda: ctx.step.run("a", one, 1),)))

    server = serve(fn)

    assert plan_of(server) == [("a", "StepPlanned", None)]
    assert server.run().output == [1]


def test_an_empty_group_gives_nothing() -> None:
    async def fn(ctx: inngest.Context) -> list[int]:
        return list(await ctx.group.parallel(()))

    assert serve(fn).run().output == []


def test_a_branch_that_raises_before_its_step_fails_the_group_after_the_others() -> None:
    executed: list[str] = []

    async def fn(ctx: inngest.Context) -> str:
        try:
            await ctx.group.parallel(
                (lambda: ctx.step.run("a", executed.append, "a"), lambda: ctx.step.run("b", 5))  # type: ignore[arg-type]
            )
        except StepUsageError:
            return "refused"
        return "ended"

    assert serve(fn).run().output == "refused"
    assert executed == ["a"]


def test_a_group_that_is_given_up_leaves_its_results_behind() -> None:
    """A time-out of the code's own ends the group; a later request for one of its steps still executes it."""

    async def fn(ctx: inngest.Context) -> str:
        try:
            async with asyncio.timeout(0):
                await ctx.group.parallel(
                    (lambda: ctx.step.run("a", one, 1), lambda: ctx.step.run("b", one, 2))
                )
        except TimeoutError:
            return await ctx.step.run("instead", one, "timed out")
        return "in time"

    assert serve(fn).run().output in ("timed out", "in time")


@pytest.mark.parametrize("kind", ["step", "branch"])
def test_a_branch_has_context_variables_of_its_own(kind: str) -> None:
    variable = ContextVar("variable", default="none")
    seen: set[tuple[str, str]] = set()

    async def look(name: str) -> None:
        seen.add((name, variable.get()))

    async def fn(ctx: inngest.Context) -> str:
        async def work(name: str) -> None:
            await ctx.step.run(name, look, name)

        def branch(name: str) -> Coroutine[object, None, None]:
            variable.set(name)
            return work(name) if kind == "branch" else ctx.step.run(name, look, name)

        await ctx.group.parallel((lambda: branch("a"), lambda: branch("b"), lambda: work("c")))
        await ctx.group.parallel((lambda: branch("d"), lambda: ctx.step.run("e", look, "e")))
        return variable.get()

    assert serve(fn).run().output == "none"
    assert seen == {("a", "a"), ("b", "b"), ("c", "none"), ("d", "d"), ("e", "none")}


def test_equal_values_of_context_variables_are_not_the_same() -> None:
    """Nor can every value be compared."""

    class Notes(list[str]):
        def __eq__(self, other: object) -> bool:
            raise ValueError("compare them one by one")

    variable: ContextVar[list[str]] = ContextVar("variable")
    own: dict[str, list[str]] = {}

    async def fn(ctx: inngest.Context) -> bool:
        outer = Notes()
        variable.set(outer)

        async def note(name: str) -> None:
            await asyncio.sleep(0)
            own[name] = variable.get()

        def branch() -> Coroutine[object, None, None]:
            variable.set(Notes())
            return note("a")

        await ctx.group.parallel((branch, lambda: note("b")))
        return own["a"] is not outer and own["b"] is outer

    assert serve(fn).run().output is True


def test_a_step_that_two_branches_give_is_executed_once() -> None:
    executed: list[int] = []

    async def fn(ctx: inngest.Context) -> None:
        made: list[Coroutine[object, None, None]] = []

        def branch() -> Coroutine[object, None, None]:
            if not made:
                made.append(ctx.step.run("a", executed.append, 1))
            return made[0]

        await ctx.group.parallel((branch, branch))

    error = serve(fn).run().error or {}

    assert "await" in error["message"]
    assert executed in ([], [1])
