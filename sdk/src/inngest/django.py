"""Serve functions from a Django project.

    urlpatterns = [inngest.django.serve(client, [welcome])]

With asynchronous functions the view is asynchronous, otherwise it is not; both work under WSGI and ASGI.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, cast

from ._config import Streaming
from ._http.adapters import headers_of, missing_library, path_to_serve
from ._http.handler import Handler
from ._http.messages import Request, Response
from .client import Inngest
from .function import Function

try:
    from django.core.handlers.asgi import ASGIRequest
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
    from django.urls import URLPattern
    from django.urls import path as url_path
except ImportError as error:
    raise missing_library("django", extra="django") from error

__all__ = ["serve"]


def serve(
    client: Inngest,
    functions: Sequence[Function[Any]],
    *,
    enable_unauthed_sync: bool | None = None,
    public_path: str | None = None,
    serve_origin: str | None = None,
    serve_path: str | None = None,
    streaming: Streaming | None = None,
) -> URLPattern:
    """A URL pattern that serves functions, by default at /api/inngest.

    The options are those of `inngest.starlette.serve`.
    """
    handler = Handler(
        client,
        functions,
        framework="django",
        serve_origin=serve_origin,
        serve_path=serve_path,
        public_path=public_path,
        enable_unauthed_sync=enable_unauthed_sync,
        streaming=streaming,
    )
    is_async = any(function.is_handler_async for function in functions)
    view = _async_view(handler) if is_async else _sync_view(handler)
    # What `csrf_exempt` does; the decorator itself breaks asynchronous views before Django 5.
    view.csrf_exempt = True
    return url_path(path_to_serve(serve_path).removeprefix("/"), view, name="inngest")


def _sync_view(handler: Handler) -> Any:
    def inngest_api(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        response = handler.handle_sync(_request(request))
        if response.stream is not None:
            chunks = cast(Iterator[bytes], response.stream)
            return _streaming(response, _pulled(chunks) if isinstance(request, ASGIRequest) else chunks)
        return HttpResponse(response.body, status=response.status, headers=response.headers)

    return inngest_api


def _async_view(handler: Handler) -> Any:
    async def inngest_api(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        if isinstance(request, ASGIRequest):
            response = await handler.handle(_request(request))
        else:
            # Under WSGI each request has an event loop of its own, which no connection would survive: the
            # client's background loop is better. Streams are plain iterators then, as such servers need them.
            response = await asyncio.to_thread(handler.handle_sync, _request(request))
        if response.stream is not None:
            return _streaming(response, response.stream)
        return HttpResponse(response.body, status=response.status, headers=response.headers)

    return inngest_api


def _streaming(response: Response, chunks: AsyncIterator[bytes] | Iterator[bytes]) -> StreamingHttpResponse:
    return StreamingHttpResponse(chunks, status=response.status, headers=response.headers)


async def _pulled(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Chunks of a sync view for an ASGI server, each made in a thread, so that the event loop is free."""
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


def _request(request: HttpRequest) -> Request:
    return Request(
        method=request.method or "",
        # Refuses hosts that ALLOWED_HOSTS does not name, as everywhere in Django.
        url=request.build_absolute_uri(),
        headers=headers_of(request.headers.items()),
        # Not `request.body`: it refuses more than DATA_UPLOAD_MAX_MEMORY_SIZE, and the server may send more.
        body=request.read(),
        raw=request,
    )
