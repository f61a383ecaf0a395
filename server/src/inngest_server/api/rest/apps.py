"""What an app has registered. Source: protocol 7.2."""

from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.rest.answers import bare
from inngest_server.api.rest.shapes import show_function
from inngest_server.api.router import Reply, Request
from inngest_server.wire import json


async def list_functions(request: Request) -> Reply:
    """The functions that an app has now, by id: a bare array. Read from what is committed.

    Raises:
        RequestRejectedError: 404, no app of that name was ever registered.
    """
    name = request.params["app_name"]
    catalogue = await request.context.storage.catalogue()
    app = next((row for row in catalogue.apps if row.name == name), None)
    if app is None:
        raise RequestRejectedError(404, f"no app named {name[:256]!r} is registered", code="app_not_found")
    rows = [row for row in catalogue.functions if row.app_id == app.app_id and row.archived_at_ms is None]
    return bare(json.dumps([show_function(row) for row in sorted(rows, key=lambda row: row.slug)]))
