"""What ends, holds up or repeats runs of official SDKs: time-outs, events, pauses, jobs."""

from typing import Any

import pytest

from tests.interop.flow import Flow, Held
from tests.support.processes import wait_for

pytestmark = pytest.mark.interop


def cancelled_events(flow: Flow, run_id: str) -> list[str]:
    """The functions of which `inngest/function.cancelled` told the app for a run."""
    return [line["function"] for line in flow.app.lines() if line.get("cancelled_run_id") == run_id]


def wait_done(flow: Flow, path: str) -> dict[str, Any]:
    """A job or cancellation once it is done; what a replay spreads over time needs that time to pass."""

    def done() -> dict[str, Any] | None:
        job = flow.api.call("GET", path)
        return job if job["status"] == "done" else None

    return wait_for(done, f"the end of {path}")


# Time-outs.


def test_a_run_that_is_not_started_in_time_is_cancelled(flow: Flow) -> None:
    key = flow.name("key")
    first, second = flow.send("start-timeout", n=1, key=key), flow.send("start-timeout", n=2, key=key)
    assert flow.outcome(first) == ("Completed", 1)
    flow.move("599s")
    assert flow.run(second)["status"] == "Scheduled"
    flow.move("1s")
    run = flow.end(second)
    assert (run["status"], run["run_started_at"], flow.begun(second)) == ("Cancelled", None, [])
    assert "timeout: start 10m" in flow.timeline(second)
    flow.settle()
    assert cancelled_events(flow, run["run_id"]) == [flow.slug("start-timeout")]


def test_a_run_that_takes_too_long_is_cancelled(flow: Flow) -> None:
    event = flow.send("finish-timeout", n=1)
    flow.move("599s")
    assert flow.run(event)["status"] == "Running"
    flow.move("1s")
    run = flow.end(event)
    assert run["status"] == "Cancelled"
    assert "timeout: finish 10m" in flow.timeline(event)
    flow.move("61m")
    assert (flow.begun(event), flow.begun(event, step="after")) == ([1], [])
    assert cancelled_events(flow, run["run_id"]) == [flow.slug("finish-timeout")]


# Cancellation by an event.


def test_an_event_cancels_those_runs_for_which_its_expression_is_true(flow: Flow) -> None:
    key, other_key = flow.name("key"), flow.name("key")
    one, other = flow.send("cancellable", n=1, key=key), flow.send("cancellable", n=2, key=other_key)
    flow.settle()
    flow.send("cancel", key=key, amount=10)
    flow.send("cancel", key=flow.name("key"), amount=11)
    flow.settle()
    assert flow.statuses([one, other]) == ["Running"] * 2
    flow.send("cancel", key=key, amount=11)
    assert flow.outcome(one)[0] == "Cancelled"
    flow.settle()
    assert cancelled_events(flow, flow.run(one)["run_id"]) == [flow.slug("cancellable")]
    flow.move("61m")
    assert flow.outcome(other) == ("Completed", 2)


def test_an_event_cancels_nothing_after_the_timeout(flow: Flow) -> None:
    key = flow.name("key")
    event = flow.send("cancellable", n=1, key=key)
    flow.move("31m")
    flow.send("cancel", key=key, amount=11)
    flow.move("30m")
    assert flow.outcome(event) == ("Completed", 1)


def test_what_a_step_returns_after_its_run_was_cancelled_is_dropped(flow: Flow) -> None:
    key, gate = flow.name("key"), flow.name("gate")
    event = flow.send("cancellable", n=1, key=key, gate=gate)
    flow.wait_begun([1], event)
    flow.send("cancel", key=key, amount=11)
    assert flow.outcome(event)[0] == "Cancelled"
    flow.open(gate)
    flow.move("61m")
    assert flow.outcome(event) == ("Cancelled", None)
    assert flow.begun(event, step="after") == []


# Pausing.


def test_a_paused_function_holds_its_run_and_skips_its_events(flow: Flow) -> None:
    gate = flow.name("gate")
    event = flow.send("rest", n=1, gate=gate)
    flow.wait_begun([1], event)
    assert flow.tell("rest", "pause")["state"] == "paused"
    try:
        skipped = flow.send("rest", n=2)
        assert flow.outcome(skipped)[0] == "Skipped"
        parent = flow.invoke("rest", n=3)
        message = "the invoked function was skipped: its function is paused"
        assert flow.outcome(parent) == ("Completed", {"name": "Error", "message": message})
        flow.open(gate)
        flow.move("2h")
        assert flow.held("rest") == [Held(0, 1)]
        assert (flow.begun(event), flow.begun(event, step="after")) == ([1], [])
    finally:
        flow.tell("rest", "resume")
    later = flow.send("rest", n=4)
    flow.move("61m")  # The Python SDK says that it sleeps in the answer to a request of its own.
    assert [flow.outcome(one) for one in (event, later)] == [("Completed", 1), ("Completed", 4)]
    assert flow.begun(event) == [1], "the step that was under way is not executed again"
    assert flow.outcome(skipped)[0] == "Skipped"


