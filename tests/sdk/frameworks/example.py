"""Run one example: `python -m tests.sdk.frameworks.example fast_api` prints what it answered, as JSON.

In a process of its own, as an application is: Django's settings and Sanic's registry belong to the process.
"""

import asyncio
import contextlib
import importlib.util
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import inngest
from tests.sdk.frameworks import adapters
from tests.sdk.frameworks.calls import call
from tests.sdk.frameworks.exchange import HOST, ASGIExchange, Exchange, Message, WSGIExchange

EXAMPLES = Path(__file__).parents[3] / "examples"
STEPS: list[tuple[str, object]] = [("send welcome", "sent"), ("let a day pass", None), ("send tips", "sent")]


def load(name: str) -> ModuleType:
    """The example as a module; it is called `app` for the server that runs it, too."""
    spec = importlib.util.spec_from_file_location("app", EXAMPLES / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["app"] = module
    spec.loader.exec_module(module)
    return module


@contextlib.asynccontextmanager
async def served(name: str) -> AsyncIterator[Exchange]:
    example = load(name)
    match name:
        case "tornado" | "aiohttp" | "sanic":
            async with getattr(adapters, f"{name}_server")(example.app) as exchange:
                yield exchange
        case "flask" | "wsgi":
            yield WSGIExchange(example.app)
        case "aws_lambda":
            yield adapters.PlatformExchange({"/api/inngest": example.handler}, adapters.lambda_v2, None)
        case "digital_ocean":
            from inngest.experimental.digital_ocean_simulator import DigitalOceanSimulator

            simulated = WSGIExchange(DigitalOceanSimulator(example.main).app)
            yield lambda message: simulated(Message(message.method, f"/?{message.query}", body=message.body))
        case "django":
            from django.conf import settings

            settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, HOST]
            yield ASGIExchange(example.app)
        case _:
            yield ASGIExchange(example.app)
    await example.client.aclose()


async def run(name: str) -> dict[str, Any]:
    """What an example answers to a GET, and to the calls of one run from start to end."""
    async with served(name) as exchange:
        about = await exchange(Message("GET"))
        answers: list[tuple[int, Any]] = []
        for done in range(len(STEPS) + 1):
            memos = dict(STEPS[:done])
            reply = await exchange(
                call("onboard", {"email": "a@example.com"}, steps=memos, app_id="onboarding")
            )
            answers.append((reply.status, json.loads(reply.body)))
    return {"inngest": inngest.__file__, "about": json.loads(about.body), "answers": answers}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(sys.argv[1]))))
