"""What an answer does to a run: planning, parallel steps, retries, late answers, checkpoints, losses."""

from typing import Any

import pytest

from inngest_server.runs.facts import Answered, Checkpointed, Returned
from inngest_server.runs.records import JournalKind, WaitKind
from inngest_server.runs.run import Limits
from inngest_server.wire import json
from tests.builders import HOUR_MS, RUN_ID, SECOND_MS, T0_MS, make_wait
from tests.unit.runs.builders import (
    Life,
    make_error,
    make_failure,
    make_op,
    make_reported,
    planned,
    ran,
)

# Request versions.


@pytest.mark.parametrize(
    ("answered", "kept"),
    [(None, 0), (0, 0), (1, 1), (2, 2)],
)
def test_the_sdk_chooses_the_request_version_with_its_first_steps(answered: int | None, kept: int) -> None:
    life = Life()
    life.report(ran("a"), version=answered)
    assert life.content.version == kept


@pytest.mark.parametrize("undecided", [None, 0])
def test_version_zero_counts_as_undecided(undecided: int | None) -> None:
    life = Life()
    life.report(ran("a"), version=undecided)
    life.report(ran("b"), version=2)
    assert life.content.version == 2


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1), (2, None), (1, 0)])
def test_a_chosen_request_version_stays(first: int, second: int | None) -> None:
    life = Life()
    life.report(ran("a"), version=first)
    life.report(ran("b"), version=second)
    assert life.content.version == first


def test_an_empty_answer_chooses_the_version_too() -> None:
    life = Life()
    life.report(version=1)
    assert life.content.version == 1


# Planning only.


@pytest.mark.parametrize(
    ("ops", "is_parallel"),
    [
        (planned("a"), False),
        (planned("a", "b"), True),
        ([make_op("Sleep", "a", name="1s"), *planned("b")], True),
        ([ran("a"), ran("b"), *planned("c")], False),
        ([ran("a"), make_op("StepFailed", "b", error=make_error())], False),
        ([make_op("Step", "a"), make_op("None"), *planned("b")], False),
        ([ran("a"), *planned("b", "c")], True),
    ],
    ids=repr,
)
@pytest.mark.parametrize("version", [1, 2])
def test_more_than_one_step_without_a_result_makes_the_app_plan_only(
    ops: list[Any], is_parallel: bool, version: int
) -> None:
    life = Life()
    life.report(*ops, version=version)
    assert life.content.plan_only is is_parallel


def test_in_version_1_the_app_plans_for_the_rest_of_the_run() -> None:
    life = Life()
    life.report(*planned("a", "b"), version=1)
    life.report_step(ran("a"))
    life.report_step(ran("b"))
    assert life.content.plan_only


def test_in_version_2_the_app_plans_until_the_group_is_done() -> None:
    life = Life()
    life.report(*planned("a", "b"))

    life.report_step(ran("a"))
    assert life.content.plan_only
    life.report_step(ran("b"))

    assert not life.content.plan_only


# Parallel steps.


def test_a_targeted_item_is_sent_for_each_planned_step() -> None:
    life = Life()
    life.report(*planned("a", "b", "c"))
    assert life.targets == ["a", "b", "c"]
    assert not life.discoveries
    assert {(item.attempt, item.stack_index, item.generation) for item in life.sent} == {(0, 0, 1)}


def test_in_version_1_every_finished_branch_is_followed_by_a_discovery() -> None:
    life = Life()
    life.report(*planned("a", "b"), version=1)

    life.report_step(ran("b"))
    assert [item.stack_index for item in life.discoveries] == [1]
    life.report_step(ran("a"))

    assert [item.stack_index for item in life.discoveries] == [1, 2]
    assert life.stack == ["b", "a"]


def test_in_version_2_discovery_follows_once_when_all_branches_are_done() -> None:
    life = Life()
    life.report(
        *planned("a", "b"),
        make_op("Sleep", "s", name="1h"),
        make_op("WaitForEvent", "w", opts={"event": "e", "timeout": "2h"}),
    )

    life.report_step(ran("b"))
    life.report_step(make_op("StepFailed", "a", error=make_error()))
    life.expire("s")
    assert not life.discoveries
    life.expire("w")

    assert life.stack == ["b", "a", "s", "w"]
    assert [item.stack_index for item in life.discoveries] == [4]
    assert len(life.dispatches) == 1 + 2 + 1


