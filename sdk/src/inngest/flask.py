"""Serve functions from a Flask application.

Asynchronous functions work without `flask[async]`: the client keeps an event loop in the background for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from ._config import Streaming
from ._http.adapters import check_app, missing_library, path_to_serve
from ._http.handler import Handler
from .client import Inngest
from .function import Function
from .wsgi import request_of

try:
    import flask
except ImportError as error:
    raise missing_library("flask", extra="flask") from error

__all__ = ["serve"]

# HEAD and OPTIONS are added by Flask; the others get the handler's own refusal.
_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]


def serve(
    app: flask.Flask | flask.Blueprint,
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
    check_app(app, needs="add_url_rule", framework="flask")
    handler = Handler(
        client,
        functions,
        framework="flask",
        serve_origin=serve_origin,
        serve_path=serve_path,
        public_path=public_path,
        enable_unauthed_sync=enable_unauthed_sync,
        streaming=streaming,
    )
    path = path_to_serve(serve_path)

    def inngest_api() -> flask.Response:
        # Not the proxy: it would mean nothing in another thread.
        request = cast(flask.Request, cast(Any, flask.request)._get_current_object())
        response = handler.handle_sync(request_of(request.environ, request.get_data(), request))
        body = response.body if response.stream is None else cast(Iterator[bytes], response.stream)
        return flask.Response(body, status=response.status, headers=response.headers)

    app.add_url_rule(
        path, endpoint=f"inngest {path}".replace(".", "_"), view_func=inngest_api, methods=_METHODS
    )
