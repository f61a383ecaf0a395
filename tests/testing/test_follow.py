"""Whether code follows a history: each difference is found where it is, and what breaks no run is none."""

from typing import Any

import pytest

from inngest_server.runs.facts import Answer, CallFailed, Reported, Returned
from inngest_server.runs.opcodes.registry import parse_ops
from inngest_server.testing.follow import DIFFERS, FOLLOWS, UNASKED, Verdict, follow
from inngest_server.traces.exported import ExportedRun, ExportedStep

EVENT = {"name": "order", "data": {}, "id": "e", "ts": 1, "user": {}}


def step(name: str, op: str = "StepRun", memo: Any = None, **about: str) -> ExportedStep:
    return ExportedStep(name, name, op, about, {"data": memo} if op == "StepRun" else memo)


def run(
    *steps: ExportedStep, status: str = "Completed", opened: Any = (), output: Any = "done"
) -> ExportedRun:
    return ExportedRun("01RUN", "shop-order", status, [EVENT], list(steps), list(opened), output)


def asks(*names: str, version: int = 2, **fields: Any) -> Reported:
    ops = parse_ops([{"op": "StepPlanned", "id": name, "displayName": name, **fields} for name in names])
    return Reported(ops, version, no_retry=False, retry_after_ms=None)


def op(code: str, step_id: str, **fields: Any) -> Reported:
    return Reported(
        parse_ops([{"op": code, "id": step_id, **fields}]), 2, no_retry=False, retry_after_ms=None
    )


DONE = Returned(b'"done"')


def raises(name: str = "ValueError", code: str = "function_error") -> CallFailed:
    error = b'{"name":"%b","message":"boom"}' % name.encode()
    return CallFailed(error, code, retriable=True, retry_after_ms=None)


def followed(history: ExportedRun, *answers: Answer, compares: bool = False) -> tuple[Verdict, list[int]]:
    """The verdict, and how many results each request had."""
    path, given = follow(history, compares_output=compares), []
    left = list(answers)
    try:
        given.append(next(path))
        while True:
            given.append(path.send(left.pop(0)))
    except StopIteration as end:
        assert left == [], "fewer requests were sent than expected"
        return end.value, given


def difference(history: ExportedRun, *answers: Answer) -> tuple[str, int, str]:
    verdict, _ = followed(history, *answers)
    assert verdict.outcome == DIFFERS
    assert verdict.difference is not None
    return verdict.difference.code, verdict.difference.position, verdict.difference.message


class TestRequests:
    def test_results_are_given_one_by_one_in_completion_order(self) -> None:
        verdict, given = followed(run(step("a"), step("b")), asks("a"), asks("b"), DONE)
        assert (verdict.outcome, given) == (FOLLOWS, [0, 1, 2])
        assert (verdict.notes, verdict.requests) == ([], 3)

    def test_a_parallel_group_is_asked_again_when_all_of_it_is_done(self) -> None:
        history = run(step("b"), step("a"), step("c"))
        verdict, given = followed(history, asks("a", "b"), asks("c"), DONE)
        assert (verdict.outcome, given) == (FOLLOWS, [0, 2, 3])

    def test_an_app_of_version_1_is_asked_after_each_step(self) -> None:
        history = run(step("b"), step("a"))
        verdict, given = followed(history, asks("a", "b", version=1), asks("a", version=1), DONE)
        assert (verdict.outcome, given) == (FOLLOWS, [0, 1, 2])

    def test_one_of_a_race_is_enough(self) -> None:
        race: dict[str, Any] = {"opts": {"parallelMode": "race"}}
        history = run(step("b"), step("won"), step("a"))
        verdict, given = followed(history, asks("a", "b", **race), asks("a", "won"), DONE)
        assert (verdict.outcome, given) == (FOLLOWS, [0, 1, 3])

    def test_results_that_a_run_began_with_are_given_at_once(self) -> None:
        kept = [step(name)._replace(is_taken_over=True) for name in ("a", "b")]
        verdict, given = followed(run(*kept, step("c")), asks("c"), DONE)
        assert (verdict.outcome, given) == (FOLLOWS, [2, 3])

    def test_a_skipped_run_was_never_called(self) -> None:
        path = follow(run(status="Skipped"))
        with pytest.raises(StopIteration) as end:
            next(path)
        assert end.value.value.outcome == FOLLOWS
        assert "never called" in end.value.value.notes[0]


