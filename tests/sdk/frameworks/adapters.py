"""Every adapter, each with an application around it and a way to talk to that application.

What a test asks of one adapter it asks of all. Frameworks run in process where they can (a raw ASGI or WSGI
call); Tornado, aiohttp and Sanic have servers of their own and listen on loopback.
"""

import asyncio
import base64
import contextlib
import importlib
import itertools
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.sdk.frameworks.exchange import ASGIExchange, Exchange, Message, Reply, SocketExchange, WSGIExchange


@dataclass
class Serving:
    """One `serve()`: what to serve, and its options."""

    client: Any
    functions: Sequence[Any]
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def path(self) -> str:
        return self.options.get("serve_path") or "/api/inngest"


Running = AbstractAsyncContextManager[Exchange]


@dataclass(frozen=True)
class Adapter:
    """One module of the SDK; `start` puts several `serve()` into one application."""

    name: str
    framework: str
    start: Callable[[list[Serving]], Running]
    streams: bool = True
    cancels: bool = True
    """A client that goes away ends the call."""
    mounts: bool = True
    """The application can be mounted under a prefix that its server knows."""
    routes: bool = True
    """The adapter itself decides at which path it answers."""
    url: str = "http://app.test/api/inngest"
    """What is registered when nothing else is said."""
    raw: str = ""
    """The type that middleware sees as `raw_request`."""

    def __str__(self) -> str:
        return self.name


def module(name: str) -> Any:
    return importlib.import_module(f"inngest.{name}")


# ---- ASGI ---------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def asgi(servings: list[Serving]) -> AsyncIterator[Exchange]:
    app = None
    for one in servings:
        app = module("asgi").serve(one.client, one.functions, app=app, **one.options)
    yield ASGIExchange(app)


@contextlib.asynccontextmanager
async def starlette(servings: list[Serving]) -> AsyncIterator[Exchange]:
    from starlette.applications import Starlette

    app = Starlette()
    for one in servings:
        module("starlette").serve(app, one.client, one.functions, **one.options)
    yield ASGIExchange(app)


@contextlib.asynccontextmanager
async def fast_api(servings: list[Serving]) -> AsyncIterator[Exchange]:
    from fastapi import FastAPI

    app = FastAPI()
    for one in servings:
        module("fast_api").serve(app, one.client, one.functions, **one.options)
    yield ASGIExchange(app)


@contextlib.asynccontextmanager
async def litestar(servings: list[Serving]) -> AsyncIterator[Exchange]:
    from litestar import Litestar

    app = Litestar(openapi_config=None)
    for one in servings:
        module("litestar").serve(app, one.client, one.functions, **one.options)
    yield ASGIExchange(app)


@contextlib.asynccontextmanager
async def quart(servings: list[Serving]) -> AsyncIterator[Exchange]:
    from quart import Quart

    app = Quart("contract")
    for one in servings:
        module("quart").serve(app, one.client, one.functions, **one.options)
    yield ASGIExchange(app)


# ---- WSGI ---------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def wsgi(servings: list[Serving]) -> AsyncIterator[Exchange]:
    app = None
    for one in servings:
        app = module("wsgi").serve(one.client, one.functions, app=app, **one.options)
    yield WSGIExchange(app)


@contextlib.asynccontextmanager
async def flask(servings: list[Serving]) -> AsyncIterator[Exchange]:
    from flask import Flask

    app = Flask("contract")
    for one in servings:
        module("flask").serve(app, one.client, one.functions, **one.options)
    yield WSGIExchange(app)


# ---- Django -------------------------------------------------------------------------------------


