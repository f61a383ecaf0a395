"""What a new deployment of an official SDK's app changes for the runs that are there."""

import pytest

from tests.interop.flow import FLOW_OURS, Flow, Held

pytestmark = pytest.mark.interop


def test_runs_that_wait_go_when_a_throttle_is_lifted(flow: Flow) -> None:
    first, second = flow.send("slow", n=1), flow.send("slow", n=2)
    flow.settle()
    assert flow.statuses([first, second]) == ["Completed", "Scheduled"]
    with flow.deployed("next") as other:
        assert flow.outcome(second) == ("Completed", 2)
        assert other.lines()[-1]["run_id"] == flow.run(second)["run_id"], "at the new URL"


def test_runs_that_wait_go_when_a_limit_is_raised(flow: Flow) -> None:
    gate = flow.name("gate")
    first = flow.send("wide", n=1, gate=gate)
    flow.wait_begun([1], first)
    second = flow.send("wide", n=2)
    flow.wait_held({"wide": Held(1, 1)})
    with flow.deployed("next"):
        assert flow.outcome(second) == ("Completed", 2)
        assert flow.held("wide") == [Held(1, 0)]
        flow.open(gate)
        assert flow.outcome(first) == ("Completed", 1)


def test_runs_are_counted_by_a_key_that_has_changed(flow: Flow) -> None:
    gate, a, b, x, y = (flow.name("rekeyed") for _ in range(5))
    one = flow.send("rekeyed", n=1, key=a, key2=x, gate=gate)
    flow.wait_begun([1], one)
    two = flow.send("rekeyed", n=2, key=a, key2=y)
    flow.wait_held({"rekeyed": Held(1, 1)})
    with flow.deployed("next"):
        assert flow.outcome(two) == ("Completed", 2), "nobody else has the new key"
        three = flow.send("rekeyed", n=3, key=b, key2=x)
        flow.wait_held({"rekeyed": Held(1, 1)})
        flow.open(gate)
        assert [flow.outcome(event) for event in (one, three)] == [("Completed", 1), ("Completed", 3)]


def test_a_longer_finish_timeout_counts_for_runs_under_way(flow: Flow) -> None:
    event = flow.send("retimed", n=1)
    flow.settle()
    with flow.deployed("next"):
        flow.move("61m")
        assert flow.outcome(event) == ("Completed", 1)


def test_of_a_function_that_is_gone_started_runs_end_and_others_are_skipped(flow: Flow) -> None:
    first, second = flow.send("removed", n=1), flow.send("removed", n=2)
    flow.settle()
    assert flow.statuses([first, second]) == ["Running", "Scheduled"]
    with flow.deployed("next"):
        flow.move("61m")
        assert flow.outcome(first) == ("Completed", 1)
        run = flow.end(second)
        assert (run["status"], run["run_started_at"]) == ("Skipped", None)
        assert flow.runs(flow.send("removed", n=3)) == [], "nothing listens to the event any more"
    assert flow.begun(second) == []


def test_a_combination_without_a_meaning_is_refused_with_the_reason(flow: Flow) -> None:
    if flow.sdk is FLOW_OURS:
        pytest.skip("our SDK refuses such a function when it is made: see tests/sdk/client")
    with flow.another("invalid") as other:
        _, answer = other.sync()  # The Python SDK's answer has the status 200, and the real one in its body.
        assert "debounce: cannot stand beside batchEvents" in str(answer)
        assert flow.slug("impossible") not in flow.api.functions(flow.sdk.app_id)
