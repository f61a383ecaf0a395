"""Serve functions from any ASGI server, alone or in front of another ASGI application.

app = inngest.asgi.serve(client, [welcome])             # answers at /api/inngest only
app = inngest.asgi.serve(client, [welcome], app=site)   # all other paths go to `site`
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any, cast

from ._config import Streaming
from ._http.adapters import headers_of, path_to_serve, url_of
from ._http.handler import Handler
from ._http.messages import Request, Response
from .client import Inngest
from .function import Function

__all__ = ["serve"]

# As ASGI 3.0 defines them.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

WATCH_AFTER_S = 0.05
"""From when on a request is watched for a client that goes away."""


def serve(
    client: Inngest,
    functions: Sequence[Function[Any]],
    *,
    app: App | None = None,
    enable_unauthed_sync: bool | None = None,
    public_path: str | None = None,
    serve_origin: str | None = None,
    serve_path: str | None = None,
    streaming: Streaming | None = None,
) -> App:
    """An ASGI application that serves functions at one path.

    Other paths, websockets and the lifespan go to `app`; without one they get 404, are closed, and are
    acknowledged. Mounted under a prefix it answers at the prefix itself, too.
    """
    handler = Handler(
        client,
        functions,
        framework="asgi",
        serve_origin=serve_origin,
        serve_path=serve_path,
        public_path=public_path,
        enable_unauthed_sync=enable_unauthed_sync,
        streaming=streaming,
    )
    return _At(path_to_serve(serve_path), Endpoint(handler), app or _nothing_else)


class _At:
    """Sends requests for one path to one application, and everything else to another."""

    def __init__(self, path: str, endpoint: App, otherwise: App) -> None:
        self._path = path.rstrip("/")
        self._endpoint = endpoint
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        chosen = self._endpoint if self._is_ours(scope) else self._otherwise
        await chosen(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        if scope["type"] != "http":
            return False
        prefix: str = scope.get("root_path", "")
        path = scope["path"].removeprefix(prefix).rstrip("/")
        return path == self._path or (bool(prefix) and path == "")


async def _nothing_else(scope: Scope, receive: Receive, send: Send) -> None:
    """The rest of an application that only serves functions."""
    match scope["type"]:
        case "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        case "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        case _:
            await send_response(Response(404, {"content-type": "text/plain"}, b"Not Found"), send)


class Endpoint:
    """An ASGI application over one handler that answers whatever its path.

    A request whose client goes away before the answer is cancelled, as the server has given up on it.

    Args:
        raw: Makes the framework's own request of a scope and a body, for middleware. By default the scope.
    """

    def __init__(self, handler: Handler, raw: Callable[[Scope, bytes], object] | None = None) -> None:
        self._handler = handler
        self._raw = raw

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        if body is None:
            return  # The client left before it had sent everything.
        request = Request(
            method=scope["method"],
            url=_url(scope),
            headers=headers_of((k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]),
            body=body,
            raw=scope if self._raw is None else self._raw(scope, body),
        )
        watch = _Watch(receive)
        try:
            await send_response(await self._handler.handle(request), send)
        except OSError:
            pass  # From `send`, as the handler raises nothing: the client has gone (ASGI 2.4).
        except asyncio.CancelledError:
            # Ours only when the watch asked for it, and nobody else did.
            if not watch.has_cancelled() or watch.task.uncancel() > 0:
                raise
        finally:
            watch.end()


class _Watch:
    """Cancels the current task when the client goes away; begins when the request has lasted for a moment.

    Most requests end before, and a task for each would cost as much as the rest of this file.
    """

    def __init__(self, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self._receive = receive
        self._own_task: asyncio.Task[bool] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._begin)

    def _begin(self) -> None:
        self._own_task = asyncio.create_task(_cancel_when_gone(self.task, self._receive))

    def has_cancelled(self) -> bool:
        own = self._own_task
        return own is not None and own.done() and not own.cancelled() and own.result()

    def end(self) -> None:
        self._timer.cancel()
        if self._own_task is not None:
            self._own_task.cancel()


async def _cancel_when_gone(task: asyncio.Task[Any], receive: Receive) -> bool:
    """Cancel a task when the client disconnects; whether it did."""
    try:
        message = await receive()
    except Exception:
        return False  # A caller that has nothing to tell after the body: the request goes on unwatched.
    # Asking again after anything else would never end where the body is simply repeated, as simple tests do.
    return message["type"] == "http.disconnect" and task.cancel()


async def read_body(receive: Receive) -> bytes | None:
    """The whole body of a request, or nothing when the client disconnected before its end."""
    message = await receive()
    chunks: list[bytes] = []
    while message["type"] == "http.request":
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        message = await receive()
    return None


async def send_response(response: Response, send: Send) -> None:
    """Send a response, chunk by chunk when it is a stream."""
    headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in response.headers.items()]
    stream = response.stream
    if stream is None:
        if "content-length" not in response.headers:
            headers.append((b"content-length", b"%d" % len(response.body)))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})
        return
    chunks = cast(AsyncIterator[bytes], stream)
    try:
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        await close(chunks)


async def close(chunks: AsyncIterator[bytes]) -> None:
    """Close a stream that may not have been read to its end."""
    aclose = getattr(chunks, "aclose", None)
    if aclose is not None:
        await aclose()


def _url(scope: Scope) -> str:
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    if not path.startswith(prefix):  # Servers before ASGI 2.3's clarification leave the prefix out.
        path = prefix + path
    host = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"host"), None)
    if host is None:
        name, port = scope.get("server") or ("localhost", None)
        host = name if port is None else f"{name}:{port}"
    return url_of(scope.get("scheme", "http"), host, path, scope.get("query_string", b"").decode("latin-1"))
