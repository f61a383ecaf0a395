"""Where the input and the output of a span are read."""

import pytest

from inngest_server.runs.facts import SignalArrived
from inngest_server.runs.records import JournalKind
from inngest_server.runs.run import Limits
from inngest_server.runs.turn import INPUT_BYTES_MAX
from inngest_server.traces.payloads import Output, input_of, output_of, output_of_run
from inngest_server.traces.trace import trace_of
from inngest_server.wire import json
from tests.builders import RUN_ID, make_journal_entry, make_run_row
from tests.unit.runs.builders import Life, make_error, make_failure, make_op, ran


def input_of_step(life: Life, step_id: str) -> bytes | None:
    root = trace_of(life.run.row, life.journal, now_ms=life.now_ms)
    (span,) = [span for span in root.children if span.step_id == step_id]
    return None if span.input_n is None else input_of(life.journal[span.input_n - 1])


def output_of_step(life: Life, step_id: str) -> Output:
    root = trace_of(life.run.row, life.journal, now_ms=life.now_ms)
    (span,) = [span for span in root.children if span.step_id == step_id]
    return output_of(life.journal[(span.output_n or 0) - 1])


GIVEN = [{"late": True, "v": 9}, "x", 2**70]


def test_the_arguments_of_a_step_come_with_its_result() -> None:
    life = Life()
    life.report(ran("a", 1, opts={"input": GIVEN}))
    assert input_of_step(life, "a") == json.dumps(GIVEN)
    assert life.content.memos == {"a": b'{"data":1}'}
    assert life.content.version == 2  # No key of theirs was taken for one of ours.


def test_the_arguments_of_a_planned_step_come_with_its_plan_and_are_kept_once() -> None:
    life = Life()
    life.report(make_op("StepPlanned", "a", opts={"input": GIVEN}))
    assert input_of_step(life, "a") == json.dumps(GIVEN)
    life.report_step(ran("a", 1, opts={"input": GIVEN}))
    assert input_of_step(life, "a") == json.dumps(GIVEN)
    assert b"input" not in life.entries(JournalKind.MEMO)[0].meta


@pytest.mark.parametrize("opts", [None, {"input": []}, {"input": "text"}, {"input": ["x" * INPUT_BYTES_MAX]}])
def test_what_are_no_arguments_or_too_many_is_not_kept(opts: object) -> None:
    life = Life()
    life.report(ran("a", 1, opts=opts))
    assert input_of_step(life, "a") is None


def test_of_a_request_that_the_server_makes_no_secret_is_shown() -> None:
    life = Life()
    opts = {"url": "https://ai.example/v1?key=secret", "auth_key": "secret", "format": "openai-chat"}
    opts |= {"headers": {"x-key": "secret"}, "body": {"model": "m"}}
    life.report(make_op("AIGateway", "ask", opts=opts))

    shown = input_of_step(life, "ask")

    assert shown is not None
    assert json.parse(shown)["body"] == {"model": "m"}
    assert b"secret" not in shown


def test_results_and_errors_are_without_their_wrapper() -> None:
    life = Life()
    life.report(ran("a", {"data": 1}))
    life.report(make_op("StepFailed", "b", error=make_error()))
    life.report(make_op("Step", "c", data={"data": 1}))
    assert output_of_step(life, "a") == Output(data=b'{"data":1}')
    assert output_of_step(life, "b") == Output(error=json.dumps(make_error()))
    assert output_of_step(life, "c") == Output(data=b'{"data":1}')


def test_what_waits_brought_is_their_output() -> None:
    life = Life()
    life.report(make_op("Sleep", "s", name="1s"))
    life.expire("s")
    life.report(make_op("WaitForSignal", "w", opts={"signal": "red"}))
    life.take(SignalArrived(RUN_ID, life.wait_of("w").wait_id, "red", b"1"))
    assert output_of_step(life, "s") == Output(data=b"null")
    assert output_of_step(life, "w") == Output(data=b'{"signal":"red","data":1}')


def test_an_event_stands_for_itself() -> None:
    entry = make_journal_entry(meta=b'{"op":"WaitForEvent"}', payload=b'{"error":1,"name":"e"}')
    assert output_of(entry) == Output(data=entry.payload)


def test_a_failed_try_has_its_error() -> None:
    life = Life(limits=Limits())
    life.answer(make_failure())
    assert output_of(life.journal[0]) == Output(error=json.dumps(make_error()))


@pytest.mark.parametrize(
    ("status", "output", "expected"),
    [
        ("Completed", b"1", Output(data=b"1")),
        ("Failed", b"{}", Output(error=b"{}")),
        ("Cancelled", None, Output()),
    ],
)
def test_a_run_has_a_result_or_an_error(status: str, output: bytes | None, expected: Output) -> None:
    assert output_of_run(make_run_row(status=status, output=output)) == expected
