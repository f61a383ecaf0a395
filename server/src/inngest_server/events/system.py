"""The bodies of system events, put together from a run. Source: protocol 5.3 and 5.6."""

from collections.abc import Sequence
from typing import Any

from inngest_server.events.event import Event
from inngest_server.wire import json
from inngest_server.wire.limits import EVENT_BYTES_MAX

INVOKED = "inngest/function.invoked"
TIMER = "inngest/scheduled.timer"


def run_ended_body(
    *,
    name: str,
    event_id: str,
    ts_ms: int,
    function_slug: str,
    run_id: str,
    status: str,
    trigger_body: bytes,
    correlation_id: str | None,
    output: bytes | None,
    error: dict[str, Any] | None,
    further: Sequence[bytes] = (),
) -> bytes:
    """`inngest/function.finished`, `.failed` or `.cancelled`, as functions receive it.

    `output` is the function's result, or the error object that it failed with. `further` are the other events
    of a batch; all of them are left out, as of a call request, where they are more than an event may have.
    """
    parts = [b'{"data":{"_inngest":{"status":%b}' % json.dumps(status)]
    if correlation_id is not None:
        parts.append(b',"correlation_id":%b' % json.dumps(correlation_id))
    if error is not None:
        parts.append(b',"error":%b' % json.dumps(error))
    is_huge = bool(further) and len(trigger_body) + sum([len(body) for body in further]) > EVENT_BYTES_MAX
    events = b"" if is_huge else b",".join((trigger_body, *further))
    parts.append(b',"event":%b,"events":[%b]' % (trigger_body, events))
    parts.append(b',"function_id":%b' % json.dumps(function_slug))
    if output is not None:
        parts.append(b',"result":%b' % output)
    parts.append(b',"run_id":%b}' % json.dumps(run_id))
    parts.append(b',"id":%b' % json.dumps(event_id))
    if b'"meta":' in trigger_body and (meta := json.parse_kept(trigger_body).get("meta")):
        parts.append(b',"meta":%b' % json.dumps(meta))
    parts.append(b',"name":%b,"ts":%d,"user":{}}' % (json.dumps(name), ts_ms))
    return b"".join(parts)


def timer_body(*, event_id: str, cron: str, scheduled_at: str, fire_at: str, ts_ms: int) -> bytes:
    """`inngest/scheduled.timer`. Source: protocol 5.17."""
    return json.dumps(
        {
            "data": {"cron": cron, "fireAt": fire_at, "scheduledAt": scheduled_at},
            "id": event_id,
            "name": TIMER,
            "ts": ts_ms,
            "user": {},
        }
    )


def system_event(
    *, internal_id: str, event_id: str, name: str, ts_ms: int, now_ms: int, body: bytes
) -> Event:
    """An event that the server itself sends; its ids follow from its cause, so it comes once."""
    return Event(internal_id, event_id, name, ts_ms, now_ms, body, repeatable=False)
