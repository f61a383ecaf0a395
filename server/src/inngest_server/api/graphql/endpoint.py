"""`POST /v0/gql`: from the event loop to a thread of the lane, and back. Source: protocol 7.7."""

import asyncio

from inngest_server.api.context import Context
from inngest_server.api.replies import JSON_TYPE, NO_STORE, Header, RequestRejectedError
from inngest_server.api.router import Reply, Request

GRAPHQL_BYTES_MAX = 4 * 1024 * 1024
"""Of a request: an event of the largest size and a document."""

HEADERS: tuple[Header, ...] = (JSON_TYPE, NO_STORE)


async def query(request: Request) -> Reply:
    """Answer a query or do a mutation."""
    context = request.context
    if not context.settings.ui:
        raise RequestRejectedError(404, "GraphQL is turned off by --no-ui", code="graphql_off")
    body = await request.body(GRAPHQL_BYTES_MAX)
    loop, now_ms = asyncio.get_running_loop(), context.engine.now_ms()
    status, answered = await context.lane.do(lambda: _answer(context, loop, now_ms, body))
    return Reply(status, answered, HEADERS)


def _answer(context: Context, loop: asyncio.AbstractEventLoop, now_ms: int, body: bytes) -> tuple[int, bytes]:
    # Imported here because the library takes a tenth of a second, and most servers are never asked.
    from inngest_server.api.graphql.answer import answer
    from inngest_server.api.graphql.session import Session

    return answer(Session(context, loop, now_ms), body)
