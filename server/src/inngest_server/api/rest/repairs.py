"""Putting right what `inngest doctor --repair` found beside a running server. Ours alone."""

from typing import Any, cast

from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.rest.answers import enveloped
from inngest_server.api.router import Reply, Request
from inngest_server.engine import repairs
from inngest_server.engine.repairs import Repair, RepairKind, is_valid
from inngest_server.wire import json

REPAIRS_PER_REQUEST_MAX = 100
BODY_BYTES_MAX = 64 * 1024


async def repair(request: Request) -> Reply:
    """Do the repairs one after the other; each is checked again first, and says what was done."""
    wanted = _read(await request.json(BODY_BYTES_MAX))
    done: list[dict[str, Any]] = []
    for one in wanted:
        result = await repairs.repair(request.context.engine, one)
        done.append({"kind": one.kind, "key": one.key, "done": result.is_done, "detail": result.detail})
    return enveloped(request, json.dumps(done))


def _read(body: object) -> list[Repair]:
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    given = fields.get("repairs")
    if not isinstance(given, list) or len(cast("list[Any]", given)) > REPAIRS_PER_REQUEST_MAX:
        raise _invalid(f"the body must be an object with at most {REPAIRS_PER_REQUEST_MAX} `repairs`")
    return [_read_one(one) for one in cast("list[Any]", given)]


def _read_one(given: object) -> Repair:
    fields = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    kind, key = fields.get("kind"), fields.get("key")
    if kind not in {one.value for one in RepairKind} or not isinstance(key, str):
        raise _invalid("a repair needs a `kind` and the `key` of a row")
    repair = Repair(RepairKind(kind), key)
    if not is_valid(repair):
        raise _invalid(f"{key[:200]!r} cannot be a key for {kind}")
    return repair


def _invalid(message: str) -> RequestRejectedError:
    return RequestRejectedError(400, message, code="invalid_repair")