def test_a_result_in_the_answer_that_opens_a_group_does_not_start_a_discovery_of_its_own() -> None:
    life = Life()
    life.report(ran("x"), *planned("a", "b"))
    assert not life.discoveries
    assert life.content.pending == {"a", "b"}


def test_the_branch_that_ends_a_race_is_followed_by_a_discovery_at_once() -> None:
    life = Life()
    life.report(*planned("a", "b", mode="race"))

    life.report_step(ran("b"))

    assert [item.stack_index for item in life.discoveries] == [1]
    assert life.targets == ["a"]
    assert not life.content.plan_only


def test_a_race_that_only_the_result_tells_of_is_a_race_too() -> None:
    life = Life()
    life.report(*planned("a", "b"))
    life.report_step(ran("b", opts={"parallelMode": "race"}))
    assert len(life.discoveries) == 1


@pytest.mark.parametrize("mode", [None, "wait"])
def test_wait_is_the_mode_without_a_word(mode: str | None) -> None:
    life = Life()
    life.report(*planned("a", "b", mode=mode))
    life.report_step(ran("b"))
    assert not life.discoveries


def test_what_follows_a_race_does_not_wait_for_its_losers() -> None:
    life = Life()
    never = make_op("WaitForEvent", "loser", opts={"event": "e", "timeout": "300d", "parallelMode": "race"})
    life.report(*planned("winner", mode="race"), never)
    life.report_step(ran("winner"))

    life.report(ran("next"))  # Plan-only ended with the race, so the app ran it at once.

    assert [item.stack_index for item in life.discoveries] == [2]


def test_a_group_after_a_race_does_not_wait_for_the_losers() -> None:
    life = Life()
    never = make_op("WaitForEvent", "loser", opts={"event": "e", "timeout": "300d", "parallelMode": "race"})
    life.report(*planned("winner", mode="race"), never)
    life.report_step(ran("winner"))

    life.report(never, *planned("x", "y"))  # SDKs report steps again that are still open.
    life.report_step(ran("x"))
    assert not life.discoveries
    life.report_step(ran("y"))

    assert [item.stack_index for item in life.discoveries] == [3]


def test_a_group_of_a_race_and_another_step_goes_on_when_both_could() -> None:
    life = Life()  # gather(race(a, b), c)
    life.report(*planned("a", "b", mode="race"), *planned("c"))
    life.report_step(ran("a"))
    life.report(item=life.discoveries[0])  # The app has nothing to do before c is done.

    life.report_step(ran("c"))

    assert len(life.discoveries) == 1


def test_a_result_beside_steps_that_are_open_already_is_followed_by_a_discovery() -> None:
    life = Life()
    losers = planned("l1", "l2", mode="race")
    life.report(*planned("winner", mode="race"), *losers)
    life.report_step(ran("winner"))

    life.report(ran("next"), *losers, item=life.discoveries[0])

    assert len(life.discoveries) == 1


def test_the_group_is_kept_when_its_answer_begins_with_a_result_known_before() -> None:
    life = Life()
    life.report(*planned("a", "z"))
    old = life.replace_dispatch(life.of_step("a"))
    life.report(ran("a"), item=old)  # Late: `a` stays pending until its present request is answered.

    life.report(ran("a"), *planned("b", "c"), item=life.of_step("a"))

    assert life.content.pending == {"z", "b", "c"}


# The stack.


def test_the_stack_is_the_order_in_which_steps_were_completed() -> None:
    life = Life()
    life.report(*planned("a", "b", "c"), version=1)
    for step_id in ("c", "a", "b"):
        life.report_step(ran(step_id))
    assert life.stack == ["c", "a", "b"]
    assert [item.stack_index for item in life.discoveries] == [1, 2, 3]


def test_the_first_request_stands_at_position_zero() -> None:
    assert Life().sent[0].stack_index == 0


# Answers with nothing in them.


@pytest.mark.parametrize("ops", [[], [make_op("None")], [make_op("None"), make_op("None")]], ids=repr)
def test_an_empty_answer_is_asked_once_more_when_nothing_else_is_under_way(ops: list[Any]) -> None:
    life = Life()
    life.report(*ops)
    assert [(item.kind, item.attempt) for item in life.sent] == [("recheck", 0)]


