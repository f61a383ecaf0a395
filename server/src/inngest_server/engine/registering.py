"""Taking in what an app announces, whether it called by itself or answered the server's call."""

import structlog

from inngest_server.apps.registration import Registration, parse_registration
from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import Synced
from inngest_server.engine.syncs import SyncResult

log = structlog.get_logger("inngest.sync")


async def register(engine: Engine, body: object) -> SyncResult:
    """Make the functions of a decoded register body those of its app, and say in the log what changed.

    Raises:
        RegistrationInvalidError: every problem of the body; nothing of it was stored.
        EngineUnavailableError: nothing can be stored now.
    """
    registration = parse_registration(body)
    result: SyncResult = await engine.ask(Synced(registration))
    if result.modified:
        _say(registration, result)
    return result


def _say(registration: Registration, result: SyncResult) -> None:
    app = registration.app_name
    log.info("sync.done", app=app, url=registration.url, functions=len(registration.functions))
    for problem in result.warnings:
        log.warning("sync.warning", app=app, detail=problem.line)
