"""How a request reaches an app and its response comes back: one method, so that it can be replaced.

It follows redirects (protocol 4.1: method, body, headers and query go along), caps what it reads, and names
the failures that people can do something about.
"""

import socket
import ssl
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from inngest_server.apps.app_error import TransportFailure
from inngest_server.execution.http1 import (
    BodyTooLargeError,
    HTTPClient,
    InvalidURLError,
    NotHTTPError,
    Response,
)
from inngest_server.wire.limits import SDK_REDIRECTS_MAX

OWN_HEADERS = {"User-Agent": "inngest-server", "Accept-Encoding": "gzip, br"}


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
        self._client = HTTPClient()

    async def close(self) -> None:
        await self._client.close()

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
        try:
            for _ in range(SDK_REDIRECTS_MAX + 1):
                response = await self._client.request(
                    method, url, headers, body, timeout_s=timeout_s, body_bytes_max=body_bytes_max
                )
                location = response.headers.get("location")
                if response.status not in (301, 302, 303, 307, 308) or not location:
                    return response
                url = _redirected(url, location)
        except BodyTooLargeError as error:
            raise ResponseTooLargeError from error
        except (TimeoutError, OSError, InvalidURLError, NotHTTPError) as error:
            raise TransportError(_kind_of(error), _detail_of(error)) from error
        raise TransportError("redirects", f"more than {SDK_REDIRECTS_MAX}")


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
