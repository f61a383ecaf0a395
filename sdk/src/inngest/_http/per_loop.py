"""What belongs to an event loop, as connections do: one for each loop, closed when the loop ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import AsyncGeneratorType
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One `T` for each running loop.

    Nobody has to say when a loop is about to end: the resource is held by an asynchronous generator, and
    those are closed by `asyncio.run` and its like before the loop is, and by a loop that goes on once nothing
    refers to them any more. So a process that calls `asyncio.run` again and again keeps no sockets of loops
    that are gone.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._held: dict[asyncio.AbstractEventLoop, tuple[AsyncGeneratorType[T, None], T]] = {}

    def get(self) -> T:
        """That of the running loop."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is not None and held[0].ag_frame is not None:  # Else it was closed: the loop is about to end.
            return held[1]
        # A loop that was closed without closing its generators cannot do it any more; listed at once, as
        # other threads add theirs meanwhile.
        for other in list(self._held):
            if other.is_closed():
                self._held.pop(other, None)
        holder = cast("AsyncGeneratorType[T, None]", _hold(self._make, self._close))
        resource = _first(holder)
        self._held[loop] = (holder, resource)
        return resource

    async def aclose(self) -> None:
        """Close that of the running loop."""
        held = self._held.pop(asyncio.get_running_loop(), None)
        if held is not None:
            await held[0].aclose()


async def _hold(make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> AsyncGenerator[T, None]:
    resource = make()
    try:
        yield resource
    finally:
        await close(resource)


def _first(generator: AsyncGenerator[T, None]) -> T:
    """What a generator yields before it awaits anything; the running loop knows it from then on."""
    try:
        generator.__anext__().__await__().send(None)
    except StopIteration as first:
        return first.value
    raise RuntimeError("the generator awaits something first")
