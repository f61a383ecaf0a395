"""StepPlanned: the app found a step to run in a request of its own."""

from inngest_server.runs.facts import Op
from inngest_server.runs.turn import Turn, input_text


def step_planned(turn: Turn, op: Op) -> None:
    """Send a targeted request for the step, unless one is under way or the step is done."""
    if turn.open(op, {}, input_text(op)) or turn.is_forsaken(op):
        turn.enqueue("step", op.step_id)