def test_the_request_under_way_ends_and_no_further_one_is_sent(flow: Flow) -> None:
    gate = flow.name("gate")
    event = flow.send("twice", n=1, gate=gate)
    flow.wait_begun([1], event)
    flow.tell("twice", "pause")
    flow.open(gate)
    flow.settle()
    # One request has both steps where they are reported by checkpoints.
    checkpoints = flow.sdk.checkpoints
    assert flow.run(event)["status"] == ("Completed" if checkpoints else "Running")
    assert flow.begun(event, step="after") == ([1] if checkpoints else [])
    flow.tell("twice", "resume")
    assert flow.outcome(event) == ("Completed", 1)
    assert (flow.begun(event), flow.begun(event, step="after")) == ([1], [1])


def test_a_pause_can_cancel_the_runs_that_there_are(flow: Flow) -> None:
    event = flow.send("rest", n=1)
    flow.settle()
    flow.tell("rest", "pause", {"in_flight": "cancel"})
    assert flow.outcome(event)[0] == "Cancelled"
    wait_for(lambda: not running_jobs(flow), "the end of the job")
    assert flow.tell("rest", "resume")["state"] == "active"


def running_jobs(flow: Flow) -> list[dict[str, Any]]:
    return [job for job in flow.api.call("GET", "/api/ui/v1/jobs")["jobs"] if job["status"] == "running"]


# Jobs.


def test_a_bulk_cancellation_ends_the_runs_that_its_filter_names(flow: Flow) -> None:
    campaign, other_campaign = flow.name("campaign"), flow.name("campaign")
    before = flow.send("rest", n=0, campaign=campaign)
    flow.move("1m")
    after_ = flow.now()
    events = [flow.send("rest", n=n, campaign=campaign) for n in (1, 2, 3)]
    other = flow.send("rest", n=4, campaign=other_campaign)
    flow.move("1s")
    asked = {
        "app_id": flow.sdk.app_id,
        "function_id": "rest",
        "started_after": after_,
        "started_before": flow.now(),
        "if": f"event.data.campaign == '{campaign}'",
    }
    job = flow.api.call("POST", "/v1/cancellations", asked)
    late = flow.send("rest", n=5, campaign=campaign)
    assert [flow.outcome(event)[0] for event in events] == ["Cancelled"] * 3

    def progress() -> dict[str, Any]:
        listed = flow.api.call("GET", "/v1/cancellations")
        return next(one["progress"] for one in listed if one["id"] == job["id"])

    wait_for(lambda: progress()["status"] == "done", "the end of the cancellation")
    found = progress()
    assert (found["cancelled"], found["undecided"], found["errors"]) == (3, 0, [])
    flow.settle()
    assert len(cancelled_events(flow, flow.run(events[0])["run_id"])) == 1
    flow.move("61m")
    assert [flow.outcome(event)[1] for event in (before, other, late)] == [0, 4, 5]
    assert flow.statuses(events) == ["Cancelled"] * 3


def test_a_replay_starts_the_failed_and_skipped_runs_again(flow: Flow) -> None:
    from_ = flow.now()
    failed = [flow.send("broken", n=n) for n in (1, 2, 3)]
    assert [flow.outcome(event)[0] for event in failed] == ["Failed"] * 3
    flow.tell("broken", "pause")
    skipped = flow.send("broken", n=4)
    assert flow.outcome(skipped)[0] == "Skipped"
    flow.tell("broken", "resume")
    old = [flow.run(event)["run_id"] for event in (*failed, skipped)]
    flow.move("1m")
    flow.open("fixed")
    late = flow.send("broken", n=5)

    asked = {"statuses": ["Failed", "Skipped"], "from": from_, "name": "after the fix", "rate_per_s": 1}
    job = flow.tell("broken", "replay", asked)
    flow.move("10s")
    done = wait_done(flow, f"/api/ui/v1/jobs/{job['id']}")
    assert (done["affected"], done["undecided"], done["name"]) == (4, 0, "after the fix")

    new = [run for event in (*failed, skipped) for run in flow.runs(event) if run["run_id"] not in old]
    ended = [flow.api.wait_ended(run["run_id"]) for run in new]
    assert [(run["status"], run["output"]) for run in ended] == [("Completed", n) for n in (1, 2, 3, 4)]
    assert [run["original_run_id"] for run in ended] == old
    assert len(flow.runs(late)) == 1
