"""Any program of steps gives what it gives without durability, whatever is lost on the way."""

from random import Random

import pytest

import inngest

from .driver import Server
from .programs import Executions, Node, count_of, expected, make_program, play, play_sync

SEEDS = range(40)


def server_of(program: Node, done: Executions, seed: int, *, is_async: bool, checkpoints: bool) -> Server:
    client = inngest.Inngest(app_id="app", is_production=False, checkpointing=checkpoints)
    create = client.create_function(fn_id="program", trigger=inngest.TriggerEvent(event="test"), retries=3)

    async def fn(ctx: inngest.Context) -> object:
        return await play(program, ctx, done)

    def fn_sync(ctx: inngest.ContextSync) -> object:
        return play_sync(program, ctx, done)

    function = create(fn) if is_async else create(fn_sync)
    return Server(function, client, Random(seed))


@pytest.mark.parametrize("checkpoints", [True, False])
@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_program_gives_the_same_as_without_steps(seed: int, is_async: bool, checkpoints: bool) -> None:
    program = make_program(Random(seed))
    done = Executions()

    outcome = server_of(program, done, seed, is_async=is_async, checkpoints=checkpoints).run()

    assert outcome.error is None
    assert outcome.output == expected(program)
    assert sum(done.values()) == count_of(program, "step"), "each step is executed exactly once"


@pytest.mark.parametrize("checkpoints", [True, False])
@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_lost_answers_change_no_result(seed: int, is_async: bool, checkpoints: bool) -> None:
    program = make_program(Random(seed))
    server = server_of(program, Executions(), seed, is_async=is_async, checkpoints=checkpoints)
    server.lost_rate = 0.3

    outcome = server.run()

    assert outcome.output == expected(program)


def test_steps_in_a_row_take_one_request_with_checkpoints_and_one_each_without() -> None:
    program = Node("sequence", parts=tuple(Node("step", f"s{number}") for number in range(10)))

    saved = server_of(program, Executions(), 0, is_async=True, checkpoints=True).run()
    plain = server_of(program, Executions(), 0, is_async=True, checkpoints=False).run()

    assert (saved.requests, saved.checkpoints) == (1, 9), "the last result travels with the function's"
    assert (plain.requests, plain.checkpoints) == (11, 0)
