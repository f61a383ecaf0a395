"""WaitForEvent."""

from inngest_server.events.expressions import CompileError, compile_expression
from inngest_server.runs.errors import MalformedOpError, RunFailure
from inngest_server.runs.facts import Op
from inngest_server.runs.records import WaitKind
from inngest_server.runs.turn import Turn, require
from inngest_server.wire import json
from inngest_server.wire.durations import InvalidDurationError, parse_deadline_ms


def wait_for_event(turn: Turn, op: Op) -> None:
    """Wait for the next event of a name for which the expression is true. Source: protocol 5.4.

    The expression's values from the run's own event are taken now and stored with the wait.
    """
    name = require(op.opts.get("event") or op.name, op, "opts.event")
    fires_at_ms = deadline_ms(turn, op, op.opts.get("timeout"))
    text = op.opts.get("if") or ""
    if not isinstance(text, str):
        raise MalformedOpError(
            f"WaitForEvent of step {op.display_name!r} has an `if` that is no text: {text!r}"
        )
    captured = b"[]"
    if text:
        try:
            expression = compile_expression(text)
        except CompileError as error:
            raise RunFailure(
                "CompileError", f"the `if` of step {op.display_name!r} is invalid: {error}"
            ) from error
        captured = json.dumps_kept(expression.capture(turn.content.event))
        if len(captured) > turn.limits.captured_bytes_max:
            raise RunFailure(
                "captured_too_large",
                f"the `if` of step {op.display_name!r} compares with {len(captured)} bytes of the event that "
                f"started the run, at most {turn.limits.captured_bytes_max} are kept; compare with an id "
                "instead of a whole object",
            )
    if turn.open(op, {"until": fires_at_ms, "event": name, "if": text}):
        turn.wait(op, WaitKind.EVENT, fires_at_ms, name=name, expression=text, captured=captured)


def deadline_ms(turn: Turn, op: Op, timeout: object, *, default_ms: int = 0) -> int:
    """The moment that a timeout field names: a duration, or an instant. Empty is `default_ms` from now."""
    if timeout is None or timeout == "":
        return turn.moment.now_ms + default_ms
    try:
        if not isinstance(timeout, str):
            raise InvalidDurationError(str(timeout))
        return parse_deadline_ms(timeout, turn.moment.now_ms, turn.moment.shift_ms)
    except InvalidDurationError as error:
        raise MalformedOpError(f"{op.code} of step {op.display_name!r}: timeout: {error}") from error
