"""Steps in parallel."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ._shells.current import PARALLEL_MODE, ParallelMode
from .errors import StepUsageError

if TYPE_CHECKING:
    from ._shells.aio import _Run  # pyright: ignore[reportPrivateUsage]
    from ._shells.branches import Begun
    from ._shells.threads import _RunSync  # pyright: ignore[reportPrivateUsage]

__all__ = ["Group", "GroupSync", "ParallelMode"]

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")


class Group:
    """`ctx.group` of an asynchronous function."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    @overload
    async def parallel(
        self,
        callables: tuple[Callable[[], Awaitable[T1]], Callable[[], Awaitable[T2]]],
        *,
        parallel_mode: ParallelMode | None = None,
    ) -> tuple[T1, T2]: ...

    @overload
    async def parallel(
        self,
        callables: tuple[
            Callable[[], Awaitable[T1]], Callable[[], Awaitable[T2]], Callable[[], Awaitable[T3]]
        ],
        *,
        parallel_mode: ParallelMode | None = None,
    ) -> tuple[T1, T2, T3]: ...

    @overload
    async def parallel(
        self,
        callables: tuple[
            Callable[[], Awaitable[T1]],
            Callable[[], Awaitable[T2]],
            Callable[[], Awaitable[T3]],
            Callable[[], Awaitable[T4]],
        ],
        *,
        parallel_mode: ParallelMode | None = None,
    ) -> tuple[T1, T2, T3, T4]: ...

    @overload
    async def parallel(
        self,
        callables: tuple[
            Callable[[], Awaitable[T1]],
            Callable[[], Awaitable[T2]],
            Callable[[], Awaitable[T3]],
            Callable[[], Awaitable[T4]],
            Callable[[], Awaitable[T5]],
        ],
        *,
        parallel_mode: ParallelMode | None = None,
    ) -> tuple[T1, T2, T3, T4, T5]: ...

    @overload
    async def parallel(
        self,
        callables: tuple[Callable[[], Awaitable[T]], ...],
        *,
        parallel_mode: ParallelMode | None = None,
    ) -> tuple[T, ...]: ...

    async def parallel(
        self,
        callables: tuple[Callable[[], Awaitable[Any]], ...],
        *,
        parallel_mode: ParallelMode | None = None,
    ) -> tuple[Any, ...]:
        """Run branches at the same time; their results in the order of the branches.

        Each branch is called without arguments: `lambda: ctx.step.run(...)`, or a function of several steps.
        With `ParallelMode.RACE` a branch goes on as soon as its own step is done; otherwise after the steps
        of all branches that run at that time. When branches fail, the error of the first is raised once all
        have ended.

        `asyncio.gather` and `asyncio.TaskGroup` work with steps as well.
        """
        results = await self._begin(_branches(callables), parallel_mode or ParallelMode.WAIT)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return tuple(results)

    def _begin(
        self, branches: Sequence[Callable[[], Awaitable[Any]]], mode: ParallelMode
    ) -> Coroutine[Any, Any, list[Any]]:
        """Call the branches; what gives their results or errors."""
        token = PARALLEL_MODE.set(mode)
        try:
            begun = self._run.begin(branches)
            steps = [one.step for one in begun if one.step is not None and one.context is None]
            if not steps or len(steps) < len(begun) or mode is not ParallelMode.WAIT:
                return _gathered([_task(one) for one in begun])
            for one in begun:
                one.awaitable.close()
            return self._run.together(steps)
        finally:
            PARALLEL_MODE.reset(token)


def _task(branch: Begun) -> asyncio.Task[Any]:
    """A task of its own for a branch."""
    one = branch.awaitable
    coroutine = one if inspect.iscoroutine(one) else _awaited(one)
    return asyncio.create_task(coroutine, context=branch.context)


async def _awaited(branch: Awaitable[T]) -> T:
    return await branch


async def _gathered(tasks: Sequence[asyncio.Future[Any]]) -> list[Any]:
    """The results of tasks, or their errors; they are cancelled with the code that waits for them."""
    try:
        return await asyncio.gather(*tasks, return_exceptions=True)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        raise


class GroupSync:
    """`ctx.group` of a plain function."""

    def __init__(self, run: _RunSync) -> None:
        self._run = run

    @overload
    def parallel(
        self,
        callables: tuple[Callable[[], T1], Callable[[], T2]],
        *,
        parallel_mode: ParallelMode | None = None,
    ) -> tuple[T1, T2]: ...

    @overload
    def parallel(
        self,
        callables: tuple[Callable[[], T1], Callable[[], T2], Callable[[], T3]],
        *,
        parallel_mode: ParallelMode | None = None,
    ) -> tuple[T1, T2, T3]: ...

    @overload
    def parallel(
        self,
        callables: tuple[Callable[[], T1], Callable[[], T2], Callable[[], T3], Callable[[], T4]],
        *,
        parallel_mode: ParallelMode | None = None,
    ) -> tuple[T1, T2, T3, T4]: ...

    @overload
    def parallel(
        self,
        callables: tuple[
            Callable[[], T1], Callable[[], T2], Callable[[], T3], Callable[[], T4], Callable[[], T5]
        ],
        *,
        parallel_mode: ParallelMode | None = None,
    ) -> tuple[T1, T2, T3, T4, T5]: ...

    @overload
    def parallel(
        self,
        callables: tuple[Callable[[], T], ...],
        *,
        parallel_mode: ParallelMode | None = None,
    ) -> tuple[T, ...]: ...

    def parallel(
        self,
        callables: tuple[Callable[[], Any], ...],
        *,
        parallel_mode: ParallelMode | None = None,
    ) -> tuple[Any, ...]:
        """Run branches at the same time; their results in the order of the branches.

        Each step of a branch gets a request, and so a thread, of its own. Modes and errors as with
        `Group.parallel`.
        """
        return self._run.parallel(_branches(callables), parallel_mode or ParallelMode.WAIT)


def _branches(callables: Iterable[Callable[[], T]]) -> tuple[Callable[[], T], ...]:
    """The branches of a group, which have to be functions: a step that is given as it is runs too early.

    Raises:
        StepUsageError: one cannot be called.
    """
    branches = tuple(callables)
    wrong = next((branch for branch in branches if not callable(branch)), None)
    if wrong is None:
        return branches
    for branch in branches:
        if inspect.iscoroutine(branch):
            branch.close()  # Or Python would complain as well that nobody awaited it.
    raise StepUsageError(
        f"group.parallel takes functions without arguments, not {type(wrong).__name__}; "
        "write (lambda: ctx.step.run(...), lambda: ctx.step.run(...))"
    )
