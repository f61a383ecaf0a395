"""Events as they are sent, and as the server keeps them. Source: protocol 1.3 to 1.5."""

from typing import Any, NamedTuple, cast

from inngest_server.events.records import EventRow
from inngest_server.wire import json
from inngest_server.wire.limits import (
    EVENT_BYTES_MAX,
    EVENT_ID_CHARS_MAX,
    EVENT_NAME_CHARS_MAX,
    EVENTS_PER_POST_MAX,
)

TS_MIN_MS = 315_532_800_000
"""1980-01-01."""
TS_MAX_MS = 4_102_444_800_000
"""2100-01-01."""
RESERVED_PREFIX = "inngest/"
SESSIONS_MAX = 5
BODY_AT_ONCE_BYTES = 512 * 1024
"""A larger array is parsed event by event, so that other threads get their turn in between."""
WHITE_SPACE_FACTOR = 4
"""How much larger than its compact form an event may come."""


class InvalidEventsError(Exception):
    """A request to send events cannot be accepted; nothing of it was stored.

    The message names every bad event.
    """

    code = "invalid_event"


class Event(NamedTuple):
    """An accepted event. `body` is what functions receive, keys in canonical order."""

    internal_id: str
    event_id: str
    name: str
    ts_ms: int
    received_at_ms: int
    body: bytes
    repeatable: bool
    """The sender chose the id, or can send the same one again: it must be compared with earlier ones."""


class Draft(NamedTuple):
    """A valid event that has no identity yet."""

    name: str
    event_id: str
    ts_ms: int
    data: dict[str, Any]
    user: dict[str, Any]
    v: str | None
    sessions: dict[str, str]


def read_events(body: bytes, *, event_bytes_max: int = EVENT_BYTES_MAX) -> list[Draft]:
    """The events of a request body, whatever its content type says.

    Raises:
        InvalidEventsError: no JSON, too many events, or any event is invalid; every bad index is named.
    """
    try:
        if len(body) > BODY_AT_ONCE_BYTES and body.lstrip()[:1] == b"[":
            # What is larger than any event can be, even with white space in it, is not parsed to learn that.
            raw: list[Any] = []
            for element in json.elements(body):
                if len(raw) == EVENTS_PER_POST_MAX:
                    raise _too_many()
                is_huge = len(element) > WHITE_SPACE_FACTOR * event_bytes_max
                raw.append(_Huge(len(element)) if is_huge else json.parse(element))
            return _read_all(raw, len(body), event_bytes_max)
        parsed: object = json.parse(body) if body.strip() else []
    except json.InvalidJSONError as error:
        raise InvalidEventsError(
            f"Request body must contain an event object or an array of event objects: {error}"
        ) from error
    if isinstance(parsed, dict):
        return [read_event(cast("object", parsed), size=len(body), size_max=event_bytes_max)]
    if not isinstance(parsed, list):
        raise InvalidEventsError("Request body must contain an event object or an array of event objects")
    return _read_all(cast("list[Any]", parsed), len(body), event_bytes_max)


class _Huge:
    """Stands for an event of so many bytes, which was not parsed."""

    def __init__(self, size: int) -> None:
        self.size = size


def _too_many() -> InvalidEventsError:
    return InvalidEventsError(f"Cannot have more than {EVENTS_PER_POST_MAX} events in a batch")


def _read_all(raw: list[Any], body_bytes: int, event_bytes_max: int) -> list[Draft]:
    if len(raw) > EVENTS_PER_POST_MAX:
        raise _too_many()
    # A body below the limit cannot hold an event above it, which saves measuring each.
    small = body_bytes <= event_bytes_max
    drafts: list[Draft] = []
    problems: list[str] = []
    for index, one in enumerate(raw):
        try:
            if isinstance(one, _Huge):
                raise _too_large(one.size, event_bytes_max)
            drafts.append(
                read_event(one, size=0 if small else len(json.dumps(one)), size_max=event_bytes_max)
            )
        except InvalidEventsError as error:
            problems.append(f"event {index}: {error}")
    if problems:
        raise InvalidEventsError("; ".join(problems))
    return drafts


def _too_large(size: int, size_max: int) -> InvalidEventsError:
    return InvalidEventsError(f"Event is over the max size: Max {size_max} bytes / Size {size} bytes")


def read_event(
    event: object, *, size: int = 0, size_max: int = EVENT_BYTES_MAX, name: str | None = None
) -> Draft:
    """One event; `name` replaces the one given and may be internal.

    Raises:
        InvalidEventsError: with the reason.
    """
    if not isinstance(event, dict):
        raise InvalidEventsError(f"an event must be an object, got {_kind(event)}")
    if size > size_max:
        raise _too_large(size, size_max)
    fields = cast("dict[str, Any]", event)
    given_name = _check_name(fields.get("name")) if name is None else name
    data = _object(fields, "data")
    data.pop("_inngest", None)
    return Draft(
        name=given_name,
        event_id=_check_id(fields.get("id")),
        ts_ms=_check_ts(fields.get("ts")),
        data=data,
        user=_object(fields, "user"),
        v=_check_v(fields.get("v")),
        sessions=_sessions(fields.get("meta")),
    )