def test_a_second_empty_answer_counts_as_a_failed_try() -> None:
    life = Life(max_attempts=2)
    life.report()

    life.report()
    assert [item.attempt for item in life.queued] == [1]
    life.send_due()
    life.report()

    assert (life.status, life.output["name"]) == ("Failed", "no_progress")


def test_an_empty_answer_ends_its_item_while_others_are_under_way() -> None:
    life = Life()
    life.report(*planned("a", "b"), version=1)
    life.report_step(ran("a"))

    life.report(item=life.discoveries[0])

    assert life.targets == ["b"]
    assert not life.discoveries


@pytest.mark.parametrize("ops", [[], [make_op("None")], planned("a"), planned("x")], ids=repr)
def test_a_targeted_request_without_its_result_counts_as_a_failed_try(ops: list[Any]) -> None:
    life = Life(max_attempts=2)
    life.report(*planned("a", "b"))

    life.report(*ops, item=life.of_step("a"))
    assert life.of_step("a").attempt == 1
    life.send_due()
    life.report(*ops, item=life.of_step("a"))

    assert (life.status, life.output["name"]) == ("Failed", "no_progress")


def test_a_planned_step_without_an_item_is_sent_when_it_is_planned_again() -> None:
    life = Life()
    life.report(*planned("a", "b"))
    life.report(make_op("DiscoveryRequest", "d"), item=life.of_step("a"))
    assert life.targets == ["b"]

    life.report(*planned("a", "a", "b"), item=life.discoveries[0])

    assert sorted(life.targets) == ["a", "b"]


def test_an_open_cancel_on_is_no_reason_to_wait() -> None:
    life = Life(waits=(make_wait("cancel0", kind=WaitKind.CANCEL),))
    life.report()
    assert len(life.sent) == 1


def test_progress_after_an_empty_answer_goes_on_as_usual() -> None:
    life = Life()
    life.report()
    life.report(ran("a"))
    assert [item.kind for item in life.sent] == ["discovery"]


# Steps that fail.


def test_a_step_error_repeats_its_own_request() -> None:
    life = Life()
    life.report(*planned("a", "b"))
    item = life.of_step("a")
    life.pass_time()

    life.report_step(make_op("StepError", "a", error=make_error()))

    again = life.of_step("a")
    assert (again.item_id, again.attempt, again.kind) == (item.item_id, 1, "step")
    assert again.due_at_ms == T0_MS + SECOND_MS + 15 * SECOND_MS
    assert "a" not in life.memos


def test_the_last_try_of_a_step_error_becomes_a_memo_that_the_function_can_catch() -> None:
    life = Life(max_attempts=2)
    for _ in range(2):
        life.report(make_op("StepError", "a", error=make_error("boom", code="E1")))
        if life.queued:
            life.send_due()

    assert life.memos == {"a": {"error": {"name": "Error", "message": "boom", "code": "E1"}}}
    assert [(item.kind, item.attempt) for item in life.sent] == [("discovery", 0)]


def test_a_step_error_with_no_retry_is_final_at_once() -> None:
    life = Life()
    life.report(make_op("StepError", "a", error=make_error()), no_retry=True)
    assert "error" in life.memos["a"]


def test_a_failed_step_is_final_whatever_tries_are_left() -> None:
    life = Life()
    life.report(make_op("StepFailed", "a", error=make_error()))
    assert "error" in life.memos["a"]


def test_a_step_error_takes_its_time_from_retry_after() -> None:
    life = Life()
    life.report(make_op("StepError", "a", error=make_error()), retry_after_ms=HOUR_MS)
    assert life.queued[0].due_at_ms == T0_MS + HOUR_MS


def test_results_beside_a_step_error_are_kept() -> None:
    life = Life()
    life.report(ran("a", 1), make_op("StepError", "b", error=make_error()))
    assert life.stack == ["a"]
    assert [item.attempt for item in life.queued] == [1]


def test_the_next_step_begins_with_all_its_tries() -> None:
    life = Life(max_attempts=2)
    life.report(make_op("StepError", "a", error=make_error()))
    life.send_due()
    life.report(ran("a"))
    assert [item.attempt for item in life.sent] == [0]


# Functions that fail.


def test_a_failing_function_is_tried_again_until_its_tries_are_used_up() -> None:
    life = Life(max_attempts=3)
    delays: list[int] = []
    while not life.has_ended:
        before_ms = life.now_ms
        life.answer(make_failure())
        if life.queued:
            life.send_due()
            delays.append(life.now_ms - before_ms)

    assert delays == [15 * SECOND_MS, 30 * SECOND_MS]
    assert [(item.attempt, item.generation) for item in life.dispatches] == [(0, 1), (1, 2), (2, 3)]
    assert len({item.item_id for item in life.dispatches}) == 1
    assert (life.status, life.output) == ("Failed", make_error())


