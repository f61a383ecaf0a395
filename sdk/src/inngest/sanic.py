"""Serve functions from a Sanic application.

Sanic ends a call that takes longer than its RESPONSE_TIMEOUT (60 s by default) with a 503: give
`app.config.RESPONSE_TIMEOUT` more than the longest step.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, cast

from ._config import Streaming
from ._http.adapters import check_app, headers_of, missing_library, path_to_serve
from ._http.handler import Handler
from ._http.messages import Request
from .client import Inngest
from .function import Function

try:
    import sanic
    from sanic.constants import HTTP_METHODS
    from sanic.response import HTTPResponse
except ImportError as error:
    raise missing_library("sanic", extra="sanic") from error

__all__ = ["serve"]


def serve(
    app: sanic.Sanic[Any, Any] | sanic.Blueprint,
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
    check_app(app, needs="add_route", framework="sanic")
    handler = Handler(
        client,
        functions,
        framework="sanic",
        serve_origin=serve_origin,
        serve_path=serve_path,
        public_path=public_path,
        enable_unauthed_sync=enable_unauthed_sync,
        streaming=streaming,
    )
    path = path_to_serve(serve_path)

    async def inngest_api(request: sanic.Request) -> HTTPResponse | None:
        response = await handler.handle(
            Request(
                method=request.method,
                url=request.url,
                headers=headers_of((name, _latin_1(value)) for name, value in _pairs(request)),
                body=request.body,
                raw=request,
            )
        )
        if response.stream is None:
            return HTTPResponse(response.body, status=response.status, headers=response.headers)
        answer = await cast(Any, request).respond(status=response.status, headers=response.headers)
        async for chunk in cast(AsyncIterator[bytes], response.stream):
            await answer.send(chunk)
        await answer.eof()
        return None

    name = "inngest" + "".join(letter if letter.isalnum() else "_" for letter in path)
    app.add_route(inngest_api, path, methods=HTTP_METHODS, name=name)


def _pairs(request: sanic.Request) -> Iterable[tuple[str, str]]:
    return cast(Any, request).headers.items()


def _latin_1(value: str) -> str:
    """A header as all others see it: Sanic reads UTF-8, with surrogates for what is none."""
    return value if value.isascii() else value.encode("utf-8", "surrogateescape").decode("latin-1")
