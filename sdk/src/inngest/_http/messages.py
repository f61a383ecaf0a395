"""What crosses the line between a framework's adapter and the handler."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, as an adapter hands it over."""

    method: str
    """Upper case."""
    url: str
    """As the app sees it: `scheme://host/path?query`."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    raw: object = None
    """The framework's own request; middleware gets it as `raw_request`."""


@dataclass(slots=True)
class Response:
    """One HTTP answer, as the handler hands it back.

    When `stream` is set, the status is 201 and `body` is empty: send each chunk as it comes. `handle` gives
    an asynchronous iterator, `handle_sync` a plain one. Both have to be closed when the client goes away.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    stream: AsyncIterator[bytes] | Iterator[bytes] | None = None
