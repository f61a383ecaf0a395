"""Why is it not running? One scenario for each gate, through the whole engine: that gate must be the one."""

from collections.abc import Callable
from typing import Any

import pytest

from inngest_server.engine.explaining import event_view, snapshot_of_run
from inngest_server.engine.facts import EventsSent, FunctionPaused
from inngest_server.events.event import make_event, read_event
from inngest_server.events.records import EventRow
from inngest_server.explain.gate import LABELS, Explanation, Gate, Verdict
from inngest_server.explain.run import explain_run
from inngest_server.flow_control import concurrency, throttle
from inngest_server.runs.facts import CallFailed, CancelRequested
from inngest_server.runs.records import RunRow
from inngest_server.runs.run import Run
from inngest_server.wire.times import format_rfc3339
from tests.builders import DAY_MS, HOUR_MS, SECOND_MS, T0_MS
from tests.unit.engine.builders import Office, make_function
from tests.unit.runs.builders import make_failure, make_op, planned

PLACED = "shop/order.placed"
MINUTE_MS = 60 * SECOND_MS


def make_sent(office: Office) -> EventsSent:
    """An event that was received and is not decided."""
    draft = read_event({"name": PLACED, "data": {}})
    now_ms = office.clock.now_ms()
    return EventsSent(
        [make_event(draft, internal_id=office.engine.next_id(), received_at_ms=now_ms, repeatable=False)]
    )


async def open_office(**options: Any) -> Office:
    office = Office()
    await office.open(make_function("f", PLACED, **options))
    return office


async def explain(office: Office, run_id: str) -> Explanation:
    """As the API does it; whatever it says is named and has a verdict that is known."""
    storage = office.storage
    history = (await storage.histories([run_id]))[run_id]
    [row] = await storage.get(EventRow, [history.run.event_id])
    found = explain_run(
        snapshot_of_run(office.engine, history.run, event_view(row, row.body), history.journal)
    )
    assert all(gate.label for gate in found.gates)
    order = list(LABELS)
    places = [order.index(gate.id.removesuffix(":2")) for gate in found.gates]
    assert places == sorted(places)
    found.to_json()
    return found


async def blocking(office: Office, run_id: str) -> Gate:
    """The gate that holds an unfinished run back."""
    found = await explain(office, run_id)
    gate = found.blocking
    assert gate is not None
    assert gate.verdict is not Verdict.UNKNOWN
    assert gate.eta_ms is not None or gate.ends
    return gate


def runs(office: Office) -> list[Run]:
    """Unfinished ones, in the order of their events."""
    found = [run for shard in office.engine.live.shards.values() for run in shard.runs.values()]
    return sorted(found, key=lambda run: run.row.event_id)


async def ended(office: Office) -> RunRow:
    """The last run that has ended."""
    return max(
        (row for row in office.storage._all(RunRow) if row.ended_at_ms is not None),
        key=lambda row: (row.ended_at_ms, row.event_id),
    )


async def sent(office: Office, count: int, **data: Any) -> list[str]:
    """Ids of the unfinished runs after so many events."""
    for n in range(count):
        await office.send(PLACED, {"n": n, **data})
    return [run.id for run in runs(office)]


# What a request waits for.


async def test_a_request_under_way_is_named_with_what_it_is_for() -> None:
    office = await open_office()
    [run_id] = await sent(office, 1)
    await office.advance(3 * SECOND_MS)

    found = await explain(office, run_id)

    assert (found.state, found.blocking.id) == ("running", "request")  # type: ignore[union-attr]
    assert found.blocking.since_ms == T0_MS  # type: ignore[union-attr]
    assert found.summary == (
        f"Run {run_id} is executing: its app has had the request for what comes next for 3 s; "
        "no ETA: it ends when the answer comes."
    )


