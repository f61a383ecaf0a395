"""Requests of an event loop begin one after another, until the code waits for steps or something else."""

from __future__ import annotations

import asyncio

__all__ = ["Entrance", "Entry"]


class Entrance:
    """Where the requests of one event loop wait for each other.

    A thousand of them may arrive at once: the branches of one run. Side by side each would read its body and
    all results in it, and call its function, before the first one is answered: memory for all of them, which
    the garbage collector goes through again and again. None of that waits for anything, so nothing is won by
    doing it side by side.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def enter(self) -> Entry:
        await self._lock.acquire()
        return Entry(self._lock)


class Entry:
    """One request's turn. To be left before anything that may take time; leaving again does nothing."""

    __slots__ = ("_lock",)

    def __init__(self, lock: asyncio.Lock | None) -> None:
        self._lock = lock

    def leave(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


FREE = Entry(None)
"""Of requests that wait for nobody: those that have a thread each."""
