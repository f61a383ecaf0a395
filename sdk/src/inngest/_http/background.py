"""An event loop in a thread of its own, for asynchronous functions that a blocking framework serves."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

END_TIMEOUT_S = 5.0
"""How long `close` waits for tasks that do not end when they are cancelled."""


class BackgroundLoop:
    """Starts its thread when it is first needed, and again in a forked process, which has none of its own.

    Work is handed over under the lock, and a loop that ends gives itself up under the lock before it cancels
    what it has: so nothing is ever handed to a loop that will not run it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._process = 0

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and block until it is done, with the caller's context variables.

        When the wait is interrupted (Ctrl-C), the coroutine's task is cancelled.

        Raises:
            asyncio.CancelledError: the loop ended before the coroutine did.
        """
        done: Future[T] = Future()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            task = loop.create_task(coroutine)
            tasks.append(task)
            task.add_done_callback(finish)

        def finish(task: asyncio.Task[T]) -> None:
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is None:
                done.set_result(task.result())
            elif isinstance(error, Exception):
                done.set_exception(error)
            else:  # Has ended the loop, and is nothing that the waiting thread did.
                done.set_exception(asyncio.CancelledError())

        with self._lock:
            loop = self._running()
            loop.call_soon_threadsafe(start, context=contextvars.copy_context())
        try:
            return done.result()
        except BaseException:
            if not done.done():
                loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._process != os.getpid():
            self._loop = asyncio.new_event_loop()
            self._process = os.getpid()
            self._thread = threading.Thread(
                target=self._serve, args=(self._loop,), name=self._name, daemon=True
            )
            self._thread.start()
        return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            # Not only `close` ends it: a KeyboardInterrupt that user code raises does so, too.
            with self._lock:
                if self._loop is loop:
                    self._loop = self._thread = None
            # What was handed over last becomes a task first, to be cancelled with the others.
            loop.run_until_complete(asyncio.sleep(0))
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks, timeout=END_TIMEOUT_S))
            loop.run_until_complete(loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            loop.close()

    def close(self, last: Coroutine[Any, Any, None] | None = None) -> None:
        """Cancel what runs and end the thread, after `last` has run on the loop; nothing if none runs."""
        with self._lock:
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
            if loop is None or thread is None or self._process != os.getpid():
                if last is not None:
                    last.close()
                return
            loop.call_soon_threadsafe(lambda: loop.create_task(_then_stop(last, loop)))
        # A function that closes its own client is on that thread; it is cancelled when it next waits.
        if threading.current_thread() is not thread:
            thread.join(END_TIMEOUT_S * 2)


async def _then_stop(last: Coroutine[Any, Any, None] | None, loop: asyncio.AbstractEventLoop) -> None:
    try:
        if last is not None:
            await last
    finally:
        loop.stop()
