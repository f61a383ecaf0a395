"""Reading events and what they started. Source: protocol 7.2."""

from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.rest.answers import array, enveloped
from inngest_server.api.rest.event_query import parse_event_query
from inngest_server.api.rest.ids import event_id_of
from inngest_server.api.rest.shapes import show_event, show_run
from inngest_server.api.rest.system_events import bodies_of
from inngest_server.api.router import Reply, Request
from inngest_server.events.records import EventRow


async def list_events(request: Request) -> Reply:
    """A page of events, newest first, the server's own among them."""
    context = request.context
    rows = await context.storage.list_events(parse_event_query(request.query()))
    bodies = await bodies_of(context, rows)
    return enveloped(request, array([show_event(row, body) for row, body in zip(rows, bodies, strict=True)]))


async def get_event(request: Request) -> Reply:
    context = request.context
    rows = await context.storage.get(EventRow, [event_id_of(request)])
    if not rows:
        raise RequestRejectedError(404, "Event not found", code="event_not_found")
    [body] = await bodies_of(context, rows)
    return enveloped(request, show_event(rows[0], body))


async def list_runs_of_event(request: Request) -> Reply:
    """The runs that an event started, oldest first; none for an event that is not known, as documented."""
    rows = await request.context.storage.runs_of_event(event_id_of(request))
    return enveloped(request, array([show_run(row) for row in rows]))
