"""Sending a signal to the run that waits for it. Source: protocol 5.5 and 7.2."""

from typing import Any, cast

from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.rest.answers import enveloped
from inngest_server.api.router import Reply, Request
from inngest_server.engine.facts import SignalSent
from inngest_server.wire import json
from inngest_server.wire.limits import EVENT_BYTES_MAX

SIGNAL_BYTES_MAX = EVENT_BYTES_MAX
"""As an event. It is below the limit of a step's output, beyond which the run that gets it would fail."""


async def send_signal(request: Request) -> Reply:
    """Resume the run that waits for the signal, and say which; 404 when none does."""
    body = await request.json(SIGNAL_BYTES_MAX)
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    signal = fields.get("signal")
    if not isinstance(signal, str) or not signal:
        raise RequestRejectedError(
            400, 'the body must be an object such as {"signal":"order-1","data":{}}', code="invalid_signal"
        )
    run_id: str | None = await request.context.engine.ask(SignalSent(signal, json.dumps(fields.get("data"))))
    if run_id is None:
        raise RequestRejectedError(404, "No signal found", code="signal_not_found")
    return enveloped(request, json.dumps({"run_id": run_id}))
