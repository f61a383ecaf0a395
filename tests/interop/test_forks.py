"""Runs of apps with official SDKs that begin with results of another run."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.harness import (
    OURS,
    PYTHON,
    TYPESCRIPT,
    TYPESCRIPT_V3,
    Outcome,
    World,
    executed,
    resend,
    world,
)
from tests.support.api import ApiError
from tests.support.processes import wait_for

SDKS = (PYTHON, OURS, TYPESCRIPT, TYPESCRIPT_V3)
pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("interop-forks")]


@pytest.fixture(scope="module", params=SDKS, ids=lambda sdk: sdk.name)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An app on a server of its own."""
    sdk = request.param
    with world(tmp_path_factory.mktemp(f"forks-{sdk.name}"), sdk) as made:
        yield made


def run_of(served: World, name: str, data: Any = None) -> str:
    """A run of a case that has begun."""
    event_id = served.api.send(f"interop/{name}", data)
    return wait_for(
        lambda: next((run["run_id"] for run in served.api.runs_of_event(event_id)), None), f"a run of {name}"
    )


def ended(served: World, name: str, data: Any = None) -> Outcome:
    return served.outcome_of(run_of(served, name, data))


def again(served: World, run_id: str, action: str, **body: Any) -> Outcome:
    """What becomes of the run that a rerun or fork starts."""
    new = served.api.call("POST", f"/api/ui/v1/runs/{run_id}/{action}", body)
    return served.outcome_of(new["run_id"])


def steps(outcome: Outcome) -> list[str]:
    return [executed(line) for line in outcome.steps]


def test_a_fork_goes_on_with_a_replaced_result(served: World) -> None:
    first = ended(served, "sequential", {"start": 10})
    fork = again(
        served, first.run["run_id"], "fork", replace={"add-3": {"data": 100}}, again=["add-4", "add-5"]
    )
    assert (fork.output, steps(fork)) == ({"total": 109}, ["add-4@0", "add-5@0"])
    assert fork.run["original_run_id"] == first.run["run_id"]


def test_a_fork_that_keeps_all_only_returns(served: World) -> None:
    first = ended(served, "sequential", {"start": 10})
    fork = again(served, first.run["run_id"], "fork")
    assert (fork.output, steps(fork), len(fork.calls)) == ({"total": 25}, [], 1)


def test_a_rerun_from_a_step_executes_it_and_what_follows(served: World) -> None:
    first = ended(served, "sequential")
    fork = again(served, first.run["run_id"], "rerun", from_step="add-3")
    assert (fork.output, steps(fork)) == ({"total": 15}, ["add-3@0", "add-4@0", "add-5@0"])


def test_a_parallel_group_is_completed_with_what_is_not_kept(served: World) -> None:
    first = ended(served, "parallel")
    one = again(served, first.run["run_id"], "fork", keep=["a", "c"], replace={"a": {"data": 10}})
    assert (one.output, steps(one)) == ({"parts": [10, 2, 3], "joined": 15}, ["b@0", "join@0"])
    two = again(served, first.run["run_id"], "fork", keep=["b"])
    assert (two.output, sorted(steps(two))) == ({"parts": [1, 2, 3], "joined": 6}, ["a@0", "c@0", "join@0"])


def test_repeated_names_are_told_apart(served: World) -> None:
    first = ended(served, "repeated-ids")
    fork = again(served, first.run["run_id"], "fork", replace={"again#2": {"data": 7}}, again=["again"])
    assert (fork.output, steps(fork)) == ([0, 7, 2], ["again@0"])


def test_a_replaced_error_is_raised_in_the_function(served: World) -> None:
    first = ended(served, "step-fails")
    error = {"name": served.app.sdk.error_name, "message": "another one"}
    fork = again(served, first.run["run_id"], "fork", replace={"doomed": {"error": error}}, again=["after"])
    assert fork.run["status"] == "Completed"
    assert fork.output["caught"]["message"] == "another one"
    assert steps(fork) == ["after@0"]


def test_a_failed_step_can_be_given_a_result(served: World) -> None:
    first = ended(served, "step-fails-uncaught")
    assert first.run["status"] == "Failed"
    fork = again(served, first.run["run_id"], "fork", replace={"doomed": {"data": "worked"}})
    assert (fork.run["status"], steps(fork)) == ("Completed", [])


def test_a_run_that_waits_can_be_forked_with_what_it_waits_for(served: World) -> None:
    waiting = run_of(served, "wait", {"id": "fork-1"})
    wait_for(lambda: bool(served.app.calls(waiting)), "its first call")
    wait_for(lambda: "approval" in served.api.call("GET", f"/v1/runs/{waiting}/timeline"), "its wait")
    event = {"data": {"id": "fork-1", "by": "ann"}}
    fork = again(served, waiting, "fork", replace={"approval": {"data": event}})
    assert fork.output == {"matched": True, "by": "ann"}
    timeout = again(served, waiting, "fork", replace={"approval": {"data": None}})
    assert timeout.output["matched"] is False
    resend("interop/approval", {"id": "fork-1", "by": "bea"})(served, waiting, "")
    assert served.api.run(waiting)["output"] == {"matched": True, "by": "bea"}


def test_an_event_that_was_edited_is_what_the_function_gets(served: World) -> None:
    first = ended(served, "sequential", {"start": 10})
    fork = again(served, first.run["run_id"], "fork", keep=[], event={"data": {"start": 1}})
    assert fork.output == {"total": 16}


def test_large_results_are_fetched_by_the_fork(served: World) -> None:
    first = ended(served, "large-outputs")
    fork = again(served, first.run["run_id"], "fork", again=["last"])
    assert (fork.output, steps(fork)) == (first.output, ["last@0"])
    assert fork.calls[0]["use_api"] is True


def test_a_step_is_executed_with_an_edited_input(served: World) -> None:
    if served.app.sdk is PYTHON:
        first = ended(served, "sequential")
        with pytest.raises(ApiError, match="input_not_editable"):
            again(served, first.run["run_id"], "rerun", from_step="add-1", input=[5])
        return
    first = ended(served, "with-input")
    assert first.output == {"doubled": 42, "after": 43}
    fork = again(served, first.run["run_id"], "rerun", from_step="double", input=[50])
    assert (fork.output, steps(fork)) == ({"doubled": 100, "after": 101}, ["double@0", "after@0"])


def test_a_branch_of_a_parallel_group_is_executed_with_an_edited_input(served: World) -> None:
    if served.app.sdk is PYTHON:
        pytest.skip("the official Python SDK knows no edited input")
    first = ended(served, "parallel")
    # What JavaScript ignores, Python does not: this step's function takes no arguments.
    arguments = [] if served.app.sdk is OURS else [5]
    fork = again(served, first.run["run_id"], "rerun", from_step="b", input=arguments)
    assert fork.output == {"parts": [1, 2, 3], "joined": 6}
    assert "b@0" in steps(fork)


def test_an_edited_prompt_is_asked_by_the_server(served: World) -> None:
    first = ended(served, "ai-infer")
    edited = {"messages": [{"role": "user", "content": "goodbye"}]}
    fork = again(served, first.run["run_id"], "rerun", from_step="ask", input=[edited])
    assert fork.output["content"] == first.output["content"].replace("hello", "goodbye")
    assert fork.output != first.output
    assert fork.output["model"] == first.output["model"]
