"""Messages to runs, and starts of runs, that must not get lost, as bytes.

One about an event does not repeat its body, which is stored with the same batch: many runs may wait for it.

A fact that another entity's decision causes is decided in the same batch when its run is in memory. Otherwise
it is stored with the batch and removed by the batch that holds its consequences.
"""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from inngest_server.runs.facts import CancelRequested, ChildEnded, EventArrived

RunMessage = CancelRequested | ChildEnded | EventArrived


class StartAsked(NamedTuple):
    """A start that goes on once the state of a rate limit was read: see `starts.py`, `Start`."""

    function_id: str
    event_id: str
    """Internal; the event is stored with the message, or was before."""
    origin: str
    created_at_ms: int
    cause: str
    parent: str | None
    cron: str | None
    original_run_id: str | None
    stage: str
    callers: list[str]


Message = RunMessage | StartAsked

_TYPES: dict[str, type[Message]] = {
    "cancel_requested": CancelRequested,
    "child_ended": ChildEnded,
    "event_arrived": EventArrived,
    "start_asked": StartAsked,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


_MANY = "event_arrived_to"


def encode(messages: Sequence[Message]) -> bytes:
    """JSON array of the type's name and the fields; payloads are JSON texts and travel as strings.

    Several are of one event: they are stored as the ids of its waits.
    """
    message = messages[0]
    if len(messages) > 1:
        assert isinstance(message, EventArrived)
        wait_ids = [one.wait_id for one in messages if isinstance(one, EventArrived)]
        return orjson.dumps([_MANY, message.internal_id, wait_ids])
    if isinstance(message, EventArrived):
        message = message._replace(body=b"")
    fields = [field.decode() if isinstance(field, bytes) else field for field in message]
    return orjson.dumps([_NAMES[type(message)], *fields])


def decode(body: bytes) -> list[Message]:
    """The messages, one or those to several runs about one event; they lack the event's body."""
    name, *fields = orjson.loads(body)
    if name == _MANY:
        internal_id, wait_ids = fields
        return [EventArrived(run_of(wait_id), wait_id, internal_id, b"") for wait_id in wait_ids]
    kind = _TYPES[name]
    texts = {index for index, hint in enumerate(kind.__annotations__.values()) if hint is bytes}
    return [kind(*[field.encode() if index in texts else field for index, field in enumerate(fields)])]


def run_of(wait_id: str) -> str:
    """The run whose wait it is."""
    return wait_id.partition(".")[0]
