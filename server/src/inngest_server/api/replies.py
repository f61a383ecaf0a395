"""Shapes of answers, and reading and writing them as raw ASGI. Source: protocol 1.6 and 7.1."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from inngest_server.wire import json
from inngest_server.wire.limits import BODY_BYTES_MAX

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON_TYPE: Header = (b"content-type", b"application/json")
TEXT_TYPE: Header = (b"content-type", b"text/plain; charset=utf-8")
NO_STORE: Header = (b"cache-control", b"no-store")
ERRORS_PAGE = "docs/reference/errors.md"


@dataclass(frozen=True, slots=True)
class Pace:
    """How slowly a body may come: it holds memory and a connection until it is there."""

    silence_s: float = 30.0
    """Without a byte."""
    bytes_per_s: int = 16 * 1024
    """On average, once `silence_s` are over: a mobile network is faster."""

    def patience_s(self, elapsed_s: float, received: int) -> float:
        """How long to wait for the next part; 0 and less when the sender is too slow already."""
        return min(self.silence_s, self.silence_s + received / self.bytes_per_s - elapsed_s)


PACE = Pace()


class RequestRejectedError(Exception):
    """A request that cannot be served; `status`, `code` and the message are its answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        data: Any = None,
        hint: str = "",
        retry_after_s: int = 0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.data = data
        self.hint = hint
        """What to try, where that is not part of the message; shown by the interface's own API."""
        self.retry_after_s = retry_after_s

    def body(self) -> bytes:
        """The public error object of protocol 7.1."""
        shown: dict[str, Any] = {"code": self.code} if self.code else {}
        return json.dumps({**shown, "error": str(self), "data": self.data, "status": self.status})

    def ui_body(self) -> bytes:
        """The error object of the interface's own API; `docs` is a page of the documentation."""
        shown = {"code": self.code or "refused", "message": str(self), "hint": self.hint, "docs": ERRORS_PAGE}
        return json.dumps(shown if self.data is None else {**shown, "data": self.data})

    def headers(self) -> list[Header]:
        return [(b"retry-after", str(self.retry_after_s).encode())] if self.retry_after_s else []


async def read_body(receive: Receive, body_bytes_max: int = BODY_BYTES_MAX, *, pace: Pace = PACE) -> bytes:
    """The whole body of a request.

    Raises:
        RequestRejectedError: too large (413), too slow (408), or the client went away (400).
    """
    parts: list[bytes] = []
    size = 0
    is_complete = False
    now_s = asyncio.get_running_loop().time
    began_s = now_s()
    try:
        async with asyncio.timeout(pace.silence_s) as limit:
            while not is_complete:
                _check_size(size, body_bytes_max)
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestRejectedError(400, "the client went away before its body was complete")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                is_complete = not message.get("more_body")
                if not is_complete:
                    limit.reschedule(now_s() + pace.patience_s(now_s() - began_s, size))
    except TimeoutError as error:
        raise RequestRejectedError(
            408,
            f"the body came too slowly: {pace.silence_s:g} s without a byte, or less than "
            f"{pace.bytes_per_s} bytes a second",
            code="request_timeout",
        ) from error
    _check_size(size, body_bytes_max)
    return b"".join(parts)


def _check_size(size: int, body_bytes_max: int) -> None:
    if size > body_bytes_max:
        raise RequestRejectedError(
            413, f"the body is larger than {body_bytes_max} bytes", code="body_too_large"
        )


async def reply(send: Send, status: int, body: bytes, headers: Iterable[Header] = (JSON_TYPE,)) -> None:
    """Send a whole answer."""
    # A 204 has no body and must not say how long it is. Source: RFC 9110, 8.6.
    length = () if status == 204 else ((b"content-length", str(len(body)).encode()),)
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})


def header_of(scope: Scope, name: bytes) -> str:
    """A request header; empty when absent. `name` is lower case, as ASGI gives them."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return ""
