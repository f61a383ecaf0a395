"""Several rules of official SDKs at once, and what passes which of them."""

import pytest

from tests.interop.flow import Flow

pytestmark = pytest.mark.interop

PAD_BYTES = 1_900_000
"""Three of them are more than the 4 MiB that one call request may carry."""


def test_rules_of_one_function_apply_in_their_order(flow: Flow) -> None:
    a, b, c, d, e = (flow.name("many") for _ in range(5))
    first = flow.send("many-rules", n=1, rate=a, window=a, single=a, throttle=a)
    dropped = flow.send("many-rules", n=2, rate=a, window=b, single=b, throttle=b)
    newest = flow.send("many-rules", n=3, rate=b, window=a, single=a, throttle=a)
    flow.move("10s")
    assert flow.begun(first, newest) == [3]
    single = flow.send("many-rules", n=4, rate=c, window=c, single=a, throttle=c)
    throttled = flow.send("many-rules", n=5, rate=d, window=d, single=d, throttle=a)
    urgent = flow.send("many-rules", n=6, rate=e, window=e, single=e, throttle=a)
    flow.move("10s")
    assert (flow.runs(first), flow.runs(dropped)) == ([], [])
    assert flow.outcome(single)[0] == "Skipped"
    assert flow.statuses([throttled, urgent]) == ["Scheduled"] * 2
    flow.move("2h")
    assert flow.outcome(newest) == ("Completed", 3)
    assert flow.statuses([throttled, urgent]) == ["Scheduled", "Running"]
    flow.move("4h")
    assert [flow.outcome(event) for event in (throttled, urgent)] == [("Completed", 5), ("Completed", 6)]
    assert flow.begun(first, dropped, newest, single, throttled, urgent) == [3, 6, 5]


def test_idempotency_of_a_debounced_function_counts_its_runs(flow: Flow) -> None:
    key = flow.name("key")
    events = [flow.send("once-settled", n=n, key=key) for n in (1, 2)]
    flow.move("10s")
    assert flow.outcome(events[1]) == ("Completed", 2)
    events.append(flow.send("once-settled", n=3, key=key))
    parent = flow.invoke("once-settled", n=4, key=key)
    flow.move("10s")
    error = {"name": "Error", "message": "invoked function is rate limited"}
    assert flow.outcome(parent) == ("Completed", error)
    assert flow.begun(*events) == [2]


def test_steps_that_run_at_the_same_time_take_turns_for_one_slot(flow: Flow) -> None:
    event = flow.send("parallel")
    assert flow.outcome(event) == ("Completed", [1, 2, 3])
    run_id = flow.run(event)["run_id"]
    steps = [(line["step"], line["n"]) for line in flow.app.steps(run_id)]
    assert sorted(n for step, n in steps if step == "hold") == [1, 2, 3]
    assert [step for step, _ in steps] == ["hold", "hold-end"] * 3, steps


def test_a_parent_gives_its_slot_to_the_child_that_it_waits_for(flow: Flow) -> None:
    event = flow.send("parent", call="child", data={"n": 1})
    assert flow.outcome(event) == ("Completed", {"returned": 1})


def test_an_invoked_function_is_throttled(flow: Flow) -> None:
    key = flow.name("key")
    parents = [flow.invoke("throttled", n=n, key=key) for n in (1, 2, 3)]
    assert [flow.outcome(parent)[1] for parent in parents[:2]] == [{"returned": 1}, {"returned": 2}]
    flow.settle()
    assert flow.run(parents[2])["status"] == "Running"
    flow.move("1m")
    assert flow.outcome(parents[2]) == ("Completed", {"returned": 3})


def test_a_batch_that_is_too_large_for_a_request_is_fetched(flow: Flow) -> None:
    key, pad = flow.name("key"), "x" * PAD_BYTES
    events = [flow.send("batched", n=n, key=key, pad=pad) for n in (1, 2, 3)]
    assert flow.outcome(events[2]) == ("Completed", {"first": 1, "all": [1, 2, 3]})
    assert flow.app.calls(flow.run(events[0])["run_id"])[0]["use_api"] is True


def test_a_rerun_of_a_batch_has_all_its_events(flow: Flow) -> None:
    key = flow.name("key")
    events = [flow.send("batched", n=n, key=key) for n in (1, 2, 3)]
    run = flow.end(events[0])
    again = flow.api.call("POST", f"/api/ui/v1/runs/{run['run_id']}/rerun", {})
    ended = flow.api.wait_ended(again["run_id"])
    assert (ended["status"], ended["output"]) == ("Completed", {"first": 1, "all": [1, 2, 3]})
    assert ended["run_id"] in [one["run_id"] for one in flow.runs(events[2])]


def test_windows_of_a_paused_function_are_skipped_and_can_be_replayed(flow: Flow) -> None:
    key, other_key = flow.name("key"), flow.name("key")
    batched = [flow.send("batched", n=n, key=key) for n in (1, 2)]
    debounced = [flow.send("debounced", n=n, key=key) for n in (3, 4)]
    parent = flow.invoke("debounced", n=5, key=other_key)
    flow.settle()
    started = flow.now()
    flow.tell("batched", "pause")
    flow.tell("debounced", "pause")
    try:
        flow.move("10s")
        assert flow.outcome(batched[0])[0] == "Skipped"
        assert flow.outcome(debounced[1])[0] == "Skipped"
        message = "the invoked function was skipped: its function is paused"
        assert flow.outcome(parent) == ("Completed", {"name": "Error", "message": message})
    finally:
        flow.tell("batched", "resume")
        flow.tell("debounced", "resume")
    asked = {"statuses": ["Skipped"], "from": started, "rate_per_s": 0, "if": f"event.data.key == '{key}'"}
    for function in ("batched", "debounced"):
        assert flow.tell(function, "replay", asked)["status"] == "running"
    flow.settle()
    flow.move("1s")
    outputs = [flow.latest(event)["output"] for event in (batched[1], debounced[1])]
    assert outputs == [{"first": 1, "all": [1, 2]}, 4]


def test_a_rerun_passes_the_singleton(flow: Flow) -> None:
    key = flow.name("key")
    first = flow.send("singleton-skip", n=1, key=key)
    flow.move("61m")
    run = flow.end(first)
    second = flow.send("singleton-skip", n=2, key=key)
    flow.settle()
    again = flow.api.call("POST", f"/api/ui/v1/runs/{run['run_id']}/rerun", {})
    assert flow.api.run(again["run_id"])["status"] == "Skipped"
    flow.move("61m")
    assert flow.outcome(second) == ("Completed", 2)


def test_runs_that_were_not_started_can_be_cancelled_in_bulk(flow: Flow) -> None:
    key = flow.name("key")
    events = [flow.send("throttled", n=n, key=key) for n in (1, 2, 3, 4)]
    flow.settle()
    asked = {"if": f"event.data.key == '{key}' && event.data.n != 4"}
    assert flow.tell("throttled", "cancel?dry_run=true", asked)["count"] == 1
    flow.tell("throttled", "cancel", asked)
    assert flow.outcome(events[2])[0] == "Cancelled"
    flow.move("1m")
    assert [flow.outcome(events[n]) for n in (0, 1, 3)] == [("Completed", n) for n in (1, 2, 4)]
