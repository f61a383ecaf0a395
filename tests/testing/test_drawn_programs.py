"""Functions drawn from a seed, of steps after and beside each other: they follow their histories.

They are written with our SDK and the app executes nothing while it is asked, whatever the order in which
parallel steps were completed.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import inngest
import inngest.asgi
from inngest_server.testing import World
from inngest_server.testing.errors import HistoriesDifferError
from inngest_server.testing.host import Host

Node = Callable[[inngest.Context], Awaitable[Any]]
STEPS_MAX = 12


class Program:
    """A function drawn from a seed; `renamed` calls its n-th drawn step something else."""

    def __init__(self, seed: int, *, renamed: int = -1) -> None:
        self._chance = random.Random(seed)
        self._renamed = renamed
        self.steps = 0
        self.executed: list[str] = []
        self.root = self._sequence(3)

    def _name(self) -> str:
        number, self.steps = self.steps, self.steps + 1
        return f"other {number}" if number == self._renamed else f"step {number}"

    def _node(self, depth: int) -> Node:
        draw = self._chance.random()
        if depth > 0 and self.steps < STEPS_MAX and draw < 0.5:
            return self._parallel(depth - 1) if draw < 0.3 else self._sequence(depth - 1)
        name, kind = self._name(), self._chance.random()
        fails, wait_s = self._chance.random() < 0.2, self._chance.randrange(1, 5)

        async def execute() -> str:
            self.executed.append(name)
            if fails:
                raise ValueError(name)
            return name

        async def leaf(ctx: inngest.Context) -> Any:
            if kind < 0.2:
                return await ctx.step.sleep(name, f"{wait_s}s")
            if kind < 0.3:
                return await ctx.step.wait_for_event(name, event="never", timeout=1000 * wait_s)
            try:
                return await ctx.step.run(name, execute)
            except inngest.StepError as error:
                return error.message

        return leaf

    def _sequence(self, depth: int) -> Node:
        nodes = [self._node(depth) for _ in range(self._chance.randrange(1, 4))]

        async def sequence(ctx: inngest.Context) -> Any:
            return [await node(ctx) for node in nodes]

        return sequence

    def _parallel(self, depth: int) -> Node:
        nodes = [self._node(depth) for _ in range(self._chance.randrange(2, 4))]

        async def parallel(ctx: inngest.Context) -> Any:
            return await asyncio.gather(*(node(ctx) for node in nodes))

        return parallel


@pytest.fixture(scope="module")
def client(host: Host) -> Iterator[inngest.Inngest]:
    """One for all tests: it keeps connections, on the loop on which apps run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INNGEST_DEV", host.url)
        client = inngest.Inngest(app_id="drawn")
    yield client
    host.apps.submit(client.aclose()).result()


def app_of(client: inngest.Inngest, program: Program) -> Any:
    async def drawn(ctx: inngest.Context) -> Any:
        return await program.root(ctx)

    trigger = inngest.TriggerEvent(event="drawn")
    function: Any = client.create_function(fn_id="drawn", trigger=trigger, retries=1)(drawn)
    return inngest.asgi.serve(client, [function])


@pytest.mark.parametrize("seed", range(40))
def test_a_program_follows_all_of_its_histories(world: World, client: inngest.Inngest, seed: int) -> None:
    program = Program(seed)
    world.serve(app_of(client, program))
    run = world.send("drawn", {}).run
    histories = [run.history]
    while not run.has_ended:
        world.advance_to_next()
        histories.append(run.history)
    assert run.status == "Completed", run.timeline
    executed = len(program.executed)

    world.check_histories(histories, compare_output=True)

    assert len(program.executed) == executed


@pytest.mark.parametrize("seed", range(40))
def test_a_program_with_another_step_leaves_them(world: World, client: inngest.Inngest, seed: int) -> None:
    program = Program(seed)
    world.serve(app_of(client, program))
    run = world.send("drawn", {}).run
    world.until_idle()
    changed = Program(seed, renamed=random.Random(seed).randrange(program.steps))
    world.serve(app_of(client, changed))
    with pytest.raises(HistoriesDifferError, match="other"):
        world.check_histories([run.history])
    assert changed.executed == []
