"""The rows of cases.md, for one of the SDKs."""

from typing import TypeVar
from unittest.mock import ANY

from tests.interop.harness import (
    PYTHON,
    TYPESCRIPT_V3,
    Case,
    Outcome,
    Sdk,
    apart,
    begins_after_slept,
    has_large_state,
    resend,
    runs_a_child,
    sends_to_receivers,
    signal,
    starts_failure_handler,
)

T = TypeVar("T")

SHAPES = [None, {}, {"data": 1}, {"error": "no"}, [1, "two", None, 2.5], 'Grüße 世界 \u2028 \\ "', 0, ""]
FIVE_STEPS = [f"add-{number}@0" for number in range(1, 6)]
TIMED_OUT = {
    "name": "InngestInvokeTimeoutError",
    "message": "Timed out waiting for invoked function to complete",
}


def cases(sdk: Sdk) -> list[Case]:
    """All rows that one event starts and one run ends; the others are tests of their own."""
    is_v3 = sdk is TYPESCRIPT_V3
    is_python = sdk.folder == PYTHON.folder

    def either(by_answer: T, by_checkpoint: T) -> T:
        return by_checkpoint if sdk.checkpoints else by_answer

    error = sdk.error_name
    # Version 3 loses the names of its own errors.
    non_retriable = error if is_v3 else "NonRetriableError"
    unknown = f"could not find function with ID: {sdk.app_id}-no-such-function"
    shared = [
        Case(name="noop"),
        Case(
            name="sequential", data={"start": 10}, output={"total": 25}, steps=FIVE_STEPS, calls=either(6, 1)
        ),
        Case(
            name="sequential",
            variant="without-data",
            output={"total": 15},
            steps=FIVE_STEPS,
            calls=either(6, 1),
        ),
        Case(
            name="many-steps",
            data={"n": 50},
            output={"steps": 50},
            steps=[f"step-{number}@0" for number in range(50)],
            calls=either(51, 1),
        ),
        Case(name="repeated-ids", output=[0, 1, 2], steps=["again@0"] * 3, calls=either(4, 1)),
        Case(
            name="shapes",
            output=SHAPES,
            steps=[f"shape-{number}@0" for number in range(8)],
            calls=either(9, 1),
        ),
        Case(
            name="parallel",
            output={"parts": [1, 2, 3], "joined": 6},
            steps=["a@0", "b@0", "c@0", "join@0"],
            any_order=True,
            calls=range(7, 10) if is_v3 else either(6, 5),
            check=joins_last,
        ),
        Case(
            name="parallel-mixed",
            output={"ran": "ran", "slept": None, "waited": None, "invoked": {"doubled": 8}},
            steps=["run@0"],
            calls=range(4, 8) if is_v3 else 3,
            check=runs_a_child,
        ),
        Case(
            name="large-outputs",
            output={"length": 4_608_000},
            steps=[*[f"part-{number}@0" for number in range(5)], "last@0"],
            calls=either(8, 2),
            check=has_large_state,
        ),
        Case(
            name="sleep",
            output={"slept": True},
            steps=["before@0", "after@0"],
            calls=either(4, 2),
            check=apart("before@0", "after@0", 1.0),
        ),
        Case(
            name="sleep-until",
            output={"until_ms": ANY},
            steps=["after@0"],
            calls=either(3, 2),
            check=begins_after_slept,
        ),
        Case(
            name="wait",
            data={"id": "w1"},
            output={"matched": True, "by": "ann"},
            calls=2,
            then=resend("interop/approval", {"id": "w1", "by": "ann"}),
        ),
        Case(name="wait-timeout", output={"matched": False}, calls=2),
        Case(
            name="send-event", output={"ids": ANY, "count": 2}, calls=either(2, 1), check=sends_to_receivers
        ),
        Case(name="filtered", data={"pass": True}, output="passed"),
        Case(
            name="cancellable",
            data={"id": "c1"},
            status="Cancelled",
            steps=["begin@0"],
            calls=either(2, 1),
            then=resend("interop/cancel", {"id": "c1"}, after_calls=either(2, 1)),
        ),
        Case(name="child", data={"n": 4}, output={"doubled": 8}, steps=["double@0"], calls=either(2, 1)),
        Case(name="child-fails", status="Failed", output="the child failed", error_name=error),
        Case(name="child-slow", output="late", calls=2),
        Case(name="invoke", data={"n": 21}, output={"child": {"doubled": 42}}, calls=2),
        Case(name="invoke-fails", output={"name": error, "message": "the child failed"}, calls=2),
        Case(name="invoke-unknown", output={"name": "Error", "message": unknown}, calls=2),
        Case(name="invoke-timeout", output=TIMED_OUT, calls=2),
        Case(
            name="step-retry",
            output={"attempt": 2, "after": 0},
            steps=["before@0", "flaky@0", "flaky@1", "flaky@2", "after@0"],
            calls=either(6, 4),
        ),
        Case(
            name="step-fails",
            output={"caught": {"name": error, "message": "never works"}, "after": "went on"},
            steps=["doomed@0", "doomed@1", "after@0"],
            calls=either(4, 3),
        ),
        Case(
            name="step-fails-uncaught",
            status="Failed",
            output="never works",
            error_name=error,
            steps=["doomed@0", "doomed@1"],
            calls=3,
        ),
        Case(
            name="parallel-one-fails",
            output={"caught": {"name": error, "message": "never works"}, "fine": "ok"},
            steps=["doomed@0", "doomed@1", "fine@0"],
            any_order=True,
            calls=range(5, 8) if is_v3 else 5,
        ),
        Case(
            name="non-retriable",
            status="Failed",
            output="give up",
            error_name=non_retriable,
            steps=["body@0"],
        ),
        Case(
            name="step-non-retriable",
            status="Failed",
            output="give up",
            error_name=non_retriable,
            steps=["doomed@0"],
            calls=1 if sdk is PYTHON else 2,
        ),
        Case(
            name="retry-after",
            output={"attempt": 1},
            steps=["body@0", "body@1"],
            calls=2,
            check=apart("body@0", "body@1", 2.0),
        ),
        Case(
            name="step-retry-after",
            output={"attempt": 1},
            steps=["later@0", "later@1"],
            calls=3,
            check=apart("later@0", "later@1", 2.0),
        ),
        Case(
            name="function-retry",
            output={"attempt": 2},
            steps=["once@0", "body@0", "body@1", "body@2"],
            calls=either(4, 3),
        ),
        Case(
            name="function-fails",
            status="Failed",
            output="the function failed",
            error_name=error,
            steps=["body@0", "body@1"],
            calls=2,
            check=starts_failure_handler,
        ),
    ]
    shared += gateway_cases()
    if is_python:
        return shared + python_cases(either(6, 1))
    return shared + typescript_cases() + (version_3_cases() if is_v3 else version_4_cases())


