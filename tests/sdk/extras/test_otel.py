"""`otel_middleware`: spans of requests and steps, through an exporter that only keeps them."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import inngest
from inngest._engine.call import CallRequest
from inngest._shells.aio import execute
from inngest._shells.threads import execute_sync
from inngest.experimental import mocked
from inngest.experimental.otel_middleware import OpenTelemetryMiddleware, headers_of
from inngest.middleware import MiddlewareManager

EVENT = inngest.Event(name="order", id="event-1")
TRIGGER = inngest.TriggerEvent(event="order")
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Traced:
    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("tests")
        self.client = mocked.Inngest(app_id="shop", middleware=[OpenTelemetryMiddleware.factory(provider)])

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def run(self, handler: Any, **options: Any) -> mocked.Result:
        return mocked.trigger(self.function(handler, **options), EVENT, self.client)

    def function(self, handler: Any, **options: Any) -> inngest.Function[Any]:
        return self.client.create_function(fn_id="pay", trigger=TRIGGER, **options)(handler)


def context_of(span: ReadableSpan) -> trace.SpanContext:
    assert span.context is not None
    return span.context


@pytest.fixture
def traced() -> Traced:
    return Traced()


async def one_step(ctx: inngest.Context) -> str:
    return await ctx.step.run("charge", lambda: "charged")


def one_step_sync(ctx: inngest.ContextSync) -> str:
    return ctx.step.run("charge", lambda: "charged")


@pytest.mark.parametrize("handler", [one_step, one_step_sync])
def test_each_request_has_a_span_and_below_it_each_executed_step(traced: Traced, handler: Any) -> None:
    traced.run(handler)

    step, first, second = traced.spans
    assert (step.name, first.name, second.name) == (
        *("inngest.step charge", "inngest.function pay", "inngest.function pay"),
    )
    assert step.parent is not None
    assert step.parent.span_id == context_of(first).span_id
    assert dict(first.attributes or {}) == {
        "inngest.app.id": "shop",
        "inngest.function.id": "pay",
        "inngest.run.id": "test",
        "inngest.attempt": 0,
        "inngest.event.name": "order",
        "inngest.event.ids": ("event-1",),
    }
    assert (step.attributes or {})["inngest.step.id"] == "charge"


def test_what_a_step_does_is_traced_below_its_span(traced: Traced) -> None:
    async def order(ctx: inngest.Context) -> None:
        async def ask() -> None:
            with traced.tracer.start_as_current_span("GET /prices"):
                pass

        await ctx.step.run("ask", ask)

    traced.run(order)

    (inner,), (step,) = traced.named("GET /prices"), traced.named("inngest.step ask")
    assert inner.parent is not None
    assert inner.parent.span_id == context_of(step).span_id


def broken_step(ctx: inngest.ContextSync) -> None:
    ctx.step.run("charge", lambda: 1 / 0)


async def broken_function(ctx: inngest.Context) -> None:
    raise KeyError("in the function")


def test_the_error_of_a_step_is_on_the_span_of_the_step(traced: Traced) -> None:
    traced.run(broken_step, retries=0)

    (step,) = traced.named("inngest.step charge")
    assert step.status.status_code is trace.StatusCode.ERROR
    assert [event.name for event in step.events] == ["exception"]
    assert traced.named("inngest.function pay")[0].status.status_code is trace.StatusCode.UNSET


def test_the_error_of_the_function_is_on_the_span_of_its_request(traced: Traced) -> None:
    traced.run(broken_function, retries=0)

    (span,) = traced.spans
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description == "KeyError: 'in the function'"
    assert [event.name for event in span.events] == ["exception"]


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_the_trace_of_the_server_goes_on(traced: Traced, kind: str) -> None:
    fn = traced.function(one_step if kind == "async" else one_step_sync)
    request = SimpleNamespace(headers={"Traceparent": TRACEPARENT})
    manager = MiddlewareManager(traced.client, request, fn)
    event = EVENT.to_dict()
    call = CallRequest(
        run_id="run-1", fn_id="", attempt=0, max_attempts=1, event=event, events=(event,), steps={}, stack=()
    )
    common: dict[str, Any] = {"client": traced.client, "middleware": manager, "api": traced.client._api}

    if kind == "async":
        await execute(fn, call, **common)
        await manager.before_response()
    else:
        execute_sync(fn, call, **common)
        manager.before_response_sync()

    (span,) = traced.named("inngest.function pay")
    assert span.parent is not None
    assert f"{context_of(span).trace_id:032x}" == TRACEPARENT.split("-")[1]
    assert f"{span.parent.span_id:016x}" == TRACEPARENT.split("-")[2]


def test_the_span_of_the_frameworks_instrumentation_is_the_parent(traced: Traced) -> None:
    with traced.tracer.start_as_current_span("POST /api/inngest") as outer:
        traced.run(one_step_sync)

    parents = {span.parent and span.parent.span_id for span in traced.named("inngest.function pay")}
    assert parents == {outer.get_span_context().span_id}


def test_no_span_stays_current_after_a_request(traced: Traced) -> None:
    traced.run(one_step_sync)

    assert not trace.get_current_span().get_span_context().is_valid


def test_without_a_provider_the_global_one_is_used_and_nothing_fails() -> None:
    client = mocked.Inngest(app_id="shop", middleware=[OpenTelemetryMiddleware])
    fn = client.create_function(fn_id="pay", trigger=TRIGGER)(one_step)

    assert mocked.trigger(fn, EVENT, client).output == "charged"


@pytest.mark.parametrize(
    "raw_request",
    [
        SimpleNamespace(headers={"Traceparent": TRACEPARENT}),
        SimpleNamespace(headers=[("traceparent", TRACEPARENT)]),
        {"type": "http", "headers": [(b"traceparent", TRACEPARENT.encode())]},
        {"wsgi.version": (1, 0), "HTTP_TRACEPARENT": TRACEPARENT, "REQUEST_METHOD": "POST"},
        {"headers": {"TraceParent": TRACEPARENT}},
        {"http": {"headers": {"traceparent": TRACEPARENT}}},
    ],
    ids=["object", "pairs", "asgi", "wsgi", "lambda", "digital ocean"],
)
def test_headers_are_found_in_the_request_of_any_framework(raw_request: object) -> None:
    assert headers_of(raw_request) == {"traceparent": TRACEPARENT}


@pytest.mark.parametrize("raw_request", [None, object(), {}, {"headers": None}, SimpleNamespace(headers=7)])
def test_a_request_without_headers_has_none(raw_request: object) -> None:
    assert headers_of(raw_request) == {}
