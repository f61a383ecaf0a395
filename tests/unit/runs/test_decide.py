"""Facts that are about time rather than answers, and facts that come too late."""

import pytest

from inngest_server.runs.decide import decide, started
from inngest_server.runs.facts import (
    Answered,
    AppReached,
    CancelRequested,
    ChildEnded,
    EventArrived,
    Fact,
    ItemDue,
    ItemLost,
    Returned,
    SignalArrived,
    WaitExpired,
)
from inngest_server.runs.records import ItemState, RunStatus
from inngest_server.runs.run import Content, Limits, Moment, Run
from tests.builders import RUN_ID, SECOND_MS, T0_MS, make_item, make_run_row, make_wait
from tests.unit.runs.builders import EVENT_BODY, Life, make_failure, make_op

MOMENT = Moment(T0_MS, 0.0, "shop-fulfil", 5, None, Limits())


def make_run() -> Run:
    return Run(make_run_row(), Content(EVENT_BODY))


@pytest.mark.parametrize(
    "fact",
    [
        ItemDue(RUN_ID, "gone"),
        AppReached(RUN_ID, "gone"),
        ItemLost(RUN_ID, "gone", 1),
        Answered(RUN_ID, "gone", 1, Returned(b"1")),
        WaitExpired(RUN_ID, "gone"),
        EventArrived(RUN_ID, "gone", "internal-2", b"{}"),
        SignalArrived(RUN_ID, "gone", "go", b"1"),
        ChildEnded(RUN_ID, "gone", b'{"data":1}'),
    ],
    ids=lambda fact: type(fact).__name__,
)
def test_a_fact_about_what_is_gone_changes_nothing(fact: Fact) -> None:
    decision = decide(make_run(), fact, MOMENT)
    assert not decision.journal
    assert not decision.items
    assert not decision.gone_items
    assert not decision.gone_waits
    assert not decision.messages
    assert not decision.ended


def test_a_wait_does_not_end_before_its_moment() -> None:
    run = make_run()
    wait = make_wait(fires_at_ms=T0_MS + 1)
    run.waits[wait.wait_id] = wait
    decision = decide(run, WaitExpired(RUN_ID, wait.wait_id), MOMENT)
    assert not decision.gone_waits
    assert not decision.journal


@pytest.mark.parametrize(
    ("state", "due_at_ms", "is_sent"),
    [
        (ItemState.QUEUED, T0_MS, True),
        (ItemState.QUEUED, T0_MS + 1, False),
        (ItemState.PARKED, T0_MS, True),
        (ItemState.SENT, T0_MS, False),
    ],
)
def test_only_an_item_whose_moment_came_is_due(state: ItemState, due_at_ms: int, is_sent: bool) -> None:
    run = make_run()
    item = make_item(state=state, due_at_ms=due_at_ms)
    run.items[item.item_id] = item
    decision = decide(run, ItemDue(RUN_ID, item.item_id), MOMENT)
    assert decision.items == ([item] if is_sent else [])


@pytest.mark.parametrize(
    ("state", "due_at_ms"),
    [
        (ItemState.QUEUED, T0_MS + 1),
        (ItemState.QUEUED, T0_MS - 1),
        (ItemState.PARKED, T0_MS),
        (ItemState.SENT, T0_MS),
    ],
)
def test_an_app_that_answers_again_ends_the_back_off_of_queued_items_alone(
    state: ItemState, due_at_ms: int
) -> None:
    run = make_run()
    item = make_item(state=state, due_at_ms=due_at_ms, attempt=1)
    run.items[item.item_id] = item
    decision = decide(run, AppReached(RUN_ID, item.item_id), MOMENT)
    queued = [item._replace(due_at_ms=min(due_at_ms, T0_MS))]
    assert decision.items == (queued if state == ItemState.QUEUED else [])


def test_a_run_starts_when_its_first_request_is_sent_and_only_then() -> None:
    row = started(make_run_row(), T0_MS + SECOND_MS)
    assert (row.status, row.started_at_ms) == (RunStatus.RUNNING, T0_MS + SECOND_MS)
    life = Life()
    life.answer(make_failure())
    life.send_due()
    assert life.run.row.started_at_ms == T0_MS


def test_sending_an_item_counts_its_generation_and_says_when() -> None:
    life = Life()
    life.answer(make_failure())
    life.send_due()
    (item,) = life.sent
    assert (item.state, item.generation, item.sent_at_ms) == (ItemState.SENT, 2, T0_MS + 15 * SECOND_MS)


def test_deciding_twice_gives_the_same_decision_and_changes_nothing() -> None:
    life = Life()
    life.report(make_op("Sleep", "s", name="1s"))
    wait_id = life.wait_of("s").wait_id
    moment = MOMENT._replace(now_ms=T0_MS + SECOND_MS)

    first = decide(life.run, WaitExpired(RUN_ID, wait_id), moment)
    second = decide(life.run, WaitExpired(RUN_ID, wait_id), moment)

    assert (first.journal, first.items, first.gone_waits) == (
        second.journal,
        second.items,
        second.gone_waits,
    )
    assert life.stack == []
    assert list(life.run.waits) == [wait_id]


@pytest.mark.parametrize("status", list(RunStatus))
def test_a_status_says_whether_the_run_has_ended(status: RunStatus) -> None:
    assert status.has_ended is (status not in ("Scheduled", "Running"))


def test_a_cancel_before_the_first_request_leaves_the_start_open() -> None:
    run = make_run()
    decision = decide(run, CancelRequested(RUN_ID, "api"), MOMENT)
    assert decision.row is not None
    assert (decision.row.status, decision.row.started_at_ms) == ("Cancelled", None)
