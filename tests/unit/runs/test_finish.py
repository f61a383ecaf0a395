"""The end of a run: once, with nothing left behind, told to whoever has to know."""

from typing import Any

import pytest

from inngest_server.runs.decision import Publish, TellParent
from inngest_server.runs.facts import CancelRequested, Checkpointed, EventArrived
from inngest_server.runs.records import JournalKind, WaitKind
from inngest_server.wire import json
from tests.builders import DAY_MS, RUN_ID, SECOND_MS, T0_MS, make_wait
from tests.unit.runs.builders import EVENT_BODY, Life, make_error, make_failure, make_op, planned, ran

PARENT = "01PARENT000000000000000000.step"
FINISHED = "inngest/function.finished"
FAILED = "inngest/function.failed"
CANCELLED = "inngest/function.cancelled"


def end(life: Life, status: str) -> None:
    match status:
        case "Completed":
            life.complete(b'{"ok":1}')
        case "Failed":
            life.answer(make_failure(retriable=False))
        case _:
            life.take(CancelRequested(RUN_ID, "api"))


@pytest.mark.parametrize(
    ("status", "output"),
    [("Completed", b'{"ok":1}'), ("Failed", json.dumps(make_error())), ("Cancelled", None)],
)
def test_the_row_says_how_and_when_the_run_ended(status: str, output: bytes | None) -> None:
    life = Life()
    life.pass_time()

    end(life, status)

    row = life.run.row
    assert (row.status, row.output) == (status, output)
    assert (row.started_at_ms, row.ended_at_ms) == (T0_MS, T0_MS + SECOND_MS)
    assert [json.parse(entry.meta)["status"] for entry in life.entries(JournalKind.ENDED)] == [status]


def test_the_reason_of_a_cancellation_is_in_the_journal() -> None:
    life = Life()
    life.take(CancelRequested(RUN_ID, "timeout"))
    meta = json.parse(life.journal[-1].meta)
    assert (meta["status"], meta["reason"]) == ("Cancelled", "timeout")


@pytest.mark.parametrize("status", ["Completed", "Failed", "Cancelled"])
def test_nothing_live_stays_behind(status: str) -> None:
    life = Life(waits=(make_wait("cancel0", kind=WaitKind.CANCEL),))
    life.report(
        *planned("a", "b"),
        make_op("Sleep", "s", name="1h"),
        make_op("WaitForEvent", "w", opts={"event": "e", "timeout": "1h"}),
        version=1,
    )
    life.report_step(ran("a"))

    if status == "Cancelled":
        life.take(CancelRequested(RUN_ID, "api"))
    elif status == "Completed":
        life.report(make_op("RunComplete", data=1), item=life.discoveries[0])
    else:
        life.answer(make_failure(retriable=False), life.discoveries[0])

    assert life.status == status
    assert not life.run.items
    assert not life.run.waits


def test_what_the_ending_answer_opened_is_not_started() -> None:
    life = Life()
    decision = life.report(
        *planned("a"),
        make_op("InvokeFunction", "i", opts={"function_id": "f"}),
        make_op("Sleep", "s", opts={"duration": "400d"}),
    )
    assert life.status == "Failed"
    assert not decision.items
    assert not decision.waits
    assert not life.children


@pytest.mark.parametrize(
    ("status", "names"),
    [("Completed", [FINISHED]), ("Failed", [FINISHED, FAILED]), ("Cancelled", [FINISHED, CANCELLED])],
)
def test_every_end_publishes_its_system_events(status: str, names: list[str]) -> None:
    life = Life()
    end(life, status)
    assert life.published == names
    for message in life.messages:
        assert isinstance(message, Publish)
        assert message.run == life.run.row
        assert message.trigger_body == EVENT_BODY


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("Completed", None),
        ("Failed", make_error()),
        (
            "Cancelled",
            {"name": "Error", "message": "Function cancelled"},
        ),
    ],
)
def test_system_events_carry_the_error_of_a_run_that_did_not_complete(status: str, error: Any) -> None:
    life = Life()
    end(life, status)
    for message in life.messages:
        assert isinstance(message, Publish)
        assert (None if message.error is None else json.parse(message.error)) == error


@pytest.mark.parametrize("trigger", [FINISHED, FAILED])
@pytest.mark.parametrize("status", ["Completed", "Failed", "Cancelled"])
def test_a_run_that_the_end_of_a_run_started_publishes_nothing(trigger: str, status: str) -> None:
    life = Life(event_name=trigger)
    end(life, status)
    assert life.has_ended
    assert not life.messages


@pytest.mark.parametrize("trigger", ["inngest/scheduled.timer", "inngest/function.invoked", CANCELLED])
def test_other_system_events_do_not_silence_a_run(trigger: str) -> None:
    life = Life(event_name=trigger)
    end(life, "Completed")
    assert life.published == [FINISHED]


@pytest.mark.parametrize(
    ("status", "memo"),
    [
        ("Completed", b'{"data":{"ok":1}}'),
        ("Failed", b'{"error":{"name":"Error","message":"boom"}}'),
        (
            "Cancelled",
            b'{"error":{"name":"Error","message":"Function cancelled"}}',
        ),
    ],
)
def test_an_invoked_run_tells_its_parent_the_memo(status: str, memo: bytes) -> None:
    life = Life(parent=PARENT)
    end(life, status)
    assert life.messages[0] == TellParent(PARENT, memo)
    assert len(life.told_parent) == 1


def test_a_parent_is_told_even_where_nothing_is_published() -> None:
    life = Life(parent=PARENT, event_name=FAILED)
    end(life, "Failed")
    assert [type(message) for message in life.messages] == [TellParent]


@pytest.mark.parametrize("status", ["Completed", "Failed", "Cancelled"])
def test_a_run_that_nobody_invoked_tells_no_parent(status: str) -> None:
    life = Life()
    end(life, status)
    assert not life.told_parent


def test_an_event_that_cancels_ends_the_run_with_its_id_as_reason() -> None:
    life = Life(waits=(make_wait("cancel0", kind=WaitKind.CANCEL, fires_at_ms=T0_MS + DAY_MS),))
    wait = life.wait_of("cancel0")

    life.take(EventArrived(RUN_ID, wait.wait_id, "internal-9", b"{}"))

    assert life.status == "Cancelled"
    assert json.parse(life.journal[-1].meta)["reason"] == "event internal-9"


def test_the_end_of_a_cancel_on_leaves_the_run_as_it_is() -> None:
    life = Life(waits=(make_wait("cancel0", kind=WaitKind.CANCEL),))
    life.expire("cancel0")
    assert life.status == "Running"
    assert not life.run.waits
    assert not life.journal


def test_an_event_after_the_lifetime_of_a_cancel_on_does_not_cancel() -> None:
    life = Life(waits=(make_wait("cancel0", kind=WaitKind.CANCEL),))
    wait_id = life.wait_of("cancel0").wait_id
    life.expire("cancel0")
    life.take(EventArrived(RUN_ID, wait_id, "internal-9", b"{}"))
    assert life.status == "Running"


def test_a_run_is_cancelled_while_it_only_sleeps() -> None:
    life = Life()
    life.report(make_op("Sleep", "s", name="1h"))
    life.take(CancelRequested(RUN_ID, "api"))
    assert life.status == "Cancelled"


def test_a_checkpoint_never_ends_a_run() -> None:
    life = Life()
    (item,) = life.sent
    decision = life.take(
        Checkpointed(RUN_ID, item.item_id, item.generation, (make_op("RunComplete", data=1),))
    )
    assert not decision.ended
