"""Rows of accepted events."""

from typing import NamedTuple


class EventRow(NamedTuple):
    """An accepted event. Key: `internal_id`, a ULID of the moment it was received.

    `body` is the event as functions receive it (`{"data","id","name","ts","user","v"?}`), keys in canonical
    order. A system event that nobody was subscribed to has no body: it refers to its run by `run_id` and is
    put together when read.
    """

    internal_id: str
    shard: int
    event_id: str
    name: str
    ts_ms: int
    received_at_ms: int
    body: bytes | None
    run_id: str | None


class MarkRow(NamedTuple):
    """Remembers that an event id was seen. Key: `key`; forgotten after `expires_at_ms`."""

    key: str
    shard: int
    internal_id: str
    expires_at_ms: int
