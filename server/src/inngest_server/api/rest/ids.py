"""Ids in paths. Nothing behind these functions ever sees a text that is no ULID."""

from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.router import Request
from inngest_server.wire.ulid import is_ulid


def run_id_of(request: Request) -> str:
    """The run that the path names; it may or may not exist.

    Raises:
        RequestRejectedError: 400, with the text of protocol 3.4.
    """
    return _ulid(
        request.params["run_id"],
        "The run ID specified is invalid",
        hint="a run's id has 26 letters and digits; GET /v1/events/{event_id}/runs lists those of an event",
    )


def event_id_of(request: Request) -> str:
    """The event that the path names by its internal id; it may or may not exist.

    Raises:
        RequestRejectedError: 400.
    """
    return _ulid(
        request.params["event_id"],
        "The event ID specified is invalid: give one of the `ids` that sending returned, not your own `id`",
    )


def _ulid(text: str, problem: str, *, hint: str = "") -> str:
    # Lower case is taken too, as the reference server takes it; beyond ASCII `upper` would invent letters.
    ulid = text.upper() if text.isascii() else text
    if not is_ulid(ulid):
        raise RequestRejectedError(400, problem, code="invalid_id", hint=hint)
    return ulid
