"""The client against servers that answer byte by byte what they are told to, on both event loops."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from inngest_server.execution import http1
from inngest_server.execution.http1 import (
    BodyTooLargeError,
    HTTPClient,
    HungUpError,
    InvalidURLError,
    NotHTTPError,
    Response,
    target_of,
)

CERTIFICATE = Path(__file__).parent / "localhost.pem"
"""Of nobody: its key stands beside it."""
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NESTED = reduce(lambda body, _: gzip.compress(body), range(5), b"ok")

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@asynccontextmanager
async def talking(conversation: Conversation, **options: Any) -> AsyncIterator[str]:
    """A server that has `conversation` with whoever connects; gives its address."""
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(one(reader, writer)))

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await conversation(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, **options)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.gather(*tasks)


def answering(*answers: bytes) -> Conversation:
    """Reads a request and sends an answer, for each answer, then hangs up."""

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()

    return conversation


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Head and body of one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


@asynccontextmanager
async def client() -> AsyncIterator[HTTPClient]:
    made = HTTPClient()
    try:
        yield made
    finally:
        await made.close()


async def ask(
    one: HTTPClient,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes = b"{}",
    timeout_s: float = 10.0,
    body_bytes_max: int = 1000,
) -> Response:
    return await one.request(
        "POST", url, headers or {}, body, timeout_s=timeout_s, body_bytes_max=body_bytes_max
    )


async def ask_once(conversation: Conversation, **options: Any) -> Response:
    async with talking(conversation) as url, client() as one:
        return await ask(one, url, **options)


# What is sent.


async def test_the_request_on_the_wire() -> None:
    seen: list[bytes] = []

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(OK)

    async with talking(conversation) as url, client() as one:
        await ask(one, f"{url}/a b/ü?q=1&x=[2]#part", headers={"X-A": "ü"}, body=b"{1}")
        port = url.rpartition(":")[2].encode()
    assert seen == [
        b"POST /a%20b/%C3%BC?q=1&x=[2] HTTP/1.1\r\nHost: 127.0.0.1:" + port + b"\r\n"
        b"X-A: \xc3\xbc\r\nContent-Length: 3\r\n\r\n{1}"
    ]


@pytest.mark.parametrize(
    ("url", "host", "port", "start"),
    [
        ("http://a", "a", 80, b" / HTTP/1.1\r\nHost: a\r\n"),
        ("https://A.b/x%20y?", "a.b", 443, b" /x%20y HTTP/1.1\r\nHost: a.b\r\n"),
        ("http://[::1]:9/x", "::1", 9, b" /x HTTP/1.1\r\nHost: [::1]:9\r\n"),
        (
            "http://bücher.example/",
            "xn--bcher-kva.example",
            80,
            b" / HTTP/1.1\r\nHost: xn--bcher-kva.example\r\n",
        ),
        ("http://u:p@a:80/", "a", 80, b" / HTTP/1.1\r\nHost: a:80\r\n"),
    ],
)
def test_where_a_url_leads(url: str, host: str, port: int, start: bytes) -> None:
    target = target_of(url)
    assert (target.host, target.port, target.start) == (host, port, start)
    assert target.is_tls == url.startswith("https")


@pytest.mark.parametrize(
    "url",
    [
        *["", "a", "ftp://a/", "http://", "http://a:x/", "http://a:70000/", "http://[::1"],
        *[f"http://{'a' * 64}/", "http://[fe80::1%é]/", "http://a/\ud800", f"http://a/{'b' * 5000}\ud800"],
    ],
)
def test_urls_that_lead_nowhere(url: str) -> None:
    with pytest.raises(InvalidURLError):
        target_of(url)


def test_long_urls_are_not_kept_in_memory() -> None:
    before = http1._kept_target.cache_info().currsize
    assert target_of(f"http://a/?{'b' * 5000}").host == "a"
    assert http1._kept_target.cache_info().currsize == before


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb"])
async def test_a_header_cannot_end_early(value: str) -> None:
    async with client() as one:
        with pytest.raises(InvalidURLError):
            await ask(one, "http://127.0.0.1:9/", headers={"X-A": value})


# What comes back.


async def test_headers_in_any_case_and_repeated_ones_joined() -> None:
    response = await ask_once(
        answering(b"HTTP/1.1 201 Made\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n")
    )
    assert (response.status, response.headers.get("X-A"), response.headers.get("x-b")) == (201, "1, 2", None)


async def test_an_answer_in_pieces_of_one_byte() -> None:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for (
            byte
        ) in b"HTTP/1.1 200 OK\r\nX-Name: value\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()

    response = await ask_once(conversation)
    assert (response.body, response.headers.get("x-name")) == (b"abc", "value")


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (
            CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\nX-Sum: 1\r\n\r\n",
            b"abc",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\noknothing that was asked for", b"ok"),
        (OK + b"HTTP/1.1 500 No\r\nX-Second: 1\r\nContent-Length: 1\r\n\r\nx", b"ok"),
    ],
    ids=["chunks", "to the end", "http 1.0", "continue", "hints", "trailing bytes", "two answers"],
)
async def test_forms_of_an_answer(answer: bytes, body: bytes) -> None:
    response = await ask_once(answering(answer))
    assert response.body == body
    assert not response.headers.keys() & {"x-early", "link", "x-second"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", HungUpError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", HungUpError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", HungUpError),
        (CHUNKED + b"5\r\nabc", HungUpError),
        (b"HTTP/1.1 100 Continue\r\n\r\n", HungUpError),
        (b"220 mail.example ESMTP\r\n", NotHTTPError),
        (b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n\0\0", NotHTTPError),
        (CHUNKED + b"zz\r\n", NotHTTPError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, NotHTTPError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", BodyTooLargeError),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001, BodyTooLargeError),
        (CHUNKED + b"3e9\r\n" + b"x" * 1001, BodyTooLargeError),
        (
            CHUNKED + b"0\r\n" + (b"X-Trailer: " + b"y" * 100 + b"\r\n") * 900,
            BodyTooLargeError,
        ),
        (CHUNKED + b"0\r\n" + b"x:y\r\n" * 1002, NotHTTPError),
        (b"HTTP/1.1 200 OK\r\n" + b"x:y\r\n" * 1002, NotHTTPError),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", HungUpError),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"abc")[:-9], HungUpError),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nok", HungUpError),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: " + b"gzip," * 5 + b"\r\n\r\n" + NESTED, HungUpError),
    ],
    ids=[
        *[
            "nothing",
            "half a head",
            "half a body",
            "half a chunk",
            "only continue",
            "another protocol",
            "upgrade",
        ],
        *[
            "no chunk size",
            "endless header",
            "too long",
            "too long, no length",
            "too long, chunk",
            "trailers",
            "many trailers",
            "many headers",
        ],
        *["no gzip", "half a gzip", "no brotli", "gzip in gzip in ..."],
    ],
)
async def test_answers_that_are_none(answer: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        await ask_once(answering(answer))


async def test_an_unknown_encoding_is_left_as_it_is() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\nContent-Length: 3\r\n\r\nabc"
    assert (await ask_once(answering(answer))).body == b"abc"


# Connections.


def counting(opened: list[int], *answers: bytes) -> Conversation:
    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(1)
        await answering(*answers)(reader, writer)
        await reader.read()

    return conversation


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (OK, 1),
        (OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), 2),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 2),
        (OK + b"more", 2),
    ],
    ids=["kept", "close", "http 1.0", "more than asked for"],
)
async def test_which_connections_are_used_again(answer: bytes, connections: int) -> None:
    opened: list[int] = []
    async with talking(counting(opened, answer, answer)) as url, client() as one:
        for _ in range(2):
            assert (await ask(one, url)).body == b"ok"
    assert len(opened) == connections


async def test_requests_under_way_have_a_connection_each() -> None:
    opened: list[int] = []
    async with talking(counting(opened, OK)) as url, client() as one:
        await asyncio.gather(*[ask(one, url) for _ in range(5)])
    assert len(opened) == 5


async def test_a_request_that_meets_a_closing_connection_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The app closed it because it was idle, and cannot have seen the request."""
    monkeypatch.setattr(http1, "RACED_AFTER_S", 0.0)
    requests = 0

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await read_request(reader)
        requests += 1
        writer.write(OK)
        await writer.drain()
        await reader.read(1)  # The next request arrives; this end hangs up without looking at it.

    async with talking(conversation) as url, client() as one:
        assert (await ask(one, url)).body == b"ok"
        assert (await ask(one, url)).body == b"ok"
    assert requests == 2


