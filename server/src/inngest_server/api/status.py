"""Whether the server works, and what it is."""

import asyncio

from inngest_server.api.replies import TEXT_TYPE, RequestRejectedError
from inngest_server.api.router import Reply, Request
from inngest_server.apps.records import AppRow
from inngest_server.engine.facts import Ping
from inngest_server.engine.options import EngineUnavailableError
from inngest_server.settings import ServerKind
from inngest_server.storage.protocol import StorageError
from inngest_server.wire import json

HEALTH_TIMEOUT_S = 5.0


async def health(request: Request) -> Reply:
    """200 when the engine's loop answers and the storage can be read; writes are judged by the last one."""
    context = request.context
    problem = context.engine.failure
    if problem is None:
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await context.engine.ask(Ping())
                await context.storage.get(AppRow, ["health"])  # There is none; that is read from the file.
        except (EngineUnavailableError, StorageError) as error:
            problem = str(error)
        except TimeoutError:
            problem = f"no answer from the engine or the storage within {HEALTH_TIMEOUT_S:.0f} s"
    if problem is not None:
        shown = problem if context.settings.is_open else "unavailable"
        return Reply(503, json.dumps({"status": 503, "message": shown}) + b"\n")
    held = len(context.engine.held)
    if held and context.settings.is_open:
        return Reply(200, json.dumps({"status": 200, "message": "OK", "held": held}) + b"\n")
    return Reply(200, b'{"status":200,"message":"OK"}\n')


async def welcome(request: Request) -> Reply:
    """What a person reads who opens the server's address in a browser."""
    context = request.context
    text = (
        f"Inngest server {context.version}, kind {context.settings.kind.value}\n\n"
        "POST /e/{key}                  send events\n"
        "GET  /v1/events                the latest events\n"
        "GET  /v1/events/{id}/runs      the runs that an event started\n"
        "GET  /v1/runs/{id}             one run\n"
        "GET  /v1/runs/{id}/timeline    what it did and when, as text\n"
        "POST /v0/gql                   lists, traces and more, with GraphQL\n"
        "GET  /health                   whether the server works\n"
        "GET  /metrics                  figures for Prometheus\n"
    )
    return Reply(200, text.encode(), (TEXT_TYPE,))


async def dev_info(request: Request) -> Reply:
    """What SDKs ask to find out whether this is a dev server. Source: protocol 1.9."""
    context = request.context
    settings = context.settings
    if settings.kind is ServerKind.CLOUD:
        raise RequestRejectedError(404, "this is not a dev server", code="not_found")
    functions = [function.config.raw for function in context.engine.functions.active()]
    return Reply.of(
        {
            "version": context.version,
            "authed": False,
            "startOpts": {
                "dir": "",
                "urls": list(settings.sdk_urls),
                "autodiscover": bool(settings.discovery_ports),
                "poll": settings.poll,
                "poll_interval": settings.poll_interval_s,
                "tick": 150_000_000,
                "retry_interval": settings.retry_interval_s,
                "queue_workers": 100,
                "require_keys": False,
            },
            "functions": functions,
            "handlers": [],
            "isSingleNodeService": False,
            "isMissingSigningKey": False,
            "isMissingEventKeys": False,
            "features": {},
        }
    )
