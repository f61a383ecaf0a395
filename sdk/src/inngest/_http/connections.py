"""Kept HTTP/1.1 connections for small, frequent calls: checkpoints, one for each step.

A general client costs several times what the rest of a step costs: for a POST of 400 bytes on loopback httpx
takes 540 microseconds of CPU in asyncio (httpcore 320) and 300 in threads, this module 40 and 70, the engine
around 100. What only a general client can do (proxies, redirects, HTTP/2) is left to httpx.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from weakref import finalize

from .per_loop import PerLoop

if TYPE_CHECKING:
    from http.client import HTTPConnection

IDLE_MAX = 20
"""Kept connections for each event loop, and for all threads together."""
HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 1024 * 1024
"""Answers to these calls are short; what is longer does not come from a server of this kind."""

# A server closes connections that were idle for long; such a one is found dead only when it is used.
_DEAD = (ConnectionError, asyncio.IncompleteReadError)


class BadAnswerError(OSError):
    """What came back is no HTTP/1 answer."""


@dataclass(frozen=True, slots=True)
class _Origin:
    host: str
    port: int
    tls: Callable[[], ssl.SSLContext] | None

    @staticmethod
    def of(url: str) -> _Origin:
        parts = urlsplit(url)
        is_secure = parts.scheme == "https"
        return _Origin(
            parts.hostname or "",
            parts.port or (443 if is_secure else 80),
            # Reading the certificates takes longer than a call.
            cache(_tls) if is_secure else None,
        )


def _tls() -> ssl.SSLContext:
    """The same certificates as those that all other calls trust."""
    import httpx

    return httpx.create_ssl_context()


def is_direct(url: str) -> bool:
    """Whether calls of this address go to it, and not to a proxy that the environment names."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    if getproxies().keys().isdisjoint((parts.scheme, "all")):
        return True
    return bool(proxy_bypass(parts.hostname or ""))


