"""What is particular to one framework: its middleware, blueprints, proxies and rules."""

import re
from typing import Any

import pytest

import inngest
from inngest.errors import ConfigError
from tests.sdk.frameworks.adapters import (
    Serving,
    aiohttp_server,
    django_asgi,
    module,
    sanic_server,
    tornado_server,
)
from tests.sdk.frameworks.calls import async_functions, call, functions_of, sync_functions
from tests.sdk.frameworks.exchange import ASGIExchange, Message, WSGIExchange
from tests.sdk.frameworks.server import FakeServer

ADD = {"a": 1, "b": 2}


def served(server: FakeServer, name: str, app: Any, *, is_async: bool = True, **options: Any) -> Any:
    """The usual functions, added to `app`."""
    client = server.client()
    module(name).serve(app, client, functions_of(client, is_async=is_async), **options)
    return app


# ---- Starlette and FastAPI ----------------------------------------------------------------------


async def test_middleware_around_a_fastapi_application_does_no_harm(server: FakeServer) -> None:
    from fastapi import FastAPI
    from starlette.middleware.gzip import GZipMiddleware

    app = served(server, "fast_api", FastAPI())
    app.add_middleware(GZipMiddleware)

    @app.middleware("http")
    async def mark(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-marked"] = "yes"
        return response

    reply = await ASGIExchange(app)(call("add", ADD))

    assert (reply.status, reply.headers["x-marked"]) == (206, "yes")


async def test_middleware_that_reads_the_body_leaves_it_to_the_handler(server: FakeServer) -> None:
    from fastapi import FastAPI

    app = served(server, "fast_api", FastAPI())
    lengths: list[int] = []

    @app.middleware("http")
    async def measure(request: Any, call_next: Any) -> Any:
        lengths.append(len(await request.body()))
        return await call_next(request)

    message = call("add", ADD)
    reply = await ASGIExchange(app)(message)

    assert (reply.status, lengths) == (206, [len(message.body)])


async def test_the_schema_of_a_fastapi_application_stays_its_own(server: FakeServer) -> None:
    from fastapi import FastAPI

    app = served(server, "fast_api", FastAPI())

    assert app.openapi()["paths"] == {}


async def test_a_mounted_fastapi_application_registers_its_whole_path(server: FakeServer) -> None:
    from fastapi import FastAPI

    outer, inner = FastAPI(), served(server, "fast_api", FastAPI(), serve_path="/jobs")
    outer.mount("/inner", inner)

    reply = await ASGIExchange(outer)(Message("PUT", "/inner/jobs", {}, b"{}"))

    assert reply.status == 200
    assert server.registrations[0].body["url"] == "http://app.test/inner/jobs"


async def test_middleware_of_the_sdk_can_read_the_request_of_starlette_again(server: FakeServer) -> None:
    from starlette.applications import Starlette

    import inngest

    bodies: list[bytes] = []

    class Reading(inngest.Middleware):
        async def before_execution(self) -> None:
            request: Any = self.raw_request
            bodies.append(await request.body())

    app = Starlette()
    client = server.client(middleware=[Reading])
    module("starlette").serve(app, client, async_functions(client))
    message = call("add", ADD)

    await ASGIExchange(app)(message)

    assert bodies == [message.body]


# ---- Litestar -----------------------------------------------------------------------------------


async def test_csrf_protection_of_litestar_leaves_the_functions_alone(server: FakeServer) -> None:
    from litestar import Litestar
    from litestar.config.csrf import CSRFConfig

    app = served(server, "litestar", Litestar(csrf_config=CSRFConfig(secret="contract"), openapi_config=None))

    reply = await ASGIExchange(app)(call("add", ADD))

    assert reply.status == 206


# ---- Flask and Quart ----------------------------------------------------------------------------


async def test_a_blueprint_of_flask_can_serve(server: FakeServer) -> None:
    from flask import Blueprint, Flask

    blueprint = served(server, "flask", Blueprint("jobs", __name__), is_async=False)
    app = Flask("contract")
    app.register_blueprint(blueprint, url_prefix="/team")

    reply = await WSGIExchange(app)(Message("PUT", "/team/api/inngest", {}, b"{}"))

    assert reply.status == 200
    assert server.registrations[0].body["url"] == "http://app.test/team/api/inngest"


async def test_behind_a_proxy_that_flask_trusts_the_outer_scheme_is_registered(server: FakeServer) -> None:
    from flask import Flask
    from werkzeug.middleware.proxy_fix import ProxyFix

    app = served(server, "flask", Flask("contract"), is_async=False)
    trusting = ProxyFix(app, x_proto=1, x_host=1, x_prefix=1)
    headers = {
        "x-forwarded-proto": b"https",
        "x-forwarded-host": b"shop.example",
        "x-forwarded-prefix": b"/shop",
    }

    await WSGIExchange(trusting)(Message("PUT", "/api/inngest", headers, b"{}"))

    assert server.registrations[0].body["url"] == "https://shop.example/shop/api/inngest"


async def test_a_blueprint_of_quart_can_serve(server: FakeServer) -> None:
    from quart import Blueprint, Quart

    app = Quart("contract")
    app.register_blueprint(served(server, "quart", Blueprint("jobs", __name__)), url_prefix="/team")

    reply = await ASGIExchange(app)(Message("PUT", "/team/api/inngest", {}, b"{}"))

    assert reply.status == 200
    assert server.registrations[0].body["url"] == "http://app.test/team/api/inngest"


# ---- Django -------------------------------------------------------------------------------------


async def test_a_host_that_django_does_not_know_cannot_register(server: FakeServer) -> None:
    client = server.client()
    async with django_asgi([Serving(client, sync_functions(client))]) as exchange:
        reply = await exchange(Message("PUT", "/api/inngest", {"x-forwarded-host": b"other.example"}, b"{}"))
        assert isinstance(exchange, ASGIExchange)
        app = exchange.app

        async def from_elsewhere(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "headers": [(b"host", b"other.example")]}, receive, send)

        refused = await ASGIExchange(from_elsewhere)(Message("PUT", "/api/inngest", {}, b"{}"))

    assert (reply.status, refused.status) == (200, 400)
    assert [one.body["url"] for one in server.registrations] == ["http://app.test/api/inngest"]


