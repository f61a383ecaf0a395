"""Checkpoints of the official TypeScript SDK that get lost: no recorded step is repeated, none is lost."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.harness import TYPESCRIPT, App, World, executed, require
from tests.interop.table import FIVE_STEPS
from tests.support.faults import Fate, FaultyProxy
from tests.support.processes import wait_for
from tests.support.server import ServerProcess

# Servers and apps are made for the module, so all of it belongs to one worker.
pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("interop-typescript-checkpoints")]

FateOf = Callable[[int], Fate]


@contextmanager
def behind(directory: Path, fate_of: FateOf) -> Iterator[tuple[World, FaultyProxy]]:
    """A server and the app, between which checkpoints meet the fate of their number, counted from 0."""
    require(TYPESCRIPT)
    count = 0

    def decide(method: str, path: str) -> Fate:
        nonlocal count
        if not path.startswith("/v1/checkpoint/"):
            return Fate.PASSES
        count += 1
        return fate_of(count - 1)

    with (
        ServerProcess(directory / "server", "dev", "--retry-interval", "1") as server,
        FaultyProxy(server.url, decide) as proxy,
        App(TYPESCRIPT, directory, server_url=proxy.url) as app,
    ):
        assert app.sync()[0] == 200
        yield World(server, {TYPESCRIPT.app_id: app}), proxy


def checkpoints(proxy: FaultyProxy) -> list[tuple[Fate, int]]:
    return [(fate, status) for _, path, fate, status in proxy.passed if path.startswith("/v1/checkpoint/")]


LOSSES = {
    "one-reply": lambda number: Fate.ANSWER_LOST if number == 1 else Fate.PASSES,
    "every-second-reply": lambda number: Fate.ANSWER_LOST if number % 2 else Fate.PASSES,
    "one-request": lambda number: Fate.REQUEST_LOST if number == 2 else Fate.PASSES,
}


@pytest.mark.parametrize("fate_of", LOSSES.values(), ids=LOSSES.keys())
def test_a_lost_checkpoint_is_repeated_within_the_same_request(fate_of: FateOf, tmp_path: Path) -> None:
    """The SDK sends it again; the server takes what it has already as said, and answers 200."""
    with behind(tmp_path, fate_of) as (world, proxy):
        (run,) = world.api.wait_runs(world.api.send("interop/sequential", {"start": 10}))
        outcome = world.outcome_of(run["run_id"])

    assert (run["status"], run["output"]) == ("Completed", {"total": 25})
    assert [executed(line) for line in outcome.steps] == FIVE_STEPS
    assert len(outcome.calls) == 1
    assert {status for fate, status in checkpoints(proxy) if fate is not Fate.REQUEST_LOST} == {200}


@pytest.mark.parametrize("fate", [Fate.REQUEST_LOST, Fate.ANSWER_LOST])
def test_without_any_checkpoint_steps_come_with_the_answer(fate: Fate, tmp_path: Path) -> None:
    """The SDK gives up on each checkpoint and reports the step by 206; one that was recorded counts once."""
    with behind(tmp_path, lambda _: fate) as (world, _):
        (run,) = world.api.wait_runs(world.api.send("interop/sequential", {"start": 10}), timeout_s=60)
        outcome = world.outcome_of(run["run_id"])

    assert (run["status"], run["output"]) == ("Completed", {"total": 25})
    assert [executed(line) for line in outcome.steps] == FIVE_STEPS
    assert len(outcome.calls) > 1


def test_a_server_that_is_killed_between_checkpoints_repeats_no_recorded_step(tmp_path: Path) -> None:
    """The killed server's request goes on until a 409 ends it; the new one begins where the memos end."""
    count = 300
    with behind(tmp_path, lambda _: Fate.PASSES) as (world, _):
        event_id = world.api.send("interop/many-steps", {"n": count})
        (run,) = world.api.runs_of_event(event_id)
        wait_for(lambda: len(world.app.steps(run["run_id"])) >= 20, "twenty steps", interval_s=0.005)
        world.server.kill()
        recorded = [executed(line) for line in world.app.steps(run["run_id"])][:-1]
        world.server.start()
        outcome = world.outcome_of(run["run_id"], timeout_s=60)

    assert (outcome.run["status"], outcome.output) == ("Completed", {"steps": count})
    times = Counter(executed(line) for line in outcome.steps)
    assert sorted(times) == sorted(f"step-{number}@0" for number in range(count))
    # A step was begun only after the checkpoint of the one before it had been answered.
    assert {step: times[step] for step in recorded} == dict.fromkeys(recorded, 1)
    assert sum(times.values()) - count <= 2, "only what was not recorded when the server died may be repeated"
