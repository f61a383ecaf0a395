"""Functions: a handler, what starts it, and what the server has to know of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, cast, overload
from urllib.parse import quote, urlsplit, urlunsplit

from ._wire.empty import EMPTY
from .errors import FunctionConfigInvalidError, StepUsageError
from .flow_control import (
    Batch,
    Cancel,
    Checkpointing,
    ConcurrencyOption,
    Debounce,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
    Timeouts,
    concurrency_to_wire,
)
from .triggers import AnyTrigger, triggers_to_wire

if TYPE_CHECKING:
    from .context import Context, ContextSync
    from .middleware import UninitializedMiddleware
    from .step import Step, StepSync

__all__ = ["Function", "FunctionDecorator"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

RETRIES_MAX = 20
CANCEL_MAX = 5
ID_CHARS_MAX = 1_000
FAILURE_SUFFIX = "-failure"

HandlerAsync: TypeAlias = "Callable[[Context], Awaitable[T]] | Callable[[Context, Step], Awaitable[T]]"
HandlerSync: TypeAlias = "Callable[[ContextSync], T] | Callable[[ContextSync, StepSync], T]"
Handler: TypeAlias = "Callable[..., Any]"


class FunctionDecorator(Protocol):
    """What `create_function` gives; it makes a function of a handler."""

    @overload
    def __call__(self, handler: Callable[[Context], Awaitable[T]], /) -> Function[T]: ...
    @overload
    def __call__(self, handler: Callable[[ContextSync], T], /) -> Function[T]: ...
    @overload
    def __call__(self, handler: Callable[[Context, Step], Awaitable[T]], /) -> Function[T]: ...
    @overload
    def __call__(self, handler: Callable[[ContextSync, StepSync], T], /) -> Function[T]: ...


class Function(Generic[T_co]):
    """One durable function, made by `client.create_function`; `T` is what its handler returns."""

    def __init__(
        self,
        *,
        app_id: str,
        local_id: str,
        name: str,
        handler: Handler,
        config: Mapping[str, Any],
        retries: int | None = None,
        on_failure: Handler | None = None,
        output_type: object = EMPTY,
        middleware: Sequence[UninitializedMiddleware] = (),
        checkpointing: Checkpointing | None = None,
    ) -> None:
        self.app_id = app_id
        self.local_id = local_id
        """As the code has it; `id` begins with the app's id."""
        self.name = name
        self.handler = handler
        self.is_handler_async = _is_async(handler)
        self.takes_step = _takes_step(handler)
        """Whether the handler is of the older kind, which gets `ctx.step` as its second argument."""
        self.output_type = output_type
        self.middleware = list(middleware)
        self.checkpointing = checkpointing
        """None where each step is answered with its own request."""
        self.retries = retries
        self.on_failure_handler = on_failure
        self.failure_function: Function[Any] | None = None
        """What the server calls when a run has failed for good: a function of its own, without retries."""
        self._config = config
        _check_handler(handler, f"the handler of function {self.id!r}")
        if on_failure is not None:
            self.failure_function = self._make_failure_function(on_failure)

    @property
    def id(self) -> str:
        """`<app>-<function>`: what the server, `invoke` and events call this function."""
        return f"{self.app_id}-{self.local_id}"

    def get_id(self) -> str:
        return self.id

    @property
    def on_failure_fn_id(self) -> str | None:
        return None if self.failure_function is None else self.failure_function.id

    @property
    def is_on_failure_handler_async(self) -> bool | None:
        return None if self.on_failure_handler is None else _is_async(self.on_failure_handler)

    def get_config(self, app_url: str) -> list[dict[str, Any]]:
        """What is registered: this function, and the one for its failures if there is one (protocol 2.7)."""
        step: dict[str, Any] = {
            "id": "step",
            "name": "step",
            "runtime": {"type": "http", "url": _runtime_url(app_url, self.id)},
        }
        if self.retries is not None:
            step["retries"] = {"attempts": self.retries}
        main = {"id": self.id, "name": self.name, **self._config, "steps": {"step": step}}
        if self.failure_function is None:
            return [main]
        return [main, *self.failure_function.get_config(app_url)]

    def _make_failure_function(self, on_failure: Handler) -> Function[Any]:
        _check_handler(on_failure, f"the on_failure of function {self.id!r}")
        if _is_async(on_failure) != self.is_handler_async:
            kinds = ("async", "a plain function") if self.is_handler_async else ("a plain function", "async")
            raise FunctionConfigInvalidError(
                f"function {self.id!r} is {kinds[0]} and its on_failure is {kinds[1]}; make both of one kind"
            )
        expression = f"event.data.function_id == '{self.id}'"
        return Function(
            app_id=self.app_id,
            local_id=self.local_id + FAILURE_SUFFIX,
            name=f"{self.name} (failure)",
            handler=on_failure,
            config={"triggers": [{"event": "inngest/function.failed", "expression": expression}]},
            retries=0,
            middleware=self.middleware,
            checkpointing=self.checkpointing,
        )

    def __repr__(self) -> str:
        return f"<Function {self.id!r}>"


