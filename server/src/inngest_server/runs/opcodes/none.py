"""None: a branch has nothing to do."""

from inngest_server.runs.facts import Op
from inngest_server.runs.turn import Turn


def none(turn: Turn, op: Op) -> None:
    """Nothing; what happens when a whole answer says so is decided in `answered.py`."""
