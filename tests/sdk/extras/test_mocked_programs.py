"""Any program of steps gives in `mocked.trigger` what it gives without steps, with stubs and without."""

from random import Random
from typing import Any

import pytest

import inngest
from inngest.experimental import mocked
from tests.sdk.engine.programs import Executions, Node, count_of, expected, make_program, play, play_sync

SEEDS = range(60)


def names_of(node: Node, kind: str) -> list[str]:
    own = [node.name] if node.kind == kind else []
    return own + [name for part in node.parts for name in names_of(part, kind)]


def run(program: Node, done: Executions, *, is_async: bool, stubs: dict[str, object] | None = None) -> Any:
    client = mocked.Inngest(app_id="test")
    create = client.create_function(fn_id="program", trigger=inngest.TriggerEvent(event="test"))

    async def fn(ctx: inngest.Context) -> object:
        return await play(program, ctx, done)

    def fn_sync(ctx: inngest.ContextSync) -> object:
        return play_sync(program, ctx, done)

    function = create(fn) if is_async else create(fn_sync)
    result = mocked.trigger(function, inngest.Event(name="test"), client, step_stubs=stubs)
    assert result.error is None
    return result.output


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_program_gives_the_same_as_without_steps(seed: int, is_async: bool) -> None:
    program, done = make_program(Random(seed)), Executions()

    assert run(program, done, is_async=is_async) == expected(program)
    assert sum(done.values()) == count_of(program, "step"), "each step is executed exactly once"


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_stubs_that_say_what_the_steps_say_change_nothing(seed: int, is_async: bool) -> None:
    random = Random(seed)
    program, done = make_program(random), Executions()
    names = sorted(set(names_of(program, "step")))
    stubs: dict[str, object] = {name: name for name in names if random.random() < 0.5}

    assert run(program, done, is_async=is_async, stubs=stubs) == expected(program)
    assert done.keys() == set(names) - stubs.keys()
    assert sum(done.values()) == sum(name not in stubs for name in names_of(program, "step"))
