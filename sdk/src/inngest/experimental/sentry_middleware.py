"""Sentry: errors of steps and functions with their run, and a transaction for each request.

    sentry_sdk.init(traces_sample_rate=1.0)
    client = inngest.Inngest(app_id="my-app", middleware=[SentryMiddleware])

Needs sentry-sdk 2.15 or newer, which the extra `sentry` of this distribution installs. For asynchronous and
synchronous functions.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from inngest.errors import Error
from inngest.middleware import MiddlewareSync

try:
    import sentry_sdk
    from sentry_sdk import Scope
except ImportError as error:
    raise ImportError(
        "inngest.experimental.sentry_middleware needs the package sentry-sdk (2.15 or newer), which is not "
        "installed; "
        'install it, or the SDK with its extra, from the repository: pip install "./sdk[sentry]"',
        name="sentry_sdk",
    ) from error

if TYPE_CHECKING:
    from inngest.client import Inngest
    from inngest.context import Context, ContextSync
    from inngest.function import Function
    from inngest.middleware import StepMemos, TransformOutputResult

__all__ = ["SentryMiddleware"]

OPERATION = "inngest.function"


class SentryMiddleware(MiddlewareSync):
    """Captures each error of each attempt, unless the error is `quiet`, and times the request.

    Tags: `inngest.app.id`, `inngest.function.id`, `inngest.function.name`, `inngest.run.id`,
    `inngest.event.name`, `inngest.event.id`, `inngest.event.count`, `inngest.attempt`; of errors of a step
    also `inngest.step.id`.
    """

    def __init__(self, client: Inngest, raw_request: object) -> None:
        super().__init__(client, raw_request)
        self._transaction: Any = None
        self._scope: Any = None
        self._outer: tuple[Any, Any] | None = None

    def transform_input(self, ctx: Context | ContextSync, function: Function[Any], steps: StepMemos) -> None:
        """Begin scopes and a transaction of this request's own."""
        # Scopes are set and set back by hand. Sentry's own `with isolation_scope()` resets context variables,
        # which works only in the context that set them; the response may be made in another one.
        self._outer = (sentry_sdk.get_isolation_scope(), sentry_sdk.get_current_scope())
        self._scope = self._outer[0].fork()
        current = self._outer[1].fork()
        Scope.set_isolation_scope(self._scope)
        Scope.set_current_scope(current)
        for name, value in _tags(self.client, ctx, function).items():
            self._scope.set_tag(name, value)
        # A web framework's integration may have begun one for the HTTP request.
        if current.span is None:
            self._transaction = sentry_sdk.start_transaction(op=OPERATION, name=function.id, source="task")
        else:
            self._transaction = current.span.start_child(op=OPERATION, name=function.id)
        for name, value in _tags(self.client, ctx, function).items():
            self._transaction.set_data(name, value)
        current.span = self._transaction

    @contextmanager
    def around_step(self, step_id: str) -> Generator[None]:
        """Time the step within the transaction."""
        with sentry_sdk.start_span(op="inngest.step", name=step_id):
            yield

    def transform_output(self, result: TransformOutputResult) -> None:
        """Capture the error of a step or of the function."""
        error = result.error
        if error is None or self._scope is None:
            return
        self._transaction.set_status("internal_error")
        if isinstance(error, Error) and error.quiet:
            return
        with sentry_sdk.new_scope() as scope:
            if result.step is not None:
                scope.set_tag("inngest.step.id", result.step.id)
            scope.capture_exception(error)

    def before_response(self) -> None:
        """End the transaction, and put the scopes back that were there before."""
        if self._outer is None:
            return
        self._transaction.finish()
        Scope.set_isolation_scope(self._outer[0])
        Scope.set_current_scope(self._outer[1])
        self._outer = None


def _tags(client: Inngest, ctx: Context | ContextSync, function: Function[Any]) -> dict[str, str | int]:
    return {
        "inngest.app.id": client.app_id,
        "inngest.attempt": ctx.attempt,
        "inngest.event.count": len(ctx.events),
        "inngest.event.id": ctx.event.id,
        "inngest.event.name": ctx.event.name,
        "inngest.function.id": function.local_id,
        "inngest.function.name": function.name,
        "inngest.run.id": ctx.run_id,
    }
