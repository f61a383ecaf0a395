"""Query parameters of the list of events. Source: protocol 7.2."""

import re
from collections.abc import Mapping

from inngest_server.api.replies import RequestRejectedError
from inngest_server.storage.protocol import EventQuery
from inngest_server.wire.times import find_rfc3339_ms
from inngest_server.wire.ulid import is_ulid

PARAMETERS = ("limit", "cursor", "name", "received_after", "received_before")
LIMIT_DEFAULT = 20
LIMIT_MAX = 51

_LIMIT = re.compile(r"[0-9]{1,3}", re.ASCII)
_BARE_PLUS = re.compile(r" (\d\d:\d\d)$", re.ASCII)


def parse_event_query(parameters: Mapping[str, str]) -> EventQuery:
    """What a client asks for. A parameter that is there and empty counts as absent.

    The official server ignores parameters that it does not know. No SDK sends one, and whoever mistypes
    `received_after` would take the wrong events for the right ones, so here they are refused.

    Raises:
        RequestRejectedError: 400, names the parameter and what it takes, or those that there are.
    """
    for given in parameters:
        if given and given not in PARAMETERS:
            raise RequestRejectedError(
                400,
                f"there is no parameter {given[:60]!r}; there are {', '.join(PARAMETERS)}",
                code="invalid_parameter",
            )
    name = parameters.get("name")
    after_ms = _moment(parameters, "received_after")
    return EventQuery(
        limit=_limit(parameters.get("limit")),
        after=_cursor(parameters.get("cursor")),
        from_ms=None if after_ms is None else after_ms + 1,
        until_ms=_moment(parameters, "received_before"),
        names=frozenset((name,)) if name else None,
    )


def _limit(text: str | None) -> int:
    if not text:
        return LIMIT_DEFAULT
    limit = int(text) if _LIMIT.fullmatch(text) else 0
    if not 1 <= limit <= LIMIT_MAX:
        raise _invalid("limit", f"must be a whole number from 1 to {LIMIT_MAX}", text)
    return limit


def _cursor(text: str | None) -> str | None:
    if not text:
        return None
    cursor = text.upper() if text.isascii() else text
    if not is_ulid(cursor):
        raise _invalid("cursor", "must be the internal_id of the last event of the page before", text)
    return cursor


def _moment(parameters: Mapping[str, str], name: str) -> int | None:
    text = parameters.get(name)
    if not text:
        return None
    # A plus that the client forgot to encode arrives as a blank.
    moment = find_rfc3339_ms(_BARE_PLUS.sub(r"+\1", text))
    if moment is None:
        raise _invalid(name, "must be an RFC 3339 time such as 2024-05-01T09:00:00Z", text)
    return moment


def _invalid(name: str, rule: str, text: str) -> RequestRejectedError:
    return RequestRejectedError(400, f"{name} {rule}, got {text[:60]!r}", code="invalid_parameter")
