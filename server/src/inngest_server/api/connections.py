"""Connections of clients: how many there may be, and how long one may keep others waiting.

uvicorn reads a request for as long as its sender likes. Here a head has a size and a time, a body a pace (in
`api/replies.py`). The number of connections has a bound below that of open files, so that the server
can still call apps and write its database.
"""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from inngest_server.wire import json

BACKLOG = 2048
"""Connections that wait to be accepted, as while the database is loaded."""
HEAD_BYTES_MAX = 64 * 1024
"""Of a request line with its headers; as large as what Node and others accept, several times over."""
HEAD_TIMEOUT_S = 10.0
"""To send a whole head; also for the first one on a connection, which may not stay silent."""
CONNECTIONS_MAX = 10_000
FILES_PER_CONNECTION = 2
"""Half of the files that may be open are left to calls to apps, the database and everything else."""


class AddressInUseError(Exception):
    code = "address_in_use"


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        AddressInUseError: something else listens there, or there is no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # At once: Linux lets two processes bind the same port as long as neither listens.
        listener.listen(BACKLOG)
    except (OSError, TypeError, UnicodeError) as error:  # No host name can be spelled so: the last two.
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise AddressInUseError(
            f"cannot listen on {host}:{port}: {reason}; choose another with --port or --host"
        ) from error
    listener.setblocking(False)
    return listener


def allowed_connections() -> int:
    """How many connections this process can serve, now that it may open as many files as its user may."""
    try:
        import resource
    except ImportError:  # Windows bounds handles elsewhere.
        return CONNECTIONS_MAX
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX * FILES_PER_CONNECTION
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return (
        CONNECTIONS_MAX
        if soft == resource.RLIM_INFINITY
        else min(CONNECTIONS_MAX, soft // FILES_PER_CONNECTION)
    )


class QuietServer(uvicorn.Server):
    """Leaves signals to the composition root, which stops more than HTTP."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class _Lenient:
    """A transport that drops what is written after its end, as those of asyncio do, not those of uvloop.

    A connection is closed here before its requests hear of it: when the client sends no more, or sends
    something that is no HTTP behind a request that is still being served.
    """

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(HttpToolsProtocol):
    """One connection of a client. Subclasses change the bounds."""

    head_timeout_s = HEAD_TIMEOUT_S
    connections_max = CONNECTIONS_MAX

    _head_bytes = 0
    _is_in_head = True
    _had_head = False
    _is_handed_over = False
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.transport = cast("asyncio.Transport", _Lenient(transport))
        if len(self.connections) > self.connections_max:
            self._refuse(503, "too_many_connections", "this server has too many connections; try again later")
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
                self._refuse(431, "head_too_large", f"request line and headers exceed {HEAD_BYTES_MAX} bytes")
        if not self._is_waited_for:
            self._unwatch()
        elif self._head_timer is None:
            self._watch()

    def on_message_begin(self) -> None:
        self._head_bytes, self._is_in_head = 0, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head, self._had_head = False, True
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        self._is_handed_over = True
        self._unwatch()
        super().handle_websocket_upgrade()

    @property
    def _is_waited_for(self) -> bool:
        """Whether the client is to say something: a head, or what is left of a body that was answered."""
        if self._is_handed_over or self.transport.is_closing():
            return False
        return self._is_in_head or self.cycle.response_complete

    def _watch(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._head_is_late)

    def _unwatch(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self._is_waited_for:
            return
        if self._had_head and not self.cycle.response_complete:
            self._watch()  # It sends its next request while the last one is served, and must wait itself.
        elif self._is_in_head and self._head_bytes:
            self._refuse(408, "request_timeout", f"the headers took longer than {self.head_timeout_s:g} s")
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer without a request, and hang up. The body suits the event API as well as the others."""
        fields: dict[str, Any] = {"code": code, "error": message, "data": None, "status": status}
        body = json.dumps({"ids": [], **fields})
        retry = "retry-after: 1\r\n" if status == 503 else ""
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/json\r\n{retry}"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self._unwatch()
        self.transport.write(head.encode() + body)
        self.transport.close()


def bounded(connections_max: int) -> type[Connection]:
    """The connections of a server that serves at most so many at a time."""
    return type("BoundedConnection", (Connection,), {"connections_max": connections_max})


_REASONS = {
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
