"""What GraphQL may change: apps, runs, and starting a function."""

import asyncio
from typing import Any, cast

import structlog

from inngest_server.api.again import start_again
from inngest_server.api.context import Context
from inngest_server.api.graphql.catalogue import find_app
from inngest_server.api.graphql.errors import QueryError
from inngest_server.api.graphql.legacy import show_function_run
from inngest_server.api.graphql.run_group import RunGroup
from inngest_server.api.graphql.session import Session
from inngest_server.api.rest.runs import get_run_row
from inngest_server.apps.urls import InvalidAppURLError, normalize_app_url
from inngest_server.engine.events import Dropped
from inngest_server.engine.facts import AppAdded, AppDeleted, AppFailed, AppMoved, InvokeSent
from inngest_server.engine.options import EngineUnavailableError
from inngest_server.events.event import InvalidEventsError, make_event, read_event
from inngest_server.events.system import INVOKED
from inngest_server.runs.facts import CancelRequested
from inngest_server.runs.fork import Wish
from inngest_server.runs.records import RunRow, RunStatus
from inngest_server.wire import json

log = structlog.get_logger("inngest.sync")

META_KEYS = frozenset({"sessions"})


# Apps


def create_app(session: Session, *, input: dict[str, Any]) -> dict[str, Any]:
    url = _app_url(input["url"])
    app_id = session.ask(AppAdded(url))
    session.wait(_introduce(session.context, url))
    return _changed_app(session, app_id)


def update_app(session: Session, *, input: dict[str, Any]) -> dict[str, Any]:
    url = _app_url(input["url"])
    if not session.ask(AppMoved(input["id"], url)):
        raise _no_app(input["id"])
    session.wait(_introduce(session.context, url))
    return _changed_app(session, input["id"])


def delete_app(session: Session, *, id: str) -> str:
    if not session.ask(AppDeleted(id)):
        raise _no_app(id)
    return id


def delete_app_by_name(session: Session, *, name: str) -> bool:
    """False if no app has that name."""
    for app in session.catalogue.active_apps():
        if app.name == name:
            return session.ask(AppDeleted(app.app_id))
    return False


def _app_url(text: str) -> str:
    """A normalised URL; `http://` is added where there is no scheme.

    Raises:
        QueryError: `invalid_url`.
    """
    try:
        return normalize_app_url(text if "://" in text else f"http://{text}")
    except InvalidAppURLError as error:
        raise QueryError(str(error), code=error.code) from error


def _no_app(app_id: str) -> QueryError:
    return QueryError(f"no app has the id {app_id[:60]!r}", code="app_not_found")


def _changed_app(session: Session, app_id: str) -> dict[str, Any]:
    session.forget_catalogue()
    shown = find_app(session, id=app_id)
    if shown is None:  # It announced itself at once, under its own name.
        raise _no_app(app_id)
    return shown


async def _introduce(context: Context, url: str) -> None:
    """Have the app asked to announce itself, and do not wait: that may take as long as a sync may."""
    task = asyncio.create_task(_ask_app(context, url))
    context.left_running.add(task)
    task.add_done_callback(context.left_running.discard)


async def _ask_app(context: Context, url: str) -> None:
    if not url.startswith("http"):
        return  # Workers connect by themselves.
    try:
        error = await context.syncer.sync(url)
        if error is not None:
            await context.engine.ask(AppFailed(url, f"{error.code}: {error.message}"))
    except EngineUnavailableError:
        return  # The app is asked again where apps are polled.
    except Exception as error:
        log.error("sync.failed", url=url, exc_info=error)


# Runs


def invoke_function(
    session: Session,
    *,
    functionSlug: str,
    data: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    user: dict[str, Any] | None = None,
    debugSessionID: str | None = None,
    debugRunID: str | None = None,
) -> bool:
    """Start a function, whatever its triggers; true once that is durable."""
    if meta is not None and not META_KEYS.issuperset(meta):
        raise QueryError("meta may have nothing but sessions", code="invalid_event")
    fields = {"data": data, "user": user, "meta": meta}
    size_max = session.context.settings.event_bytes_max
    try:
        draft = read_event(fields, size=len(json.dumps(fields)), size_max=size_max, name=INVOKED)
    except InvalidEventsError as error:
        raise QueryError(str(error), code=error.code) from error
    draft.data["_inngest"] = {"fn_id": functionSlug}

    async def invoked() -> Any:
        engine = session.context.engine
        engine.check_admission()
        event = make_event(
            draft, internal_id=engine.next_id(), received_at_ms=engine.now_ms(), repeatable=False
        )
        return await engine.ask_events(InvokeSent(functionSlug, event))

    result = session.wait(invoked())
    if result is None:
        raise QueryError(f"could not find function with ID: {functionSlug[:300]}", code="function_not_found")
    if isinstance(result, Dropped):
        raise QueryError(result.reason, code="rate_limited")
    return True


def cancel_run(session: Session, *, runID: str) -> dict[str, Any]:
    """Cancel a run; one that was cancelled before is answered alike.

    Raises:
        QueryError: `run_not_found`, or `run_ended` in another way.
    """

    async def cancelled() -> RunRow:
        was_live = await session.context.engine.ask(CancelRequested(runID, "api")) is not None
        row = await get_run_row(session.context, runID)
        if not was_live and row.status != RunStatus.CANCELLED:
            raise QueryError(
                f"cannot cancel an ended run: it has ended already, as {row.status}", code="run_ended"
            )
        return row

    row = session.wait(cancelled())
    return show_function_run(session, row, RunGroup(session, [row], have_outputs=True))


def rerun(
    session: Session,
    *,
    runID: str,
    fromStep: dict[str, Any] | None = None,
    debugSessionID: str | None = None,
    debugRunID: str | None = None,
) -> str:
    """Start another run of the same function on the same events; its id.

    From a step, named by its id or its name, the run keeps what was completed before. `input` is a text of
    JSON: the arguments with which the step is executed.

    Raises:
        QueryError: `run_not_found`, `event_not_found`, `function_not_found`; `unknown_step`, `invalid_input`,
            `input_not_editable`.
    """
    wish = _from_step(fromStep) if fromStep is not None else None
    return session.wait(start_again(session.context, runID, wish)).run_id


def _from_step(given: dict[str, Any]) -> Wish:
    text: str | None = given.get("input")
    try:
        arguments: object = json.parse(text.encode("utf-8", "surrogatepass")) if text else None
    except json.InvalidJSONError as error:
        raise QueryError(f"fromStep.input is no JSON: {error}", code="invalid_input") from error
    if arguments is not None and not isinstance(arguments, list):
        raise QueryError("fromStep.input must be an array: the step's arguments", code="invalid_input")
    return Wish(before=given["stepID"], arguments=cast("list[Any] | None", arguments))
