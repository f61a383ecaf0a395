"""StepRun and the legacy Step: a step returned."""

from inngest_server.runs.facts import Op
from inngest_server.runs.turn import Turn


def step_run(turn: Turn, op: Op) -> None:
    """Record the result, wrapped as SDKs expect it back."""
    turn.save(op.step_id, b'{"data":' + op.data + b"}", {"op": op.code, "name": op.display_name})


def legacy_step(turn: Turn, op: Op) -> None:
    """Record the value as it came: old SDKs wrap it themselves."""
    turn.save(op.step_id, op.data, {"op": op.code, "name": op.display_name})
