"""Whether code follows the history of a run: which requests to send, and what their answers mean. Pure.

The requests are those which the run led to, with memos growing in completion order, except that they ask for
planning only (protocol 4.6): steps come back planned and are answered from the history, so none is executed.
After a group of parallel steps the server asks again when all of them are done, or one of a race (protocol
4.6, server side); at other moments code would be seen in states that it never was in.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from inngest_server.runs.facts import Answer, CallFailed, Op, Reported, Returned
from inngest_server.runs.opcodes.registry import RESULTS
from inngest_server.traces.exported import ExportedRun, ExportedStep
from inngest_server.wire import json

FOLLOWS, DIFFERS, UNASKED = "follows", "differs", "not asked"
UNANSWERED = frozenset({"not_sdk", "http_status", "signature_rejected", "stream_failed", "invalid_response"})
"""Codes of answers that say nothing of the function's code."""
_RUN_BY_APP = frozenset({"", "Step", "StepRun", "StepFailed", "StepError", "StepPlanned"})
_EXECUTED = frozenset({"Step", "StepRun", "StepFailed", "StepError"})
_KINDS = {
    "Sleep": "a sleep",
    "WaitForEvent": "a wait for an event",
    "WaitForSignal": "a wait for a signal",
    "InvokeFunction": "an invocation",
    "AIGateway": "an AI request",
    "Gateway": "a fetch",
}
_ASPECTS = {"event": "event", "if": "condition", "signal": "signal", "function": "function"}


@dataclass(slots=True)
class Difference:
    """Where code leaves the path of a history."""

    code: str
    """`other_step`, `new_step`, `changed_step`, `step_again`, `raised`, `returned`, `executed`."""
    position: int
    """Number of results that the code had been given."""
    message: str
    expected: str = ""
    """Name of the step that the run went on with."""
    found: list[str] = field(default_factory=list[str])
    """Names of the steps that the code asks for."""


@dataclass(slots=True)
class Verdict:
    """What came of following one history."""

    run_id: str
    function: str
    outcome: str
    """`follows`, `differs` or `not asked`: the app could not be asked, which says nothing."""
    difference: Difference | None = None
    notes: list[str] = field(default_factory=list[str])
    """Changes that break no run."""
    requests: int = 0
    detail: str = ""
    """Why it could not be asked."""

    def to_json(self) -> dict[str, Any]:
        difference = self.difference
        shown = None if difference is None else {key: getattr(difference, key) for key in _FIELDS}
        return {
            "run_id": self.run_id,
            "function": self.function,
            "outcome": self.outcome,
            "difference": shown,
            "notes": self.notes,
            "requests": self.requests,
            "detail": self.detail,
        }


_FIELDS = ("code", "position", "message", "expected", "found")


class _Left(Exception):
    """The code left the path."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(difference.message)
        self.difference = difference


class _UnaskedError(Exception):
    """An answer says nothing of the code."""


def follow(run: ExportedRun, *, compares_output: bool = False) -> Generator[int, Answer, Verdict]:
    """Yields how many of the steps' results the next request carries; takes the answer to it."""
    verdict = Verdict(run.run_id, run.function, FOLLOWS)
    if run.status == "Skipped":
        verdict.notes.append("the run was skipped: its function was never called")
        return verdict
    path = _Path(run, verdict, compares_output)
    try:
        for position in range(len(run.steps) + 1):
            if path.asks_at(position):
                verdict.requests += 1
                path.take(position, (yield position))
            if position < len(run.steps):
                path.check_next(position)
        path.check_open()
    except _Left as left:
        verdict.outcome, verdict.difference = DIFFERS, left.difference
    except _UnaskedError as error:
        verdict.outcome, verdict.detail = UNASKED, str(error)
    return verdict