def stored_event(row: EventRow) -> Event:
    """An event that was stored, as one that starts something; null where its body is gone."""
    return Event(
        row.internal_id,
        row.event_id,
        row.name,
        row.ts_ms,
        row.received_at_ms,
        row.body or b"null",
        repeatable=False,
    )


def make_event(
    draft: Draft, *, internal_id: str, received_at_ms: int, repeatable: bool, shift_ms: int = 0
) -> Event:
    """Give a draft its identity; id and time default to those of its arrival.

    A time that was given is of the sender's clock, and moved by `shift_ms`.
    """
    event_id = draft.event_id or internal_id
    ts_ms = draft.ts_ms + shift_ms if draft.ts_ms else received_at_ms
    body: dict[str, Any] = {"data": draft.data, "id": event_id}
    if draft.sessions:
        body["meta"] = {"sessions": draft.sessions}
    body["name"] = draft.name
    body["ts"] = ts_ms
    body["user"] = draft.user
    if draft.v is not None:
        body["v"] = draft.v
    return Event(
        internal_id,
        event_id,
        draft.name,
        ts_ms,
        received_at_ms,
        json.dumps_kept(body),
        repeatable or bool(draft.event_id),
    )


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        given = "an empty text" if name == "" else _kind(name)
        raise InvalidEventsError(f"event name must be a text that is not empty, got {given}")
    if name[: len(RESERVED_PREFIX)].lower() == RESERVED_PREFIX:
        raise InvalidEventsError(f"event name is reserved for internal use: {name[:EVENT_NAME_CHARS_MAX]}")
    if len(name) > EVENT_NAME_CHARS_MAX:
        raise InvalidEventsError(
            f"event name has {len(name)} characters; at most {EVENT_NAME_CHARS_MAX} are allowed"
        )
    return name


def _check_id(event_id: object) -> str:
    if event_id is None:
        return ""
    if not isinstance(event_id, str):
        raise InvalidEventsError(f"event id must be a text, got {_kind(event_id)}")
    if len(event_id) > EVENT_ID_CHARS_MAX:
        raise InvalidEventsError(
            f"event id has {len(event_id)} characters; at most {EVENT_ID_CHARS_MAX} are allowed"
        )
    return event_id


def _check_ts(ts: object) -> int:
    if ts is None or (ts == 0 and ts is not False):
        return 0
    hint = _unit_hint(ts)
    if not isinstance(ts, int) or isinstance(ts, bool):
        raise InvalidEventsError(f"event ts must be whole milliseconds since 1970, got {_kind(ts)}{hint}")
    if ts < TS_MIN_MS:
        raise InvalidEventsError(f"timestamp is before Jan 1, 1980{hint}")
    if ts > TS_MAX_MS:
        raise InvalidEventsError(f"timestamp is after Jan 1, 2100{hint}")
    return ts


def _unit_hint(ts: object) -> str:
    """What the sender probably did: a moment of the years that are allowed, in another unit."""
    if not isinstance(ts, int | float) or isinstance(ts, bool):
        return ""
    for unit, in_a_ms in (("seconds", 0.001), ("microseconds", 1000), ("nanoseconds", 1_000_000)):
        if TS_MIN_MS * in_a_ms <= ts <= TS_MAX_MS * in_a_ms:
            return f": milliseconds expected, and this looks like {unit}"
    return ""


def _check_v(v: object) -> str | None:
    if v is None or v == "":
        return None
    if not isinstance(v, str):
        raise InvalidEventsError(f"event v must be a text, got {_kind(v)}")
    return v


def _object(fields: dict[str, Any], key: str) -> dict[str, Any]:
    value = fields.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidEventsError(f"event {key} must be an object, got {_kind(value)}")
    return cast("dict[str, Any]", value)


def _sessions(meta: object) -> dict[str, str]:
    """`meta.sessions` with what the SDK propagated folded in; manual keys win. Source: protocol 1.4."""
    if meta is None:
        return {}
    if not isinstance(meta, dict):
        raise InvalidEventsError(f"event meta must be an object, got {_kind(meta)}")
    fields = cast("dict[str, Any]", meta)
    manual = _object(fields, "sessions")
    sessions = {key: _session_id(key, value) for key, value in manual.items() if value is not None}
    if len(sessions) > SESSIONS_MAX:
        raise InvalidEventsError(f"event sessions can include at most {SESSIONS_MAX} entries")
    if "sessions" in fields and fields["sessions"] is None:
        return {}
    propagated = _object(fields, "propagated_sessions")
    for key in sorted(propagated, key=str.encode):
        if len(sessions) < SESSIONS_MAX and key not in manual and propagated[key] is not None:
            sessions[key] = _session_id(key, propagated[key])
    return sessions


def _session_id(key: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidEventsError(f"event session {key!r} must be a text or a number, got {_kind(value)}")
    text = value if isinstance(value, str) else json.dumps(value).decode()
    if len(key.encode()) > 128 or len(text.encode()) > 512:
        raise InvalidEventsError(f"event session {key[:128]!r} is too long: keys have 128 bytes, ids 512")
    return text


def _kind(value: object) -> str:
    """What a JSON value is, for people."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "a boolean"
        case str():
            return "a text"
        case int() | float():
            return "a number"
        case list():
            return "an array"
        case _:
            return "an object"
