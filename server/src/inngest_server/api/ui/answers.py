"""What all answers under `/api/ui/v1` have in common: plain JSON, and one shape of errors."""

from inngest_server.api.replies import JSON_TYPE, NO_STORE, RequestRejectedError
from inngest_server.api.router import Reply, Request
from inngest_server.apps.fields import is_object
from inngest_server.wire import json

BODY_BYTES_MAX = 64 * 1024
"""Of a request that carries settings and no events."""
DRY_RUN_VALUES = {"true": True, "1": True, "false": False, "0": False}


def answered(value: object, status: int = 200) -> Reply:
    """`value` as JSON; nobody on the way keeps it, because it may be another one at once."""
    return Reply(status, json.dumps(value), (JSON_TYPE, NO_STORE))


def is_dry_run(request: Request) -> bool:
    """Whether `?dry_run=true` asks only for what would be done.

    Another parameter or value is refused: whoever mistypes this one must not get the deed itself.

    Raises:
        RequestRejectedError: 400.
    """
    query = request.query()
    if unknown := sorted(set(query) - {"dry_run"}):
        raise RequestRejectedError(
            400, f"there is no parameter {unknown[0][:60]!r}; there is dry_run", code="invalid_parameter"
        )
    value = query.get("dry_run", "false")
    if value not in DRY_RUN_VALUES:
        raise RequestRejectedError(
            400, f"dry_run must be true or false, got {value[:60]!r}", code="invalid_parameter"
        )
    return DRY_RUN_VALUES[value]


async def settings_of(
    request: Request, known: frozenset[str], body_bytes_max: int = BODY_BYTES_MAX
) -> dict[str, object]:
    """The body, a JSON object with no keys but `known`; an empty body is an empty object.

    Raises:
        RequestRejectedError: 400 it is something else; 413 it is too large.
    """
    raw = await request.body(body_bytes_max)
    try:
        body: object = json.parse(raw) if raw.strip() else {}
    except json.InvalidJSONError as error:
        raise RequestRejectedError(400, f"Invalid request: {error}", code=error.code) from error
    if not is_object(body):
        raise RequestRejectedError(400, "the body must be a JSON object", code="invalid_parameter")
    unknown = sorted(key for key in body if key not in known)
    if unknown:
        raise RequestRejectedError(
            400,
            f"unknown key {unknown[0][:60]!r} in the body",
            code="invalid_parameter",
            hint=f"the keys are {', '.join(sorted(known)) or 'none'}",
        )
    return body
