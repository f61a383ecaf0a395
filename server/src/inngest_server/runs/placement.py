"""Where entities live and what derived things are called. Source: design 4, "Placement" and "Identity".

A run id has the shape of a ULID: 48 bits of the moment of its cause, 8 bits that name its shard, and 72 bits
of a hash of its cause, so that whoever starts the same run twice names it once.
"""

import hashlib

from inngest_server.events.system import INVOKED
from inngest_server.wire import ulid
from inngest_server.wire.hashing import stable_hash64

_DIGITS = {digit: value for value, digit in enumerate("0123456789ABCDEFGHJKMNPQRSTVWXYZ")}


def shard_of(name: str, shard_count: int) -> int:
    """The shard of a function id, event id, app or other name."""
    return stable_hash64(name) % shard_count


def make_run_id(created_at_ms: int, shard: int, *cause: str) -> str:
    """The id of the run that `cause` starts: (function id, event's internal id), or (parent run, step id)."""
    return ulid.encode(created_at_ms, bytes((shard,)) + _digest(cause)[:9])


def possible_run_ids(function_id: str, origin: str, created_at_ms: int, shard_count: int) -> tuple[str, str]:
    """Both ids that the run of a function may have got: the function had a limit then, or not.

    `origin` is the internal id of the event, or the correlation id of the invocation, that caused it.
    """
    digest = _digest((function_id, origin))[:9]
    limited, free = shard_of(function_id, shard_count), shard_of(f"{function_id}/{origin}", shard_count)
    return ulid.encode(created_at_ms, bytes((limited,)) + digest), ulid.encode(
        created_at_ms, bytes((free,)) + digest
    )


def shard_of_run(run_id: str) -> int:
    """The shard that a run id names; meaningless for a text that is no run id."""
    return _DIGITS[run_id[10]] << 3 | _DIGITS[run_id[11]] >> 2


def derived_ulid(at_ms: int, *cause: str) -> str:
    """The internal id of an event that `cause` made at a moment."""
    return ulid.encode(at_ms, _digest(cause)[:10])


def invoke_event_id(correlation_id: str, opened_at_ms: int) -> str:
    """The internal id of the event by which a step invokes a function."""
    return derived_ulid(opened_at_ms, correlation_id, INVOKED)


def ended_event_id(run_id: str, name: str, ended_at_ms: int) -> str:
    """The internal id of the system event that tells of a run's end."""
    return derived_ulid(ended_at_ms, run_id, name)


def _digest(cause: tuple[str, ...]) -> bytes:
    return hashlib.blake2b("\n".join(cause).encode("utf-8", "surrogatepass"), digest_size=10).digest()