async def test_a_connection_that_is_lost_before_it_is_used_hung_up() -> None:
    lost = http1.Connection()
    lost.connection_lost(None)
    with pytest.raises(HungUpError):
        await lost.exchange(b"GET / HTTP/1.1\r\n\r\n", b"", 1000)


async def test_a_trailer_is_no_header() -> None:
    trailed = CHUNKED + b"2\r\nok\r\n0\r\nContent-Encoding: gzip\r\nX-Late: 1\r\n\r\n"
    response = await ask_once(answering(trailed))
    assert (response.body, response.headers.get("x-late")) == (b"ok", None)


async def test_a_busy_connection_that_breaks_is_the_apps_failure() -> None:
    """The app may have died of this very request."""
    async with talking(answering(OK)) as url, client() as one:
        await ask(one, url)
        connection = one._idle[target_of(url)[:3]][0]
        connection.is_reusable = True  # As it looks when the end of it is still under way.
        with pytest.raises(HungUpError):
            await ask(one, url)


async def test_no_answer_in_time() -> None:
    released = asyncio.Event()

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()

    async with talking(conversation) as url, client() as one:
        with pytest.raises(TimeoutError):
            await ask(one, url, timeout_s=0.01)
        released.set()
        assert not one._busy


async def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "IDLE_S", 0.0)
    gone = asyncio.Event()

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(OK)(reader, writer)
        await reader.read()
        gone.set()

    async with talking(conversation) as url, client() as one:
        await ask(one, url)
        async with asyncio.timeout(10):
            await gone.wait()
        assert not one._idle
        assert one._sweeper is None  # An idle client has no timer.


