"""Serve functions from a Quart application."""

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
    import quart
except ImportError as error:
    raise missing_library("quart", extra="quart") from error

__all__ = ["serve"]

# HEAD and OPTIONS are added by Quart; the others get the handler's own refusal.
_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]


def serve(
    app: quart.Quart | quart.Blueprint,
    client: Inngest,
    functions: Sequence[Function[Any]],
    *,
    enable_unauthed_sync: bool | None = None,
    public_path: str | None = None,
    serve_origin: str | None = None,
    serve_path: str | None = None,
    streaming: Streaming | None = None,
) -> None:
    """Add a route to `app`, or to a blueprint, that serves functions, by default at /api/inngest.

    The options are those of `inngest.starlette.serve`.
    """
    check_app(app, needs="add_url_rule", framework="quart")
    handler = Handler(
        client,
        functions,
        framework="quart",
        serve_origin=serve_origin,
        serve_path=serve_path,
        public_path=public_path,
        enable_unauthed_sync=enable_unauthed_sync,
        streaming=streaming,
    )
    path = path_to_serve(serve_path)

    async def inngest_api() -> quart.Response:
        # Not the proxy: it would mean nothing in another thread.
        request = cast(quart.Request, cast(Any, quart.request)._get_current_object())
        response = await handler.handle(
            Request(
                method=request.method,
                url=request.url,
                headers=headers_of(request.headers.items()),
                body=cast(bytes, await request.get_data()),
                raw=request,
            )
        )
        body = response.body if response.stream is None else cast(AsyncIterator[bytes], response.stream)
        answer = quart.Response(body, status=response.status, headers=response.headers)
        if response.stream is not None:
            answer.timeout = None  # RESPONSE_TIMEOUT would end a long call.
        return answer

    app.add_url_rule(
        path, endpoint=f"inngest {path}".replace(".", "_"), view_func=inngest_api, methods=_METHODS
    )
