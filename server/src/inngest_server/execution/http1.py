"""An HTTP/1.1 client for calls to apps: long-lived connections, whole requests, whole responses.

Written for one thing only, many small requests to few hosts, because a general client took more than half
of a step's time (`docs/decisions/0009-own-http-client.md`). Parsing is llhttp's, TLS is the event loop's. It
knows no cookies, proxies, pipelining or streams, and whoever calls it follows redirects.
"""

import asyncio
import socket
import ssl
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlsplit

import aiohappyeyeballs
import brotli
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

BODILESS_METHODS = ("GET", "HEAD")
"""Without a body they say nothing of its length: some servers refuse one of 0."""
HEAD_BYTES_MAX = 64 * 1024
"""Of a response's status line and headers."""
HEADERS_MAX = 1000
"""In a response; together with the bytes this bounds what joining repeated ones costs."""
CHUNK_OVERHEAD = 8
"""How many times larger than its content a body in chunks may be: chunks of one byte are six times larger."""
CONNECT_TIMEOUT_S = 15.0
IDLE_S = 4.0
"""Below what common servers keep (Node and uvicorn close after 5 s), so that we rarely meet a closing one."""
SWEEP_S = 1.0
RACED_AFTER_S = 1.0
"""A connection that was idle for so long may be closed by the app at the very moment at which we use it."""
SECOND_ADDRESS_AFTER_S = 0.25
"""How long one address of a host has before the next is tried beside it."""

ENCODINGS_MAX = 4
"""Of one body, one around the other: each is a pass over all that the response may have."""
URL_CHARS_KEPT = 2_048
"""What has been read of longer URLs is not kept: that of a gateway step may be as large as any input."""
ADDRESSES_KEPT_S = 30.0
HOSTS_KEPT = 1000

AddrInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""As `getaddrinfo` gives them."""
MakeSocket = Callable[[AddrInfo], socket.socket]
"""A socket for an address about to be connected to; raises `OSError` where that is not allowed."""


class InvalidURLError(ValueError):
    """The address cannot be asked: no HTTP URL, no host, no such port."""


class BodyTooLargeError(Exception):
    """The response passed the limit; the rest was not read."""


class HungUpError(ConnectionError):
    """The app closed the connection before it had answered, or what it answered is cut off."""


class NotHTTPError(Exception):
    """What came is no HTTP, or more of it than a response has."""


class Headers(dict[str, str]):
    """Names in lower case; looked up in any case. Of repeated headers the values are joined with commas."""

    __slots__ = ()

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class Response(NamedTuple):
    status: int
    headers: Mapping[str, str]
    """Looked up in any case."""
    body: bytes


class Target(NamedTuple):
    """Where a URL leads: what connections are kept by, and what stands in a request's head."""

    host: str
    port: int
    is_tls: bool
    start: bytes
    """` /path?query HTTP/1.1` and the `Host` header."""


Origin = tuple[str, int, bool]


def target_of(url: str) -> Target:
    """Read a URL.

    Raises:
        InvalidURLError: it is not one that a request can be sent to.
    """
    try:
        return _kept_target(url) if len(url) <= URL_CHARS_KEPT else _read_target(url)
    except InvalidURLError:
        raise
    except ValueError as error:
        raise InvalidURLError(f"{url!r}: {error}") from error


def _read_target(url: str) -> Target:
    """As `target_of`; raises any `ValueError`."""
    parts = urlsplit(url)
    port = parts.port
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidURLError(f"{url!r} is no http or https address")
    ascii_host = host if ":" in host else host.encode("idna").decode()
    is_tls = parts.scheme == "https"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    if parts.query:
        path += "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~-._[]")
    shown = f"[{ascii_host}]" if ":" in ascii_host else ascii_host
    if port is not None:
        shown += f":{port}"
    start = f" {path} HTTP/1.1\r\nHost: {shown}\r\n".encode("ascii")
    return Target(ascii_host, port or (443 if is_tls else 80), is_tls, start)


