"""Shapes of successful answers; errors have theirs in `api/replies.py`. Source: protocol 7.1."""

from inngest_server.api.replies import JSON_TYPE, NO_STORE, Header
from inngest_server.api.router import Reply, Request
from inngest_server.wire.times import format_rfc3339

NOT_KEPT: tuple[Header, ...] = (JSON_TYPE, NO_STORE)
"""A run may change between two reads, so no answer is kept by anybody on the way."""


def enveloped(request: Request, data: bytes) -> Reply:
    """`data`, a JSON text, in the envelope of v1. It has no `cached_until`: no answer is cached stale."""
    fetched_at = format_rfc3339(request.context.clock.now_ms()).encode()
    return bare(b'{"data":%b,"metadata":{"fetched_at":"%b"}}' % (data, fetched_at))


def bare(data: bytes) -> Reply:
    """`data`, a JSON text, as it is."""
    return Reply(200, data, NOT_KEPT)


def empty(status: int = 200) -> Reply:
    """Done, and nothing to say."""
    return Reply(status, b"", (NO_STORE,))


def array(parts: list[bytes]) -> bytes:
    """A JSON array of JSON texts."""
    return b"[" + b",".join(parts) + b"]"