class _Path:
    """How far a history was followed."""

    def __init__(self, run: ExportedRun, verdict: Verdict, compares_output: bool) -> None:
        self._run = run
        self._verdict = verdict
        self._compares_output = compares_output
        self._steps = {step.id: step for step in (*run.steps, *run.open)}
        self._place = {step.id: number for number, step in enumerate(run.steps)}
        own = (number for number, step in enumerate(run.steps) if not step.is_taken_over)
        self._taken_over = next(own, len(run.steps))
        """Results that the first request had already."""
        self._asked: dict[str, None] = {}
        """Ids of all steps that the code has asked for."""
        self._last: list[str] = []
        """Names of those in the last answer."""
        self._pending: set[str] = set()
        """Of the last parallel group, those without a result so far."""
        self._races: set[str] = set()
        self._version: int | None = None
        self._has_returned = False

    def asks_at(self, position: int) -> bool:
        """Whether the server sends a request when so many steps are done."""
        if position <= self._taken_over:
            return position == self._taken_over
        done = self._run.steps[position - 1].id
        was_pending = done in self._pending
        self._pending.discard(done)
        if self._version != 2 or not was_pending:
            return True
        return not self._pending or done in self._races

    def take(self, position: int, answer: Answer) -> None:
        """
        Raises:
            _Left, _UnaskedError
        """
        match answer:
            case Reported():
                self._take_ops(position, answer)
            case Returned():
                self._take_end(position, answer.output)
            case CallFailed():
                self._take_failure(position, answer)
            case _:
                raise AssertionError("requests of the server itself are not replayed")

    def check_next(self, position: int) -> None:
        """The step whose result comes next has been asked for.

        Raises:
            _Left
        """
        step = self._run.steps[position]
        if step.id in self._asked or step.is_taken_over:
            return
        if self._has_returned:
            self._leave("returned", position, f"the run went on with {_named(step)}; the code returns", step)
        instead = f"asks for {_listed(self._last)}" if self._last else "asks for nothing"
        self._leave("other_step", position, f"the run went on with {_named(step)}; the code {instead}", step)

    def check_open(self) -> None:
        """Whatever the run still waits for has been asked for, or its result would find nobody.

        Raises:
            _Left
        """
        if self._run.status in ("Completed", "Failed"):
            return
        for step in self._run.open:
            if step.id not in self._asked:
                now = "returns" if self._has_returned else f"asks for {_listed(self._last) or 'nothing'}"
                message = f"the run waits for {_named(step)}; the code {now}"
                code = "returned" if self._has_returned else "other_step"
                self._leave(code, len(self._run.steps), message, step)

    def _take_ops(self, position: int, answer: Reported) -> None:
        if self._version is None:
            self._version = answer.version
        found = [op for op in answer.ops if op.code not in ("None", "DiscoveryRequest")]
        for op in found:
            if op.code == "RunComplete":
                self._take_end(position, op.data)
                return
        self._has_returned, self._last = False, [op.display_name for op in found]
        for op in found:
            self._take_op(position, op)
        opened = [op.step_id for op in found if op.code not in RESULTS]
        if len(opened) > 1:
            done = {step.id for step in self._run.steps[:position]}
            self._pending = {one for one in opened if one not in done}
            self._races |= {op.step_id for op in found if op.opts.get("parallelMode") == "race"}
        if not found and position == len(self._run.steps) and self._run.status == "Completed":
            self._leave(
                "other_step", position, "the run ended; the code asks for nothing and does not return"
            )

    def _take_op(self, position: int, op: Op) -> None:
        if op.code in _EXECUTED:
            self._leave(
                "executed",
                position,
                f"the app executed step {op.display_name!r} though it was asked for planning only; "
                "nothing more is asked of it",
            )
        step = self._steps.get(op.step_id)
        if step is None:
            self._take_new(position, op)
            return
        if self._place.get(op.step_id, position) < position:
            self._leave(
                "step_again",
                position,
                f"the code asks again for {_named(step)}, whose result it was given",
            )
        if op.step_id not in self._asked:
            self._compare(position, step, op)
        self._asked[op.step_id] = None

    def _take_new(self, position: int, op: Op) -> None:
        """A step that the history does not have: a difference, unless the history stops here."""
        run, name = self._run, f"{op.display_name!r}"
        if position < len(run.steps):
            step = run.steps[position]
            if step.id in self._asked:
                self._leave(
                    "new_step",
                    position,
                    f"the code asks for {name} beside {_named(step)}; the run did not",
                    step,
                )
            return  # What the run went on with is looked for once the whole answer is known.
        if run.status == "Completed":
            self._leave("new_step", position, f"the run ended here; the code goes on with {name}")
        self._verdict.notes.append(f"goes on with {name}, where the history ends")

    def _compare(self, position: int, step: ExportedStep, op: Op) -> None:
        then, now = _kind_of(step.op), _kind_of(op.code)
        if then != now:
            self._leave(
                "changed_step",
                position,
                f"{step.name!r} was {then} in the run, and is {now} in the code",
                step,
            )
        about = _about(op)
        for key, aspect in _ASPECTS.items() if step.about else ():  # Old journals do not say.
            was, is_now = step.about.get(key, ""), about.get(key, "")
            if was != is_now:
                self._leave(
                    "changed_step",
                    position,
                    f"{aspect} of {step.name!r} was {was!r} in the run, and is {is_now!r} in the code",
                    step,
                )
        if op.display_name != step.name.partition("#")[0] and op.display_name != step.name:
            self._verdict.notes.append(f"step {step.name!r} is called {op.display_name!r} now")

    def _take_end(self, position: int, output: bytes) -> None:
        run = self._run
        self._has_returned, self._last = True, []
        if position < len(run.steps):
            return  # Results of parallel steps may still come, which the code does not wait for.
        if run.status == "Failed":
            self._verdict.notes.append("returns, where the run failed")
        if run.status == "Completed" and _normal(json.dumps_kept(run.output)) != _normal(output):
            if self._compares_output:
                self._leave("other_output", position, "the code returns something else than the run did")
            self._verdict.notes.append("returns something else than the run did")

    def _take_failure(self, position: int, answer: CallFailed) -> None:
        error = cast("dict[str, Any]", json.parse_kept(answer.error))
        said = f"{error.get('name', 'Error')}: {error.get('message', '')}".rstrip(": ")
        if answer.code in UNANSWERED or answer.code != "function_error":
            raise _UnaskedError(
                f"{answer.code}: {error.get('message', '')}\n{error.get('stack', '')}".rstrip()
            )
        run = self._run
        if position < len(run.steps):
            step = run.steps[position]
            self._leave(
                "raised", position, f"the run went on with {_named(step)}; the code raises {said}", step
            )
        if run.status == "Completed":
            self._leave("raised", position, f"the run ended well; the code raises {said}")
        if run.status != "Failed" and run.open:
            self._leave(
                "raised", position, f"the run waits for {_named(run.open[0])}; the code raises {said}"
            )
        output: Any = run.output
        then = cast("dict[str, Any]", output) if isinstance(output, dict) else {}
        if run.status == "Failed" and then.get("name") == error.get("name"):
            return
        self._verdict.notes.append(f"raises {said}")

    def _leave(self, code: str, position: int, message: str, step: ExportedStep | None = None) -> None:
        given = self._run.steps[position - 1].name if position else ""
        where = f"after {given!r}" if given else "at the start"
        raise _Left(
            Difference(
                code,
                position,
                f"{where} ({position} of {len(self._run.steps)} results): {message}",
                step.name if step is not None else "",
                list(self._last),
            )
        )


def _kind_of(op: str) -> str:
    return "a step" if op in _RUN_BY_APP else _KINDS.get(op, op)


def _named(step: ExportedStep) -> str:
    return f"{step.name!r}" if step.op in _RUN_BY_APP else f"{step.name!r} ({_kind_of(step.op)})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def _about(op: Op) -> dict[str, str]:
    """What a wait is about, as histories have it. Source: protocol 4.4."""
    match op.code:
        case "WaitForEvent":
            found = {"event": op.opts.get("event") or op.name, "if": op.opts.get("if")}
        case "WaitForSignal":
            found = {"signal": op.opts.get("signal") or op.name}
        case "InvokeFunction":
            found = {"function": op.opts.get("function_id")}
        case _:
            found = {}
    return {key: str(value) for key, value in found.items() if value}


def _normal(output: bytes) -> bytes:
    return json.canonical(json.parse_kept(output), "exact")
