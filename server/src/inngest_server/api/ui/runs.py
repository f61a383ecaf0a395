"""Starting one run again: from its start, from a step, or with results of it kept and others replaced."""

from typing import Any, cast

from inngest_server.api.again import KEY_CHARS_MAX, Again, start_again
from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.rest.ids import run_id_of
from inngest_server.api.rest.runs import get_run_row
from inngest_server.api.router import Reply, Request
from inngest_server.api.ui.answers import answered, is_dry_run, settings_of
from inngest_server.runs.fork import Wish

FORK_BYTES_MAX = 8 * 1024 * 1024
"""Of a body: a result as large as one may be, twice."""
KEY_HEADER = "Idempotency-Key"


async def rerun(request: Request) -> Reply:
    """Start a run again on the same events, from a step if one is given, with other arguments if they are."""
    run_id = run_id_of(request)
    fields = await settings_of(request, frozenset({"from_step", "input", "event"}), FORK_BYTES_MAX)
    step, arguments = fields.get("from_step"), fields.get("input")
    if step is not None and not isinstance(step, str):
        raise _invalid("from_step must be the name or the id of a step")
    if arguments is not None and not isinstance(arguments, list):
        raise _invalid("input must be an array: the arguments of the step")
    if arguments is not None and step is None:
        raise _invalid("input needs from_step, the step that gets it")
    wish = Wish(before=step, arguments=cast("list[Any] | None", arguments)) if step is not None else None
    return await _answer(request, run_id, wish, _object(fields, "event"))


async def fork(request: Request) -> Reply:
    """Start a run that begins with results of another one, some of them replaced, and executes the rest."""
    run_id = run_id_of(request)
    fields = await settings_of(request, frozenset({"keep", "again", "replace", "event"}), FORK_BYTES_MAX)
    keep = fields.get("keep", "all")
    wish = Wish(
        keep=None if keep == "all" else _names(keep, 'keep must be "all" or an array of steps'),
        again=_names(fields.get("again", []), "again must be an array of steps"),
        replace=_object(fields, "replace") or {},
    )
    return await _answer(request, run_id, wish, _object(fields, "event"))


async def _answer(request: Request, run_id: str, wish: Wish | None, event: dict[str, Any] | None) -> Reply:
    """201 with the new run; 200 with the one that the same key led to before, or with what would be."""
    key = request.header(KEY_HEADER)
    if len(key) > KEY_CHARS_MAX:
        raise _invalid(f"{KEY_HEADER} has {len(key)} characters, at most {KEY_CHARS_MAX} are allowed")
    is_dry = is_dry_run(request)
    found = await start_again(request.context, run_id, wish, event=event, key=key, is_dry=is_dry)
    if is_dry:
        return answered(_show_steps(found))
    row = await get_run_row(request.context, found.run_id)
    shown = {"run_id": row.run_id, "original_run_id": row.original_run_id, "status": row.status}
    if found.is_repeated:
        return answered(shown)
    return answered({**shown, **_show_steps(found)}, 201)


def _show_steps(found: Again) -> dict[str, Any]:
    return {"kept": list(found.kept), "edited": list(found.edited)}


def _names(value: object, problem: str) -> list[str]:
    names = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(name, str) for name in names):
        raise _invalid(problem)
    return cast("list[str]", names)


def _object(fields: dict[str, object], key: str) -> dict[str, Any] | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, dict):
        raise _invalid(f"{key} must be an object")
    return cast("dict[str, Any] | None", value)


def _invalid(problem: str) -> RequestRejectedError:
    return RequestRejectedError(400, problem, code="invalid_parameter")
