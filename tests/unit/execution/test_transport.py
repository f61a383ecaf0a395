"""Requests to a small server on a free port of this machine."""

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import brotli
import pytest
from aiohttp import web

from inngest_server.execution.transport import (
    HTTPTransport,
    Response,
    ResponseTooLargeError,
    TransportError,
    _kind_of,
    _redirected,
)
from inngest_server.wire import json
from inngest_server.wire.limits import SDK_REDIRECTS_MAX

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server whose every path is answered by `handler`; gives its address."""
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving_bytes(answer: bytes) -> AsyncIterator[str]:
    """A server that reads the head of a request, writes `answer` as it is, and hangs up."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def send(
    url: str,
    *,
    body: bytes = b'{"a":1}',
    headers: dict[str, str] | None = None,
    timeout_s: float = 5.0,
    body_bytes_max: int = 1000,
) -> Response:
    transport = HTTPTransport()
    try:
        return await transport.send(
            "POST", url, headers or {}, body, timeout_s=timeout_s, body_bytes_max=body_bytes_max
        )
    finally:
        await transport.close()


async def kind_of_failure(url: str, **options: Any) -> str:
    with pytest.raises(TransportError) as caught:
        await send(url, **options)
    return caught.value.kind


async def echo(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "method": request.method,
            "path": request.path,
            "query": dict(request.query),
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": (await request.read()).decode(),
        }
    )


# What is sent and what comes back.


async def test_a_request_arrives_as_it_was_sent() -> None:
    async with serving(echo) as url:
        response = await send(
            f"{url}/api/inngest?fnId=shop-f&stepId=step",
            headers={"Content-Type": "application/json", "X-Run-ID": "r1"},
            body="{ü}".encode(),
        )
    seen = read_json(response)
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/api/inngest", "{ü}")
    assert seen["query"] == {"fnId": "shop-f", "stepId": "step"}
    assert seen["headers"]["content-type"] == "application/json"
    assert seen["headers"]["x-run-id"] == "r1"
    assert seen["headers"]["accept-encoding"] == "gzip, br"


def read_json(response: Response) -> Any:
    return json.parse(response.body)


@pytest.mark.parametrize("status", [200, 201, 206, 400, 404, 500])
async def test_every_status_is_a_response_with_headers_found_in_any_case(status: int) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, body=b"text", headers={"X-Inngest-SDK": "py:v1"})

    async with serving(handler) as url:
        response = await send(url)
    assert (response.status, response.body) == (status, b"text")
    assert response.headers.get("x-inngest-sdk") == "py:v1"


async def test_a_body_of_several_megabytes_arrives_whole() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async with serving(handler) as url:
        response = await send(url, body=b"x" * 4_000_000)
    assert response.body == b"4000000"


@pytest.mark.parametrize(
    ("encoding", "encode"), [("gzip", gzip.compress), ("br", brotli.compress)], ids=["gzip", "br"]
)
async def test_compressed_answers_are_decoded(encoding: str, encode: Callable[[bytes], bytes]) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=encode(b'{"ok":true}' * 20), headers={"Content-Encoding": encoding})

    async with serving(handler) as url:
        response = await send(url)
    assert response.body == b'{"ok":true}' * 20


async def test_connections_are_kept() -> None:
    peers: set[Any] = set()

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response()

    transport = HTTPTransport()
    async with serving(handler) as url:
        for _ in range(3):
            await transport.send("POST", url, {}, b"", timeout_s=5.0, body_bytes_max=10)
        await transport.close()
    assert len(peers) == 1


async def test_cookies_are_not_kept() -> None:
    async def handler(request: web.Request) -> web.Response:
        response = web.Response(text=str(dict(request.cookies)))
        response.set_cookie("session", "1")
        return response

    transport = HTTPTransport()
    async with serving(handler) as url:
        await transport.send("POST", url, {}, b"", timeout_s=5.0, body_bytes_max=100)
        second = await transport.send("POST", url, {}, b"", timeout_s=5.0, body_bytes_max=100)
        await transport.close()
    assert second.body == b"{}"


# The cap.


def plain(size: int) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * size)

    return handler


def chunked(size: int) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for _ in range(size // 10):
            await response.write(b"x" * 10)
        return response

    return handler


def compressed(size: int) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"x" * size), headers={"Content-Encoding": "gzip"})

    return handler


@pytest.mark.parametrize("handler_of", [plain, chunked, compressed])
async def test_a_body_may_be_as_large_as_the_cap_after_decoding(handler_of: Callable[[int], Handler]) -> None:
    async with serving(handler_of(1000)) as url:
        assert len((await send(url, body_bytes_max=1000)).body) == 1000
    async with serving(handler_of(1010)) as url:
        with pytest.raises(ResponseTooLargeError):
            await send(url, body_bytes_max=1000)


async def test_a_bomb_is_not_unpacked() -> None:
    async with serving(compressed(32_000_000)) as url:
        with pytest.raises(ResponseTooLargeError):
            await send(url, body_bytes_max=8 * 1024 * 1024)


# Redirects.


