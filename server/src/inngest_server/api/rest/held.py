"""What the server has set aside, and trying it again. Ours alone: the protocol knows nothing of it."""

from typing import Any

from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.rest.answers import enveloped
from inngest_server.api.router import Reply, Request
from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import Released
from inngest_server.engine.held import Held
from inngest_server.wire import json
from inngest_server.wire.times import format_rfc3339


def show_held(held: Held) -> dict[str, Any]:
    """Why something is held, and since when."""
    return {"reason": held.reason, "since": format_rfc3339(held.since_ms)}


async def list_held(request: Request) -> Reply:
    """Every held run, schedule and window, the one held longest first."""
    engine = request.context.engine
    found = [
        {"id": entity, "kind": held.kind, "function": _function_of(engine, entity), **show_held(held)}
        for entity, held in engine.held.items()
    ]
    return enveloped(request, json.dumps(found))


def _function_of(engine: Engine, entity: str) -> str | None:
    run, cron = engine.live.find_run(entity), engine.live.crons.get(entity)
    row = run.row if run is not None else cron or engine.live.windows.find(entity)
    function = engine.functions.find(row.function_id) if row is not None else None
    return function.row.slug if function is not None else None


async def release(request: Request) -> Reply:
    """Try what is held again; 404 when it is not held."""
    entity = request.params["id"]
    if not await request.context.engine.ask(Released(entity)):
        raise RequestRejectedError(404, f"{entity} is not held", code="not_held")
    return enveloped(request, json.dumps({"id": entity}))
