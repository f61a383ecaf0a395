"""InvokeFunction."""

from typing import Any, cast

from inngest_server.runs.decision import StartChild
from inngest_server.runs.errors import MalformedOpError
from inngest_server.runs.facts import Op
from inngest_server.runs.opcodes.wait_for_event import deadline_ms
from inngest_server.runs.records import WaitKind
from inngest_server.runs.turn import Turn, require
from inngest_server.wire import json

YEAR_MS = 365 * 24 * 3_600_000


def invoke_function(turn: Turn, op: Op) -> None:
    """Start another function and wait for its result, one year unless told. Source: protocol 5.6."""
    function = require(op.opts.get("function_id"), op, "opts.function_id")
    payload: object = op.opts.get("payload") or {}
    if not isinstance(payload, dict):
        raise MalformedOpError(f"InvokeFunction of step {op.display_name!r} has a payload that is no object")
    turn.check_input(op, len(json.dumps(payload)))
    fires_at_ms = deadline_ms(turn, op, op.opts.get("timeout"), default_ms=YEAR_MS)
    if not turn.open(op, {"until": fires_at_ms, "function": function}):
        return
    turn.wait(op, WaitKind.INVOKE, fires_at_ms, name=function)
    turn.decision.messages.append(
        StartChild(
            correlation_id=f"{turn.run.id}.{op.step_id}",
            function=function,
            payload=cast("dict[str, Any]", payload),
            expires_at_ms=fires_at_ms,
            source_function_id=turn.run.row.function_id,
            step_name=op.display_name,
        )
    )