class AsyncConnections:
    """Connections to one origin; each belongs to the event loop in which it was made."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._origin = _Origin.of(url)
        self._host = urlsplit(url).netloc.rpartition("@")[2]
        self._timeout_s = timeout_s
        self._idle: PerLoop[list[_Connection]] = PerLoop(list, _close_all)

    async def post(self, target: str, headers: Mapping[str, str], content: bytes) -> tuple[int, bytes]:
        """Status and body of the answer.

        A kept connection that turns out to be dead is replaced once; so the call must be one that a server
        may get twice.

        Raises:
            OSError: no answer; `TimeoutError` when it did not come in time.
        """
        lines = [f"POST {target} HTTP/1.1", f"host: {self._host}", f"content-length: {len(content)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        request = "\r\n".join([*lines, "", ""]).encode("latin-1") + content
        idle = self._idle.get()
        async with asyncio.timeout(self._timeout_s):
            while True:
                kept = _take(idle)
                connection = kept or await self._open()
                try:
                    status, body, is_kept = await connection.exchange(request)
                except BaseException as error:
                    connection.close()
                    if kept is not None and isinstance(error, _DEAD):
                        continue
                    if isinstance(
                        error, asyncio.IncompleteReadError | asyncio.LimitOverrunError | ValueError
                    ):
                        raise BadAnswerError(f"the answer is no whole HTTP answer: {error}") from error
                    raise
                if is_kept and len(idle) < IDLE_MAX:
                    idle.append(connection)
                else:
                    connection.close()
                return status, body

    async def _open(self) -> _Connection:
        tls = None if self._origin.tls is None else self._origin.tls()
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=HEAD_BYTES_MAX, loop=loop)
        transport, protocol = await loop.create_connection(
            lambda: _Protocol(reader, loop=loop), self._origin.host, self._origin.port, ssl=tls
        )
        return _Connection(reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._idle.aclose()


class _Protocol(asyncio.StreamReaderProtocol):
    """That of streams, except that a connection which the server ends is closed here at once, not half."""

    def eof_received(self) -> bool:
        super().eof_received()
        return False


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def exchange(self, request: bytes) -> tuple[int, bytes, bool]:
        """Status, body, and whether the connection may be used again."""
        self.writer.write(request)
        await self.writer.drain()
        while True:
            head = await self.reader.readuntil(b"\r\n\r\n")
            status, fields = _parse_head(head)
            if status >= 200:
                break
        is_kept = fields.get(b"connection", b"").lower() != b"close" and not head.startswith(b"HTTP/1.0")
        if status in (204, 304):
            return status, b"", is_kept
        if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
            return status, await self._read_chunks(), is_kept
        if b"content-length" in fields:
            length = _bounded(int(fields[b"content-length"]))
            return status, await self.reader.readexactly(length) if length else b"", is_kept
        body = await self.reader.read(BODY_BYTES_MAX)
        return status, body, False

    async def _read_chunks(self) -> bytes:
        body = bytearray()
        while True:
            size = int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16)
            if size == 0:
                # Trailers, if there are any, end with an empty line.
                while await self.reader.readuntil(b"\r\n") != b"\r\n":
                    pass
                return bytes(body)
            _bounded(len(body) + size)
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)

    def is_open(self) -> bool:
        return not (self.writer.is_closing() or self.reader.at_eof())

    def close(self) -> None:
        self.writer.close()

    async def aclose(self) -> None:
        self.writer.close()
        with suppress(OSError):  # Closed by the other side already.
            await self.writer.wait_closed()


async def _close_all(connections: list[_Connection]) -> None:
    while connections:
        await connections.pop().aclose()


def _take(idle: list[_Connection]) -> _Connection | None:
    """The connection that was used last; the others may be closed by then."""
    while idle:
        connection = idle.pop()
        if connection.is_open():
            return connection
        connection.close()
    return None


def _parse_head(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    """Status and headers, by lower-case name.

    Raises:
        ValueError: no head of HTTP/1.
    """
    first, *lines = head[:-4].split(b"\r\n")
    version, _, rest = first.partition(b" ")
    if not version.startswith(b"HTTP/1."):
        raise ValueError(f"it begins with {first[:40]!r}")
    status = int(rest[:3])
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields[name.strip().lower()] = value.strip()
    return status, fields


def _bounded(length: int) -> int:
    if not 0 <= length <= BODY_BYTES_MAX:
        raise ValueError(f"its body has {length} bytes")
    return length


class ThreadConnections:
    """Connections to one origin, for all threads: each is used by one of them at a time."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._origin = _Origin.of(url)
        self._timeout_s = timeout_s
        self._idle: list[HTTPConnection] = []
        self._lock = threading.Lock()
        finalize(self, _close_idle, self._idle)

    def post(self, target: str, headers: Mapping[str, str], content: bytes) -> tuple[int, bytes]:
        """As `AsyncConnections.post`; blocks until the answer is there."""
        from http.client import HTTPException

        while True:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            connection = kept or self._open()
            try:
                connection.request("POST", target, content, dict(headers))
                answer = connection.getresponse()
                # Only a read without a size notices that a body ends too early.
                body = answer.read(None if _bounded(answer.length or 0) else BODY_BYTES_MAX)
            except BaseException as error:
                connection.close()
                if kept is not None and isinstance(error, ConnectionError):
                    continue
                if isinstance(error, HTTPException | ValueError) and not isinstance(error, OSError):
                    raise BadAnswerError(f"the answer is no whole HTTP answer: {error!r}") from error
                raise
            with self._lock:
                is_kept = not answer.will_close and answer.isclosed() and len(self._idle) < IDLE_MAX
                if is_kept:
                    self._idle.append(connection)
            if not is_kept:
                connection.close()
            return answer.status, body

    def _open(self) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        host, port = self._origin.host, self._origin.port
        if self._origin.tls is None:
            return HTTPConnection(host, port, timeout=self._timeout_s)
        return HTTPSConnection(host, port, timeout=self._timeout_s, context=self._origin.tls())

    def close(self) -> None:
        with self._lock:
            _close_idle(self._idle)


def _close_idle(connections: list[HTTPConnection]) -> None:
    while connections:
        connections.pop().close()
