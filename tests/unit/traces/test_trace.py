"""Traces of lives that people ask about, each read at the moments that matter."""

import pytest

from inngest_server.runs.decision import StartChild
from inngest_server.runs.facts import (
    Answered,
    CancelRequested,
    ChildEnded,
    EventArrived,
    Exchange,
    Returned,
    SignalArrived,
)
from inngest_server.runs.records import ItemRow, ItemState, JournalKind, JournalRow
from inngest_server.runs.run import Content
from inngest_server.traces.span import (
    RUN_ROW,
    EventWaitInfo,
    InvokeInfo,
    Phase,
    SignalWaitInfo,
    SleepInfo,
    Span,
    SpanKind,
    SpanStatus,
    find_span,
)
from inngest_server.traces.trace import trace_of
from inngest_server.wire import json
from tests.builders import HOUR_MS, RUN_ID, SECOND_MS, T0_MS, make_item, make_journal_entry, make_run_row
from tests.unit.runs.builders import Life, make_error, make_failure, make_op, make_reported, planned, ran


def read(life: Life) -> Span:
    return trace_of(life.run.row, life.journal, life.run.items.values(), now_ms=life.now_ms)


def only(root: Span, name: str) -> Span:
    (found,) = [span for span in root.children if span.name == name]
    return found


def phases(span: Span) -> list[tuple[str, int]]:
    """Segments as names and durations."""
    return [(segment.phase.value, segment.duration_ms) for segment in span.segments]


def names(root: Span) -> list[str]:
    return [span.name for span in root.children]


# The first request.


def test_a_run_that_was_never_sent_shows_that_it_is_queued() -> None:
    item = make_item(f"{RUN_ID}.0")

    root = trace_of(make_run_row(), [], [item], now_ms=T0_MS + 80)

    assert (root.kind, root.status, root.started_ms, root.ended_ms) == (SpanKind.RUN, "QUEUED", None, None)
    assert phases(root) == [("queued", 80)]
    assert root.children == ()


def test_an_event_of_the_future_delays_its_run_until_its_moment() -> None:
    item = make_item(f"{RUN_ID}.0", due_at_ms=T0_MS + HOUR_MS)

    root = trace_of(make_run_row(), [], [item], now_ms=T0_MS + 80)

    assert phases(root) == [("delayed", 80)]
    assert (root.until_ms, root.scheduled_ms) == (T0_MS + HOUR_MS, T0_MS + HOUR_MS)


def test_waiting_for_a_slot_is_told_from_waiting_for_the_server() -> None:
    parked = make_item(f"{RUN_ID}.0", state=ItemState.PARKED, due_at_ms=T0_MS + 3, slots="a")
    assert phases(trace_of(make_run_row(), [], [parked], now_ms=T0_MS + 80))[-1] == ("slots", 77)

    sent = parked._replace(state=ItemState.SENT, sent_at_ms=T0_MS + 80, generation=1)
    root = trace_of(make_run_row(), [], [sent], now_ms=T0_MS + 100)
    assert phases(root)[-2:] == [("slots", 77), ("request", 20)]


def test_a_request_under_way_shows_at_once() -> None:
    life = Life()
    life.pass_time(250)

    body = only(read(life), "Function body")

    assert (body.kind, body.status, phases(body)) == (SpanKind.BODY, "RUNNING", [("request", 250)])


def test_a_function_without_steps_is_its_body() -> None:
    life = Life()
    life.pass_time(40)
    life.complete()

    root = read(life)

    assert (root.status, root.output_n, phases(root)) == ("COMPLETED", RUN_ROW, [("request", 40)])
    body = only(root, "Function body")
    assert (body.status, body.output_n, body.ended_ms) == ("COMPLETED", RUN_ROW, T0_MS + 40)


