"""What all worlds of a process share: threads with event loops, and a port by which apps reach them.

Engines live on one loop, in a thread that runs nothing of the user's; so an app may block, and a test too.
Apps that are ASGI callables of tests without a loop of their own have another one. The port is one for the
whole process, because clients of SDKs are often made when a module is imported and keep the address that they
found.
"""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from inngest_server.testing.server_log import ServerLog

T = TypeVar("T")
Scope = MutableMapping[str, Any]
ASGIApp = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

THREADS_MAX = 32
"""Calls of WSGI apps and stubs at a time, in tests that have an event loop."""
CONNECTIONS_MAX = 1_000
STOP_S = 5.0


class LoopThread:
    """An event loop that runs in a thread of its own until it is closed."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def close(self) -> None:
        """Cancel what runs there, and end the thread."""
        with contextlib.suppress(TimeoutError):
            self.submit(_cancel_others()).result(STOP_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(STOP_S)
        if (
            not self.thread.is_alive()
        ):  # A coroutine that blocks keeps its loop; the thread ends with the process.
            self.loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
    await asyncio.get_running_loop().shutdown_default_executor()


def reserve_port() -> socket.socket:
    """A socket with a free port of the loopback interface; nobody is answered yet."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def url_of(reserved: socket.socket) -> str:
    return f"http://127.0.0.1:{reserved.getsockname()[1]}"


class Host:
    """Started when made. At any time at most one world is reached by the port."""

    def __init__(self, reserved: socket.socket | None = None) -> None:
        self._socket = reserved or reserve_port()
        self.url = url_of(self._socket)
        self.log = ServerLog()
        self.engines = LoopThread("inngest-worlds")
        self.log.listen_to(self.engines.thread)
        self._apps: LoopThread | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._serving: Future[None] | None = None
        self._server: Any = None
        self.pid = os.getpid()
        self.app: ASGIApp | None = None
        """What answers at the port now."""
        self._listen()

    @property
    def apps(self) -> LoopThread:
        """Where ASGI apps of tests without a loop run; it stays, so that their connections stay usable."""
        if self._apps is None:
            self._apps = LoopThread("inngest-apps")
        return self._apps

    @property
    def threads(self) -> ThreadPoolExecutor:
        """Where WSGI apps of tests with a loop run, and stubs."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="inngest-apps")
        return self._threads

    def _listen(self) -> None:
        import uvicorn

        from inngest_server.api.connections import BACKLOG, QuietServer, bounded

        self._socket.listen(BACKLOG)
        self._socket.setblocking(False)
        config = uvicorn.Config(
            self._answer,
            http=bounded(CONNECTIONS_MAX),
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
        self._server = QuietServer(config)
        self._serving = self.engines.submit(self._server.serve(sockets=[self._socket]))

    async def _answer(self, scope: Scope, receive: Any, send: Any) -> None:
        if self.app is not None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            body = b'{"ids":[],"status":503,"error":"no test has an Inngest world at the moment"}'
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    def close(self) -> None:
        """Give everything back; in a child process, which has no threads of its parent, only the port."""
        if os.getpid() != self.pid:
            self._socket.close()
            return
        self._server.should_exit = True
        if self._serving is not None:
            with contextlib.suppress(TimeoutError):
                self._serving.result(STOP_S)
        if self._apps is not None:
            self._apps.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        self.engines.close()
        self.log.close()
        self._socket.close()
