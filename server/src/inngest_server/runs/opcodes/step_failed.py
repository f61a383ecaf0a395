"""StepFailed and StepError: a step raised."""

from inngest_server.runs.errors import MalformedOpError
from inngest_server.runs.facts import CallFailed, Op, Reported
from inngest_server.runs.turn import Turn

CODE = "step_error"
"""Of a try that failed because the user's code raised in a step."""


def step_failed(turn: Turn, op: Op) -> None:
    """Record the error as the step's memo, so that user code can catch it."""
    meta = {"op": "StepFailed", "name": op.display_name, "code": CODE}
    turn.save(op.step_id, b'{"error":' + _error(op) + b"}", meta)


def step_error(turn: Turn, op: Op, answer: Reported) -> None:
    """Repeat the request if it has tries left; otherwise the step has failed."""
    error = _error(op)
    item = turn.item
    if item is None or answer.no_retry or item.attempt + 1 >= turn.moment.max_attempts:
        step_failed(turn, op)
        return
    turn.retry = CallFailed(error, CODE, retriable=True, retry_after_ms=answer.retry_after_ms)
    turn.failed_op = op


def _error(op: Op) -> bytes:
    if op.error is None:
        raise MalformedOpError(f"{op.code} of step {op.display_name!r} has no error")
    return op.error