def test_what_the_driver_measured_divides_the_time_of_a_request() -> None:
    life = Life()
    life.pass_time(100)
    (item,) = life.sent
    exchange = Exchange(200, T0_MS + 30, 60)
    life.take(Answered(RUN_ID, item.item_id, item.generation, Returned(b"1"), exchange))

    body = only(read(life), "Function body")

    assert phases(body) == [("connecting", 30), ("request", 60), ("deciding", 10)]
    assert body.http_status == 200


def test_a_measurement_beyond_the_answers_moment_is_cut_off() -> None:
    """The driver's clock may be ahead of the moment at which the answer was decided."""
    life = Life()
    life.pass_time(10)
    (item,) = life.sent
    exchange = Exchange(200, T0_MS + 20, 999)
    life.take(Answered(RUN_ID, item.item_id, item.generation, Returned(b"1"), exchange))
    assert sum(ms for _, ms in phases(read(life))) == 10


# Tries.


def test_back_off_is_no_request_time_and_names_the_next_try() -> None:
    life = Life()
    life.pass_time(120)
    life.report(make_op("StepError", "pay", displayName="pay", error=make_error()))
    life.pass_time(5000)

    root, pay = read(life), only(read(life), "pay")

    assert (root.status, root.until_ms) == ("RUNNING", T0_MS + 120 + 15 * SECOND_MS)
    assert (pay.status, pay.attempt, pay.until_ms) == ("QUEUED", 1, root.until_ms)
    assert phases(pay) == [("request", 120), ("backoff", 5000)]
    assert [(one.name, one.status, phases(one)) for one in pay.children] == [
        ("Attempt 0", "FAILED", [("request", 120)]),
        ("Attempt 1", "QUEUED", [("backoff", 5000)]),
    ]
    assert pay.children[0].error_code == "step_error"
    assert life.journal[(pay.children[0].output_n or 0) - 1].payload == json.dumps(make_error())


def test_a_step_that_succeeds_at_last_keeps_its_tries() -> None:
    life = Life()
    life.report(make_op("StepError", "pay", error=make_error()))
    life.send_due()
    life.pass_time(30)
    life.report(ran("pay", 1))

    pay = only(read(life), "pay")

    assert (pay.status, pay.attempt, len(pay.children)) == ("COMPLETED", 1, 2)
    assert phases(pay.children[1]) == [("backoff", 15 * SECOND_MS), ("request", 30)]
    assert (pay.children[1].started_ms or 0) - T0_MS == 15 * SECOND_MS
    assert pay.error_code == ""


def test_a_try_that_failed_for_an_unknown_reason_belongs_to_the_step_that_its_repetition_brought() -> None:
    life = Life()
    life.answer(make_failure())
    assert names(read(life)) == ["Function body"]
    life.send_due()
    life.report(ran("a"))

    root = read(life)

    assert [(span.name, span.attempt) for span in root.children if not span.is_open] == [("a", 1)]


def test_a_function_that_fails_for_good_is_a_body_with_its_tries() -> None:
    life = Life(max_attempts=2)
    life.answer(make_failure())
    life.send_due()
    life.answer(make_failure())

    root, body = read(life), only(read(life), "Function body")

    assert (root.status, body.status, body.output_n) == ("FAILED", "FAILED", RUN_ROW)
    assert [one.status for one in body.children] == ["FAILED", "FAILED"]


def test_a_lost_request_is_neither_request_time_nor_a_try() -> None:
    life = Life()
    life.pass_time(70)
    life.lose()
    life.pass_time(5)

    body = only(read(life), "Function body")

    assert (body.attempt, phases(body)) == (0, [("lost", 70), ("request", 5)])


# Steps.


def test_a_planned_step_waits_runs_and_completes() -> None:
    life = Life()
    life.pass_time(10)
    life.report(*planned("a", "b"))
    life.pass_time(25)
    assert [only(read(life), name).status for name in "ab"] == ["RUNNING", "RUNNING"]
    life.report_step(ran("a", {"x": 1}))

    a, b = only(read(life), "a"), only(read(life), "b")

    assert (a.status, a.queued_ms, phases(a)) == ("COMPLETED", T0_MS + 10, [("request", 25)])
    assert b.status is SpanStatus.RUNNING
    # The request that found them is part of the run's time and no row of its own.
    assert phases(read(life)) == [("request", 35)]
    assert names(read(life)) == ["a", "b"]


