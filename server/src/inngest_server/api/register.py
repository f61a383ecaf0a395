"""Apps announce their functions here. Source: protocol 2."""

import structlog

from inngest_server.api.context import Context
from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.router import Reply, Request
from inngest_server.apps.fields import is_object
from inngest_server.apps.problems import RegistrationInvalidError, show
from inngest_server.apps.urls import InvalidAppURLError, normalize_app_url
from inngest_server.engine.facts import AppRemoved
from inngest_server.engine.registering import register as register_app

log = structlog.get_logger("inngest.sync")

REFUSALS_KEPT = 100
"""Different refusals that are not said again."""


async def register(request: Request) -> Reply:
    """Take in an app's functions; every problem of an invalid body is told at once."""
    context = request.context
    own = context.settings.kind.value
    expected = request.header("x-inngest-expected-server-kind")
    if expected and expected != own:
        raise RequestRejectedError(400, f"Expected server kind {own}, got {expected}")
    body = await request.json()
    try:
        result = await register_app(context.engine, body)
    except RegistrationInvalidError as error:
        problems = [problem.to_json() for problem in error.problems]
        _say_refused(context, body, str(error))
        raise RequestRejectedError(400, str(error), code=error.code, data={"problems": problems}) from error
    answer: dict[str, object] = {
        "ok": True,
        "modified": result.modified,
        "sync_id": result.app_id,
        "app_id": result.app_id,
    }
    if result.warnings:
        answer["warnings"] = [problem.to_json() for problem in result.warnings]
    return Reply.of(answer)


def _say_refused(context: Context, body: object, problems: str) -> None:
    """Log why an app was refused; polled apps send the same registration every few seconds."""
    app, url = _named(body, "appName"), _named(body, "url")
    refusal = "\n".join((app, url, problems))
    if refusal not in context.refusals:
        if len(context.refusals) >= REFUSALS_KEPT:
            context.refusals.clear()
        context.refusals[refusal] = None
        for line in problems.splitlines():
            log.warning("sync.refused", app=app, url=url, detail=line)


def _named(body: object, name: str) -> str:
    """A field of a body that may be anything, as a log line may show it."""
    fields = {key.lower(): value for key, value in body.items()} if is_object(body) else {}
    return show(fields.get(name.lower())).strip('"')


async def remove_app(request: Request) -> Reply:
    """Archive the app at a URL. Source: protocol 2.6."""
    given = request.query().get("url", "")
    try:
        url = normalize_app_url(given)
        removed = await request.context.engine.ask(AppRemoved(url))
    except InvalidAppURLError as error:
        raise RequestRejectedError(400, str(error), code=error.code) from error
    if not removed:
        raise RequestRejectedError(404, f"no app is registered at {url}", code="app_not_found")
    return Reply.of({"ok": True})