@contextlib.contextmanager
def django_urls(servings: list[Serving]) -> Any:
    """Django with only these URLs; its settings belong to the process, so this is not for two at a time."""
    import django
    from django.conf import settings

    if not settings.configured:
        middleware = [
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ]
        settings.configure(SECRET_KEY="contract", ALLOWED_HOSTS=["app.test"], MIDDLEWARE=middleware)
        django.setup(set_prefix=False)
    from django.test import override_settings

    urls = ModuleType("contract_urls")
    urls.urlpatterns = [module("django").serve(one.client, one.functions, **one.options) for one in servings]  # type: ignore
    with override_settings(ROOT_URLCONF=urls):
        yield


@contextlib.asynccontextmanager
async def django_wsgi(servings: list[Serving]) -> AsyncIterator[Exchange]:
    from django.core.handlers.wsgi import WSGIHandler

    with django_urls(servings):
        yield WSGIExchange(WSGIHandler())


@contextlib.asynccontextmanager
async def django_asgi(servings: list[Serving]) -> AsyncIterator[Exchange]:
    from django.core.handlers.asgi import ASGIHandler

    with django_urls(servings):
        yield ASGIExchange(ASGIHandler())


# ---- servers of their own -----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def tornado_server(app: Any) -> AsyncIterator[Exchange]:
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets

    sockets = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(app)
    server.add_sockets(sockets)
    try:
        yield SocketExchange(sockets[0].getsockname()[1])
    finally:
        server.stop()
        await server.close_all_connections()


@contextlib.asynccontextmanager
async def tornado(servings: list[Serving]) -> AsyncIterator[Exchange]:
    from tornado.web import Application

    app = Application(xsrf_cookies=True)
    for one in servings:
        module("tornado").serve(app, one.client, one.functions, **one.options)
    async with tornado_server(app) as exchange:
        yield exchange


@contextlib.asynccontextmanager
async def aiohttp_server(app: Any) -> AsyncIterator[Exchange]:
    from aiohttp import web

    # Without its log of accesses: header values that are no UTF-8 would not survive the way into reports.
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield SocketExchange(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def aiohttp(servings: list[Serving]) -> AsyncIterator[Exchange]:
    from aiohttp import web

    app = web.Application()
    for one in servings:
        module("aiohttp").serve(app, one.client, one.functions, **one.options)
    async with aiohttp_server(app) as exchange:
        yield exchange


@contextlib.asynccontextmanager
async def sanic_server(app: Any) -> AsyncIterator[Exchange]:
    from sanic import Sanic

    app.config.MOTD = False
    app.config.TOUCHUP = False  # It rewrites Sanic's own classes, and only once in a process.
    listening = socket.create_server(("127.0.0.1", 0))  # Sanic takes port 0 for none.
    server = await app.create_server(sock=listening, return_asyncio_server=True, access_log=False)
    await server.startup()
    await server.before_start()
    try:
        yield SocketExchange(listening.getsockname()[1])
    finally:
        await server.close()
        Sanic.unregister_app(app)


_numbers = itertools.count()


@contextlib.asynccontextmanager
async def sanic(servings: list[Serving]) -> AsyncIterator[Exchange]:
    from sanic import Sanic

    app = Sanic(f"contract{next(_numbers)}", configure_logging=False)
    for one in servings:
        module("sanic").serve(app, one.client, one.functions, **one.options)
    async with sanic_server(app) as exchange:
        yield exchange


# ---- platforms ----------------------------------------------------------------------------------


class PlatformExchange:
    """Turns a request into a platform's event, calls the function in a thread, and reads its answer."""

    def __init__(self, mains: Mapping[str, Any], event_of: Callable[[Message], Any], context: object) -> None:
        self.mains = mains
        self.event_of = event_of
        self.context = context

    async def __call__(self, message: Message) -> Reply:
        main = self.mains[message.path]
        # As JSON, as that is how the platform carries them.
        event = json.loads(json.dumps(self.event_of(message)))
        answer = json.loads(json.dumps(await asyncio.to_thread(main, event, self.context)))
        body = answer["body"]
        raw = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
        return Reply(answer["statusCode"], answer["headers"], [raw] if raw else [])


def platform_headers(message: Message) -> dict[str, str]:
    pairs = [*message.all_headers(), (b"x-forwarded-proto", b"http")]
    return {name.decode(): value.decode("latin-1") for name, value in pairs}


def lambda_v1(message: Message) -> dict[str, Any]:
    query = parse_qs(message.query, keep_blank_values=True)
    headers = platform_headers(message)
    return {
        "resource": "/{proxy+}",
        "path": unquote(message.path),
        "httpMethod": message.method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "requestContext": {"path": message.path, "stage": "prod", "domainName": "app.test"},
        "body": base64.b64encode(message.body).decode() if message.body else None,
        "isBase64Encoded": bool(message.body),
    }


def lambda_v2(message: Message) -> dict[str, Any]:
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": message.path,
        "rawQueryString": message.query,
        "headers": platform_headers(message),
        "requestContext": {
            "http": {"method": message.method, "path": message.path},
            "domainName": "app.test",
        },
        **({"body": message.body.decode()} if message.body else {}),
        "isBase64Encoded": False,
    }


