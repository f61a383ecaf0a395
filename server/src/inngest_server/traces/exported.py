"""What a run did, in a form that is kept in files: by what today's code can be checked (`inngest replay`).

An exported history has the events, what each step gave, in completion order, and how the run ended. Secrets
that steps hand to the server, as keys of AI providers, are not in it; events, results and errors are, as they
are stored.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from inngest_server.runs.fork import PastStep, past_of
from inngest_server.runs.records import JournalRow, RunRow, RunStatus
from inngest_server.wire import json

FORMAT = 1
_ABOUT = ("event", "if", "signal", "function")
"""What a wait is about, of the entry that opened it."""


class ExportedStep(NamedTuple):
    """A step of a history."""

    id: str
    """Hashed."""
    name: str
    """For people; a second step of a name is `name#2`."""
    op: str
    """Opcode of its result, or else of what opened it."""
    about: dict[str, str]
    """Of a wait: `event` and `if`, `signal` or `function`."""
    memo: Any = None
    """What requests of the run carry as its result; of no meaning for an open step."""
    is_taken_over: bool = False
    """The run began with it, as forks do, and may never have asked for it."""


class ExportedRun(NamedTuple):
    """The history of a run."""

    run_id: str
    function: str
    """Composite id."""
    status: str
    events: list[Any]
    steps: list[ExportedStep]
    """Those with a result, in completion order."""
    open: list[ExportedStep]
    """Those that were asked for and have none."""
    output: Any = None
    """What the function returned, or the error by which the run failed."""


class BadHistoryError(ValueError):
    """What is given is no exported history."""

    code = "invalid_history"


def exported(
    row: RunRow, journal: Sequence[JournalRow], *, function: str, events: Sequence[bytes]
) -> ExportedRun:
    """The history of a run from its rows, which are whole; `events` are the bodies in order."""
    past = past_of(row.run_id, journal)
    steps = [_step(past.steps[step_id]) for step_id in past.stack if step_id in past.steps]
    # A step that only failed so far was never asked for by itself: its request was the run's.
    opened = [_step(one) for one in past.steps.values() if one.memo is None and one.opcode]
    return ExportedRun(
        row.run_id,
        function,
        row.status,
        [json.parse_kept(body) for body in events],
        steps,
        opened,
        None if row.output is None else json.parse_kept(row.output),
    )


def _step(step: PastStep) -> ExportedStep:
    about = {key: str(step.opened[key]) for key in _ABOUT if step.opened.get(key)}
    memo = None if step.memo is None else json.parse_kept(step.memo)
    is_taken_over = "kept" in step.meta or "edited" in step.meta
    return ExportedStep(step.step_id, step.label, step.opcode, about, memo, is_taken_over)


def to_json(run: ExportedRun) -> dict[str, Any]:
    """The history as a JSON object."""
    return {
        "format": FORMAT,
        "run_id": run.run_id,
        "function": run.function,
        "status": run.status,
        "events": run.events,
        "steps": [_step_to_json(step, with_memo=True) for step in run.steps],
        "open": [_step_to_json(step, with_memo=False) for step in run.open],
        "output": run.output,
    }


def _step_to_json(step: ExportedStep, *, with_memo: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": step.id, "name": step.name, "op": step.op}
    if step.about:
        shown["about"] = step.about
    if step.is_taken_over:
        shown["taken_over"] = True
    return {**shown, "memo": step.memo} if with_memo else shown


def from_json(value: Any) -> ExportedRun:
    """The other way round; keys that it does not know are ignored.

    Raises:
        BadHistoryError: it is no history, or of a later format.
    """
    try:
        if value["format"] != FORMAT:
            raise BadHistoryError(
                f"the history has format {value['format']!r}; this version knows {FORMAT}: export it again"
            )
        events: Any = value["events"]
        if not isinstance(events, list) or not events:
            raise BadHistoryError(f"the history of run {value['run_id']} has no event")
        return ExportedRun(
            str(value["run_id"]),
            str(value["function"]),
            RunStatus(value["status"]),
            list(cast("list[Any]", events)),
            [_step_from_json(step) for step in value["steps"]],
            [_step_from_json(step) for step in value["open"]],
            value.get("output"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, BadHistoryError):
            raise
        raise BadHistoryError(
            f"this is no history of a run as `inngest history` exports it: {type(error).__name__}: {error}"
        ) from error


def _step_from_json(value: Any) -> ExportedStep:
    about = {str(key): str(text) for key, text in value.get("about", {}).items()}
    return ExportedStep(
        str(value["id"]),
        str(value["name"]),
        str(value["op"]),
        about,
        value.get("memo"),
        bool(value.get("taken_over", False)),
    )
