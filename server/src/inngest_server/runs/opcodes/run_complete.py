"""RunComplete: the function returned, in the same answer as its last steps."""

from inngest_server.runs.facts import Op
from inngest_server.runs.turn import Turn


def run_complete(turn: Turn, op: Op) -> None:
    turn.output = op.data