def options_to_wire(
    *,
    triggers: Sequence[AnyTrigger],
    batch_events: Batch | None,
    cancel: Cancel | Sequence[Cancel] | None,
    checkpointing: Checkpointing | None,
    concurrency: ConcurrencyOption | None,
    debounce: Debounce | None,
    idempotency: str | None,
    priority: Priority | None,
    rate_limit: RateLimit | None,
    singleton: Singleton | None,
    throttle: Throttle | None,
    timeouts: Timeouts | None,
) -> dict[str, Any]:
    """The options of a function as they are registered; what is not set is left out.

    Raises:
        FunctionConfigInvalidError: what the server would refuse.
    """
    cancels = _several(cancel)
    if len(cancels) > CANCEL_MAX:
        raise FunctionConfigInvalidError(
            f"cancel has {len(cancels)} entries; at most {CANCEL_MAX} are allowed"
        )
    _refuse_beside_batch(
        batch_events, cancel=cancels, debounce=debounce, priority=priority, singleton=singleton
    )
    if idempotency is not None and (not isinstance(idempotency, str) or not idempotency):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise FunctionConfigInvalidError(
            f'idempotency has to be an expression such as "event.data.order_id", not {idempotency!r:.100}'
        )
    options: dict[str, Any] = {
        "triggers": triggers_to_wire(triggers),
        "batchEvents": _option("batch_events", batch_events, Batch),
        "cancel": [_option("cancel", one, Cancel) for one in cancels] or None,
        "checkpoint": None if checkpointing is None else checkpointing.to_wire(),
        "concurrency": None if concurrency is None else concurrency_to_wire(concurrency) or None,
        "debounce": _option("debounce", debounce, Debounce),
        "idempotency": idempotency,
        "priority": _option("priority", priority, Priority),
        "rateLimit": _option("rate_limit", rate_limit, RateLimit),
        "singleton": _option("singleton", singleton, Singleton),
        "throttle": _option("throttle", throttle, Throttle),
        "timeouts": _option("timeouts", timeouts, Timeouts) or None,
    }
    return {name: value for name, value in options.items() if value is not None}


def check_id(what: str, value: object) -> str:
    """An id of an app or a function.

    Raises:
        FunctionConfigInvalidError: no text, empty, or too long for a URL.
    """
    if not isinstance(value, str) or not value.strip():
        raise FunctionConfigInvalidError(f"{what} has to be text that is not empty, not {value!r:.100}")
    if len(value) > ID_CHARS_MAX:
        raise FunctionConfigInvalidError(
            f"{what} has {len(value)} characters; at most {ID_CHARS_MAX} are allowed"
        )
    return value


def check_retries(retries: object) -> int | None:
    """How often a step or function is tried again; None leaves it to the server (4).

    More than 20 count as 20: servers have always taken such numbers so, and apps with them exist.

    Raises:
        FunctionConfigInvalidError: no integer, or a negative one.
    """
    if retries is None:
        return None
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise FunctionConfigInvalidError(f"retries is {retries!r:.100}; it has to be 0 to {RETRIES_MAX}")
    return min(retries, RETRIES_MAX)


def _option(name: str, value: Any, kind: type[Any]) -> Any:
    if value is None:
        return None
    if not isinstance(value, kind):
        raise FunctionConfigInvalidError(f"{name} has to be inngest.{kind.__name__}(...), not {value!r:.100}")
    return value.to_wire()


def _several(cancel: Cancel | Sequence[Cancel] | None) -> list[Cancel]:
    if cancel is None:
        return []
    return [*cancel] if isinstance(cancel, list | tuple) else [cancel]  # pyright: ignore[reportReturnType]


def _refuse_beside_batch(batch: Batch | None, **others: object) -> None:
    if batch is None:
        return
    for name, value in others.items():
        if value:
            raise FunctionConfigInvalidError(
                f"{name} cannot stand beside batch_events; remove one of the two"
            )


def _is_async(handler: Handler) -> bool:
    """Whether calling the handler gives an awaitable; looks through partials, methods and callable "
    "objects."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if inspect.iscoroutinefunction(handler):
        return True
    call = getattr(handler, "__call__", None)  # noqa: B004 (The method itself is wanted.)
    return inspect.iscoroutinefunction(call)


def _check_handler(handler: object, what: str) -> None:
    if not callable(handler):
        raise FunctionConfigInvalidError(
            f"{what} has to be a function, not {handler!r:.100}; "
            "is @client.create_function(...) above a function?"
        )
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise FunctionConfigInvalidError(f"{what} contains `yield`; it has to return its result")
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return  # Nothing is known of some callables that are written in C.
    arguments = ("ctx", "step") if _takes_step(handler) else ("ctx",)
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise FunctionConfigInvalidError(
            f"{what} is called with `ctx` alone, or with `ctx` and `step`, and takes {signature}: {error}"
        ) from None


def target_of(step_id: str, function: object) -> tuple[str, object]:
    """The id and the output type of what step `step_id` invokes.

    Raises:
        StepUsageError: it is no function of this SDK.
    """
    if not isinstance(function, Function):
        raise StepUsageError(
            f"step {step_id!r} invokes {function!r:.100}, which `create_function` has not made; "
            "a function that is not at hand is invoked by its id: invoke_by_id(..., function_id=...)"
        )
    known = cast("Function[Any]", function)
    return known.id, known.output_type


def _takes_step(handler: Handler) -> bool:
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(one.kind in kinds and one.default is one.empty for one in parameters) >= 2


def _runtime_url(app_url: str, function_id: str) -> str:
    parts = urlsplit(app_url)
    query = f"fnId={quote(function_id, safe='')}&stepId=step"
    if parts.query:
        query = f"{parts.query}&{query}"
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
