"""Apps announce their functions here. Source: protocol 2."""

import structlog

from inngest_server.api.context import Context
from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.router import Reply, Request
from inngest_server.apps.problems import RegistrationInvalidError
from inngest_server.apps.registration import parse_registration
from inngest_server.apps.urls import InvalidAppURLError, normalize_app_url
from inngest_server.engine.facts import AppRemoved, Synced
from inngest_server.engine.syncs import SyncResult

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
    try:
        registration = parse_registration(await request.json())
    except RegistrationInvalidError as error:
        problems = [problem.to_json() for problem in error.problems]
        _say_refused(context, str(error))
        raise RequestRejectedError(400, str(error), code=error.code, data={"problems": problems}) from error
    result: SyncResult = await context.engine.ask(Synced(registration))
    _say(registration.app_name, registration.url, len(registration.functions), result)
    answer: dict[str, object] = {
        "ok": True,
        "modified": result.modified,
        "sync_id": result.app_id,
        "app_id": result.app_id,
    }
    if result.unenforced:
        answer["not_enforced"] = result.unenforced
    if result.warnings:
        answer["warnings"] = [problem.to_json() for problem in result.warnings]
    return Reply.of(answer)


def _say(app: str, url: str, functions: int, result: SyncResult) -> None:
    if not result.modified:
        return
    log.info("sync.done", app=app, url=url, functions=functions)
    for slug, options in result.unenforced.items():
        log.warning("sync.not_enforced", function=slug, options=", ".join(options))
    for problem in result.warnings:
        log.warning("sync.warning", app=app, detail=problem.line)


def _say_refused(context: Context, problems: str) -> None:
    """Log why a registration was refused; polled apps send the same one every few seconds."""
    if problems not in context.refusals:
        if len(context.refusals) >= REFUSALS_KEPT:
            context.refusals.clear()
        context.refusals[problems] = None
        for line in problems.splitlines():
            log.warning("sync.refused", detail=line)


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