def redirecting(status: int, location: str) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/start":
            return web.Response(status=status, headers={"Location": location})
        return await echo(request)

    return handler


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_gets_the_same_method_body_headers_and_query(status: int) -> None:
    async with serving(redirecting(status, "/there?extra=1")) as url:
        seen = read_json(
            await send(
                f"{url}/start?fnId=a%20b&stepId=step", headers={"X-Run-ID": "r1"}, body_bytes_max=10_000
            )
        )
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", "/there", '{"a":1}')
    assert seen["query"] == {"extra": "1", "fnId": "a b", "stepId": "step"}
    assert seen["headers"]["x-run-id"] == "r1"


async def test_a_redirect_to_another_server_is_followed() -> None:
    async with serving(echo) as there, serving(redirecting(308, f"{there}/x")) as here:
        seen = read_json(await send(f"{here}/start?stepId=step", body_bytes_max=10_000))
    assert (seen["path"], seen["query"]) == ("/x", {"stepId": "step"})


async def test_a_redirect_without_an_address_is_an_answer() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=302)

    async with serving(handler) as url:
        assert (await send(url)).status == 302


@pytest.mark.parametrize(("hops", "is_followed"), [(SDK_REDIRECTS_MAX, True), (SDK_REDIRECTS_MAX + 1, False)])
async def test_so_many_redirects_are_followed_and_no_more(hops: int, is_followed: bool) -> None:
    async def handler(request: web.Request) -> web.Response:
        left = int(request.path.strip("/"))
        if left == 0:
            return web.Response(text="arrived")
        return web.Response(status=307, headers={"Location": f"/{left - 1}"})

    async with serving(handler) as url:
        if is_followed:
            assert (await send(f"{url}/{hops}")).body == b"arrived"
        else:
            assert await kind_of_failure(f"{url}/{hops}") == "redirects"


def test_a_redirect_keeps_what_its_own_query_says() -> None:
    url = _redirected("http://a/x?stepId=step&fnId=f", "/y?stepId=other")
    assert url == "http://a/y?stepId=other&fnId=f"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://b/y", "https://b/y?q=1"),
        ("//b/y", "https://b/y?q=1"),
        ("y", "https://a/dir/y?q=1"),
        ("/y", "https://a/y?q=1"),
        ("?z=2", "https://a/dir/x?z=2&q=1"),
    ],
)
def test_a_redirect_is_relative_to_the_last_address(location: str, target: str) -> None:
    assert _redirected("https://a/dir/x?q=1", location) == target


@pytest.mark.parametrize("location", ["http://a/x", "ftp://a/x", "file:///etc/passwd", "javascript:1"])
def test_a_redirect_never_leaves_tls_or_http(location: str) -> None:
    with pytest.raises(TransportError) as caught:
        _redirected("https://a/x", location)
    assert caught.value.kind == "redirects"


def test_a_redirect_to_tls_is_followed() -> None:
    assert _redirected("http://a/x?q=1", "https://a/x") == "https://a/x?q=1"


# Failures.


async def test_nobody_listens() -> None:
    async with serving(echo) as url:
        pass
    assert await kind_of_failure(url) == "refused"


async def test_no_answer_in_time() -> None:
    release = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    async with serving(handler) as url:
        assert await kind_of_failure(url, timeout_s=0.05) == "timeout"
        release.set()


async def test_a_body_that_does_not_end_in_time() -> None:
    release = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b" ")
        await release.wait()
        return response

    async with serving(handler) as url:
        assert await kind_of_failure(url, timeout_s=0.1) == "timeout"
        release.set()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", "reset"),
        (HEAD + b"\r\nonly this", "reset"),
        (HEAD + b"Content-Encoding: gzip\r\n\r\n" + b"no gzip at all".ljust(100), "reset"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "other"),
    ],
    ids=["hangs up", "cut off", "not what it says", "no HTTP"],
)
async def test_a_connection_that_breaks_off(answer: bytes, kind: str) -> None:
    async with serving_bytes(answer) as url:
        assert await kind_of_failure(url) == kind


async def test_a_server_without_tls() -> None:
    async with serving(echo) as url:
        assert await kind_of_failure(url.replace("http:", "https:")) == "tls"


@pytest.mark.parametrize("url", ["", "nonsense", "http://", "http://[::1", "http://host:99999/"])
async def test_an_address_that_is_none(url: str) -> None:
    assert await kind_of_failure(url) == "invalid_url"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (socket.gaierror("no such host"), "dns"),
        (ssl.SSLCertVerificationError("self-signed"), "certificate"),
        (ConnectionResetError(), "reset"),
        (BrokenPipeError(), "reset"),
        (TimeoutError(), "timeout"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_failures_that_this_machine_cannot_stage_have_their_names_too(error: Exception, kind: str) -> None:
    assert _kind_of(error) == kind


async def test_cancelling_a_call_closes_its_connection() -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    transport = HTTPTransport()
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    call = asyncio.create_task(
        transport.send("POST", url, {}, b"", timeout_s=60.0, body_bytes_max=10), name="call"
    )
    await arrived.wait()

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    async with asyncio.timeout(5):
        await gone.wait()
    await transport.close()
    server.close()
    await server.wait_closed()
