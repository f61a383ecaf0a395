"""One HTTP exchange with an application: over ASGI, over WSGI or over a socket, with every byte in view."""

import asyncio
import contextlib
import io
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import h11

HOST = "app.test"


@dataclass
class Message:
    """A request: `target` is path and query; header values are bytes, as not all are UTF-8."""

    method: str
    target: str = "/api/inngest"
    headers: dict[str, bytes] = field(default_factory=dict[str, bytes])
    body: bytes = b""
    prefix: str = ""
    """Where the application is mounted; part of `target`."""
    on_chunk: Callable[[bytes], object] = bool
    """Called with each part of the answer's body as it comes."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def all_headers(self) -> list[tuple[bytes, bytes]]:
        pairs = [(name.lower().encode(), value) for name, value in self.headers.items()]
        length = [(b"content-length", str(len(self.body)).encode())]
        return [(b"host", HOST.encode()), *(length if self.body or self.method != "GET" else []), *pairs]


@dataclass
class Reply:
    """An answer: header names in lower case, the body as it came in chunks."""

    status: int
    headers: dict[str, str]
    chunks: list[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


Exchange = Callable[[Message], Coroutine[Any, Any, Reply]]


# ---- ASGI ---------------------------------------------------------------------------------------


class ASGIExchange:
    """Calls an ASGI application as servers do: after the body, `receive` waits until the client has gone."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, message: Message, gone: asyncio.Event | None = None) -> Reply:
        bodies = [message.body[at : at + 65536] for at in range(0, len(message.body), 65536)] or [b""]
        left = gone or asyncio.Event()
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if bodies:
                return {"type": "http.request", "body": bodies.pop(0), "more_body": bool(bodies)}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(event: dict[str, Any]) -> None:
            sent.append(dict(event))
            if event.get("body"):
                message.on_chunk(event["body"])
            if event["type"] == "http.response.body" and not event.get("more_body"):
                left.set()

        await self.app(scope_of(message), receive, send)
        if not sent:
            raise ConnectionError("no answer")
        start, *rest = sent
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]
        }
        chunks = [event.get("body", b"") for event in rest]
        return Reply(start["status"], headers, [chunk for chunk in chunks if chunk])


def scope_of(message: Message) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": message.method,
        "scheme": "http",
        "path": unquote(message.path),
        "raw_path": message.path.encode(),
        "root_path": message.prefix,
        "query_string": message.query.encode(),
        "headers": message.all_headers(),
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
        "state": {},
        "extensions": {},
    }


# ---- WSGI ---------------------------------------------------------------------------------------


class WSGIExchange:
    """Calls a WSGI application as a threaded server does: each request in a thread of its own."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, message: Message) -> Reply:
        return await asyncio.to_thread(self._exchange, message)

    def _exchange(self, message: Message) -> Reply:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            started.append((status, headers))

        body: Iterable[bytes] = self.app(environ_of(message), start_response)
        try:
            chunks: list[bytes] = []
            for chunk in body:
                if chunk:
                    message.on_chunk(chunk)
                    chunks.append(chunk)
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()
        status, headers = started[-1]
        return Reply(int(status.split()[0]), {name.lower(): value for name, value in headers}, chunks)


def environ_of(message: Message) -> dict[str, Any]:
    path = unquote_to_bytes(message.path).decode("latin-1")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": message.method,
        "SCRIPT_NAME": message.prefix,
        "PATH_INFO": path.removeprefix(message.prefix),
        "QUERY_STRING": message.query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(message.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in message.all_headers():
        key = name.decode().upper().replace("-", "_")
        is_plain = key in ("CONTENT_TYPE", "CONTENT_LENGTH")
        environ[key if is_plain else f"HTTP_{key}"] = value.decode("latin-1")
    return environ


# ---- a socket -----------------------------------------------------------------------------------


class SocketExchange:
    """Speaks HTTP/1.1 with a server on loopback, one connection a request."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __call__(self, message: Message) -> Reply:
        async with self.sent(message) as (connection, reader):
            return await _read_reply(connection, reader, message.on_chunk)

    @contextlib.asynccontextmanager
    async def sent(self, message: Message) -> AsyncIterator[tuple[h11.Connection, asyncio.StreamReader]]:
        """A connection with the request on its way; leaving the block is going away."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        connection = h11.Connection(h11.CLIENT)
        request = h11.Request(
            method=message.method,
            target=message.target,
            headers=[*message.all_headers(), (b"connection", b"close")],
        )
        try:
            writer.write(connection.send(request) or b"")
            if message.body:
                writer.write(connection.send(h11.Data(data=message.body)) or b"")
            writer.write(connection.send(h11.EndOfMessage()) or b"")
            await writer.drain()
            yield connection, reader
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def _read_reply(
    connection: h11.Connection, reader: asyncio.StreamReader, on_chunk: Callable[[bytes], object]
) -> Reply:
    reply: Reply | None = None
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            case h11.Response():
                headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
                reply = Reply(event.status_code, headers, [])
            case h11.Data() if reply is not None:
                reply.chunks.append(bytes(event.data))
                on_chunk(reply.chunks[-1])
            case h11.EndOfMessage() if reply is not None:
                return reply
            case _:
                raise ConnectionError(f"the server ended the exchange: {event!r}")
