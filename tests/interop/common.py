"""Tests of cases that more than one run belongs to, the same for all SDKs."""

import itertools
from collections import defaultdict

from tests.interop.harness import World, wait_for_cron
from tests.support.processes import wait_for


def check_cron(world: World, *, after_ms: int = 0) -> None:
    outcome = wait_for_cron(world, after_ms=after_ms)
    assert outcome.run["status"] == "Completed"
    assert outcome.run["cron"] == "* * * * *"
    assert outcome.output == {"event": "inngest/scheduled.timer", "cron": "* * * * *"}
    assert [line["step"] for line in outcome.steps] == ["tick"]
    assert len(outcome.calls) == (1 if world.app.sdk.checkpoints else 2)


def check_filter(world: World) -> None:
    """An event whose trigger expression is not true starts nothing: once it is stored, that is decided."""
    for data in ({"pass": False}, {"pass": "true"}, {}):
        assert world.api.runs_of_event(world.api.send("interop/filtered", data)) == []


def check_other_approval(world: World) -> None:
    """An approval of another id leaves the wait open."""
    event_id = world.api.send("interop/wait", {"id": "w2"})
    run_id = wait_for(
        lambda: next((run["run_id"] for run in world.api.runs_of_event(event_id)), None), "the waiting run"
    )
    wait_for(lambda: len(world.app.calls(run_id)) == 1, "its first call")

    def approved() -> bool:
        world.api.send("interop/approval", {"id": "w3", "by": "eve"})
        world.api.send("interop/approval", {"id": "w2", "by": "bea"})
        return world.api.run(run_id)["ended_at"] is not None

    wait_for(approved, "the approval", interval_s=0.1)
    assert world.api.run(run_id)["output"] == {"matched": True, "by": "bea"}


def check_limit(world: World) -> None:
    """Of one key no two steps overlap; of different keys they may."""
    keys = ["k1", "k2"] * 3
    ids = [world.api.send("interop/limited", {"key": key}) for key in keys]
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for key, event_id in zip(keys, ids, strict=True):
        (run,) = world.api.wait_runs(event_id)
        outcome = world.outcome_of(run["run_id"])
        assert (run["status"], run["output"]) == ("Completed", "held")
        assert [line["step"] for line in outcome.steps] == ["hold", "hold-end"]
        assert len(outcome.calls) == (1 if world.app.sdk.checkpoints else 2)
        spans[key].append((outcome.at_ms("hold@0"), outcome.steps[1]["at_ms"]))
    for held in spans.values():
        held.sort()
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(held)), held
    assert any(
        begin < other_end and other_begin < end
        for begin, end in spans["k1"]
        for other_begin, other_end in spans["k2"]
    ), spans


def check_sent_signal(world: World) -> None:
    """A step sends the signal that another run waits for."""
    waiting = world.api.send("interop/wait-signal", {"signal": "s2"})
    run_id = wait_for(
        lambda: next((run["run_id"] for run in world.api.runs_of_event(waiting)), None), "the waiting run"
    )
    wait_for(lambda: bool(world.app.calls(run_id)), "its first call")

    def sent() -> bool:
        (sender,) = world.api.wait_runs(world.api.send("interop/send-signal", {"signal": "s2"}))
        return (sender["status"], sender["output"]) == ("Completed", {"sent": True})

    wait_for(sent, "somebody waits for the signal", interval_s=0.1)
    assert world.api.wait_ended(run_id)["output"] == {
        "matched": True,
        "name": "s2",
        "data": {"from": "send-signal"},
    }
