"""Threads for answers that take long to make, so that the event loop never does."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from inngest_server.api.replies import RequestRejectedError

T = TypeVar("T")

THREADS = 2
"""A search may take seconds, and a list should not wait for it. More would only take turns with the loop."""
WAITING_MAX = 64


class Lane:
    """A few threads, started when they are first needed, and a bounded queue before them."""

    def __init__(self, *, threads: int = THREADS, waiting_max: int = WAITING_MAX) -> None:
        self._pool = ThreadPoolExecutor(threads, "answers")
        self._room = threads + waiting_max
        self._given = 0

    async def do(self, work: Callable[[], T]) -> T:
        """What the work returns or raises; it goes on if nobody waits for it any longer.

        Raises:
            RequestRejectedError: 503, at once, when too much was given before it.
        """
        if self._given >= self._room:
            raise RequestRejectedError(
                503,
                f"{self._given} queries wait to be answered; ask again later",
                code="unavailable",
                retry_after_s=1,
            )
        self._given += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, future: "asyncio.Future[T]") -> None:
        self._given -= 1
        if not future.cancelled():
            future.exception()  # Seen, whether or not somebody still waits.

    def close(self) -> None:
        """Give up what is waiting; what is being done ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
