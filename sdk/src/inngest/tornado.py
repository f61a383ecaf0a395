"""Serve functions from a Tornado application."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from ._config import Streaming
from ._http.adapters import check_app, headers_of, missing_library, path_to_serve
from ._http.handler import Handler
from ._http.messages import Request
from .client import Inngest
from .function import Function

try:
    from tornado.iostream import StreamClosedError
    from tornado.web import Application, RequestHandler
except ImportError as error:
    raise missing_library("tornado", extra="tornado") from error

__all__ = ["serve"]


def serve(
    app: Application,
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
    check_app(app, needs="add_handlers", framework="tornado")
    handler = Handler(
        client,
        functions,
        framework="tornado",
        serve_origin=serve_origin,
        serve_path=serve_path,
        public_path=public_path,
        enable_unauthed_sync=enable_unauthed_sync,
        streaming=streaming,
    )
    path = re.escape(path_to_serve(serve_path))
    app.add_handlers(r".*", [(path, _View, {"handler": handler})])


class _View(RequestHandler):
    _handler: Handler
    _work: asyncio.Task[None] | None = None

    def initialize(self, handler: Handler) -> None:
        self._handler = handler

    def check_xsrf_cookie(self) -> None:
        """The caller is a server: it has no cookies, and signs what it sends."""

    def compute_etag(self) -> None:
        """None: answers are never cached."""

    async def _answer(self) -> None:
        self._work = asyncio.create_task(self._send())
        try:
            await self._work
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling() > 0:
                self._work.cancel()
                raise
            # Otherwise the client has gone: there is nobody to answer.

    get = head = post = put = delete = patch = options = _answer

    def on_connection_close(self) -> None:
        if self._work is not None:
            self._work.cancel()

    async def _send(self) -> None:
        request = self.request
        response = await self._handler.handle(
            Request(
                method=request.method or "",
                url=request.full_url(),
                headers=headers_of(request.headers.get_all()),
                body=request.body,
                raw=request,
            )
        )
        self.clear_header("Content-Type")
        self.set_status(response.status)
        for name, value in response.headers.items():
            self.set_header(name, value)
        if response.stream is None:
            await self.finish(response.body)  # pyright: ignore[reportUnknownMemberType]
            return
        chunks = cast(AsyncIterator[bytes], response.stream)
        try:
            async for chunk in chunks:
                self.write(chunk)  # pyright: ignore[reportUnknownMemberType]
                await self.flush()
            await self.finish()  # pyright: ignore[reportUnknownMemberType]
        except StreamClosedError:
            pass  # The client has gone.
