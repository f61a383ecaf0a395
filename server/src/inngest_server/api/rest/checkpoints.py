"""Async checkpoints: an app stores step results in the middle of a request. Source: protocol 7.5 and 13.

TypeScript 4 reacts to the status alone: it goes on after 200, stops silently after 409, and after anything
else tries again and then returns the same steps with its answer. So a refusal never loses a result.
"""

from typing import Any, cast

from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.rest.answers import empty
from inngest_server.api.rest.ids import run_id_of
from inngest_server.api.router import Reply, Request
from inngest_server.runs.decision import CheckpointRefused
from inngest_server.runs.errors import MalformedOpError
from inngest_server.runs.facts import Checkpointed
from inngest_server.runs.opcodes.registry import parse_ops


async def checkpoint(request: Request) -> Reply:
    """Record the steps; empty 200 once that is durable. Every refusal names the run in its `data`."""
    try:
        run_id = run_id_of(request)
        fact = _read(run_id, await request.json())
        result: str | CheckpointRefused | None = await request.context.engine.ask(fact)
        if result is None:
            raise RequestRejectedError(400, f"run {run_id} has ended, or never was", code="run_gone")
        if isinstance(result, CheckpointRefused):
            raise RequestRejectedError(result.status, result.message, code="checkpoint_refused")
    except RequestRejectedError as error:
        error.data = {"run_id": request.params["run_id"]}
        raise
    return empty()


def _read(run_id: str, body: object) -> Checkpointed:
    """The fact that a body states. Of the SDK's objects only the documented keys are read (protocol 13).

    The dispatch is always compared, where the reference server does so after ten seconds only: it is known
    exactly here. So `qi_id`, which names it, is required.

    Raises:
        RequestRejectedError: 400.
    """
    if not isinstance(body, dict):
        raise _invalid("the body must be an object")
    fields = cast("dict[str, Any]", body)
    item_id, generation, steps = fields.get("qi_id"), fields.get("generation_id"), fields.get("steps")
    if not isinstance(item_id, str) or not item_id:
        raise _invalid("qi_id must be the ctx.qi_id of the request that runs the steps")
    if generation is None:
        generation = 0
    if not isinstance(generation, int) or isinstance(generation, bool) or generation < 0:
        raise _invalid("generation_id must be the ctx.generation_id of the request, a whole number")
    try:
        ops = parse_ops(steps if steps is not None else [])
    except MalformedOpError as error:
        raise _invalid(f"steps: {error}") from error
    return Checkpointed(run_id, item_id, generation, ops)


def _invalid(message: str) -> RequestRejectedError:
    return RequestRejectedError(400, message, code="invalid_checkpoint")
