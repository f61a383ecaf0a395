"""How a request reaches an app and its response comes back: one method, so that it can be replaced.

The aiohttp version follows redirects itself (protocol 4.1: method, body, headers and query go along), caps
what it reads, and names the failures that people can do something about.
"""

import asyncio
import io
import ssl
from collections.abc import Mapping
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import aiohttp

from inngest_server.apps.app_error import TransportFailure
from inngest_server.wire.limits import SDK_REDIRECTS_MAX

CONNECT_TIMEOUT_S = 15
LARGE_BODY_BYTES = 1024 * 1024
"""Above this aiohttp warns about bytes, which it would write in one piece while everything else waits."""
KEEPALIVE_S = 4
"""Below what common servers keep (Node and uvicorn close after 5 s), so that we rarely meet a closing one."""


class Response(NamedTuple):
    status: int
    headers: Mapping[str, str]
    """Looked up without regard to case."""
    body: bytes


class TransportError(Exception):
    """No complete response came. `kind` says why in one word."""

    code = "transport"

    def __init__(self, kind: TransportFailure, detail: str) -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind: TransportFailure = kind
        self.detail = detail


class ResponseTooLargeError(Exception):
    """The body passed the limit; the rest was not read."""

    code = "output_too_large"


class Transport(Protocol):
    """Sends one request. Cancelling the call closes its connection."""

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        body_bytes_max: int,
    ) -> Response:
        """The whole response, decoded.

        Raises:
            TransportError: refused, timed out, reset, ...
            ResponseTooLargeError: more than `body_bytes_max` bytes.
        """
        ...


class HTTPTransport:
    """Requests over long-lived connections. Must be made and closed inside the running event loop."""

    def __init__(self) -> None:
        connector = aiohttp.TCPConnector(
            limit=0,
            limit_per_host=0,
            keepalive_timeout=KEEPALIVE_S,
            ttl_dns_cache=30,
            enable_cleanup_closed=False,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept"),
            headers={"User-Agent": "inngest-server", "Accept-Encoding": "gzip, br"},
        )

    async def close(self) -> None:
        await self._session.close()

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        body_bytes_max: int,
    ) -> Response:
        try:
            for _ in range(SDK_REDIRECTS_MAX + 1):
                response = await self._send_once(method, url, headers, body, timeout_s, body_bytes_max)
                location = response.headers.get("location")
                if response.status not in (301, 302, 303, 307, 308) or not location:
                    return response
                url = _redirected(url, location)
        except TransportError:
            raise
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise TransportError(_kind_of(error), _detail_of(error)) from error
        raise TransportError("redirects", f"more than {SDK_REDIRECTS_MAX}")

    async def _send_once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout_s: float,
        body_bytes_max: int,
    ) -> Response:
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=CONNECT_TIMEOUT_S)
        data = io.BytesIO(body) if len(body) > LARGE_BODY_BYTES else body
        async with self._session.request(
            method, url, data=data, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            length = response.content_length
            if length is not None and length > body_bytes_max:
                raise ResponseTooLargeError
            if length is not None and "content-encoding" not in response.headers:
                return Response(response.status, response.headers, await response.read())
            parts: list[bytes] = []
            size = 0
            async for part in response.content.iter_any():
                size += len(part)
                if size > body_bytes_max:
                    raise ResponseTooLargeError
                parts.append(part)
            return Response(response.status, response.headers, b"".join(parts))


def _redirected(url: str, location: str) -> str:
    """The next address: relative to the last, with the queries of the first that it lacks.

    Raises:
        TransportError: it would leave TLS, or is not HTTP.
    """
    target = urlsplit(urljoin(url, location))
    origin = urlsplit(url)
    if target.scheme not in ("http", "https") or (origin.scheme == "https" and target.scheme == "http"):
        raise TransportError(
            "redirects", f"refused to follow a redirect from {origin.scheme} to {target.scheme}"
        )
    given = parse_qsl(target.query, keep_blank_values=True)
    names = {name for name, _ in given}
    kept = [pair for pair in parse_qsl(origin.query, keep_blank_values=True) if pair[0] not in names]
    return target._replace(query=urlencode(given + kept)).geturl()


def _kind_of(error: BaseException) -> TransportFailure:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case aiohttp.ClientConnectorCertificateError():
            return "certificate"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return "tls"
        case asyncio.TimeoutError():
            return "timeout"
        case aiohttp.InvalidURL() | ValueError():
            return "invalid_url"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return "refused"
        case aiohttp.ClientConnectorError():
            return "other"
        case (
            aiohttp.ServerDisconnectedError()
            | aiohttp.ClientOSError()
            | aiohttp.ClientPayloadError()
            | OSError()
        ):
            return "reset"
        case _:
            return "other"


def _detail_of(error: BaseException) -> str:
    return str(error) or type(error).__name__