def test_the_time_of_a_request_that_found_nothing_new_is_accounted_for() -> None:
    life = Life()
    life.report(*planned("a", "b"), version=1)
    life.answer(make_failure(), life.of_step("b"))
    life.report_step(ran("a"))
    life.pass_time(25)
    life.report(*planned("b"), item=life.discoveries[0])
    life.pass_time(10)

    assert phases(read(life)) == [("request", 25), ("backoff", 10)]
    assert names(read(life)) == ["a", "b"]


def test_steps_of_checkpoints_follow_each_other() -> None:
    life = Life()
    life.pass_time(10)
    life.checkpoint(ran("a"))
    life.pass_time(20)
    life.checkpoint(ran("b"))
    life.pass_time(5)
    life.report(ran("c"), make_op("RunComplete", data=1))

    root = read(life)

    spans = [(span.name, span.queued_ms - T0_MS, span.duration_ms) for span in root.children]
    assert spans == [("a", 0, 10), ("b", 10, 20), ("c", 30, 5), ("Function body", 35, 0)]
    assert phases(root) == [("request", 35)]


def test_a_request_goes_on_after_its_checkpoint() -> None:
    life = Life()
    life.pass_time(10)
    life.checkpoint(ran("a"))
    life.pass_time(20)
    body = only(read(life), "Function body")
    assert (body.status, body.queued_ms - T0_MS, phases(body)) == ("RUNNING", 10, [("request", 20)])


def test_a_checkpoint_has_nothing_of_a_failure_at_the_same_moment() -> None:
    life = Life()
    life.checkpoint(ran("a"))
    life.report(make_op("StepError", "b", error=make_error()))
    a, b = (only(read(life), name) for name in ("a", "b"))
    assert (a.status, a.error_code) == ("COMPLETED", "")
    assert (b.status, b.children[0].error_code) == ("QUEUED", "step_error")


def test_a_failed_step_has_its_error() -> None:
    life = Life()
    life.report(make_op("StepFailed", "a", error=make_error()))
    a = only(read(life), "a")
    assert (a.status, a.output_n) == ("FAILED", 1)


def test_a_result_of_a_request_that_was_given_up_began_when_that_was_sent() -> None:
    life = Life()
    life.pass_time(40)
    old = life.replace_dispatch()
    life.pass_time(60)
    life.take(Answered(RUN_ID, old.item_id, old.generation, make_reported(ran("a"))))

    a = only(read(life), "a")

    assert (a.queued_ms, a.status, phases(a)) == (T0_MS, "COMPLETED", [("request", 100)])


def test_such_a_request_went_on_while_the_run_waited_for_its_next_try() -> None:
    life = Life()
    life.pass_time(40)
    old = life.replace_dispatch()
    life.answer(make_failure())
    life.pass_time(60)
    life.take(Answered(RUN_ID, old.item_id, old.generation, make_reported(ran("a"))))
    life.pass_time(5)

    assert phases(read(life)) == [("request", 100), ("backoff", 5)]


def test_what_was_open_when_the_run_was_cancelled_is_cancelled_with_it() -> None:
    life = Life()
    life.report(*planned("a"), make_op("Sleep", "s", opts={"duration": "1h"}), make_op("StepPlanned", "b"))
    life.pass_time(30)
    life.answer(make_failure(), life.of_step("b"))
    life.pass_time(10)
    life.take(CancelRequested(RUN_ID, "api"))

    root = read(life)

    assert root.status is SpanStatus.CANCELLED
    assert {span.name: span.status for span in root.children} == dict.fromkeys("asb", SpanStatus.CANCELLED)
    assert {span.ended_ms for span in root.children} == {T0_MS + 40}
    assert phases(only(root, "a")) == [("request", 40)]
    assert [(one.status, phases(one)) for one in only(root, "b").children] == [
        ("FAILED", [("request", 30)]),
        ("CANCELLED", [("backoff", 10)]),
    ]


