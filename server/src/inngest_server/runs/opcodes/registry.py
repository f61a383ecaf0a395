"""Which opcode is handled where, and how the opcodes of an answer are read."""

import re
from collections.abc import Callable, Sequence
from typing import Any, cast

from inngest_server.runs.errors import MalformedOpError
from inngest_server.runs.facts import Op
from inngest_server.runs.opcodes.discovery_request import discovery_request
from inngest_server.runs.opcodes.gateway import ai_gateway, gateway
from inngest_server.runs.opcodes.invoke_function import invoke_function
from inngest_server.runs.opcodes.none import none
from inngest_server.runs.opcodes.run_complete import run_complete
from inngest_server.runs.opcodes.sleep import sleep
from inngest_server.runs.opcodes.step_failed import step_failed
from inngest_server.runs.opcodes.step_planned import step_planned
from inngest_server.runs.opcodes.step_run import legacy_step, step_run
from inngest_server.runs.opcodes.wait_for_event import wait_for_event
from inngest_server.runs.opcodes.wait_for_signal import wait_for_signal
from inngest_server.runs.turn import Turn
from inngest_server.wire import json
from inngest_server.wire.shared import shared

Handler = Callable[[Turn, Op], None]

HANDLERS: dict[str, Handler] = {
    "None": none,
    "Step": legacy_step,
    "StepRun": step_run,
    "StepFailed": step_failed,
    "StepPlanned": step_planned,
    "Sleep": sleep,
    "WaitForEvent": wait_for_event,
    "WaitForSignal": wait_for_signal,
    "InvokeFunction": invoke_function,
    "AIGateway": ai_gateway,
    "Gateway": gateway,
    "RunComplete": run_complete,
    "DiscoveryRequest": discovery_request,
}
STEP_ERROR = "StepError"
"""Handled beside the others: it alone depends on the answer's headers."""

RESULTS = frozenset({"Step", "StepRun", "StepFailed", "RunComplete", "None"})
"""Opcodes that leave nothing to be done, so that they do not make a run parallel (protocol 13 on 4.6)."""

CHECKPOINT_OPS = frozenset({"Step", "StepRun", "StepPlanned"})
"""What an async checkpoint may carry. Source: protocol 7.5."""

_SPELLINGS = {code.lower(): code for code in (*HANDLERS, STEP_ERROR)}
_STEP_ID = re.compile(r"(?!(?:cancel)?\d+$)[\w.:~-]+", re.ASCII)
"""SDKs send 40 hex digits. Ids become parts of URLs, headers and item ids, so nothing may need quoting.

What stands for a number is taken: the names of discoveries and of `cancelOn` waits end so.
"""
NAME_CHARS_MAX = 512
"""Of a display name; the rest is cut off."""
_NEEDS_ID = frozenset(HANDLERS) - {"None", "RunComplete", "DiscoveryRequest"} | {STEP_ERROR}


def parse_ops(body: object) -> tuple[Op, ...]:
    """The opcodes of a 206 body or a checkpoint: an array, or a single object of very old SDKs.

    Raises:
        MalformedOpError: not opcodes, or an opcode that this server does not know.
    """
    if isinstance(body, dict):
        body = [cast("object", body)]
    if not isinstance(body, list):
        raise MalformedOpError(f"the body must be an array of opcodes, got {type(body).__name__}")
    return tuple([_parse_op(one) for one in cast("Sequence[object]", body)])


def _parse_op(value: object) -> Op:
    if not isinstance(value, dict):
        raise MalformedOpError(f"an opcode must be an object, got {type(value).__name__}")
    raw = cast("dict[str, Any]", value)
    given = raw.get("op")
    code = _SPELLINGS.get(given.lower()) if isinstance(given, str) else None
    if code is None:
        raise MalformedOpError(f"opcode {given!r} is not known to this server")
    step_id = raw.get("id")
    if not isinstance(step_id, str):
        step_id = ""
    if not step_id and code in _NEEDS_ID:
        raise MalformedOpError(f"{code} has no id")
    if len(step_id) > 256:
        raise MalformedOpError(f"{code} has an id of {len(step_id)} characters; at most 256 are allowed")
    if code in _NEEDS_ID and _STEP_ID.fullmatch(step_id) is None:
        raise MalformedOpError(f"{code} has the id {step_id!r}; letters, digits and _ . : ~ - are allowed")
    opts = raw.get("opts")
    error = raw.get("error")
    name = raw.get("name")
    name = name if isinstance(name, str) else ""
    display_name = raw.get("displayName")
    return Op(
        code=code,
        step_id=shared(step_id),
        display_name=((display_name if isinstance(display_name, str) else "") or name or step_id)[
            :NAME_CHARS_MAX
        ],
        name=name,
        data=json.dumps(raw.get("data")),
        error=_error_text(error),
        opts=cast("dict[str, Any]", opts) if isinstance(opts, dict) else {},
    )


def _error_text(error: object) -> bytes | None:
    """An error object that every SDK accepts back: with the texts `name` and `message`.

    Source: protocol 3.3.
    """
    if error is None:
        return None
    given = cast("dict[str, Any]", error) if isinstance(error, dict) else {"message": str(error)}
    name, message = given.get("name"), given.get("message")
    if not isinstance(name, str) or not isinstance(message, str):
        said = "Function execution error" if message is None else json.dumps(message).decode()
        given = {
            **given,
            "name": name if isinstance(name, str) else "Error",
            "message": message if isinstance(message, str) else said,
        }
    return json.dumps(given)
