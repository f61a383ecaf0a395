"""OpenTelemetry: a span for each request of a run, with a span for each step that it executes.

    client = inngest.Inngest(app_id="my-app", middleware=[OpenTelemetryMiddleware])

Needs the OpenTelemetry API, which the extra `opentelemetry` of this distribution installs, and a tracer
provider that the app has set. For asynchronous and synchronous functions. What a step does is traced below
its span.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from inngest.middleware import MiddlewareSync

try:
    from opentelemetry import context, trace
    from opentelemetry.propagate import extract
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
except ImportError as error:
    raise ImportError(
        "inngest.experimental.otel_middleware needs the package opentelemetry-api, which is not installed; "
        'install it, or the SDK with its extra, from the repository: pip install "./sdk[opentelemetry]"',
        name="opentelemetry",
    ) from error

if TYPE_CHECKING:
    from opentelemetry.context import Context as TraceContext

    from inngest.client import Inngest
    from inngest.context import Context, ContextSync
    from inngest.function import Function
    from inngest.middleware import StepMemos, TransformOutputResult

__all__ = ["OpenTelemetryMiddleware"]


class OpenTelemetryMiddleware(MiddlewareSync):
    """Continues the trace of the framework's own instrumentation, else that of the server (`traceparent`).

    Attributes of the request's span: `inngest.app.id`, `inngest.function.id`, `inngest.run.id`,
    `inngest.attempt`, `inngest.event.name`, `inngest.event.ids`; of a step's: `inngest.step.id` and those of
    app, function and run. Errors are recorded on the span of the step or function that raised them.
    """

    def __init__(
        self, client: Inngest, raw_request: object, tracer_provider: TracerProvider | None = None
    ) -> None:
        super().__init__(client, raw_request)
        self._tracer = trace.get_tracer("inngest", tracer_provider=tracer_provider)
        self._span: Span | None = None
        self._outer: TraceContext | None = None
        self._identity: dict[str, str] = {}

    @classmethod
    def factory(cls, tracer_provider: TracerProvider) -> Callable[[Inngest, object], OpenTelemetryMiddleware]:
        """An entry for a list of middleware that uses this provider instead of the global one."""

        def make(client: Inngest, raw_request: object) -> OpenTelemetryMiddleware:
            return cls(client, raw_request, tracer_provider)

        return make

    def transform_input(self, ctx: Context | ContextSync, function: Function[Any], steps: StepMemos) -> None:
        """Begin the span of this request."""
        self._identity = {
            "inngest.app.id": self.client.app_id,
            "inngest.function.id": function.local_id,
            "inngest.run.id": ctx.run_id,
        }
        self._outer = context.get_current()
        parent = self._outer
        if not trace.get_current_span(parent).get_span_context().is_valid:
            parent = extract(headers_of(self.raw_request), context=parent)
        self._span = self._tracer.start_span(
            f"inngest.function {function.local_id}",
            context=parent,
            kind=SpanKind.CONSUMER,
            attributes={
                **self._identity,
                "inngest.attempt": ctx.attempt,
                "inngest.event.name": ctx.event.name,
                "inngest.event.ids": [event.id for event in ctx.events],
            },
        )
        # Its token is of no use: the response may be made in another context than this one.
        context.attach(trace.set_span_in_context(self._span, parent))

    @contextmanager
    def around_step(self, step_id: str) -> Generator[None]:
        """The span of one step that is executed."""
        attributes = {**self._identity, "inngest.step.id": step_id}
        span = self._tracer.start_span(f"inngest.step {step_id}", attributes=attributes)
        with trace.use_span(span, end_on_exit=True):
            yield

    def transform_output(self, result: TransformOutputResult) -> None:
        """Record the error of the function; those of steps are on their own spans."""
        if self._span is not None and result.step is None and result.error is not None:
            self._span.record_exception(result.error)
            self._span.set_status(Status(StatusCode.ERROR, f"{type(result.error).__name__}: {result.error}"))

    def before_response(self) -> None:
        """End the span, and put the context back that was there before."""
        if self._span is not None and self._outer is not None:
            self._span.end()
            self._span = None
            context.attach(self._outer)


def headers_of(raw_request: object) -> dict[str, str]:
    """Headers of any framework's request, as far as it has some, with names in lower case."""
    if isinstance(raw_request, Mapping):
        request = cast("Mapping[str, Any]", raw_request)
        if "wsgi.version" in request:
            return {
                name[5:].replace("_", "-").lower(): value
                for name, value in request.items()
                if name.startswith("HTTP_")
            }
        headers: Any = request.get("headers") or request.get("http", {}).get("headers")
    else:
        headers = getattr(raw_request, "headers", None)
    if headers is None:
        return {}
    pairs: Any = headers.items() if hasattr(headers, "items") else headers
    try:
        return {_text(name).lower(): _text(value) for name, value in pairs}
    except (TypeError, ValueError):  # Something else that is called headers.
        return {}


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
