"""The trace of a fork: what was taken over is there, and no time of this run went to it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from inngest_server.runs.facts import ChildEnded, EventArrived
from inngest_server.runs.fork import ForkError, Wish
from inngest_server.runs.placement import invoke_event_id
from inngest_server.traces.payloads import input_of, output_of
from inngest_server.traces.span import (
    EventWaitInfo,
    InvokeInfo,
    Phase,
    Reuse,
    Span,
    SpanKind,
    SpanStatus,
)
from inngest_server.traces.text import timeline
from tests.builders import RUN_ID, SECOND_MS, T0_MS
from tests.unit.runs.builders import Life, make_error, make_op, ran
from tests.unit.runs.test_fork import FORKED_MS, PARENT_ID, Fork, past, some_life, three_steps, waiting
from tests.unit.runs.test_properties import live_on
from tests.unit.traces.test_trace_properties import Witness, check_shape, check_steps, check_truth, read


def spans_of(life: Life) -> dict[str, Span]:
    return {span.step_id: span for span in read(life).children}


def test_kept_and_edited_results_are_marked_and_took_no_time() -> None:
    wish = Wish(replace={"charge it": {"error": {"message": "declined"}}}, again=["mail it"])
    life = Fork(three_steps(), wish)
    life.pass_time()
    life.report(ran("mail", 3, displayName="mail it"))

    spans = spans_of(life)
    load, charge, mail = spans["load"], spans["charge"], spans["mail"]
    assert [span.reuse for span in (load, charge, mail)] == [Reuse.KEPT, Reuse.EDITED, None]
    assert [span.status.value for span in (load, charge, mail)] == ["COMPLETED", "FAILED", "COMPLETED"]
    assert (load.queued_ms, load.duration_ms, load.segments) == (FORKED_MS, 0, ())
    assert mail.duration_ms == SECOND_MS
    assert output_of(life.journal[(load.output_n or 0) - 1]).data == b'{"of":"load"}'


def test_the_text_of_a_trace_says_what_was_taken_over() -> None:
    life = Fork(three_steps(), Wish(again=["mail it"], replace={"charge it": {"data": 1}}))
    life.pass_time()
    life.report(ran("mail", 3, displayName="mail it"))
    life.complete()
    assert timeline(read(life)).splitlines() == [
        "Run                          COMPLETED    0.000s    1.000s  request",
        "  load it                    COMPLETED    0.000s    0.000s  kept",
        "  charge it                  COMPLETED    0.000s    0.000s  edited",
        "  mail it                    COMPLETED    0.000s    1.000s  request",
        "  Function body              COMPLETED    1.000s    0.000s",
    ]


def test_arguments_of_kept_steps_are_shown() -> None:
    parent = Life()
    parent.report(ran("load", 1, opts={"input": [{"id": 7}]}))
    life = Fork(parent, Wish())
    span = spans_of(life)["load"]
    assert span.input_n == 1
    assert input_of(life.journal[0]) == b'[{"id":7}]'


def test_a_kept_wait_tells_what_it_was_for_and_which_run_waited() -> None:
    parent = waiting()
    parent.take(EventArrived(RUN_ID, f"{RUN_ID}.paid", "internal-2", b'{"name":"shop/paid"}'))
    parent.take(ChildEnded(RUN_ID, f"{RUN_ID}.child", b'{"data":1}', "child-run"))
    parent.expire("nap")
    spans = spans_of(Fork(parent, Wish()))

    paid, child, nap = spans["paid"], spans["child"], spans["nap"]
    assert [span.kind for span in (paid, child, nap)] == [
        SpanKind.WAIT_FOR_EVENT,
        SpanKind.INVOKE,
        SpanKind.SLEEP,
    ]
    assert isinstance(paid.info, EventWaitInfo)
    assert (paid.info.event, paid.info.matched_event_id, paid.info.timed_out) == (
        "shop/paid",
        "internal-2",
        False,
    )
    assert isinstance(child.info, InvokeInfo)
    correlation_id = f"{PARENT_ID}.child"
    assert child.info.correlation_id == correlation_id
    assert child.info.event_id == invoke_event_id(correlation_id, T0_MS)
    assert (child.info.function, child.info.run_id) == ("shop-child", "child-run")
    assert all(span.duration_ms == 0 and span.until_ms is None for span in (paid, child, nap))


def test_a_step_with_an_edited_input_is_executed_and_shows_its_input() -> None:
    life = Fork(three_steps(), Wish(before="charge it", arguments=[{"sum": 5}]))
    life.pass_time()
    span = spans_of(life)["charge"]
    assert (span.status, span.reuse, span.name) == (SpanStatus.RUNNING, None, "charge it")
    assert input_of(life.journal[(span.input_n or 0) - 1]) == b'[{"sum":5}]'

    life.report_step(make_op("StepFailed", "charge", error=make_error(), displayName="charge it"))
    span = spans_of(life)["charge"]
    assert (span.status, span.duration_ms) == (SpanStatus.FAILED, SECOND_MS)
    assert span.time_in(Phase.REQUEST) == SECOND_MS


@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_every_moment_of_every_fork_has_a_true_trace(data: st.DataObject) -> None:
    parent = some_life(data)
    labels = st.sampled_from(past(parent).labels or ["none"])
    wish = Wish(
        again=data.draw(st.lists(labels, max_size=2, unique=True), "again"),
        before=data.draw(st.one_of(st.none(), labels), "before"),
    )
    if wish.before is not None and data.draw(st.booleans(), "has input"):
        wish = wish._replace(arguments=[1])
    try:
        fork = Fork(parent, wish, max_attempts=2)
    except ForkError:
        fork = Fork(parent, Wish(), max_attempts=2)
    witness = Witness(fork)
    witness.look()

    for _ in range(data.draw(st.integers(1, 12), "further facts")):
        fork.pass_time(data.draw(st.sampled_from([0, 7, 900]), "time"))
        live_on(fork, data)
        witness.pass_to(fork.now_ms)
        witness.look()
        root = read(fork)
        check_shape(root, fork.now_ms)
        check_truth(root, witness)
        check_steps(root, fork)
        kept = [span for span in root.children if span.reuse is not None]
        assert all(span.duration_ms == 0 for span in kept)
        if fork.has_ended:
            break
