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
    """Remembers something about a key until `expires_at_ms`; then it says nothing any more. Key: `key`.

    `event/<id>`: the event id was seen, and `value` is the internal id of the first event that had it.
    `clock`: where a virtual clock stands; never expires. See `engine/time_travel.py`.
    `rate/...`: how far a rate limit is used up, as the theoretical arrival time in epoch nanoseconds.
    `why/<event>/<function id>`: why an event, by internal id, started nothing; see `starts.note_key`.
    """

    key: str
    shard: int
    value: str
    expires_at_ms: int
