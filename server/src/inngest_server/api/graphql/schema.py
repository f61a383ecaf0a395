"""The schema: `schema.graphql`, with the scalars' readers and writers."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson
from graphql import GraphQLError, GraphQLScalarType, GraphQLSchema, build_schema

from inngest_server.wire import json
from inngest_server.wire.times import find_rfc3339_ms, format_rfc3339
from inngest_server.wire.ulid import is_ulid

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class _Scalar(NamedTuple):
    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


def _read_time(value: Any) -> int:
    """Milliseconds since 1970."""
    moment = find_rfc3339_ms(value) if isinstance(value, str) else None
    if moment is None:
        raise _wrong("Time", "an RFC 3339 time such as 2024-05-01T09:00:00Z", value)
    return moment


def read_ulid(value: Any) -> str:
    """A ULID in upper case; lower case is taken too, as the reference server takes it."""
    text = value.upper() if isinstance(value, str) and value.isascii() else ""
    if not is_ulid(text):
        raise _wrong("ULID", "a ULID", value)
    return text


def _read_uuid(value: Any) -> str:
    text = value.lower() if isinstance(value, str) and value.isascii() else ""
    if not _UUID.fullmatch(text):
        raise _wrong("UUID", "the `id` of a function or an app, a UUID", value)
    return text


def _read_bytes(value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong("Bytes", "a text", value)
    return value


def _read_map(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong("Map", "an object", value)
    return cast("dict[str, Any]", value)


def _read_integer(name: str, minimum: int, end: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value < end:
            raise _wrong(name, f"a whole number from {minimum} to {end - 1}", value)
        return value

    return read


class Payload(str):
    """A stored JSON text in an answer, which may be large: `write_answer` escapes each by itself."""

    __slots__ = ()


def payload(stored: bytes) -> Payload:
    return Payload(stored, "utf-8", "replace")


def write_answer(value: object) -> bytes:
    """The JSON of an answer.

    Escaped in one piece, a page of large payloads would keep every other thread waiting for the interpreter,
    the event loop's too.
    """
    try:
        return orjson.dumps(value, default=_escaped, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    except TypeError:  # An integer that only our own writer can write.
        return json.dumps(value)


def _escaped(value: object) -> orjson.Fragment:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is not a JSON value")
    return orjson.Fragment(orjson.dumps(str(value)))


def _as_it_is(value: Any) -> Any:
    return value


def _wrong(name: str, expected: str, value: Any) -> GraphQLError:
    return GraphQLError(f"{name} must be {expected}, got {str(value)[:60]!r}")


_SCALARS = {
    "Time": _Scalar(_read_time, format_rfc3339),
    "ULID": _Scalar(read_ulid, _as_it_is),
    "UUID": _Scalar(_read_uuid, _as_it_is),
    "Bytes": _Scalar(_read_bytes, payload),
    "Map": _Scalar(_read_map, _as_it_is),
    "Unknown": _Scalar(_as_it_is, _as_it_is),
    "Int64": _Scalar(_read_integer("Int64", -(2**63), 2**63), _as_it_is),
    "Uint": _Scalar(_read_integer("Uint", 0, 2**64), _as_it_is),
}
"""The others are only written, and pass as they are."""


@cache
def the_schema() -> GraphQLSchema:
    """Made at the first request; it takes some milliseconds, on the thread that asks."""
    schema = build_schema((Path(__file__).parent / "schema.graphql").read_text("utf-8"))
    for name, scalar in _SCALARS.items():
        kind = schema.type_map[name]
        assert isinstance(kind, GraphQLScalarType)
        kind.coerce_input_value, kind.coerce_output_value = scalar.read, scalar.write
    return schema
