"""Serve functions from any WSGI server, alone or in front of another WSGI application.

    app = inngest.wsgi.serve(client, [welcome])             # answers at /api/inngest only
    app = inngest.wsgi.serve(client, [welcome], app=site)   # all other paths go to `site`

Asynchronous functions work here, too: the client keeps an event loop in the background for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, cast

from ._config import Streaming
from ._http.adapters import headers_of, path_to_serve, url_of
from ._http.handler import Handler
from ._http.messages import Request, Response
from .client import Inngest
from .function import Function

__all__ = ["serve"]

# As PEP 3333 defines them.
Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]


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
    """A WSGI application that serves functions at one path; other paths go to `app`, or get 404.

    Mounted under a prefix it answers at the prefix itself, too.
    """
    handler = Handler(
        client,
        functions,
        framework="wsgi",
        serve_origin=serve_origin,
        serve_path=serve_path,
        public_path=public_path,
        enable_unauthed_sync=enable_unauthed_sync,
        streaming=streaming,
    )
    ours = path_to_serve(serve_path).rstrip("/")

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "").rstrip("/")
        if path == ours or (path == "" and environ.get("SCRIPT_NAME")):
            return _answer(handler.handle_sync(request_of(environ, _body(environ))), start_response)
        if app is not None:
            return app(environ, start_response)
        return _answer(Response(404, {"content-type": "text/plain"}, b"Not Found"), start_response)

    return application


def request_of(environ: Environ, body: bytes, raw: object = None) -> Request:
    """The request that a WSGI environment describes; `raw` is the environment unless there is better."""
    return Request(
        method=environ["REQUEST_METHOD"],
        url=_url(environ),
        headers=headers_of(_headers(environ)),
        body=body,
        raw=environ if raw is None else raw,
    )


def _headers(environ: Environ) -> Iterator[tuple[str, str]]:
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            yield key[5:].replace("_", "-"), value
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            yield key.replace("_", "-"), value


def _url(environ: Environ) -> str:
    # PEP 3333 hands over bytes in the clothes of latin-1.
    path = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1")
    host = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    return url_of(environ["wsgi.url_scheme"], host, path, environ.get("QUERY_STRING", ""))


def _body(environ: Environ) -> bytes:
    stream = environ["wsgi.input"]
    length = environ.get("CONTENT_LENGTH") or ""
    if length.isdecimal():
        return _read(stream, int(length))
    # Without a length only some servers end the stream where the body ends; others would wait for ever.
    chunked = environ.get("wsgi.input_terminated") or "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "")
    return stream.read() if chunked else b""


def _read(stream: Any, length: int) -> bytes:
    """Up to `length` bytes: a socket may give fewer at a time, and a client may leave early."""
    chunks: list[bytes] = []
    while length > 0 and (chunk := stream.read(length)):
        chunks.append(chunk)
        length -= len(chunk)
    return b"".join(chunks)


def _answer(response: Response, start_response: StartResponse) -> Iterable[bytes]:
    status = f"{response.status} {_phrase(response.status)}"
    headers = list(response.headers.items())
    if response.stream is not None:
        start_response(status, headers)
        return cast(Iterator[bytes], response.stream)  # The server closes it, PEP 3333.
    if "content-length" not in response.headers:
        headers.append(("content-length", str(len(response.body))))
    start_response(status, headers)
    return [response.body]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
