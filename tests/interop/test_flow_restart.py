"""What rules of official SDKs have decided and collected, after the server was killed."""

import pytest

from tests.interop.flow import Flow
from tests.support.processes import wait_for

pytestmark = pytest.mark.interop


def kill_and_start(flow: Flow) -> None:
    """A power failure while everything waits; the app goes on."""
    before = flow.now()
    flow.server.kill()
    flow.server.start()
    assert flow.now() == before, "the clock stands where it stood"


def test_what_waits_goes_on_after_the_server_was_killed(flow: Flow) -> None:
    key = flow.name("key")
    throttled = [flow.send("throttled", n=n, key=key) for n in (1, 2, 3)]
    debounced = [flow.send("debounced", n=n, key=key) for n in (4, 5)]
    parent = flow.invoke("debounced", n=6, key=key)
    batched = [flow.send("batched", n=n, key=key) for n in (7, 8)]
    rated = flow.send("rated", n=9, key=key)
    single = flow.send("singleton-skip", n=10, key=key)
    late = flow.send("start-timeout", n=11, key=key), flow.send("start-timeout", n=12, key=key)
    slow = flow.send("finish-timeout", n=13)
    flow.settle()
    flow.tell("rest", "pause")

    try:
        kill_and_start(flow)
        assert flow.outcome(flow.send("rest", n=22))[0] == "Skipped"
    finally:
        flow.tell("rest", "resume")
    assert flow.begun(*throttled) == [1, 2]
    assert flow.runs(flow.send("rated", n=20, key=key)) == []
    assert flow.outcome(flow.send("singleton-skip", n=21, key=key))[0] == "Skipped"
    third = flow.send("batched", n=23, key=key)
    assert flow.outcome(third) == ("Completed", {"first": 7, "all": [7, 8, 23]})
    assert [flow.runs(event) for event in batched] == [flow.runs(third)] * 2

    flow.move("2m")
    assert flow.outcome(parent) == ("Completed", {"returned": 6}), "the newest event was the invocation"
    assert [flow.runs(event) for event in debounced] == [[], []]
    assert flow.outcome(throttled[2]) == ("Completed", 3)
    assert flow.outcome(flow.send("rated", n=24, key=key)) == ("Completed", 24)

    flow.move("61m")
    assert flow.outcome(single) == ("Completed", 10)
    assert [flow.outcome(event)[0] for event in (*late, slow)] == ["Completed", "Cancelled", "Cancelled"]
    assert flow.outcome(rated) == ("Completed", 9)


def test_a_run_that_waited_for_a_slot_gets_it_after_the_server_was_killed(flow: Flow) -> None:
    """The call that was under way is made again, with its slot."""
    key, gate = flow.name("key"), flow.name("gate")
    first = flow.send("keyed", n=1, key=key, gate=gate)
    flow.wait_begun([1], first)
    second = flow.send("keyed", n=2, key=key)
    assert flow.held("keyed")[0].parked == 1
    kill_and_start(flow)

    flow.wait_begun([1, 1], first)
    assert flow.held("keyed")[0] == (1, 1)
    flow.open(gate)
    assert [flow.outcome(event) for event in (first, second)] == [("Completed", 1), ("Completed", 2)]
    wait_for(lambda: flow.held("keyed")[0] == (0, 0), "all is done")
