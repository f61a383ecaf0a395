"""Rules that official SDKs configure which decide whether an event starts a run, and with what."""

import pytest

from tests.interop.flow import Flow

pytestmark = pytest.mark.interop


# Dropped.


def test_a_rate_limit_drops_what_is_too_much(flow: Flow) -> None:
    key = flow.name("key")
    events = [flow.send("rated", n=n, key=key) for n in (1, 2)]
    events.append(flow.send("rated", n=3, key=flow.name("key")))
    assert [flow.outcome(events[n]) for n in (0, 2)] == [("Completed", 1), ("Completed", 3)]
    flow.move("59s")
    events.append(flow.send("rated", n=4, key=key))
    assert (flow.runs(events[1]), flow.runs(events[3])) == ([], [])
    flow.move("1s")
    assert flow.outcome(flow.send("rated", n=5, key=key)) == ("Completed", 5)
    assert flow.begun(*events) == [1, 3]


def test_a_key_of_false_is_not_rate_limited(flow: Flow) -> None:
    events = [flow.send("rated", n=n, key=False) for n in (1, 2)]
    assert [flow.outcome(event) for event in events] == [("Completed", 1), ("Completed", 2)]


def test_idempotency_starts_one_run_a_day_for_a_key(flow: Flow) -> None:
    key = flow.name("key")
    first, second = flow.send("idempotent", n=1, key=key), flow.send("idempotent", n=2, key=key)
    assert flow.outcome(first) == ("Completed", 1)
    assert flow.runs(second) == []
    flow.move("23h")
    assert flow.runs(flow.send("idempotent", n=3, key=key)) == []
    flow.move("61m")
    assert flow.outcome(flow.send("idempotent", n=4, key=key)) == ("Completed", 4)


def test_a_rerun_is_not_dropped(flow: Flow) -> None:
    first = flow.send("idempotent", n=1, key=flow.name("key"))
    run = flow.end(first)
    again = flow.api.call("POST", f"/api/ui/v1/runs/{run['run_id']}/rerun", {})
    ended = flow.api.wait_ended(again["run_id"])
    assert (ended["status"], ended["output"], ended["original_run_id"]) == ("Completed", 1, run["run_id"])


def test_an_event_id_starts_a_function_once_in_a_day(flow: Flow) -> None:
    key = flow.name("id")
    first = flow.api.send("flow/plain", {"n": 1}, id=key)
    assert flow.outcome(first) == ("Completed", 1)
    second = flow.api.send("flow/plain", {"n": 2}, id=key)
    flow.settle()
    assert flow.runs(second) == []
    stored = flow.api.call("GET", f"/v1/events/{second}")
    assert stored["data"] == {"n": 2}, "the event is there all the same"
    flow.move("25h")
    third = flow.api.send("flow/plain", {"n": 3}, id=key)
    assert flow.outcome(third) == ("Completed", 3)


def test_an_event_of_the_future_starts_its_run_then(flow: Flow) -> None:
    event = flow.api.send("flow/plain", {"n": 1}, ts=flow.ts(3600))
    flow.move("59m")
    assert flow.run(event)["status"] == "Scheduled"
    flow.move("2m")
    assert flow.outcome(event) == ("Completed", 1)


# Collected.


def test_a_debounce_runs_the_newest_event_once_it_is_quiet(flow: Flow) -> None:
    key = flow.name("key")
    events = [flow.send("debounced", n=1, key=key)]
    flow.move("9s")
    events.append(flow.send("debounced", n=2, key=key))
    flow.move("9s")
    old = flow.api.send("flow/debounced", {"n": 3, "key": key}, ts=flow.ts(-3600))
    flow.move("6s")
    assert [flow.runs(event) for event in (*events, old)] == [[], [], []]
    flow.move("4s")
    assert flow.outcome(events[1]) == ("Completed", 2), "by its date, not by its coming"
    assert (flow.runs(events[0]), flow.runs(old)) == ([], [])


def test_a_debounce_ends_in_any_case_after_its_timeout(flow: Flow) -> None:
    key, other_key = flow.name("key"), flow.name("key")
    other = flow.send("debounced", n=0, key=other_key)
    events = [flow.send("debounced", n=1, key=key)]
    for n in (2, 3, 4):
        flow.move("8s")
        events.append(flow.send("debounced", n=n, key=key))
    assert flow.outcome(other) == ("Completed", 0), "another key is another window"
    assert flow.begun(*events) == []
    flow.move("1s")
    assert flow.outcome(events[3]) == ("Completed", 4)
    assert flow.begun(*events) == [4]


def test_a_batch_is_run_when_it_is_full(flow: Flow) -> None:
    key = flow.name("key")
    events = [flow.send("batched", n=n, key=key) for n in (1, 2, 3)]
    assert flow.outcome(events[0]) == ("Completed", {"first": 1, "all": [1, 2, 3]})
    ids = {flow.run(event)["run_id"] for event in events}
    assert len(ids) == 1, "each event knows the run"
    assert flow.run(events[2])["batch_id"] is not None