def test_a_failure_that_is_not_to_be_retried_fails_the_run_at_once() -> None:
    life = Life()
    life.answer(make_failure(retriable=False))
    assert life.status == "Failed"


def test_a_failure_of_a_targeted_request_that_is_final_fails_the_run() -> None:
    life = Life(max_attempts=1)
    life.report(*planned("a", "b"))

    life.answer(make_failure(), life.of_step("a"))

    assert life.status == "Failed"
    assert not life.run.items


def test_every_failed_try_is_in_the_journal_with_its_error_and_the_next_moment() -> None:
    life = Life(max_attempts=2)
    life.answer(make_failure())
    life.send_due()
    life.answer(make_failure())

    metas = [json.parse(entry.meta) for entry in life.entries(JournalKind.TRIED)]
    assert [(meta["attempt"], meta.get("next"), meta["code"]) for meta in metas] == [
        (0, T0_MS + 15 * SECOND_MS, "function_error"),
        (1, None, "function_error"),
    ]
    assert [entry.payload for entry in life.entries(JournalKind.TRIED)] == [json.dumps(make_error())] * 2


# Targeted requests whose result is already there.


def test_a_targeted_retry_is_not_sent_when_its_result_came_by_an_older_dispatch() -> None:
    life = Life()
    life.report(*planned("a", "b"))
    life.report_step(ran("b"))
    old = life.replace_dispatch(life.of_step("a"))
    life.report(ran("a", "late"), item=old)
    life.answer(make_failure(), life.of_step("a"))
    sent = len(life.dispatches)

    life.send_due()

    assert [item.kind for item in life.sent] == ["discovery"]
    assert len(life.dispatches) == sent + 1
    assert not life.content.pending


def test_a_lost_targeted_item_is_not_sent_again_when_its_result_is_known() -> None:
    life = Life()
    life.report(*planned("a"))
    old = life.replace_dispatch(life.of_step("a"))
    life.report(ran("a", "late"), item=old)

    life.lose(life.of_step("a"))

    assert [item.kind for item in life.sent] == ["discovery"]


# Late answers: of a dispatch that was replaced.


def test_of_a_late_answer_the_results_are_kept_and_nothing_else_happens() -> None:
    life = Life()
    old = life.replace_dispatch()

    decision = life.report(
        ran("a", 1),
        make_op("Step", "b", data=2),
        make_op("StepFailed", "c", error=make_error()),
        make_op("StepError", "d", error=make_error()),
        *planned("e"),
        make_op("Sleep", "f", name="1s"),
        make_op("RunComplete", data=1),
        item=old,
    )

    assert life.stack == ["a", "b", "c"]
    assert [item.generation for item in life.sent] == [2]
    assert not decision.items
    assert not decision.waits
    assert life.content.version == -1
    assert life.status == "Running"


@pytest.mark.parametrize(
    "answer", [Returned(b"1"), make_failure(), make_failure(retriable=False), make_reported()], ids=repr
)
def test_a_late_answer_without_results_is_dropped(answer: Any) -> None:
    life = Life()
    old = life.replace_dispatch()
    entries = len(life.journal)

    life.answer(answer, old)

    assert len(life.journal) == entries
    assert [item.generation for item in life.sent] == [2]


def test_the_first_recorded_result_wins_over_the_current_one() -> None:
    life = Life()
    old = life.replace_dispatch()
    life.report(ran("a", "late"), item=old)

    life.report(ran("a", "current"))

    assert life.memos == {"a": {"data": "late"}}
    assert [item.kind for item in life.sent] == ["discovery"]


def test_a_late_result_does_not_complete_a_group_before_its_request_is_answered() -> None:
    life = Life()
    life.report(*planned("a", "b"))
    old = life.replace_dispatch(life.of_step("a"))
    life.report(ran("a", "late"), item=old)

    life.report_step(ran("b"))
    assert not life.discoveries
    life.report_step(ran("a", "current"))

    assert len(life.discoveries) == 1
    assert life.memos["a"] == {"data": "late"}


