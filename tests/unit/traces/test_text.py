"""Traces as text."""

from inngest_server.runs.facts import CancelRequested
from inngest_server.traces.text import COLUMNS_MAX, timeline
from inngest_server.traces.trace import trace_of
from tests.builders import RUN_ID
from tests.unit.runs.builders import Life, make_error, make_op, ran


def text_of(life: Life) -> str:
    return timeline(trace_of(life.run.row, life.journal, life.run.items.values(), now_ms=life.now_ms))


def test_a_run_reads_from_top_to_bottom() -> None:
    life = Life()
    life.pass_time(120)
    life.report(make_op("StepError", "pay", displayName="pay", error=make_error()))
    life.send_due()
    life.pass_time(80)
    life.report(ran("pay", 1, displayName="pay"))
    life.pass_time(20)
    life.report(make_op("Sleep", "nap", displayName="rest", opts={"duration": "2h"}))
    life.pass_time(1000)

    assert text_of(life).splitlines() == [
        "Run                          RUNNING      0.000s   16.220s  "
        "until 7215.220s, request 0.220s, backoff 15.000s,~",
        "  pay                        COMPLETED    0.000s   15.200s  "
        "2 tries, request 0.200s, backoff 15.000s",
        "    Attempt 0                FAILED       0.000s    0.120s  step_error, request",
        "    Attempt 1                COMPLETED    0.120s   15.080s  backoff 15.000s, request 0.080s",
        "  rest                       WAITING     15.220s    1.000s  sleep, until 7215.220s, waiting",
    ]


def test_names_of_users_cannot_break_a_line() -> None:
    life = Life()
    life.report(ran("a", 1, displayName="one\ntwo\x1b[31m" + "x" * 300))
    lines = text_of(life).splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() and len(line) <= COLUMNS_MAX for line in lines)


def test_a_cancelled_run_says_why() -> None:
    life = Life()
    life.take(CancelRequested(RUN_ID, "timeout: finish\n1m"))
    assert text_of(life).splitlines()[0].endswith("0.000s  timeout: finish?1m")
