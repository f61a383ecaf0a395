"""The middleware of this package around apps that the real engine calls, in virtual time."""

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import fastapi
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import inngest
import inngest.fast_api
import inngest.wsgi
from inngest.experimental import remote_state_middleware as remote_state
from inngest.experimental.otel_middleware import OpenTelemetryMiddleware
from inngest_encryption import EncryptionMiddleware
from inngest_server.testing import World

SECRET = "4242 4242"
TRIGGER = inngest.TriggerEvent(event="order")

MakeClient = Callable[..., inngest.Inngest]


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    """Clients whose connections are closed at the end."""
    made: list[inngest.Inngest] = []

    def make(*middleware: Any, **options: Any) -> inngest.Inngest:
        made.append(inngest.Inngest(app_id="shop", middleware=middleware, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def world(make_client: MakeClient, inngest_world: World) -> World:
    """Ends before the clients do: an app's own connections are closed when the world stops it."""
    return inngest_world


def serve(world: World, kind: str, client: inngest.Inngest, functions: Sequence[Any]) -> None:
    if kind == "sync":
        world.serve(inngest.wsgi.serve(client, functions))
        return

    @contextlib.asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        yield
        await client.aclose()

    app = fastapi.FastAPI(lifespan=lifespan)
    inngest.fast_api.serve(app, client, list(functions))
    world.serve(app)


def paying(client: inngest.Inngest, kind: str) -> list[inngest.Function[Any]]:
    """A function that passes a secret through everything that the server keeps, and one that it invokes."""
    data = {"encrypted": SECRET}

    if kind == "async":

        @client.create_function(fn_id="pay", trigger=TRIGGER)
        async def pay(ctx: inngest.Context) -> Any:
            seen = [ctx.event.data["encrypted"]]
            seen.append(await ctx.step.run("load", lambda: SECRET))
            seen.append(await ctx.step.invoke("check", function=check, data=data))
            await ctx.step.send_event("tell", inngest.Event(name="told", data=data))
            event = await ctx.step.wait_for_event("reply", event="reply", timeout="1d")
            return [*seen, event and event.data["encrypted"]]

        @client.create_function(fn_id="check", trigger=[])
        async def check(ctx: inngest.Context) -> Any:
            return ctx.event.data["encrypted"]

        return [pay, check]

    @client.create_function(fn_id="pay", trigger=TRIGGER)
    def pay_sync(ctx: inngest.ContextSync) -> Any:
        seen = [ctx.event.data["encrypted"]]
        seen.append(ctx.step.run("load", lambda: SECRET))
        seen.append(ctx.step.invoke("check", function=check_sync, data=data))
        ctx.step.send_event("tell", inngest.Event(name="told", data=data))
        event = ctx.step.wait_for_event("reply", event="reply", timeout="1d")
        return [*seen, event and event.data["encrypted"]]

    @client.create_function(fn_id="check", trigger=[])
    def check_sync(ctx: inngest.ContextSync) -> Any:
        return ctx.event.data["encrypted"]

    return [pay_sync, check_sync]


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("is_checkpointing", [True, False])
def test_what_is_encrypted_is_nowhere_on_the_server(
    world: World, make_client: MakeClient, kind: str, is_checkpointing: bool
) -> None:
    client = make_client(EncryptionMiddleware.factory("key"), checkpointing=is_checkpointing)
    seen: list[Any] = []

    class Seer(inngest.MiddlewareSync):
        def transform_output(self, result: inngest.TransformOutputResult) -> None:
            if result.step is None:
                seen.append(result.output)

    client.add_middleware(Seer)
    serve(world, kind, client, paying(client, kind))

    client.send_sync(inngest.Event(name="order", data={"encrypted": SECRET}))
    world.settle()
    client.send_sync(inngest.Event(name="reply", data={"encrypted": SECRET}))
    world.until_idle()

    assert {run.status for run in world.runs()} == {"Completed"}
    assert seen == [SECRET, [SECRET] * 4], "the code sees everything"
    kept = json.dumps([[run.events, run.output, run.history] for run in world.runs()], default=str)
    assert "inngest/libsodium" in kept
    assert SECRET not in kept


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_the_server_keeps_references_to_outputs(world: World, make_client: MakeClient, kind: str) -> None:
    client = make_client(remote_state.RemoteStateMiddleware.factory(remote_state.InMemoryDriver()))

    @client.create_function(fn_id="pay", trigger=TRIGGER)
    async def pay(ctx: inngest.Context) -> int:
        return len(await ctx.step.run("load", lambda: SECRET * 100_000))

    @client.create_function(fn_id="pay", trigger=TRIGGER)
    def pay_sync(ctx: inngest.ContextSync) -> int:
        return len(ctx.step.run("load", lambda: SECRET * 100_000))

    serve(world, kind, client, [pay if kind == "async" else pay_sync])
    run = world.send("order").run
    world.until_idle()

    assert run.output == len(SECRET) * 100_000
    assert SECRET not in json.dumps(run.history, default=str)


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_each_request_of_the_server_has_a_span(world: World, make_client: MakeClient, kind: str) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    client = make_client(OpenTelemetryMiddleware.factory(provider))
    serve(world, kind, client, paying(client, kind))

    run = world.send("order", {"encrypted": SECRET}).run
    world.until_idle()

    assert run.status == "Completed"
    spans = exporter.get_finished_spans()
    requests = [span.context for span in spans if span.name == "inngest.function pay"]
    steps = {span.name: span for span in spans if span.name.startswith("inngest.step")}
    assert sorted(steps) == ["inngest.step load", "inngest.step tell"]
    for step in steps.values():
        assert step.parent in requests
