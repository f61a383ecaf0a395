"""How a request leaves and its response comes back: few methods, so that they can be replaced.

Calls to apps follow redirects as protocol 4.1 says: method, body, headers and query go along. Other requests
follow few of them, as browsers do. What is read is capped, what may be reached is checked (`reach.py`), and
the failures that people can do something about have names.
"""

import socket
import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from inngest_server.apps.app_error import TransportFailure
from inngest_server.execution.http1 import (
    BodyTooLargeError,
    HTTPClient,
    InvalidURLError,
    NotHTTPError,
    Response,
)
from inngest_server.execution.reach import AddressRefusedError, Reach, guarded_sockets
from inngest_server.wire.limits import SDK_REDIRECTS_MAX

OWN_HEADERS = {"User-Agent": "inngest-server", "Accept-Encoding": "gzip, br"}
FETCH_REDIRECTS_MAX = 10
"""Of requests other than calls; as many as Go's client follows, half of what browsers do."""
REDIRECTS = (301, 302, 303, 307, 308)
CROSSING_HEADERS = frozenset({"accept", "accept-language", "content-type", "user-agent"})
"""Headers that a redirect may take to another host; any other may be a key for the first one."""


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


class FinalResponse(NamedTuple):
    """A response, and the URL that gave it: another one than was asked after a redirect."""

    response: Response
    url: str


class Fetcher(Protocol):
    """Sends one request as an ordinary client does. Cancelling the call closes its connection."""

    async def fetch(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        body_bytes_max: int,
    ) -> FinalResponse:
        """The whole response, decoded, behind a few redirects.

        Raises:
            TransportError: refused, timed out, reset, ...
            ResponseTooLargeError: more than `body_bytes_max` bytes.
        """
        ...


class HTTPTransport:
    """Requests over long-lived connections. Must be made and closed inside the running event loop.

    A redirect may reach less than the first request: whoever answers chooses where it leads.
    """

    def __init__(self, reach: Reach = Reach.OPERATOR, redirects: Reach = Reach.LOCAL) -> None:
        self._client = HTTPClient(guarded_sockets(reach))
        # Of its own, because a connection that is kept was checked for what it was made for.
        self._redirected = HTTPClient(guarded_sockets(redirects)) if redirects is not reach else self._client

    async def close(self) -> None:
        await self._client.close()
        await self._redirected.close()

    async def fetch(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        body_bytes_max: int,
    ) -> FinalResponse:
        request = _Request(method, url, headers, body)
        client = self._client
        with _named_failures():
            for _ in range(FETCH_REDIRECTS_MAX + 1):
                response = await client.request(
                    request.method,
                    request.url,
                    _with_own(request.headers),
                    request.body,
                    timeout_s=timeout_s,
                    body_bytes_max=body_bytes_max,
                )
                location = response.headers.get("location")
                if response.status not in REDIRECTS or not location:
                    return FinalResponse(response, request.url)
                request, client = _followed(request, response.status, location), self._redirected
        raise TransportError("redirects", f"more than {FETCH_REDIRECTS_MAX}")

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
        headers = {**headers, **OWN_HEADERS}
        client = self._client
        with _named_failures():
            for _ in range(SDK_REDIRECTS_MAX + 1):
                response = await client.request(
                    method, url, headers, body, timeout_s=timeout_s, body_bytes_max=body_bytes_max
                )
                location = response.headers.get("location")
                if response.status not in REDIRECTS or not location:
                    return response
                url, client = _redirected(url, location), self._redirected
        raise TransportError("redirects", f"more than {SDK_REDIRECTS_MAX}")


class _Request(NamedTuple):
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


def _with_own(headers: Mapping[str, str]) -> dict[str, str]:
    """With this server's headers; a name for the client may be given, an encoding it cannot read may not."""
    kept = {name: value for name, value in headers.items() if name.lower() != "accept-encoding"}
    given = {name.lower() for name in kept}
    return {**kept, **{name: value for name, value in OWN_HEADERS.items() if name.lower() not in given}}


def _followed(request: _Request, status: int, location: str) -> _Request:
    """The request that follows a redirect. Source: Fetch standard, HTTP-redirect fetch.

    Raises:
        TransportError: the redirect is not to be followed.
    """
    method, url, headers, body = request
    target = _target_of(url, location)
    dropped: set[str] = set()
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        method, body = "GET", b""
        dropped.add("content-type")
    if urlsplit(target)[:2] != urlsplit(url)[:2]:
        dropped.update({name.lower() for name in headers} - CROSSING_HEADERS)
    kept = {name: value for name, value in headers.items() if name.lower() not in dropped}
    return _Request(method, target, kept, body)


@contextmanager
def _named_failures() -> Generator[None]:
    """Say what failed in this module's words."""
    try:
        yield
    except BodyTooLargeError as error:
        raise ResponseTooLargeError from error
    except (TimeoutError, OSError, InvalidURLError, NotHTTPError) as error:
        raise TransportError(_kind_of(error), _detail_of(error)) from error


def _target_of(url: str, location: str) -> str:
    """Where a redirect leads: relative to the last address.

    Raises:
        TransportError: it would leave TLS, or is not HTTP.
    """
    try:
        target, origin = urlsplit(urljoin(url, location)), urlsplit(url)
    except ValueError as error:
        raise TransportError("redirects", "the address that one names cannot be read") from error
    if target.scheme not in ("http", "https") or (origin.scheme == "https" and target.scheme == "http"):
        raise TransportError(
            "redirects", f"refused to follow a redirect from {origin.scheme} to {target.scheme}"
        )
    return target.geturl()


def _redirected(url: str, location: str) -> str:
    """As `_target_of`, with the queries of the first address that the target lacks.

    Raises:
        TransportError: it would leave TLS, or is not HTTP.
    """
    target, origin = urlsplit(_target_of(url, location)), urlsplit(url)
    given = parse_qsl(target.query, keep_blank_values=True)
    names = {name for name, _ in given}
    kept = [pair for pair in parse_qsl(origin.query, keep_blank_values=True) if pair[0] not in names]
    return target._replace(query=urlencode(given + kept)).geturl()


def _kind_of(error: BaseException) -> TransportFailure:
    match error:
        case AddressRefusedError():
            return "out_of_reach"
        case socket.gaierror():
            return "dns"
        case ssl.SSLCertVerificationError():
            return "certificate"
        case ssl.SSLError():
            return "tls"
        case TimeoutError():
            return "timeout"
        case InvalidURLError():
            return "invalid_url"
        case ConnectionRefusedError():
            return "refused"
        case ConnectionError():
            return "reset"
        case _:
            return "other"


def _detail_of(error: BaseException) -> str:
    return str(error) or type(error).__name__