async def test_closing_ends_what_is_under_way() -> None:
    arrived = asyncio.Event()

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        arrived.set()
        await reader.read()

    async with talking(conversation) as url:
        one = HTTPClient()
        call = asyncio.create_task(ask(one, url))
        await arrived.wait()
        await one.close()
        with pytest.raises(HungUpError):
            await call


async def test_an_answer_before_the_request_was_read() -> None:
    """A server that refuses a large body says so at once; the rest of the body is not its next request."""
    opened: list[int] = []

    async def conversation(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(1)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read()

    async with talking(conversation, limit=2**16) as url, client() as one:
        for _ in range(2):
            assert (await ask(one, url, body=b"x" * 30_000_000)).status == 413
    assert len(opened) == 2


# TLS.


def tls_server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


async def test_tls_with_a_trusted_certificate() -> None:
    async with talking(answering(OK, OK), ssl=tls_server()) as url, client() as one:
        one._tls = ssl.create_default_context(cafile=str(CERTIFICATE))
        for _ in range(2):
            response = await ask(one, url.replace("http://127.0.0.1", "https://localhost"))
            assert response.body == b"ok"


async def test_tls_with_a_certificate_that_nobody_signed() -> None:
    async with talking(answering(OK), ssl=tls_server()) as url, client() as one:
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask(one, url.replace("http:", "https:"))


# Addresses.


async def test_a_socket_that_is_refused() -> None:
    def refuse(info: http1.AddrInfo) -> Any:
        raise OSError(f"not to {info[4][0]}")

    one = HTTPClient(refuse)
    with pytest.raises(OSError, match=r"not to 127\.0\.0\.1"):
        await ask(one, "http://127.0.0.1:9/")
    await one.close()
