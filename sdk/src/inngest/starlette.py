"""Serve functions from a Starlette application."""

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
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.routing import Route, Router
except ImportError as error:
    raise missing_library("starlette", extra="starlette") from error

__all__ = ["serve"]


def serve(
    app: Starlette | Router,
    client: Inngest,
    functions: Sequence[Function[Any]],
    *,
    enable_unauthed_sync: bool | None = None,
    public_path: str | None = None,
    serve_origin: str | None = None,
    serve_path: str | None = None,
    streaming: Streaming | None = None,
) -> None:
    """Add a route to `app`, or to a router, that serves functions, by default at /api/inngest.

    Args:
        enable_unauthed_sync: whether an unsigned PUT may make the app register in production mode; by default
            INNGEST_ENABLE_UNAUTHED_SYNC, else yes.
        public_path: the path that the server shall call, where a proxy rewrites paths.
        serve_origin: scheme and host that the server shall call, such as `http://app:8000` in Docker.
        serve_path: the path to serve at.
        streaming: whether to send bytes while a call is under way, for proxies that end quiet connections.
    """
    check_app(app, needs="routes", framework="starlette")
    handler = Handler(
        client,
        functions,
        framework="starlette",
        serve_origin=serve_origin,
        serve_path=serve_path,
        public_path=public_path,
        enable_unauthed_sync=enable_unauthed_sync,
        streaming=streaming,
    )
    add_route(app, path_to_serve(serve_path), handler)


def add_route(app: Starlette | Router, path: str, handler: Handler) -> None:
    """Let a handler answer at a path, without what frameworks do to views: it takes any method and body."""
    router = app if isinstance(app, Router) else app.router
    router.routes.append(
        Route(path, Endpoint(handler, _raw), name=f"inngest {path}", include_in_schema=False)
    )


def _raw(scope: Scope, body: bytes) -> Request:
    """A request of Starlette's own whose body can be read again."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(scope, receive)
