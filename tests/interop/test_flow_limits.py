"""Limits and rates that official SDKs configure: who waits, and who goes next."""

import pytest

from tests.interop.flow import FLOW_OURS, FLOW_PYTHON, Flow, Held

pytestmark = pytest.mark.interop


def test_no_more_than_the_limit_are_under_way_and_the_oldest_goes_next(flow: Flow) -> None:
    gates = [flow.name("gate") for _ in range(4)]
    events = [flow.send("number", n=n, gate=gate) for n, gate in enumerate(gates, 1)]
    flow.wait_held({"number": Held(2, 2)})
    flow.wait_begun([1, 2], *events)

    flow.open(gates[1])
    assert flow.outcome(events[1]) == ("Completed", 2)
    flow.wait_held({"number": Held(2, 1)})
    flow.wait_begun([1, 2, 3], *events)
    for gate in gates:
        flow.open(gate)
    assert [flow.outcome(event) for event in events] == [("Completed", n) for n in (1, 2, 3, 4)]


def test_each_value_of_a_key_has_a_limit_of_its_own(flow: Flow) -> None:
    gate, a, b = flow.name("gate"), flow.name("key"), flow.name("key")
    events = [flow.send("keyed", n=n, key=key, gate=gate) for n, key in enumerate((a, a, b, a), 1)]
    flow.wait_held({"keyed": Held(2, 2)})
    flow.wait_begun([1, 3], *events)
    flow.open(gate)
    assert [flow.outcome(event)[0] for event in events] == ["Completed"] * 4
    begun = flow.begun(*events)
    assert [n for n in begun if n != 3] == [1, 2, 4]


def test_of_two_limits_a_run_needs_both(flow: Flow) -> None:
    gate_a, gate_b, a, b, c = (flow.name("both") for _ in range(5))
    keys = ((a, gate_a), (a, gate_a), (b, gate_b), (c, gate_b))
    events = [flow.send("two", n=n, key=key, gate=gate) for n, (key, gate) in enumerate(keys, 1)]
    flow.wait_held({"two": Held(2, 2)})
    flow.wait_begun([1, 3], *events)

    flow.open(gate_b)
    assert flow.outcome(events[3]) == ("Completed", 4)
    flow.wait_held({"two": Held(1, 1)})
    assert flow.begun(*events)[2:] == [4], "the second one of the first key still waits for the first"
    flow.open(gate_a)
    assert flow.outcome(events[1]) == ("Completed", 2)


@pytest.mark.parametrize("scope", ["env", "account"])
def test_functions_share_a_limit_by_its_key_each_with_a_number_of_its_own(flow: Flow, scope: str) -> None:
    small, large = f"{scope}-small", f"{scope}-large"
    first, second, key = flow.name("gate"), flow.name("gate"), flow.name("key")
    one = flow.send(large, n=1, key=key, gate=first)
    flow.wait_begun([1], one)
    two = flow.send(small, n=2, key=key, gate=second)
    three = flow.send(large, n=3, key=key, gate=first)
    flow.wait_held({small: Held(0, 1), large: Held(2, 0)})
    other = flow.send(small, n=4, key=flow.name("key"))
    assert flow.outcome(other) == ("Completed", 4)

    flow.open(first)
    flow.wait_begun([2], two)
    four = flow.send(large, n=5, key=key)
    assert flow.outcome(four) == ("Completed", 5), "of its two slots one is used, by the other function"
    flow.open(second)
    assert [flow.outcome(event) for event in (one, two, three)] == [("Completed", n) for n in (1, 2, 3)]


def test_a_run_that_sleeps_holds_no_slot(flow: Flow) -> None:
    first, second = flow.send("resting", n=1), flow.send("resting", n=2)
    flow.settle()
    assert sorted(flow.begun(first, second)) == [1, 2]
    assert flow.statuses([first, second]) == ["Running"] * 2
    flow.move("61m")
    assert [flow.outcome(event) for event in (first, second)] == [("Completed", 1), ("Completed", 2)]


def test_a_limit_of_whole_runs_counts_those_that_sleep(flow: Flow) -> None:
    if flow.sdk in (FLOW_PYTHON, FLOW_OURS):
        pytest.skip("the official Python SDK cannot say it, for which the app was written")
    key = flow.name("key")
    first, second = flow.send("whole", n=1, key=key), flow.send("whole", n=2, key=key)
    other = flow.send("whole", n=3, key=flow.name("key"))
    flow.settle()
    assert sorted(flow.begun(first, second, other)) == [1, 3]
    assert flow.statuses([first, second]) == ["Running", "Scheduled"]
    flow.move("61m")
    assert flow.outcome(first) == ("Completed", 1)
    assert flow.begun(second) == [2]
    flow.move("61m")
    assert flow.outcome(second) == ("Completed", 2)


def test_an_urgent_run_goes_ahead_of_those_that_wait(flow: Flow) -> None:
    gate = flow.name("gate")
    events = [flow.send("prioritized", n=1, urgent=False, gate=gate)]
    flow.wait_begun([1], *events)
    for n, urgent in ((2, False), (3, True), (4, False), (5, True)):
        events.append(flow.send("prioritized", n=n, urgent=urgent))
    flow.wait_held({"prioritized": Held(1, 4)})
    flow.open(gate)
    assert [flow.outcome(event)[0] for event in events] == ["Completed"] * 5
    assert flow.begun(*events) == [1, 3, 5, 2, 4]


def test_a_throttle_lets_the_burst_start_and_the_others_one_by_one(flow: Flow) -> None:
    key = flow.name("key")
    events = [flow.send("throttled", n=n, key=key) for n in (1, 2, 3, 4)]
    other = flow.send("throttled", n=5, key=flow.name("key"))
    flow.settle()
    assert sorted(flow.begun(*events)) == [1, 2]
    assert flow.outcome(other) == ("Completed", 5)
    flow.move("59s")
    assert len(flow.begun(*events)) == 2
    flow.move("1s")
    assert flow.begun(*events)[2:] == [3]
    flow.move("1m")
    assert flow.begun(*events)[2:] == [3, 4]
    assert [flow.outcome(event) for event in events] == [("Completed", n) for n in (1, 2, 3, 4)]


def test_a_run_that_is_cancelled_while_it_waits_holds_up_nobody(flow: Flow) -> None:
    key = flow.name("key")
    events = [flow.send("throttled", n=n, key=key) for n in (1, 2, 3, 4)]
    flow.settle()
    flow.api.cancel(flow.run(events[2])["run_id"])
    flow.move("1m")
    assert flow.outcome(events[3]) == ("Completed", 4)
    assert flow.outcome(events[2])[0] == "Cancelled"
    assert sorted(flow.begun(*events)) == [1, 2, 4]