async def test_a_slot_of_a_key_is_named_with_its_holders_and_the_place_in_line() -> None:
    office = await open_office(concurrency=[{"limit": 2, "key": "event.data.user"}])
    ids = await sent(office, 5, user="user-42")
    await office.advance(MINUTE_MS)

    found = await explain(office, ids[4])

    gate = found.blocking
    assert gate is not None
    assert (gate.id, gate.verdict, gate.key) == ("concurrency:step", Verdict.BLOCK, "user-42")
    assert (gate.limit, gate.used, gate.position) == (2, 2, 3)
    assert [holder.run for holder in gate.holders] == ids[:2]
    assert (gate.since_ms, gate.eta_ms) == (T0_MS, None)
    assert found.state == "queued"
    assert found.summary == (
        f"Run {ids[4]} waits for a slot of key `user-42`: 2 of 2 are used by runs {ids[0]} and {ids[1]}; "
        "it is 3rd in line; no ETA: it ends when a request that holds one is answered."
    )
    assert [action.id for action in found.actions] == ["cancel_run"] * 3


@pytest.mark.parametrize(
    ("limit", "gate_id"),
    [
        ({"fn": [{"limit": 1}]}, "concurrency:run"),
        ({"limit": 1, "scope": "env", "key": "'x'"}, "concurrency:env"),
        ({"limit": 1, "scope": "account", "key": "'x'"}, "concurrency:account"),
        ([{"limit": 9}, {"limit": 1, "key": "event.data.none"}], "concurrency:step"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_each_scope_of_concurrency_is_a_gate_of_its_own(limit: Any, gate_id: str) -> None:
    office = await open_office(concurrency=limit)
    ids = await sent(office, 2)

    gate = await blocking(office, ids[1])

    assert gate.id.removesuffix(":2") == gate_id
    assert [holder.run for holder in gate.holders] == [ids[0]]


async def test_of_a_set_only_the_bucket_that_is_full_holds_back() -> None:
    office = await open_office(concurrency={"fn": [{"limit": 5}], "step": [{"limit": 1}]})
    ids = await sent(office, 2)
    found = await explain(office, ids[1])
    verdicts = {gate.id: gate.verdict for gate in found.gates}
    assert (verdicts["concurrency:run"], verdicts["concurrency:step"]) == (Verdict.PASS, Verdict.BLOCK)


async def test_who_was_given_its_slot_is_not_held_back_by_itself() -> None:
    office = await open_office(concurrency=1)
    ids = await sent(office, 2)
    run = office.engine.live.find_run(ids[1])
    assert run is not None
    run.content = None  # It has to be loaded before it can be sent.
    office.engine.tell(CancelRequested(ids[0], "api"))
    await office.engine.run_once()

    assert office.engine.live.slots.held_by(f"{ids[1]}.0")
    assert (await blocking(office, ids[1])).id == "request"


async def test_a_throttle_says_when_the_turn_comes() -> None:
    office = await open_office(throttle={"limit": 6, "period": "1m", "key": "event.data.user"})
    ids = await sent(office, 4, user="ann")

    gate = await blocking(office, ids[3])

    assert (gate.id, gate.verdict, gate.key, gate.position) == ("throttle", Verdict.WAIT, "ann", 3)
    assert gate.eta_ms == T0_MS + 30 * SECOND_MS
    for _ in range(3):
        await office.advance(10 * SECOND_MS)
    assert (await blocking(office, ids[3])).id == "request"


async def test_a_pause_holds_what_comes_next_and_not_what_is_under_way() -> None:
    office = await open_office()
    [run_id] = await sent(office, 1)
    office.engine.tell(FunctionPaused("shop-f", cancels=False))
    await office.settle()
    assert (await blocking(office, run_id)).id == "request"

    await office.report(office.call_of("shop-f"), make_op("StepRun", "a", data=1))
    found = await explain(office, run_id)

    gate = found.blocking
    assert gate is not None
    assert (gate.id, gate.since_ms, found.state) == ("paused", T0_MS, "paused")
    cancelled_at = format_rfc3339(T0_MS + 7 * DAY_MS)
    assert gate.ends == f"when shop-f is resumed, or at {cancelled_at}, when its runs are cancelled"
    assert found.actions[0].path == "/api/ui/v1/functions/shop-f/resume"


async def test_a_sleep_goes_before_the_pause_that_will_hold_the_run_afterwards() -> None:
    office = await open_office()
    [run_id] = await sent(office, 1)
    await office.report(office.call_of("shop-f"), make_op("Sleep", "s", name="1h"))
    office.engine.tell(FunctionPaused("shop-f", cancels=False))
    await office.settle()

    assert (await blocking(office, run_id)).id == "sleep"
    await office.advance(HOUR_MS)
    assert (await blocking(office, run_id)).id == "paused"


async def test_an_event_of_the_future_waits_for_its_time() -> None:
    office = await open_office()
    await office.send(PLACED, ts=T0_MS + HOUR_MS)
    [run] = runs(office)

    gate = await blocking(office, run.id)

    assert (gate.id, gate.eta_ms) == ("scheduled", T0_MS + HOUR_MS)


async def test_a_run_waits_for_the_singleton_of_one_that_is_being_cancelled() -> None:
    office = await open_office(singleton={"mode": "cancel"})
    await office.send(PLACED)
    [old] = runs(office)
    old.content = None  # It has to be loaded before it can end.
    office.engine.ask_events(make_sent(office))
    await office.engine.run_once()
    new = next(run for run in runs(office) if run is not old)

    gate = await blocking(office, new.id)

    assert (gate.id, [holder.run for holder in gate.holders]) == ("singleton", [old.id])


async def test_a_try_that_failed_names_the_error_and_the_next_try() -> None:
    office = await open_office()
    [run_id] = await sent(office, 1)
    await office.answer(office.call_of("shop-f"), make_failure(retry_after_ms=MINUTE_MS))

    found = await explain(office, run_id)

    gate = found.blocking
    assert gate is not None
    assert (gate.id, gate.eta_ms, found.state) == ("backoff", T0_MS + MINUTE_MS, "retrying")
    assert "Error: boom" in gate.says


async def test_an_app_that_cannot_be_reached_is_the_reason_and_not_the_back_off() -> None:
    office = await open_office()
    [run_id] = await sent(office, 1)
    error = b'{"name":"Error","message":"connection refused"}'
    await office.answer(office.call_of("shop-f"), CallFailed(error, "unreachable", True, None))

    gate = await blocking(office, run_id)

    assert (gate.id, gate.verdict) == ("app", Verdict.WAIT)
    assert "connection refused" in gate.says


async def test_a_removed_function_skips_what_it_has_not_started() -> None:
    office = Office()
    await office.open(make_function("f", PLACED), make_function("g"))
    await office.send(PLACED, ts=T0_MS + HOUR_MS)
    [run] = runs(office)
    await office.sync(make_function("g"))

    assert (await blocking(office, run.id)).id == "archived"
    await office.advance(HOUR_MS)
    row = await ended(office)
    found = await explain(office, row.run_id)
    assert (found.state, found.blocking.id) == ("skipped", "archived")  # type: ignore[union-attr]


# What a run waits for by its steps.


@pytest.mark.parametrize(
    ("op", "gate_id", "words"),
    [
        (make_op("Sleep", "s", name="1h", displayName="nap"), "sleep", "sleeps in step nap"),
        (
            make_op("WaitForEvent", "s", displayName="paid", opts={"event": "shop/paid", "timeout": "1h"}),
            "event",
            "waits in step paid for an event shop/paid",
        ),
        (
            make_op("WaitForSignal", "s", displayName="go", opts={"signal": "go-on", "timeout": "1h"}),
            "signal",
            "waits in step go for the signal go-on",
        ),
    ],
    ids=["sleep", "event", "signal"],
)
async def test_what_a_step_waits_for_is_named(op: Any, gate_id: str, words: str) -> None:
    office = await open_office()
    [run_id] = await sent(office, 1)
    await office.report(office.call_of("shop-f"), op)

    gate = await blocking(office, run_id)

    assert (gate.id, gate.verdict, gate.says) == (gate_id, Verdict.WAIT, words)
    assert (gate.since_ms, gate.eta_ms) == (T0_MS, T0_MS + HOUR_MS)


async def test_the_condition_of_a_wait_has_the_values_of_the_run() -> None:
    office = await open_office()
    [run_id] = await sent(office, 1, id="o-1")
    opts = {"event": "shop/paid", "timeout": "1h", "if": "event.data.id == async.data.id"}
    await office.report(office.call_of("shop-f"), make_op("WaitForEvent", "w", opts=opts))
    gate = await blocking(office, run_id)
    assert gate.says.endswith('an event shop/paid where "o-1" == async.data.id')


async def test_an_invoked_run_is_linked() -> None:
    office = Office()
    await office.open(make_function("f", PLACED), make_function("child"))
    await office.send(PLACED)
    [parent] = runs(office)
    op = make_op("InvokeFunction", "i", opts={"function_id": "shop-child", "payload": {}})
    await office.report(office.call_of("shop-f"), op)
    child = next(run for run in runs(office) if run is not parent)

    gate = await blocking(office, parent.id)

    assert (gate.id, gate.link) == ("invoke", f"/api/ui/v1/runs/{child.id}/explain")
    assert (await blocking(office, child.id)).id == "request"


async def test_several_parallel_steps_are_one_gate() -> None:
    office = await open_office()
    [run_id] = await sent(office, 1)
    call = office.call_of("shop-f")
    await office.report(
        call, make_op("Sleep", "a", name="1h"), make_op("Sleep", "b", name="2h"), *planned("c")
    )
    assert (await blocking(office, run_id)).id == "request"
    await office.report(office.call_of("shop-f"), make_op("StepRun", "c", data=1))

    gate = await blocking(office, run_id)

    assert (gate.id, gate.eta_ms) == ("siblings", T0_MS + 2 * HOUR_MS)


async def test_of_very_many_parallel_steps_all_are_counted() -> None:
    office = await open_office()
    [run_id] = await sent(office, 1)
    ops = [make_op("Sleep", f"s{n}", name="1h") for n in range(50)]
    await office.report(office.call_of("shop-f"), *ops)
    assert (await blocking(office, run_id)).says.endswith("step 1h (sleep) and 47 more")


async def test_of_many_invoked_runs_the_one_that_is_explained_is_linked() -> None:
    office = Office()
    await office.open(make_function("f", PLACED), make_function("child"))
    await office.send(PLACED)
    [parent] = runs(office)
    opts = {"function_id": "shop-child", "payload": {}}
    later, sooner = (
        make_op("InvokeFunction", f"i{n}", opts={**opts, "timeout": f"{2 - n}h"}) for n in range(2)
    )
    await office.report(office.call_of("shop-f"), later, sooner)

    found = await explain(office, parent.id)

    [gate] = [gate for gate in found.gates if gate.id == "invoke"]
    step_of = {run.row.parent: run.id for run in runs(office)}
    assert gate.link == f"/api/ui/v1/runs/{step_of[f'{parent.id}.i1']}/explain"


async def test_a_request_that_has_no_connection_yet_is_not_said_to_be_with_the_app(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office = await open_office()
    first, second = await sent(office, 2)
    begun = {call.item.item_id for call in office.desk.calls if call.item.run_id == first}
    monkeypatch.setattr(office.desk, "has_begun", begun.__contains__, raising=False)
    assert "has had" in (await blocking(office, first)).says
    gate = await blocking(office, second)
    assert (gate.id, gate.ends) == ("request", "when one of the requests there is answered")
    assert gate.says.startswith("waits for a free connection to its app")


async def test_a_run_that_is_held_says_why() -> None:
    office = await open_office()
    [run_id] = await sent(office, 1)
    office.engine._work.hold(run_id, "run", "ValueError: bad", T0_MS)
    found = await explain(office, run_id)
    assert (found.state, found.blocking.id) == ("held", "set_aside")  # type: ignore[union-attr]


async def test_a_run_without_anything_to_wake_it_is_called_a_fault() -> None:
    office = await open_office()
    [run_id] = await sent(office, 1)
    run = office.engine.live.find_run(run_id)
    assert run is not None
    for item_id in list(run.items):
        run.items.pop(item_id)
    gate = (await explain(office, run_id)).blocking
    assert gate is not None
    assert (gate.id, gate.verdict) == ("work", Verdict.UNKNOWN)


# Runs that have ended.


async def reason(office: Office) -> tuple[str, str, str]:
    row = await ended(office)
    found = await explain(office, row.run_id)
    assert found.blocking is not None
    return found.state, found.blocking.id, found.summary.removeprefix(f"Run {row.run_id} ")


async def test_a_completed_run_was_held_back_by_nothing() -> None:
    office = await open_office()
    await sent(office, 1)
    await office.advance(SECOND_MS)
    await office.complete(office.call_of("shop-f"))
    row = await ended(office)
    found = await explain(office, row.run_id)
    assert (found.state, found.blocking) == ("completed", None)
    assert found.summary == f"Run {row.run_id} completed after 1 s."


async def test_a_run_that_was_skipped_for_a_singleton_names_the_other() -> None:
    office = await open_office(singleton={"mode": "skip"})
    [first] = await sent(office, 1)
    await sent(office, 1)
    assert await reason(office) == ("skipped", "singleton", f"was skipped: run {first} held the singleton.")


async def test_a_run_that_made_way_names_the_newer_one() -> None:
    office = await open_office(singleton={"mode": "cancel"})
    await sent(office, 1)
    [second] = await sent(office, 1)
    says = f"was cancelled: the newer run {second} has its singleton."
    assert await reason(office) == ("cancelled", "singleton", says)


async def test_a_run_that_was_skipped_for_a_pause_says_so() -> None:
    office = await open_office()
    office.engine.tell(FunctionPaused("shop-f", cancels=False))
    await sent(office, 1)
    assert await reason(office) == ("skipped", "paused", "was skipped: shop-f was paused.")


@pytest.mark.parametrize("which", ["start", "finish"])
async def test_a_timeout_that_ended_a_run_is_named(which: str) -> None:
    office = await open_office(timeouts={which: "5m"}, concurrency=1)
    await sent(office, 2)
    await office.advance(5 * MINUTE_MS)
    state, gate_id, says = await reason(office)
    assert (state, gate_id) == ("cancelled", "timeouts")
    assert f"{which} timeout" in says
    assert "5m" in says


async def test_a_failed_run_names_its_error() -> None:
    office = await open_office()
    await sent(office, 1)
    await office.answer(office.call_of("shop-f"), make_failure(retriable=False))
    assert await reason(office) == ("failed", "backoff", "failed: Error: boom.")


async def test_a_run_that_was_cancelled_says_by_what() -> None:
    office = await open_office(cancel=[{"event": "shop/off"}])
    [first, _] = await sent(office, 2)
    office.engine.tell(CancelRequested(first, "api"))
    await office.settle()
    assert await reason(office) == ("cancelled", "cancelled", "was cancelled by a request to the API.")
    await office.advance(1)
    event_id = await office.send("shop/off")
    assert await reason(office) == ("cancelled", "cancelled", f"was cancelled by event {event_id}.")


# The rules are the engine's.


@pytest.mark.parametrize(
    ("options", "rule", "changed", "gate_id"),
    [
        ({"concurrency": 1}, concurrency.is_full, lambda limit, held: False, "concurrency:step"),
        (
            {"throttle": {"limit": 1, "period": "1h"}},
            throttle.opens_at_ms,
            lambda rate, tat_ns, now_ms, granted: now_ms,
            "throttle",
        ),
    ],
    ids=["concurrency", "throttle"],
)
async def test_changing_a_rule_changes_the_explanation(
    monkeypatch: pytest.MonkeyPatch, options: Any, rule: Any, changed: Callable[..., Any], gate_id: str
) -> None:
    office = await open_office(**options)
    ids = await sent(office, 2)
    assert (await blocking(office, ids[1])).id == gate_id

    # The code of the very function, so that whoever calls it, under whatever name, gets the new rule.
    monkeypatch.setattr(rule, "__code__", changed.__code__)

    assert (await blocking(office, ids[1])).id == "request"
