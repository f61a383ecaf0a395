"""Threads that work for an event loop, each with a connection of its own."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from inngest_server.storage.protocol import StorageUnavailableError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class Lane:
    """Does pieces of work in the order in which they were given, on as many threads as asked for.

    Everything but the work itself happens on the event loop that called `open`.
    """

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection], *, threads: int = 1) -> None:
        self._name = name
        self._connect = connect
        self._threads = threads
        self._queue: SimpleQueue[tuple[Work[Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._ended: list[asyncio.Future[None]] = []
        self._connections: list[sqlite3.Connection] = []

    async def open(self) -> None:
        """Start the threads and connect each.

        Raises:
            sqlite3.Error: what the first connection that failed raised; then no thread is left.
        """
        loop = asyncio.get_running_loop()
        ready: list[asyncio.Future[None]] = []
        for number in range(self._threads):
            ready.append(loop.create_future())
            self._ended.append(loop.create_future())
            arguments = (loop, ready[-1], self._ended[-1])
            name = f"{self._name}-{number}"
            threading.Thread(target=self._serve, args=arguments, name=name, daemon=True).start()
        results = await asyncio.gather(*ready, return_exceptions=True)
        for error in results:
            if error is not None:
                await self.close()
                raise error

    def do(self, work: Work[T]) -> asyncio.Future[T]:
        """The result of the work, once a thread has done it; whatever it raises is raised to the waiter.

        Not waiting for it any longer does not stop it.

        Raises:
            StorageUnavailableError: at once, when the lane is not open.
        """
        if not self._ended:
            raise StorageUnavailableError("the storage is not open")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put((work, future))
        return future

    def interrupt(self) -> None:
        """Make the work that is being done fail with `sqlite3.OperationalError`."""
        for connection in self._connections:
            connection.interrupt()

    async def close(self) -> None:
        """Let the work given so far be done, then close the connections and end the threads."""
        ended, self._ended = self._ended, []
        for _ in ended:
            self._queue.put(None)
        await asyncio.gather(*ended)

    def _serve(
        self, loop: asyncio.AbstractEventLoop, ready: asyncio.Future[None], ended: asyncio.Future[None]
    ) -> None:
        try:
            connection = self._connect()
        except Exception as error:
            _tell(loop, ready, None, error)
            self._queue.get()  # `close` sends one end to each thread.
            _tell(loop, ended, None, None)
            return
        self._connections.append(connection)
        _tell(loop, ready, None, None)
        while (given := self._queue.get()) is not None:
            work, future = given
            try:
                result = work(connection)
            except BaseException as error:
                _tell(loop, future, None, error)
            else:
                _tell(loop, future, result, None)
            del given, work, future  # An idle thread keeps nobody's batch alive.
        self._connections.remove(connection)
        try:
            connection.close()
        except sqlite3.Error as error:
            _tell(loop, ended, None, error)
        else:
            _tell(loop, ended, None, None)


def _tell(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], result: object, error: BaseException | None
) -> None:
    try:
        loop.call_soon_threadsafe(_settle, future, result, error)
    except RuntimeError:
        assert loop.is_closed()  # Nobody is left to tell.


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return  # Its waiter was cancelled.
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