def test_a_request_that_was_under_way_when_the_run_was_cancelled_stays_visible() -> None:
    life = Life()
    life.pass_time(30)
    life.take(CancelRequested(RUN_ID, "api"))
    body = only(read(life), "Function body")
    assert (body.status, phases(body)) == ("CANCELLED", [("request", 30)])


# Waits.


def test_a_sleep_says_until_when() -> None:
    life = Life()
    life.report(make_op("Sleep", "nap", opts={"duration": "1h"}))
    life.pass_time(60)
    nap = only(read(life), "nap")
    assert (nap.kind, nap.status, nap.until_ms) == (SpanKind.SLEEP, "WAITING", T0_MS + HOUR_MS)
    assert nap.info == SleepInfo(T0_MS + HOUR_MS)
    assert read(life).until_ms == T0_MS + HOUR_MS

    life.expire("nap")

    nap = only(read(life), "nap")
    assert (nap.status, nap.until_ms, phases(nap)) == ("COMPLETED", None, [("waiting", HOUR_MS)])


@pytest.mark.parametrize("came", [True, False])
def test_a_wait_for_an_event_says_what_ended_it(came: bool) -> None:
    life = Life()
    opts = {"event": "shop/paid", "if": "async.data.a == 1", "timeout": "1h"}
    life.report(make_op("WaitForEvent", "w", opts=opts))
    timeout_ms = T0_MS + HOUR_MS
    waiting = EventWaitInfo("shop/paid", "async.data.a == 1", timeout_ms, None, None)
    assert (only(read(life), "w").status, only(read(life), "w").info) == ("WAITING", waiting)
    if came:
        life.take(EventArrived(RUN_ID, life.wait_of("w").wait_id, "internal-2", b'{"name":"shop/paid"}'))
    else:
        life.expire("w")

    w = only(read(life), "w")

    assert w.status is SpanStatus.COMPLETED
    event_id = "internal-2" if came else None
    assert w.info == waiting._replace(matched_event_id=event_id, timed_out=not came)


def test_a_wait_for_a_signal_says_which() -> None:
    life = Life()
    life.report(make_op("WaitForSignal", "w", opts={"signal": "red", "timeout": "1h"}))
    life.take(SignalArrived(RUN_ID, life.wait_of("w").wait_id, "red", b"1"))
    w = only(read(life), "w")
    assert (w.kind, w.info) == (SpanKind.WAIT_FOR_SIGNAL, SignalWaitInfo("red", T0_MS + HOUR_MS, False))


def test_an_invocation_names_its_event_and_its_run() -> None:
    life = Life()
    life.report(make_op("InvokeFunction", "call", opts={"function_id": "shop-child", "timeout": "1h"}))
    (child,) = life.children
    assert isinstance(child, StartChild)
    info = only(read(life), "call").info
    assert isinstance(info, InvokeInfo)
    assert (info.function, info.correlation_id, info.run_id) == ("shop-child", child.correlation_id, None)

    life.take(ChildEnded(RUN_ID, child.correlation_id, b'{"error":{"name":"E","message":"m"}}', "child-run"))

    call = only(read(life), "call")
    assert (call.kind, call.status) == (SpanKind.INVOKE, "FAILED")
    assert call.info == info._replace(run_id="child-run", timed_out=False)


# Reading.


def test_ids_are_the_same_at_every_read() -> None:
    life = Life()
    life.report(*planned("a", "b"))
    before = only(read(life), "a")
    life.pass_time(9)
    life.report_step(ran("a"))
    root = read(life)
    found = find_span(root, before.span_id)
    assert found is not None
    assert (found.name, found.parent_id) == ("a", root.span_id)
    assert find_span(root, "none") is None