def test_a_batch_is_run_when_its_time_is_up(flow: Flow) -> None:
    key = flow.name("key")
    first, second = flow.send("batched", n=1, key=key), flow.send("batched", n=2, key=key)
    other = flow.send("batched", n=3, key=flow.name("key"))
    flow.move("9s")
    assert flow.runs(first) == []
    flow.move("1s")
    assert flow.outcome(second) == ("Completed", {"first": 1, "all": [1, 2]})
    assert flow.outcome(other) == ("Completed", {"first": 3, "all": [3]})


def test_an_event_that_is_not_to_be_batched_runs_alone_at_once(flow: Flow) -> None:
    key = flow.name("key")
    batched = flow.send("batched", n=1, key=key)
    alone = flow.send("batched", n=2, key=key, alone=True)
    assert flow.outcome(alone) == ("Completed", {"first": 2, "all": [2]})
    assert flow.runs(batched) == []
    flow.move("10s")
    assert flow.outcome(batched) == ("Completed", {"first": 1, "all": [1]})


# One at a time.


def test_a_singleton_skips_while_a_run_is_there(flow: Flow) -> None:
    key = flow.name("key")
    first = flow.send("singleton-skip", n=1, key=key)
    flow.settle()
    second = flow.send("singleton-skip", n=2, key=key)
    other = flow.send("singleton-skip", n=3, key=flow.name("key"))
    assert flow.outcome(second)[0] == "Skipped"
    assert flow.run(second)["run_started_at"] is None
    flow.move("61m")
    assert flow.outcome(first) == ("Completed", 1)
    assert flow.outcome(other) == ("Completed", 3)
    third = flow.send("singleton-skip", n=4, key=key)
    flow.move("61m")
    assert flow.outcome(third) == ("Completed", 4)
    assert flow.begun(second) == []


def test_a_singleton_cancels_the_run_before(flow: Flow) -> None:
    key = flow.name("key")
    first = flow.send("singleton-cancel", n=1, key=key)
    other = flow.send("singleton-cancel", n=2, key=flow.name("key"))
    flow.settle()
    second = flow.send("singleton-cancel", n=3, key=key)
    assert flow.outcome(first)[0] == "Cancelled"
    flow.move("61m")
    assert flow.outcome(second) == ("Completed", 3)
    assert flow.outcome(other) == ("Completed", 2)
    assert flow.begun(first, step="after") == []


# Invoked by another function.


def test_an_invoked_function_is_not_batched(flow: Flow) -> None:
    event = flow.invoke("batched", n=1, key=flow.name("key"))
    assert flow.outcome(event) == ("Completed", {"returned": {"first": 1, "all": [1]}})


def test_who_invokes_a_debounced_function_gets_the_result_of_the_one_run(flow: Flow) -> None:
    key = flow.name("key")
    parents = [flow.invoke("debounced", n=n, key=key) for n in (1, 2)]
    flow.settle()
    event = flow.send("debounced", n=3, key=key)
    flow.move("9s")
    assert flow.statuses(parents) == ["Running"] * 2
    flow.move("1s")
    assert flow.outcome(event) == ("Completed", 3)
    assert [flow.outcome(parent) for parent in parents] == [("Completed", {"returned": 3})] * 2


@pytest.mark.parametrize("function", ["rated", "idempotent"])
def test_who_invokes_a_rate_limited_function_too_often_gets_an_error(flow: Flow, function: str) -> None:
    key = flow.name("key")
    first = flow.invoke(function, n=1, key=key)
    assert flow.outcome(first) == ("Completed", {"returned": 1})
    second = flow.invoke(function, n=2, key=key)
    error = {"name": "Error", "message": "invoked function is rate limited"}
    assert flow.outcome(second) == ("Completed", error)


def test_who_invokes_a_singleton_that_is_busy_gets_an_error(flow: Flow) -> None:
    key = flow.name("key")
    first = flow.invoke("singleton-skip", n=1, key=key)
    flow.settle()
    second = flow.invoke("singleton-skip", n=2, key=key)
    message = "the invoked function was skipped: another run of its function holds the singleton"
    assert flow.outcome(second) == ("Completed", {"name": "Error", "message": message})
    flow.move("61m")
    assert flow.outcome(first) == ("Completed", {"returned": 1})


def test_who_invoked_a_singleton_that_is_cancelled_gets_an_error(flow: Flow) -> None:
    key = flow.name("key")
    first = flow.invoke("singleton-cancel", n=1, key=key)
    flow.settle()
    second = flow.invoke("singleton-cancel", n=2, key=key)
    error = {"name": "Error", "message": "Function cancelled"}
    assert flow.outcome(first) == ("Completed", error)
    flow.move("61m")
    assert flow.outcome(second) == ("Completed", {"returned": 2})
