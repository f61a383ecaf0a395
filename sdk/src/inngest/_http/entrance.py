"""Few requests of an event loop begin side by side: until their code waits for steps or something else."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Entrance", "Entry"]

ROOM_STEPS = 160
"""How many steps the code of all requests may ask for that begin side by side; one of more begins alone."""
PLACE_STEPS = 10
"""What each counts at least, so there are at most 16. One at a time would take least memory, but each turn of
the loop, which asks for news of all sockets, would serve one request only: a fifth of the time of short ones.
"""


class Entrance:
    """Where the requests of one event loop wait for each other, first come, first served.

    A thousand of them may arrive at once: the branches of one run. Side by side each would read its body and
    all results in it, and call its function, before the first one is answered: memory for all of them, which
    the garbage collector goes through again and again. None of that waits for anything, so nothing is won by
    doing it for all at once. How much room a request takes, the last one for the same function has shown.
    """

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}
        self._free = ROOM_STEPS
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, function_id: str) -> Entry:
        size = min(max(self._asked.get(function_id, 0), PLACE_STEPS), ROOM_STEPS)
        if not self._waiting and self._free >= size:
            self._free -= size
            return Entry(self, function_id, size)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, place))
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._admit()  # Those behind may be smaller.
            else:
                self.free(size)  # It was given the place, and cancelled before it could take it.
            raise
        return Entry(self, function_id, size)

    def learn(self, function_id: str, asked: int) -> None:
        """How many steps the code of a function has asked for."""
        self._asked[function_id] = asked

    def free(self, size: int) -> None:
        self._free += size
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            size, place = self._waiting[0]
            if not place.done():
                if size > self._free:
                    return
                self._free -= size
                place.set_result(None)
            self._waiting.popleft()


class Entry:
    """One request's place. To be left before anything that may take time; leaving again does nothing."""

    __slots__ = ("_entrance", "_function_id", "_size")

    def __init__(self, entrance: Entrance | None, function_id: str = "", size: int = 0) -> None:
        self._entrance = entrance
        self._function_id = function_id
        self._size = size

    def leave(self, asked: int = 0) -> None:
        """`asked`: for how many steps the code has asked by now, if it was called."""
        if self._entrance is not None:
            if asked:
                self._entrance.learn(self._function_id, asked)
            self._entrance.free(self._size)
            self._entrance = None


FREE = Entry(None)
"""Of requests that wait for nobody: those that have a thread each."""
