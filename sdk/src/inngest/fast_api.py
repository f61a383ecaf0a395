"""Serve functions from a FastAPI application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._config import Streaming
from ._http.adapters import check_app, missing_library, path_to_serve
from ._http.handler import Handler
from .client import Inngest
from .function import Function

try:
    from fastapi import APIRouter, FastAPI
except ImportError as error:
    raise missing_library("fastapi", extra="fastapi") from error

from .starlette import add_route

__all__ = ["serve"]


def serve(
    app: FastAPI | APIRouter,
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

    The route is left out of the OpenAPI schema. The options are those of `inngest.starlette.serve`.
    """
    check_app(app, needs="routes", framework="fast_api")
    handler = Handler(
        client,
        functions,
        framework="fast_api",
        serve_origin=serve_origin,
        serve_path=serve_path,
        public_path=public_path,
        enable_unauthed_sync=enable_unauthed_sync,
        streaming=streaming,
    )
    add_route(app, path_to_serve(serve_path), handler)