_kept_target = lru_cache(maxsize=4096)(_read_target)


def head_of(method: str, start: bytes, headers: Mapping[str, str], body: bytes) -> bytes:
    """The head of a request.

    Raises:
        InvalidURLError: a header would end early: it contains a line break.
    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise InvalidURLError("a header contains a line break")
    length = f"Content-Length: {len(body)}\r\n" if body or method not in BODILESS_METHODS else ""
    text = f"{lines}{length}\r\n"
    return method.encode("ascii") + start + text.encode("utf-8", "surrogateescape")


class Connection(asyncio.Protocol):
    """One connection, which carries one exchange at a time. Parser callbacks are llhttp's names."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_body_max",
        "_ends_with_connection",
        "_header_count",
        "_headers",
        "_is_answered",
        "_is_head",
        "_is_in_body",
        "_parser",
        "_received",
        "_transport",
        "_waiter",
        "deadline_s",
        "idle_since_s",
        "is_reusable",
    )

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Response] | None = None
        self.deadline_s = 0.0
        self.idle_since_s = 0.0
        self.is_reusable = False
        self._begin(0)

    def _begin(self, body_max: int) -> None:
        self._body_max = body_max
        self._headers = Headers()
        self._header_count = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._received = 0
        self._is_in_body = False
        self._is_answered = False
        self._is_head = False
        self._ends_with_connection = False

    def exchange(self, head: bytes, body: bytes, body_max: int) -> "asyncio.Future[Response]":
        """Send a request; the future has the response or why there is none."""
        transport = self._transport
        self._begin(body_max)
        self._is_head = head.startswith(b"HEAD ")
        self.is_reusable = False
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        if transport is None:
            self.fail(HungUpError("the app closed the connection before it was asked"))
        elif len(body) <= HEAD_BYTES_MAX:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        return waiter

    @property
    def _is_waiting(self) -> bool:
        return self._waiter is not None

    @property
    def has_answered(self) -> bool:
        """Whether a byte of the present response came."""
        return self._is_answered

    def close(self) -> None:
        """Hang up at once, whatever is under way."""
        self.is_reusable = False
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: Exception) -> None:
        """End the exchange under way with an error, and the connection with it."""
        waiter, self._waiter = self._waiter, None
        self.close()
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's classes derive from none.

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            self.close()  # Nobody asked for this.
            return
        self._is_answered = True
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            cause = error.__context__
            if isinstance(cause, (BodyTooLargeError, NotHTTPError)):
                self.fail(cause)
            else:
                self.fail(NotHTTPError(f"the answer is no HTTP: {error}"))
            return
        if not self._is_waiting:
            return
        if not self._is_in_body and self._received > HEAD_BYTES_MAX:
            self.fail(NotHTTPError(f"the headers of the answer exceed {HEAD_BYTES_MAX} bytes"))
        elif self._received > HEAD_BYTES_MAX + CHUNK_OVERHEAD * self._body_max:
            self.fail(BodyTooLargeError())

    def eof_received(self) -> None:
        self._on_end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end(exc)
        self._transport = None

    def _on_end(self, error: Exception | None) -> None:
        self.is_reusable = False
        if self._waiter is None:
            return
        if error is None and self._is_in_body and self._ends_with_connection:
            self._finish()
        elif isinstance(error, OSError):
            self.fail(error)
        else:
            self.fail(HungUpError("the app closed the connection before it had answered"))

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._headers = Headers()
        if self._waiter is None:
            self.is_reusable = False  # More than was asked for.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        if self._header_count > HEADERS_MAX:
            raise NotHTTPError(f"the answer has more than {HEADERS_MAX} headers")
        if self._is_in_body:
            return  # A trailer: nobody asked for one.
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "replace")
        headers = self._headers
        headers[key] = text if key not in headers else f"{headers[key]}, {text}"

    def on_headers_complete(self) -> None:
        if 100 <= self._parser.get_status_code() < 200:
            return  # "Go on", before the real response.
        self._is_in_body = True
        if self._is_head:
            # The parser waits for the body whose length is told, so the connection is not used again.
            self._finish()
            return
        headers = self._headers
        self._ends_with_connection = "content-length" not in headers and "transfer-encoding" not in headers
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) > self._body_max:
            raise BodyTooLargeError

    def on_body(self, part: bytes) -> None:
        self._body_bytes += len(part)
        if self._body_bytes > self._body_max:
            raise BodyTooLargeError
        self._body.append(part)

    def on_message_complete(self) -> None:
        if not self._is_in_body or self._waiter is None:
            return
        transport = self._transport
        self.is_reusable = (
            self._parser.should_keep_alive()
            and transport is not None
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0  # It answered before it had read everything.
        )
        self._finish()

    def _finish(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        waiter.set_result(Response(self._parser.get_status_code(), self._headers, body))


class HTTPClient:
    """Connections to any number of hosts, kept for reuse. Made and closed inside the running event loop."""

    def __init__(self, make_socket: MakeSocket | None = None) -> None:
        self._make_socket = make_socket
        self._addresses: dict[tuple[str, int], tuple[float, Sequence[AddrInfo]]] = {}
        self._idle: dict[Origin, list[Connection]] = {}
        self._busy: set[Connection] = set()
        self._tls: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def close(self) -> None:
        """Hang up everywhere."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()
        for connection in list(self._busy):
            connection.fail(HungUpError("the client was closed"))
        await asyncio.sleep(0)

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        body_bytes_max: int,
    ) -> Response:
        """Send one request and read its response whole. Cancelling the call closes its connection.

        A request that meets a connection which the app closes after it was idle is sent once more.

        Raises:
            InvalidURLError: nothing can be sent there.
            BodyTooLargeError: of more than `body_bytes_max` bytes, as sent or decoded.
            HungUpError: the app closed the connection too early.
            NotHTTPError: it answered something else.
            TimeoutError: no whole response within `timeout_s`, or no connection.
            OSError: no connection, or it was lost; `ssl.SSLError` is one.
        """
        target = target_of(url)
        head = head_of(method, target.start, headers, body)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        origin = target[:3]
        connection = self._take_idle(origin)
        if connection is not None:
            idle_s = loop.time() - connection.idle_since_s
            try:
                return await self._exchange(connection, origin, head, body, deadline_s, body_bytes_max)
            except ConnectionError:
                if connection.has_answered or idle_s < RACED_AFTER_S:
                    raise
        connection = await self._connect(target, min(deadline_s, loop.time() + CONNECT_TIMEOUT_S))
        return await self._exchange(connection, origin, head, body, deadline_s, body_bytes_max)

    async def _exchange(
        self,
        connection: Connection,
        origin: Origin,
        head: bytes,
        body: bytes,
        deadline_s: float,
        body_bytes_max: int,
    ) -> Response:
        connection.deadline_s = deadline_s
        self._busy.add(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        try:
            response = await connection.exchange(head, body, body_bytes_max)
        except asyncio.CancelledError:
            connection.close()
            raise
        finally:
            self._busy.discard(connection)
        if connection.is_reusable:
            connection.idle_since_s = asyncio.get_running_loop().time()
            self._idle.setdefault(origin, []).append(connection)
        else:
            connection.close()
        encoding = response.headers.get("content-encoding")
        if encoding and response.body:
            return response._replace(body=decoded(response.body, encoding, body_bytes_max))
        return response

    def _take_idle(self, origin: Origin) -> Connection | None:
        connections = self._idle.get(origin)
        while connections:
            connection = connections.pop()  # The one used last is the least likely to be closed.
            if connection.is_reusable:
                return connection
        return None

    async def _connect(self, target: Target, deadline_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout_at(deadline_s):
            addresses = await self._resolve(target.host, target.port)
            connected = await aiohappyeyeballs.start_connection(  # pyright: ignore[reportUnknownMemberType]
                addresses,
                happy_eyeballs_delay=SECOND_ADDRESS_AFTER_S,
                loop=loop,
                socket_factory=self._make_socket,
            )
            try:
                if not target.is_tls:
                    _, connection = await loop.create_connection(Connection, sock=connected)
                else:
                    if self._tls is None:
                        self._tls = await asyncio.to_thread(ssl.create_default_context)
                    _, connection = await loop.create_connection(
                        Connection, sock=connected, ssl=self._tls, server_hostname=target.host
                    )
            except BaseException:
                connected.close()
                raise
        return connection

    async def _resolve(self, host: str, port: int) -> Sequence[AddrInfo]:
        loop = asyncio.get_running_loop()
        known = self._addresses.get((host, port))
        if known is not None and known[0] > loop.time():
            return known[1]
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if len(self._addresses) >= HOSTS_KEPT:
            self._addresses.clear()
        self._addresses[host, port] = loop.time() + ADDRESSES_KEPT_S, found
        return found

    def _sweep(self) -> None:
        """End what lasts too long and what was idle for long: one timer for all instead of one for each."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for connection in [one for one in self._busy if one.deadline_s <= now_s]:
            connection.fail(TimeoutError("no whole answer came in time"))
        for origin, connections in list(self._idle.items()):
            kept: list[Connection] = []
            for connection in connections:
                if connection.is_reusable and now_s - connection.idle_since_s < IDLE_S:
                    kept.append(connection)
                else:
                    connection.close()
            if kept:
                self._idle[origin] = kept
            else:
                del self._idle[origin]
        self._sweeper = loop.call_later(SWEEP_S, self._sweep) if self._busy or self._idle else None


def decoded(body: bytes, encoding: str, size_max: int) -> bytes:
    """The body behind its content encodings; an unknown one is left as it is.

    Raises:
        BodyTooLargeError: it is larger than `size_max` bytes when it is decoded.
        HungUpError: it is not what it says it is, or was encoded too often.
    """
    names = encoding.lower().split(",")
    if len(names) > ENCODINGS_MAX:
        raise HungUpError(f"the answer is encoded more than {ENCODINGS_MAX} times")
    for name in reversed(names):
        match name.strip():
            case "gzip" | "x-gzip" | "deflate":
                body = _inflated(body, size_max)
            case "br":
                body = _unbrotlied(body, size_max)
            case "identity" | "":
                continue
            case _:
                return body
    return body


def _inflated(body: bytes, size_max: int) -> bytes:
    for window_bits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):  # With a header of either kind; without one.
        inflater = zlib.decompressobj(window_bits)
        try:
            plain = inflater.decompress(body, size_max + 1)
        except zlib.error:
            continue
        if len(plain) > size_max:
            raise BodyTooLargeError
        if not inflater.eof:
            raise HungUpError("the compressed answer ends early")
        return plain
    raise HungUpError("the answer is not compressed as it says")


def _unbrotlied(body: bytes, size_max: int) -> bytes:
    decompressor = brotli.Decompressor()
    parts: list[bytes] = []
    size = 0
    try:
        part = decompressor.process(body, output_buffer_limit=size_max + 1)
        while True:
            parts.append(part)
            size += len(part)
            if size > size_max:
                raise BodyTooLargeError
            if decompressor.is_finished() or (not part and decompressor.can_accept_more_data()):
                break
            part = decompressor.process(b"", output_buffer_limit=size_max + 1)
    except brotli.error as error:
        raise HungUpError("the answer is not compressed as it says") from error
    if not decompressor.is_finished():
        raise HungUpError("the compressed answer ends early")
    return b"".join(parts)
