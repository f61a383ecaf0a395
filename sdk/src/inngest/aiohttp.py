"""Serve functions from an aiohttp application.

Start the application with `handler_cancellation=True` (an option of `web.run_app` and `web.AppRunner`), and
a call whose client goes away is cancelled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from ._config import Streaming
from ._http.adapters import check_app, headers_of, missing_library, path_to_serve
from ._http.handler import Handler
from ._http.messages import Request
from .client import Inngest
from .function import Function

try:
    from aiohttp import web
except ImportError as error:
    raise missing_library("aiohttp", extra="aiohttp") from error

__all__ = ["serve"]


def serve(
    app: web.Application,
    client: Inngest,
    functions: Sequence[Function[Any]],
    *,
    enable_unauthed_sync: bool | None = None,
    public_path: str | None = None,
    serve_origin: str | None = None,
    serve_path: str | None = None,
    streaming: Streaming | None = None,
) -> None:
    """Add a route to `app` that serves functions, by default at /api/inngest.

    The options are those of `inngest.starlette.serve`.
    """
    check_app(app, needs="router", framework="aiohttp")
    handler = Handler(
        client,
        functions,
        framework="aiohttp",
        serve_origin=serve_origin,
        serve_path=serve_path,
        public_path=public_path,
        enable_unauthed_sync=enable_unauthed_sync,
        streaming=streaming,
    )

    async def inngest_api(request: web.Request) -> web.StreamResponse:
        response = await handler.handle(
            Request(
                method=request.method,
                url=f"{request.scheme}://{request.host}{request.raw_path}",
                headers=headers_of(
                    (k.decode("latin-1"), v.decode("latin-1")) for k, v in request.raw_headers
                ),
                # Not `request.read()`: its limit, `client_max_size`, is less than what the server may send.
                body=await request.content.read(),
                raw=request,
            )
        )
        if response.stream is None:
            return web.Response(body=response.body, status=response.status, headers=response.headers)
        answer = web.StreamResponse(status=response.status, headers=response.headers)
        await answer.prepare(request)
        async for chunk in cast(AsyncIterator[bytes], response.stream):
            await answer.write(chunk)
        await answer.write_eof()
        return answer

    app.router.add_route("*", path_to_serve(serve_path), inngest_api)
