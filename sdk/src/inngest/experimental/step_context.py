"""Steps in code that does not get `ctx`: functions that become steps where an Inngest function calls them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from inngest._shells.current import CURRENT_STEP
from inngest.errors import StepUsageError

if TYPE_CHECKING:
    from inngest.step import Step, StepSync

__all__ = ["StepContextError", "get_step_context", "set_step_context", "step"]

P = ParamSpec("P")
R = TypeVar("R")


class StepContextError(StepUsageError, LookupError):
    """The step tools were asked for where there are none, or set where there are others already."""

    code = "step_context"


def step(step_id: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a step of each call of a function, with this id.

        @experimental.step("charge")
        async def charge(amount: int) -> str: ...

    Outside of an Inngest function the call is an ordinary one, so the function can be used and tested alone.
    In an asynchronous Inngest function the result of a plain decorated function has to be awaited, too.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.iscoroutinefunction(function):
            return cast("Callable[P, R]", _decorated_async(step_id, function))

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            current = CURRENT_STEP.get()
            if current is None:
                return function(*args, **kwargs)
            return cast("R", current.run(step_id, functools.partial(function, *args, **kwargs)))

        return call

    return decorate


def _decorated_async(step_id: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        current = CURRENT_STEP.get()
        if current is None:
            return await function(*args, **kwargs)
        # Of a synchronous function's steps this raises: they cannot wait for a coroutine.
        return await cast("Any", current).run(step_id, functools.partial(function, *args, **kwargs))

    return call


def get_step_context() -> Step | StepSync:
    """`ctx.step` of the Inngest function that runs now.

    Raises:
        StepContextError: none runs here; threads that the function started itself do not know it either.
    """
    current = CURRENT_STEP.get()
    if current is None:
        raise StepContextError(
            "no Inngest function runs here. In a thread or a loop of your own, pass `ctx.step` along and use "
            "`with set_step_context(step):`"
        )
    return current


@contextmanager
def set_step_context(step: Step | StepSync) -> Generator[None]:
    """Let code in the `with` block find these step tools; functions find their own without it.

    Raises:
        StepContextError: there are other ones already.
    """
    current = CURRENT_STEP.get()
    if current is not None and current is not step:
        raise StepContextError(
            "the step tools of another run are set here already; leave its `with` block first"
        )
    token = CURRENT_STEP.set(step)
    try:
        yield
    finally:
        CURRENT_STEP.reset(token)