# ---- servers of their own -----------------------------------------------------------------------


async def test_tornado_keeps_the_handlers_that_were_there(server: FakeServer) -> None:
    from tornado.web import Application, RequestHandler

    class Rest(RequestHandler):
        def get(self) -> None:
            self.write("rest")

    async with tornado_server(served(server, "tornado", Application([(r"/.*", Rest)]))) as exchange:
        ours, rest = await exchange(Message("GET")), await exchange(Message("GET", "/elsewhere"))

    assert ours.headers["x-inngest-framework"] == "tornado"
    assert rest.body == b"rest"


async def test_an_application_inside_one_of_aiohttp_registers_its_whole_path(server: FakeServer) -> None:
    from aiohttp import web

    outer = web.Application()
    outer.add_subapp("/inner", served(server, "aiohttp", web.Application()))

    async with aiohttp_server(outer) as exchange:
        reply = await exchange(Message("PUT", "/inner/api/inngest", {}, b"{}"))

    assert reply.status == 200
    assert server.registrations[0].body["url"] == "http://app.test/inner/api/inngest"


async def test_a_blueprint_of_sanic_can_serve(server: FakeServer) -> None:
    from sanic import Blueprint, Sanic

    app = Sanic("blueprints", configure_logging=False)
    app.blueprint(served(server, "sanic", Blueprint("jobs", url_prefix="/team")))

    async with sanic_server(app) as exchange:
        reply = await exchange(Message("PUT", "/team/api/inngest", {}, b"{}"))

    assert reply.status == 200
    assert server.registrations[0].body["url"] == "http://app.test/team/api/inngest"


# ---- Applications of another framework ----------------------------------------------------------


def other(kind: str) -> Any:
    """Something that is no application of the framework it is given to."""
    match kind:
        case "Flask":
            from flask import Flask

            return Flask("shop")
        case "FastAPI":
            from fastapi import FastAPI

            return FastAPI()
        case "Inngest":
            return inngest.Inngest(app_id="shop", is_production=False)
        case _:
            return "shop"


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("fast_api", "Flask", "takes an application, not Flask; for that there is inngest.flask.serve()"),
        ("flask", "FastAPI", "takes an application, not FastAPI; for that there is inngest.fast_api.serve()"),
        ("starlette", "Inngest", "not Inngest: the application comes first, then the client"),
        ("tornado", "str", "inngest.tornado.serve() takes an application, not str"),
        ("quart", "FastAPI", "inngest.quart.serve() takes an application, not FastAPI"),
    ],
)
async def test_what_is_no_application_of_the_framework_is_refused(
    name: str, kind: str, says: str, server: FakeServer
) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        served(server, name, other(kind))


async def test_a_router_of_fastapi_can_serve(server: FakeServer) -> None:
    from fastapi import APIRouter, FastAPI

    app = FastAPI()
    app.include_router(served(server, "fast_api", APIRouter()), prefix="/v1")

    reply = await ASGIExchange(app)(Message("PUT", "/v1/api/inngest", {}, b"{}"))

    assert reply.status == 200
    assert server.registrations[0].body["url"] == "http://app.test/v1/api/inngest"