def test_an_answer_to_an_item_that_waits_for_its_retry_is_late() -> None:
    life = Life()
    (item,) = life.sent
    life.answer(make_failure(), item)

    life.take(Answered(RUN_ID, item.item_id, item.generation, Returned(b"1")))

    assert life.status == "Running"


def test_a_late_result_that_is_too_large_is_left_to_the_current_dispatch() -> None:
    life = Life(limits=Limits(output_bytes_max=20))
    old = life.replace_dispatch()
    life.report(ran("a", "x" * 100), item=old)
    assert life.status == "Running"
    assert not life.memos


# Checkpoints.


def test_a_checkpoint_records_results_without_another_request() -> None:
    life = Life()

    decision = life.checkpoint(ran("a", 1), make_op("Step", "b", data={"data": 2}))

    assert life.memos == {"a": {"data": 1}, "b": {"data": 2}}
    assert decision.refused is None
    assert len(life.dispatches) == 1


def test_a_checkpoint_may_be_repeated() -> None:
    life = Life()
    life.checkpoint(ran("a", 1))
    decision = life.checkpoint(ran("a", 1))
    assert decision.refused is None
    assert len(life.entries(JournalKind.MEMO)) == 1


def test_a_planned_step_in_a_checkpoint_is_a_mark_and_no_request() -> None:
    life = Life()
    life.checkpoint(*planned("a"))
    assert len(life.sent) == 1
    assert not life.content.opened


@pytest.mark.parametrize(
    "op",
    [
        make_op("StepFailed", "b", error=make_error()),
        make_op("StepError", "b", error=make_error()),
        make_op("Sleep", "b", name="1s"),
        make_op("WaitForEvent", "b", name="e"),
        make_op("WaitForSignal", "b", name="s"),
        make_op("InvokeFunction", "b", opts={"function_id": "f"}),
        make_op("RunComplete", data=1),
        make_op("DiscoveryRequest"),
        make_op("None"),
    ],
    ids=lambda op: op.code,
)
def test_other_opcodes_in_a_checkpoint_are_refused_as_a_whole(op: Any) -> None:
    life = Life()
    decision = life.checkpoint(ran("a"), op)
    assert decision.refused is not None
    assert decision.refused.status == 400
    assert not life.journal


@pytest.mark.parametrize(
    "limits", [Limits(output_bytes_max=20), Limits(state_bytes_max=20)], ids=["output", "state"]
)
def test_a_checkpoint_that_is_too_large_is_refused_and_its_request_goes_on(limits: Limits) -> None:
    life = Life(limits=limits)
    decision = life.checkpoint(ran("a", "x" * 100))
    assert decision.refused is not None
    assert decision.refused.status == 413
    assert (life.status, life.journal) == ("Running", [])


def test_a_checkpoint_of_a_replaced_dispatch_is_refused_but_its_results_are_kept() -> None:
    life = Life()
    old = life.replace_dispatch()

    decision = life.checkpoint(ran("a"), generation=old.generation)

    assert decision.refused is not None
    assert decision.refused.status == 409
    assert [entry.kind for entry in decision.journal] == ["memo"]
    assert decision.items == []


def test_a_checkpoint_of_a_later_dispatch_than_is_known_is_not_said_to_be_replaced() -> None:
    """Another server has sent it since: this one does not know yet that it was replaced itself."""
    life = Life()
    (item,) = life.sent

    decision = life.checkpoint(ran("a"), generation=item.generation + 1)

    assert decision.refused is not None
    assert decision.refused.status == 503
    assert decision.journal == []


@pytest.mark.parametrize("state", ["gone", "queued"])
def test_a_checkpoint_of_an_item_that_is_not_under_way_is_refused(state: str) -> None:
    life = Life()
    (item,) = life.sent
    if state == "gone":
        life.report(ran("z"))
    else:
        life.answer(make_failure())
    decision = life.take(Checkpointed(RUN_ID, item.item_id, item.generation, (ran("a"),)))
    assert decision.refused is not None
    assert decision.refused.status == 409


def test_a_checkpoint_without_a_generation_is_accepted() -> None:
    life = Life()
    decision = life.checkpoint(ran("a"), generation=0)
    assert decision.refused is None
    assert life.stack == ["a"]


