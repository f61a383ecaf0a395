"""Serve functions from a Litestar application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._config import Streaming
from ._http.adapters import check_app, missing_library, path_to_serve
from ._http.handler import Handler
from .asgi import Endpoint, Message, Scope
from .client import Inngest
from .function import Function

try:
    import litestar
    from litestar.handlers import asgi
except ImportError as error:
    raise missing_library("litestar", extra="litestar") from error

__all__ = ["serve"]


def serve(
    app: litestar.Litestar,
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
    check_app(app, needs="register", framework="litestar")
    handler = Handler(
        client,
        functions,
        framework="litestar",
        serve_origin=serve_origin,
        serve_path=serve_path,
        public_path=public_path,
        enable_unauthed_sync=enable_unauthed_sync,
        streaming=streaming,
    )
    endpoint = Endpoint(handler, _raw)

    # The caller is a server: it signs what it sends, and has neither a session nor a CSRF token.
    @asgi(path_to_serve(serve_path), copy_scope=True, exclude_from_auth=True, exclude_from_csrf=True)
    async def inngest_api(scope: Any, receive: Any, send: Any) -> None:
        await endpoint(scope, receive, send)

    app.register(inngest_api)


def _raw(scope: Scope, body: bytes) -> litestar.Request[Any, Any, Any]:
    """A request of Litestar's own whose body can be read again."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    request: litestar.Request[Any, Any, Any] = litestar.Request(scope, receive)  # type: ignore
    return request
