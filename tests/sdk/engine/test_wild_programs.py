"""Whatever branches do to each other, a run ends, repeats no step, and replays as it went."""

import json
from collections.abc import Callable
from random import Random

import pytest

import inngest

from .builders import make_client, serve
from .driver import Server
from .overlapping import OverlappingServer
from .programs import Executions
from .wild_programs import make_wild_program, play_wild


def server_of(seed: int, done: Executions, *, checkpoints: bool, overlapping: bool = False) -> Server:
    program = make_wild_program(Random(seed))

    async def fn(ctx: inngest.Context) -> object:
        return await play_wild(program, ctx, done)

    client = make_client(checkpointing=checkpoints)
    kind: Callable[..., Server] = OverlappingServer if overlapping else Server
    return kind(serve(fn, client).function, client, Random(seed))


@pytest.mark.parametrize("checkpoints", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_a_run_ends_and_its_replay_is_the_same(seed: int, checkpoints: bool) -> None:
    done = Executions()
    server = server_of(seed, done, checkpoints=checkpoints)

    outcome = server.run()
    executed = dict(done)
    replay = server.call(server.request())

    assert outcome.error is None
    assert set(done.values()) <= {1}, "no step is executed twice"
    assert (replay.status, json.loads(replay.text)) == (200, outcome.output)
    assert done == executed, "a replay executes nothing"


@pytest.mark.parametrize("checkpoints", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_requests_that_overlap_execute_no_step_twice(seed: int, checkpoints: bool) -> None:
    done = Executions()
    server = server_of(seed, done, checkpoints=checkpoints, overlapping=True)

    outcome = server.run()

    assert outcome.error is None
    assert set(done.values()) <= {1}