class TestDifferences:
    def test_another_step(self) -> None:
        code, position, message = difference(run(step("a"), step("b")), asks("a"), asks("x"))
        assert (code, position) == ("other_step", 1)
        assert message == "after 'a' (1 of 2 results): the run went on with 'b'; the code asks for 'x'"

    def test_nothing_where_a_step_was(self) -> None:
        code, position, message = difference(run(step("a")), asks())
        assert (code, position) == ("other_step", 0)
        assert message.startswith("at the start")
        assert message.endswith("asks for nothing")

    def test_a_further_step_beside_those_of_the_run(self) -> None:
        assert difference(run(step("a")), asks("a", "x"))[:2] == ("new_step", 0)

    def test_a_further_step_at_the_end(self) -> None:
        code, position, message = difference(run(step("a")), asks("a"), asks("x"))
        assert (code, position) == ("new_step", 1)
        assert "the run ended here" in message

    def test_an_end_before_the_run_s(self) -> None:
        assert difference(run(step("a"), step("b")), asks("a"), DONE)[:2] == ("returned", 1)

    def test_a_step_that_is_asked_for_again(self) -> None:
        assert difference(run(step("a"), step("b")), asks("a"), asks("a", "b"))[:2] == ("step_again", 1)

    def test_an_error_on_the_way_and_at_the_end(self) -> None:
        code, _, message = difference(run(step("a"), step("b")), asks("a"), raises())
        assert (code, "the code raises ValueError: boom" in message) == ("raised", True)
        assert difference(run(step("a")), asks("a"), raises())[:2] == ("raised", 1)

    @pytest.mark.parametrize("code", ["StepRun", "StepError", "StepFailed", "Step"])
    def test_an_app_that_executes_steps_is_not_asked_any_more(self, code: str) -> None:
        found = op(code, "a", data=1, error={"name": "E", "message": "m"})
        assert difference(run(step("a"), step("b")), found)[0] == "executed"

    @pytest.mark.parametrize(
        ("then", "now"),
        [
            (step("a"), op("Sleep", "a", opts={"duration": "1h"})),
            (step("a", "Sleep"), asks("a")),
            (
                step("a", "WaitForEvent", event="go"),
                op("WaitForEvent", "a", opts={"event": "went", "timeout": "1h"}),
            ),
            (
                step("a", "WaitForEvent", **{"event": "go", "if": "event.data.id == async.data.id"}),
                op("WaitForEvent", "a", name="go", opts={"timeout": "1h", "if": "async.data.ok"}),
            ),
            (
                step("a", "WaitForEvent", event="go"),
                op("WaitForEvent", "a", name="go", opts={"timeout": "1h", "if": "async.data.ok"}),
            ),
            (
                step("a", "InvokeFunction", function="shop-b"),
                op("InvokeFunction", "a", opts={"function_id": "shop-c"}),
            ),
            (step("a", "WaitForSignal", signal="s"), op("WaitForSignal", "a", opts={"signal": "t"})),
        ],
    )
    def test_a_step_that_became_something_else(self, then: ExportedStep, now: Reported) -> None:
        assert difference(run(then), now)[:2] == ("changed_step", 0)

    def test_another_output_counts_only_if_wanted(self) -> None:
        verdict, _ = followed(run(output="else"), DONE)
        assert (verdict.outcome, verdict.notes) == (FOLLOWS, ["returns something else than the run did"])
        verdict, _ = followed(run(output="else"), DONE, compares=True)
        assert verdict.outcome == DIFFERS


