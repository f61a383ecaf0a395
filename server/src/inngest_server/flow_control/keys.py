"""The values of key expressions: as text, and as the hash by which a bucket, mark or lock is named.

Values are compared as text, so `7` and `"7"` are one key. Source: protocol 5.15.
"""

from typing import Any, NamedTuple

from inngest_server.events.expressions import EvaluationError, Expression
from inngest_server.wire import json
from inngest_server.wire.hashing import stable_hash64


class KeyValue(NamedTuple):
    """What a key comes to on an event; both are empty without a key."""

    hash: str
    text: str
    """For people, and for comparing."""


NO_KEY = KeyValue("", "")


def evaluate(key: Expression, event: dict[str, Any], now_ms: int) -> object:
    """The value of a key; one that fails counts as null, and so does a missing attribute.

    Source: protocol 5.15.
    """
    try:
        return key.evaluate(event, None, now_ms, missing=None)
    except EvaluationError:
        return None


def key_value(key: Expression | None, event: dict[str, Any], now_ms: int) -> KeyValue:
    """What the key comes to on an event at a moment."""
    return NO_KEY if key is None else value_of(evaluate(key, event, now_ms))


def value_of(value: object) -> KeyValue:
    """The names of a value."""
    text = value if isinstance(value, str) else json.dumps(value).decode()
    return KeyValue(hash_of(text), text)


def hash_of(text: str) -> str:
    """Names a text, of a key's expression or of its value. Stored rows depend on it."""
    return f"{stable_hash64(text):016x}"
