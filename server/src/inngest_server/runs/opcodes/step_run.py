"""StepRun and the legacy Step: a step returned."""

from typing import Any

from inngest_server.runs.facts import Op
from inngest_server.runs.turn import Turn, input_text


def step_run(turn: Turn, op: Op) -> None:
    """Record the result, wrapped as SDKs expect it back."""
    turn.save(op.step_id, b'{"data":' + op.data + b"}", _meta(turn, op))


def legacy_step(turn: Turn, op: Op) -> None:
    """Record the value as it came: old SDKs wrap it themselves."""
    turn.save(op.step_id, op.data, _meta(turn, op))


def _meta(turn: Turn, op: Op) -> dict[str, Any]:
    """The step's arguments come with its plan, or else with its result.

    They are a text in the JSON, in which no key of users can be taken for one of ours.
    """
    meta: dict[str, Any] = {"op": op.code, "name": op.display_name}
    if "input" in op.opts and not turn.is_open(op.step_id) and (text := input_text(op)) is not None:
        meta["input"] = text.decode()
    return meta
