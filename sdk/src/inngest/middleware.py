"""Middleware: code around events that are sent and functions that run.

An instance lives for one call request, or for one `send` outside of a function. Hooks run in this order, each
once for every request:

    transform_input, before_memoization, (stored steps are replayed) after_memoization,
    before_execution, (new code runs) after_execution, transform_output, before_response

Client middleware comes before the function's, each in the order of its list; hooks that look back on what has
happened (`after_execution`, `after_send_events`, `transform_output`) run in the reverse order.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ._engine.memos import StepMemos
from ._wire.empty import EMPTY
from .errors import AsyncUnsupportedError

if TYPE_CHECKING:
    from .client import Inngest
    from .context import Context, ContextSync
    from .events import Event
    from .function import Function

__all__ = [
    "Middleware",
    "MiddlewareManager",
    "MiddlewareSync",
    "SendEventsResult",
    "StepMemos",
    "TransformOutputResult",
    "TransformOutputStepInfo",
    "UninitializedMiddleware",
]


@dataclass(slots=True)
class SendEventsResult:
    """What became of events that were sent.

    `ids` are in the order of the events. With an `error`, they are those of the events taken before it.
    """

    error: str | None = None
    ids: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class TransformOutputStepInfo:
    """The step of a result: its id in the code, its opcode, and the opcode's options (to be changed in
    place).
    """

    id: str
    op: str
    opts: dict[str, object] | None = None


@dataclass
class TransformOutputResult:
    """A result on its way to the server: of `step`, or of the function when that is None.

    Middleware changes `output` or `error` in place. The function's code goes on with what the server stored,
    so after a change a step is answered at once, and the code sees the changed output in the next request.

    Also shown is what a step asks the server for (a sleep, an invocation, ...): it has no output, and
    `step.opts` may be changed.
    """

    error: Exception | None
    output: object
    step: TransformOutputStepInfo | None
    is_request: bool = field(default=False, kw_only=True)
    """It is what a step asks for; `output` is None then, as in the official SDK."""

    def has_output(self) -> bool:
        """Whether there is an output; None is one."""
        return self.output is not EMPTY and not self.is_request


class _Hooks:
    """Hooks that are alike for both kinds of functions; subclasses need not call `super().__init__`."""

    client: Inngest
    raw_request: object
    """The framework's own request; None for events that are sent outside of a function."""

    def __init__(self, client: Inngest, raw_request: object) -> None:
        self.client = client
        self.raw_request = raw_request

    def transform_input(self, ctx: Context | ContextSync, function: Function[Any], steps: StepMemos) -> Any:
        """Before any code of the function: change the context, set new attributes, change stored results."""

    def transform_output(self, result: TransformOutputResult) -> Any:
        """When a step or the function has a result or an error, or a step asks the server for something."""

    def around_step(self, step_id: str) -> AbstractContextManager[object]:
        """What to be in while a step is executed, for example a span of a trace; not in the official SDK."""
        return nullcontext()


class Middleware(_Hooks):
    """For asynchronous functions and events sent with `send`; its hooks may be plain functions too."""

    async def before_execution(self) -> None:
        """Before the first code that is not a replay."""

    async def after_execution(self) -> None:
        """After the new code of this request."""

    async def before_response(self) -> None:
        """Just before the server is answered."""

    async def before_send_events(self, events: list[Event]) -> None:
        """Before events are sent; the list may be changed."""

    async def after_send_events(self, result: SendEventsResult) -> None:
        """After events were sent, or could not be."""


class MiddlewareSync(_Hooks):
    """For any function: no hook waits for anything, so they also run around plain functions."""

    def before_execution(self) -> None:
        """Before the first code that is not a replay."""

    def after_execution(self) -> None:
        """After the new code of this request."""

    def before_response(self) -> None:
        """Just before the server is answered."""

    def before_send_events(self, events: list[Event]) -> None:
        """Before events are sent; the list may be changed."""

    def after_send_events(self, result: SendEventsResult) -> None:
        """After events were sent, or could not be."""


UninitializedMiddleware: TypeAlias = (
    "type[Middleware] | type[MiddlewareSync] | Callable[[Inngest, Any], Middleware | MiddlewareSync]"
)
"""A class, or what makes an instance of the client and the raw request."""

_BACKWARD = frozenset({"after_execution", "after_send_events", "transform_output"})
_BASES = (_Hooks, Middleware, MiddlewareSync)
_Hook: TypeAlias = Callable[..., Any]
_NOTHING = nullcontext()


@contextmanager
def _within(makers: Sequence[_Hook], step_id: str) -> Generator[None]:
    with ExitStack() as stack:
        for make in makers:
            stack.enter_context(make(step_id))
        yield


class MiddlewareManager:
    """The instances of one request, and who of them listens to which hook.

    Each hook has two forms: `await manager.run("before_response")` and `manager.run_sync("before_response")`.
    """

    def __init__(
        self, client: Inngest, raw_request: object = None, function: Function[Any] | None = None
    ) -> None:
        entries: Sequence[UninitializedMiddleware] = client.middleware
        if function is not None and function.middleware:
            entries = [*entries, *function.middleware]
        self.instances: list[Any] = [make(client, raw_request) for make in entries]

    def hooks(self, name: str) -> list[_Hook]:
        """The hooks of that name which somebody has written, in the order in which they run."""
        if not self.instances:
            return []
        found: list[_Hook] = []
        for instance in self.instances:
            kind = cast("type[object]", type(instance))
            method: object = getattr(kind, name, None)
            if method is not None and not any(vars(base).get(name) is method for base in _BASES):
                found.append(getattr(instance, name))
        return found[::-1] if name in _BACKWARD else found

    def around_step(self, step_id: str) -> AbstractContextManager[object]:
        """What all of them want to be in while a step is executed; the first one outermost."""
        makers = self.hooks("around_step")
        return _within(makers, step_id) if makers else _NOTHING

    async def run(self, name: str, *args: object) -> None:
        """Run the hooks one after another."""
        for hook in self.hooks(name):
            outcome = hook(*args)
            if inspect.isawaitable(outcome):
                await outcome

    def run_sync(self, name: str, *args: object) -> None:
        """Run the hooks one after another, in code that cannot wait.

        Raises:
            AsyncUnsupportedError: a hook is a coroutine function.
        """
        for hook in self.hooks(name):
            outcome = hook(*args)
            if inspect.isawaitable(outcome):
                if inspect.iscoroutine(outcome):
                    outcome.close()
                raise AsyncUnsupportedError(
                    f"hook {getattr(hook, '__qualname__', name)!r} is asynchronous, but it runs around "
                    "synchronous code; make it a plain `def` (inngest.MiddlewareSync), or the function async"
                )

    async def before_send_events(self, events: list[Event]) -> None:
        await self.run("before_send_events", events)

    def before_send_events_sync(self, events: list[Event]) -> None:
        self.run_sync("before_send_events", events)

    async def after_send_events(self, result: SendEventsResult) -> None:
        await self.run("after_send_events", result)

    def after_send_events_sync(self, result: SendEventsResult) -> None:
        self.run_sync("after_send_events", result)

    async def before_response(self) -> None:
        await self.run("before_response")

    def before_response_sync(self) -> None:
        self.run_sync("before_response")