def test_a_row_that_was_read_before_its_answer_opens_nothing() -> None:
    life = Life()
    life.pass_time(5)
    stale = list(life.run.items.values())
    life.pass_time(5)
    life.report(make_op("Sleep", "s", opts={"duration": "1h"}))

    root = trace_of(life.run.row, life.journal, stale, now_ms=life.now_ms)

    assert names(root) == ["s"]


def test_a_run_whose_end_is_in_its_journal_has_ended_though_its_row_is_older() -> None:
    life = Life()
    row = life.run.row
    life.pass_time(5)
    life.complete()
    root = trace_of(row, life.journal, now_ms=life.now_ms + 100)
    assert (root.status, root.ended_ms) == ("COMPLETED", T0_MS + 5)


def test_a_clock_behind_the_journal_moves_nothing_back() -> None:
    life = Life()
    life.pass_time(50)
    life.report(make_op("Sleep", "s", opts={"duration": "1h"}))
    root = trace_of(life.run.row, life.journal, life.run.items.values(), now_ms=T0_MS)
    assert root.end_ms == T0_MS + 50


def old_entry(
    n: int, kind: JournalKind, step_id: str = "", payload: bytes | None = None, **meta: object
) -> JournalRow:
    """An entry with the keys that the first servers wrote."""
    at_ms = T0_MS + 100 * n
    return make_journal_entry(
        n=n, kind=kind, step_id=step_id, at_ms=at_ms, meta=json.dumps(meta), payload=payload
    )


def test_a_journal_of_an_old_server_gives_a_coarser_trace() -> None:
    times = {"attempt": 0, "queued": T0_MS, "sent": T0_MS + 10}
    later = {"attempt": 0, "queued": T0_MS + 300, "sent": T0_MS + 310}
    journal = [
        old_entry(1, JournalKind.TRIED, "", b"{}", **times, code="function_error", next=T0_MS + 200),
        old_entry(2, JournalKind.SENT_AGAIN, "", generation=2),
        old_entry(
            3,
            JournalKind.OPENED,
            "a",
            op="StepPlanned",
            name="a",
            attempt=1,
            queued=T0_MS + 100,
            sent=T0_MS + 200,
        ),
        old_entry(4, JournalKind.MEMO, "a", b'{"data":1}', op="StepRun", name="a", **later),
        old_entry(5, JournalKind.ENDED, status="Completed"),
    ]
    content = Content(b"{}")
    for entry in journal:
        content.fold(entry)  # They are what a run is made of, too.
    row = make_run_row(started_at_ms=T0_MS + 10, ended_at_ms=T0_MS + 500)

    root = trace_of(row, journal, now_ms=T0_MS + HOUR_MS)

    a = only(root, "a")
    assert (a.status, phases(a)) == ("COMPLETED", [("queued", 10), ("request", 90)])
    assert only(root, "Function body").status is SpanStatus.FAILED
    assert phases(root) == [
        ("queued", 10),
        ("request", 90),
        ("queued", 100),
        ("request", 100),
        ("queued", 10),
        ("request", 90),
        ("idle", 100),
    ]


def test_entries_of_a_later_server_are_passed_over() -> None:
    entry = make_journal_entry(kind="rested", meta=b'{"for":"a while"}')
    root = trace_of(make_run_row(), [entry], now_ms=T0_MS + 5)
    assert [segment.phase for segment in root.segments] == [Phase.IDLE]


def test_a_live_row_alone_is_enough_for_its_step() -> None:
    life = Life()
    life.report(*planned("a"))
    item: ItemRow = life.of_step("a")
    root = trace_of(life.run.row, life.journal, [item], now_ms=T0_MS + 12)
    assert phases(only(root, "a")) == [("request", 12)]