class TestSame:
    @pytest.mark.parametrize(
        ("then", "now"),
        [
            (step("a", "StepFailed", memo={"error": {"name": "E", "message": "m"}}), asks("a")),
            (step("a", "Sleep"), op("Sleep", "a", name="2020-01-01T00:00:00.000Z")),
            (
                step("a", "WaitForEvent", event="go"),
                op("WaitForEvent", "a", name="go", opts={"timeout": "9d"}),
            ),
            (
                step("a", "InvokeFunction", function="shop-b"),
                op("InvokeFunction", "a", opts={"function_id": "shop-b", "payload": {"data": {"n": 2}}}),
            ),
            (step("a", "AIGateway"), op("AIGateway", "a", opts={"url": "https://x"})),
            (step("a", "WaitForEvent"), op("WaitForEvent", "a", name="go", opts={"timeout": "9d"})),
        ],
    )
    def test_what_does_not_matter_is_not_compared(self, then: ExportedStep, now: Reported) -> None:
        assert followed(run(then), now, DONE)[0].outcome == FOLLOWS

    def test_another_display_name_is_a_note(self) -> None:
        verdict, _ = followed(run(step("a")), op("StepPlanned", "a", displayName="A"), DONE)
        assert (verdict.outcome, verdict.notes) == (FOLLOWS, ["step 'a' is called 'A' now"])

    def test_the_second_step_of_a_name_has_no_other(self) -> None:
        second = ExportedStep("a1", "a#2", "StepRun", {}, {"data": 1})
        verdict, _ = followed(run(second), op("StepPlanned", "a1", displayName="a"), DONE)
        assert (verdict.outcome, verdict.notes) == (FOLLOWS, [])

    def test_functions_that_complete_by_an_opcode_return(self) -> None:
        end = op("RunComplete", "end", data="done")
        assert followed(run(step("a")), asks("a"), end)[0] == Verdict(
            "01RUN", "shop-order", FOLLOWS, requests=2
        )

    def test_results_nobody_waits_for_may_come_after_the_end(self) -> None:
        """The function returns when one of two parallel steps is done; the other one was asked for."""
        history = run(step("b"), step("a"))
        race: dict[str, Any] = {"opts": {"parallelMode": "race"}}
        assert followed(history, asks("a", "b", **race), DONE, DONE)[0].outcome == FOLLOWS


class TestUnfinished:
    def test_a_run_that_waits_still_asks_for_what_it_waits_for(self) -> None:
        history = run(step("a"), status="Running", opened=[step("nap", "Sleep")])
        assert followed(history, asks("a"), op("Sleep", "nap", name="1h"))[0].outcome == FOLLOWS

    def test_a_run_that_waits_for_what_the_code_has_not_is_lost(self) -> None:
        history = run(step("a"), status="Running", opened=[step("nap", "Sleep")])
        assert difference(history, asks("a"), DONE)[0] == "returned"
        assert difference(history, asks("a"), raises())[0] == "raised"

    def test_a_run_that_waits_for_another_event_than_the_code_is_lost(self) -> None:
        history = run(status="Running", opened=[step("w", "WaitForEvent", event="go")])
        now = op("WaitForEvent", "w", name="went", opts={"timeout": "1h"})
        assert difference(history, now)[0] == "changed_step"

    def test_a_step_under_way_is_where_the_history_ends(self) -> None:
        verdict, _ = followed(run(step("a"), status="Running"), asks("a"), asks("b"))
        assert (verdict.outcome, verdict.notes) == (FOLLOWS, ["goes on with 'b', where the history ends"])

    def test_a_group_of_which_a_part_is_open_is_not_asked_again(self) -> None:
        history = run(step("a"), status="Running", opened=[step("nap", "Sleep")])
        group = parse_ops([{"op": "StepPlanned", "id": "a"}, {"op": "Sleep", "id": "nap", "name": "1h"}])
        verdict, given = followed(history, Reported(group, 2, no_retry=False, retry_after_ms=None))
        assert (verdict.outcome, given) == (FOLLOWS, [0])

    def test_what_a_run_waits_for_must_be_asked_for(self) -> None:
        history = run(step("a"), status="Running", opened=[step("nap", "Sleep")])
        code, _, message = difference(history, asks("a"), asks("b"))
        assert (code, "'nap' (a sleep)" in message) == ("other_step", True)


class TestFailed:
    def test_a_run_may_fail_as_before_or_be_mended(self) -> None:
        failed = run(step("a"), status="Failed", output={"name": "ValueError", "message": "boom"})
        assert followed(failed, asks("a"), raises())[0].notes == []
        assert followed(failed, asks("a"), raises("KeyError"))[0].notes == ["raises KeyError: boom"]
        assert followed(failed, asks("a"), DONE)[0].notes == ["returns, where the run failed"]
        assert followed(failed, asks("a"), asks("more"))[0].outcome == FOLLOWS
        assert difference(failed, asks("b"))[0] == "other_step"


@pytest.mark.parametrize(
    "code", ["not_sdk", "http_status", "unreachable", "signature_rejected", "output_too_large"]
)
def test_an_app_that_could_not_be_asked_is_no_difference(code: str) -> None:
    verdict, _ = followed(run(step("a")), raises(code=code))
    assert verdict.outcome == UNASKED
    assert code in verdict.detail
