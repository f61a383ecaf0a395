"""A proxy that may lose what passes: requests on their way, or answers on their way back."""

import http.client
import threading
from collections.abc import Callable
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

HOP_HEADERS = frozenset({"connection", "transfer-encoding", "content-length", "host"})


class Fate(StrEnum):
    """What happens to one request."""

    PASSES = "passes"
    REQUEST_LOST = "request lost"
    """It never arrives; the client gets a 503."""
    ANSWER_LOST = "answer lost"
    """It is served, but the client gets a 503."""


class FaultyProxy:
    """Forwards to `target` what `fate_of(method, path)` lets pass. A context manager."""

    def __init__(self, target: str, fate_of: Callable[[str, str], Fate]) -> None:
        self._target = urlsplit(target)
        self._fate_of = fate_of
        self.passed: list[tuple[str, str, Fate, int]] = []
        """Method, path, fate and the status that the server answered, 0 where it was not asked."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _forward(self) -> None:
                proxy._forward(self)

            do_GET = do_POST = do_PUT = do_DELETE = _forward

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _forward(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        fate = self._fate_of(request.command, request.path)
        status, headers, answer = 0, list[tuple[str, str]](), b""
        if fate is not Fate.REQUEST_LOST:
            try:
                status, headers, answer = self._ask(request, body)
            except OSError:
                fate = Fate.REQUEST_LOST  # The server is down just now.
        self.passed.append((request.command, request.path, fate, status))
        if fate is not Fate.PASSES:
            status, headers, answer = (
                503,
                [("content-type", "application/json")],
                b'{"error":"lost","status":503}',
            )
        request.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_HEADERS:
                request.send_header(name, value)
        request.send_header("content-length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer)

    def _ask(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self._target.hostname or "", self._target.port, timeout=30)
        try:
            headers = {
                name: value for name, value in request.headers.items() if name.lower() not in HOP_HEADERS
            }
            connection.request(request.command, request.path, body or None, headers)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
