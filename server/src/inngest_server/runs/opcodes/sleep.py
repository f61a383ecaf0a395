"""Sleep."""

from inngest_server.runs.errors import MalformedOpError
from inngest_server.runs.facts import Op
from inngest_server.runs.records import WaitKind
from inngest_server.runs.turn import Turn
from inngest_server.wire.durations import InvalidDurationError, parse_sleep_until_ms


def sleep(turn: Turn, op: Op) -> None:
    """Wake the step at a moment; one already past wakes it at once. Source: protocol 5.2."""
    text = op.opts.get("duration") or op.name
    if not isinstance(text, str):
        raise MalformedOpError(f"Sleep of step {op.display_name!r} needs a duration, got {text!r}")
    try:
        until_ms = parse_sleep_until_ms(text, turn.moment.now_ms, turn.moment.shift_ms)
    except InvalidDurationError as error:
        raise MalformedOpError(f"Sleep of step {op.display_name!r}: {error}") from error
    if turn.open(op, {"until": until_ms}):
        turn.wait(op, WaitKind.SLEEP, until_ms)
