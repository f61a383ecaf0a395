"""Several steps in one request: what is saved when, and what ends the request."""

import asyncio
import json
import time
from datetime import timedelta
from typing import Any

import pytest

import inngest
from inngest._engine.ids import hash_step_id

from .builders import make_client, serve
from .driver import Server


async def one(value: Any) -> Any:
    return value


async def three(ctx: inngest.Context) -> int:
    return sum([await ctx.step.run(f"s{number}", one, number) for number in range(3)])


def three_sync(ctx: inngest.ContextSync) -> int:
    return sum([ctx.step.run(f"s{number}", int, number) for number in range(3)])


def names_of(answer: Any) -> list[tuple[str, str]]:
    return [(op["op"], op.get("displayName", "")) for op in json.loads(answer.text)]


def test_a_step_is_saved_before_the_next_one_begins() -> None:
    log: list[str] = []

    async def fn(ctx: inngest.Context) -> None:
        for number in range(3):
            await ctx.step.run(f"s{number}", lambda number=number: log.append(f"run {number}"))

    server = serve(fn, make_client())
    save = server._save_checkpoint

    def note(ops: list[dict[str, Any]]) -> int:
        log.extend(f"save {op['displayName']}" for op in ops)
        return save(ops)

    server._save_checkpoint = note
    server.run()

    assert log == ["run 0", "save s0", "run 1", "save s1", "run 2"]


def test_a_function_of_one_step_takes_a_single_exchange() -> None:
    async def fn(ctx: inngest.Context) -> int:
        return await ctx.step.run("only", one, 1) + 1

    server = serve(fn, make_client())
    answer = server.call(server.request())

    assert names_of(answer) == [("StepRun", "only"), ("RunComplete", "")]
    assert json.loads(answer.text)[1]["data"] == 2
    assert server.outcome.checkpoints == 0


def test_a_result_is_saved_while_the_code_takes_its_time_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inngest._shells.aio.FLUSH_AFTER_S", 0.0)
    saved = asyncio.Event()

    async def fn(ctx: inngest.Context) -> str:
        await ctx.step.run("a", one, 1)
        await saved.wait()
        return "done"

    server = serve(fn, make_client())
    save = server._save_checkpoint

    def note(ops: list[dict[str, Any]]) -> int:
        saved.set()
        return save(ops)

    server._save_checkpoint = note

    assert server.run().output == "done"


def test_a_plain_function_saves_each_result_at_once() -> None:
    log: list[str] = []

    def fn(ctx: inngest.ContextSync) -> None:
        ctx.step.run("a", int, 1)
        log.append("after a")

    server = serve(fn, make_client())
    save = server._save_checkpoint

    def note(ops: list[dict[str, Any]]) -> int:
        log.append("saved")
        return save(ops)

    server._save_checkpoint = note
    server.run()

    assert log == ["saved", "after a"]


@pytest.mark.parametrize("handler", [three, three_sync])
def test_a_server_that_takes_no_checkpoints_gets_each_step_by_answer(handler: Any) -> None:
    server = serve(handler, make_client())
    server.checkpoint_status = 500

    outcome = server.run()

    assert outcome.output == 3
    assert outcome.requests >= 3


@pytest.mark.parametrize("handler", [three, three_sync])
def test_a_stale_request_ends_without_running_another_step(handler: Any) -> None:
    server = serve(handler, make_client())
    server.checkpoint_status = 409

    answer = server.call(server.request())

    body = json.loads(answer.text)
    assert (answer.status, body["name"]) == (400, "StaleDispatchError")
    assert answer.headers == {"x-inngest-no-retry": "true"}
    assert server.outcome.checkpoints == 1


@pytest.mark.parametrize("handler", [three, three_sync])
@pytest.mark.parametrize(
    "ctx", [{"attempt": 1}, {"fn_id": ""}, {"qi_id": ""}, {"target": hash_step_id("s0")}]
)
def test_some_requests_answer_after_their_first_step(handler: Any, ctx: dict[str, Any]) -> None:
    server = serve(handler, make_client())

    answer = server.call(server.request(**ctx))

    assert names_of(answer) == [("StepRun", "s0")]
    assert server.outcome.checkpoints == 0


def test_a_request_that_lasted_long_enough_answers_after_its_step() -> None:
    options = inngest.Checkpointing(max_runtime=timedelta(milliseconds=1))

    async def fn(ctx: inngest.Context) -> None:
        await ctx.step.run("slow", lambda: time.sleep(0.002))
        await ctx.step.run("next", one, 1)

    server = serve(fn, make_client(checkpointing=options))

    assert names_of(server.call(server.request())) == [("StepRun", "slow")]


def test_several_results_are_saved_at_once_if_wanted() -> None:
    options = inngest.Checkpointing(buffered_steps=4)

    async def fn(ctx: inngest.Context) -> int:
        return sum([await ctx.step.run(f"s{number}", one, number) for number in range(10)])

    server = serve(fn, make_client(checkpointing=options))
    outcome = server.run()

    assert (outcome.output, outcome.requests, outcome.checkpoints) == (45, 1, 2)


def test_a_failing_step_is_answered_beside_the_results_before_it() -> None:
    async def fn(ctx: inngest.Context) -> None:
        await ctx.step.run("good", one, 1)
        await ctx.step.run("bad", int, "x")

    server = serve(fn, make_client(checkpointing=inngest.Checkpointing(buffered_steps=9)))

    assert names_of(server.call(server.request())) == [("StepRun", "good"), ("StepError", "bad")]


def test_a_failing_function_has_its_results_saved_first() -> None:
    async def fn(ctx: inngest.Context) -> None:
        await ctx.step.run("good", one, 1)
        raise ValueError

    server = serve(fn, make_client())
    answer = server.call(server.request())

    assert (answer.status, server.outcome.checkpoints) == (500, 1)
    assert server.steps == {hash_step_id("good"): {"data": 1}}


def test_a_function_may_differ_from_its_client() -> None:
    off = serve(three, make_client(), checkpointing=False).run()
    on = serve(three, make_client(checkpointing=False), checkpointing=True).run()

    assert (off.requests, on.requests) == (4, 1)


def test_parallel_steps_are_planned_after_what_is_unsaved_was_saved() -> None:
    async def fn(ctx: inngest.Context) -> list[int]:
        first = await ctx.step.run("first", one, 1)
        return [first, *await asyncio.gather(ctx.step.run("a", one, 2), ctx.step.run("b", one, 3))]

    server: Server = serve(fn, make_client())
    answer = server.call(server.request())

    assert names_of(answer) == [("StepPlanned", "a"), ("StepPlanned", "b")]
    assert server.outcome.checkpoints == 1