def aws_lambda(event_of: Callable[[Message], Any]) -> Callable[[list[Serving]], Running]:
    @contextlib.asynccontextmanager
    async def start(servings: list[Serving]) -> AsyncIterator[Exchange]:
        serve = module("aws_lambda").serve
        mains = {one.path: serve(one.client, one.functions, **one.options) for one in servings}
        yield PlatformExchange(mains, event_of, SimpleNamespace())

    return start


def digital_ocean_event(message: Message) -> dict[str, Any]:
    http = {
        "body": message.body.decode(),
        "headers": platform_headers(message),
        "isBase64Encoded": False,
        "method": message.method,
        "path": "",
        "queryString": message.query,
    }
    return {"http": http}


@contextlib.asynccontextmanager
async def digital_ocean(servings: list[Serving]) -> AsyncIterator[Exchange]:
    serve = module("digital_ocean").serve
    mains = {one.path: serve(one.client, one.functions, **one.options) for one in servings}
    context = SimpleNamespace(api_host="http://app.test/", function_name="/fn-1/default/work")
    yield PlatformExchange(mains, digital_ocean_event, context)


DIGITAL_OCEAN_URL = "http://app.test/api/v1/web/fn-1/default/work"
PLATFORM: dict[str, Any] = {"streams": False, "cancels": False, "mounts": False, "routes": False}
SYNC: dict[str, Any] = {"cancels": False}
SOCKET: dict[str, Any] = {"mounts": False}

ADAPTERS = [
    Adapter("asgi", "asgi", asgi, raw="dict"),
    Adapter("starlette", "starlette", starlette, raw="Request"),
    Adapter("fast_api", "fast_api", fast_api, raw="Request"),
    Adapter("litestar", "litestar", litestar, raw="Request"),
    Adapter("quart", "quart", quart, raw="Request"),
    Adapter("wsgi", "wsgi", wsgi, raw="dict", **SYNC),
    Adapter("flask", "flask", flask, raw="Request", **SYNC),
    Adapter("django-wsgi", "django", django_wsgi, raw="WSGIRequest", **SYNC),
    Adapter("django-asgi", "django", django_asgi, raw="ASGIRequest"),
    Adapter("tornado", "tornado", tornado, raw="HTTPServerRequest", **SOCKET),
    Adapter("aiohttp", "aiohttp", aiohttp, raw="Request", **SOCKET),
    Adapter("sanic", "sanic", sanic, raw="Request", **SOCKET),
    Adapter("aws_lambda-v1", "aws-lambda", aws_lambda(lambda_v1), raw="dict", **PLATFORM),
    Adapter("aws_lambda-v2", "aws-lambda", aws_lambda(lambda_v2), raw="dict", **PLATFORM),
    Adapter("digital_ocean", "digitalocean", digital_ocean, raw="dict", url=DIGITAL_OCEAN_URL, **PLATFORM),
]