def gateway_cases() -> list[Case]:
    return [
        Case(name="ai-infer", output={"model": "m-1", "content": "echo: hello"}, calls=2),
        Case(
            name="ai-infer-parallel",
            output=["echo: one", "echo: two", "ran"],
            steps=["run@0"],
            calls=range(3, 7),
        ),
        Case(
            name="ai-infer-fails",
            output={
                "name": "AIGatewayError",
                "message": "Error making AI request: unsuccessful status code: 429",
            },
            calls=2,
        ),
    ]


def python_cases(sequential_calls: int) -> list[Case]:
    return [
        Case(name="sequential-sync", output={"total": 15}, steps=FIVE_STEPS, calls=sequential_calls),
        Case(name="parallel-race", output=[1, 2], steps=["a@0", "b@0"], any_order=True, calls=5),
    ]


def version_3_cases() -> list[Case]:
    return [
        Case(name="sequential-checkpointed", output={"total": 15}, steps=FIVE_STEPS),
        Case(
            name="parallel-optimized",
            output={"parts": [1, 2, 3], "joined": 6},
            steps=["a@0", "b@0", "c@0", "join@0"],
            any_order=True,
            calls=6,
            check=joins_last,
        ),
    ]


def version_4_cases() -> list[Case]:
    return [Case(name="sequential-no-checkpoint", output={"total": 15}, steps=FIVE_STEPS, calls=6)]


def typescript_cases() -> list[Case]:
    return [
        Case(name="sequential-buffered", output={"total": 15}, steps=FIVE_STEPS),
        Case(name="sequential-max-runtime", output={"total": 15}, steps=FIVE_STEPS, calls=range(2, 6)),
        Case(
            name="fetch",
            output={
                "posted": {
                    "status": 200,
                    "made": "yes",
                    "seen": {"body": "text", "query": {"q": "1"}, "mine": "1", "key": None},
                },
                "missing": 404,
                "deleted": {"status": 204, "text": ""},
                "unreachable": {
                    "name": "GatewayError",
                    "message": "Error making gateway request: connection refused by http://127.0.0.1:9/",
                },
            },
            calls=5,
        ),
        Case(
            name="parallel-race",
            output={"winner": "fast", "after": "went on"},
            steps=["fast@0", "slow@0", "after@0"],
            any_order=True,
            calls=range(4, 8),
            check=does_not_wait_for_slow,
        ),
        Case(
            name="wait-match",
            data={"id": "m1"},
            output={"matched": True, "by": "bob"},
            calls=2,
            then=resend("interop/approval", {"id": "m1", "by": "bob"}),
        ),
        Case(
            name="wait-signal",
            data={"signal": "s1"},
            output={"matched": True, "name": "s1", "data": {"ok": [1, None]}},
            calls=2,
            then=signal("s1", {"ok": [1, None]}),
        ),
        Case(name="wait-signal-timeout", output={"matched": False}, calls=2),
    ]


def joins_last(outcome: Outcome) -> None:
    """The join saw all three branches."""
    assert outcome.steps[-1]["step"] == "join"


def does_not_wait_for_slow(outcome: Outcome) -> None:
    """The step after the race began before the slower branch, which takes 1.5 s, ended."""
    assert outcome.at_ms("after@0") < outcome.at_ms("slow@0") + 1500