def test_a_checkpoint_gives_its_item_all_tries_back() -> None:
    life = Life(max_attempts=3)
    life.answer(make_failure())
    life.send_due()

    life.checkpoint(ran("a"))

    (item,) = life.sent
    assert (item.attempt, item.generation, item.losses) == (0, 2, 0)
    life.answer(make_failure())
    assert [item.attempt for item in life.queued] == [1]


def test_the_answer_after_checkpoints_goes_on_from_them() -> None:
    life = Life()
    life.checkpoint(ran("a", 1))
    life.report(ran("b", 2), make_op("RunComplete", data={"all": 2}))
    assert (life.status, life.stack, life.output) == ("Completed", ["a", "b"], {"all": 2})


# Lost calls.


def test_a_lost_call_is_sent_again_at_once_with_the_next_generation_and_no_attempt_used() -> None:
    life = Life()
    before = life.sent[0]

    life.lose()

    (again,) = life.sent
    assert (again.item_id, again.attempt, again.generation, again.losses) == (before.item_id, 0, 2, 1)
    assert [entry.kind for entry in life.journal] == [JournalKind.SENT_AGAIN]


def test_the_tenth_loss_in_a_row_is_one_failed_try() -> None:
    life = Life(max_attempts=2)
    for _ in range(9):
        life.lose()
    assert life.sent[0].attempt == 0

    life.lose()

    (item,) = life.queued
    assert (item.attempt, item.losses, item.due_at_ms) == (1, 0, T0_MS + 15 * SECOND_MS)


def test_calls_that_are_lost_for_ever_fail_the_run() -> None:
    life = Life(max_attempts=2)
    while not life.has_ended:
        if life.queued:
            life.send_due()
        life.lose()
    assert (life.status, life.output["name"]) == ("Failed", "call_lost")
    assert len(life.dispatches) == 20


def test_losses_with_an_answer_between_them_are_not_in_a_row() -> None:
    life = Life()
    for _ in range(9):
        life.lose()
    life.answer(make_failure())
    life.send_due()
    for _ in range(9):
        life.lose()
    assert life.sent[0].attempt == 1


def test_the_loss_of_an_older_dispatch_changes_nothing() -> None:
    life = Life()
    old = life.replace_dispatch()
    decision = life.lose(old)
    assert not decision.items
    assert not decision.journal


# Hard limits.


def test_a_run_may_have_as_many_steps_as_the_limit_but_no_request_after_them() -> None:
    life = Life(limits=Limits(steps_max=3))
    life.report(ran("a"))
    life.report(ran("b"))
    assert life.status == "Running"

    life.report(ran("c"))

    assert life.status == "Failed"
    assert life.output == {
        "error": "InngestErrFunctionOverflowed: The function run exceeded the step limit of 3 steps.",
        "name": "InngestErrFunctionOverflowed",
        "message": "The function run exceeded the step limit of 3 steps.",
    }
    assert not life.run.items


@pytest.mark.parametrize(("count", "status"), [(5, "Running"), (6, "Failed")])
def test_an_answer_may_have_as_many_opcodes_as_the_limit(count: int, status: str) -> None:
    life = Life(limits=Limits(ops_per_response_max=5))
    life.report(*planned(*(f"s-{n}" for n in range(count))))
    assert life.status == status
    if status == "Failed":
        assert life.output["name"] == "InngestErrFunctionOverflowed"


@pytest.mark.parametrize(("size", "status"), [(11, "Running"), (12, "Failed")])
def test_a_step_output_is_measured_in_its_wrapper(size: int, status: str) -> None:
    life = Life(limits=Limits(output_bytes_max=len(b'{"data":"') + 11 + len(b'"}')))
    life.report(ran("a", "x" * size))
    assert life.status == status
    if status == "Failed":
        assert "step output size is greater than the limit" in life.output["message"]


@pytest.mark.parametrize(("size", "status"), [(9, "Running"), (10, "Failed")])
def test_the_memos_of_a_run_together_are_limited(size: int, status: str) -> None:
    life = Life(limits=Limits(state_bytes_max=40))
    life.report(ran("a", "x" * 9))
    life.report(ran("b", "x" * size))
    assert life.status == status
    if status == "Failed":
        assert life.output["message"] == "The function run exceeded the state size limit of 40 bytes."
        assert life.output["name"] == "InngestErrStateOverflowed"


def test_the_limits_of_the_protocol_are_the_defaults() -> None:
    assert Limits()[:5] == (1000, 1000, 32 * 1024 * 1024, 4 * 1024 * 1024, 4 * 1024 * 1024)
