"""Ways in which a request reaches an app: an ASGI or WSGI callable, or an address.

A mount gets a request that is ready to be sent and gives the whole response, as a connection would.
"""

import asyncio
import contextvars
import functools
import inspect
import io
import queue
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple, Protocol, cast
from urllib.parse import unquote, urlsplit

from inngest_server.execution.http1 import Headers, Response
from inngest_server.execution.transport import Transport
from inngest_server.testing.host import ASGIApp, LoopThread

WSGIApp = Callable[..., Any]
CALLED_RUN: contextvars.ContextVar[str] = contextvars.ContextVar("inngest_called_run", default="")
"""The run whose call the code is answering, as far as the app keeps the context."""


class Outgoing(NamedTuple):
    """A request to an app."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    run_id: str
    """Empty for a sync."""


class Mount(Protocol):
    async def answer(self, request: Outgoing) -> Response: ...

    async def open(self) -> None:
        """Let the app start."""
        ...

    async def close(self) -> None: ...


def is_asgi(app: object) -> bool:
    """Whether a callable takes (scope, receive, send), and not (environ, start_response)."""
    while isinstance(app, functools.partial):
        app = cast("functools.partial[Any]", app).func
    called: Any = app if inspect.isroutine(app) else getattr(app, "__call__", app)  # noqa: B004
    if inspect.iscoroutinefunction(called):
        return True
    try:
        return len(inspect.signature(called).parameters) == 3
    except (TypeError, ValueError):
        return False


def check_wsgi(app: object) -> None:
    """Return if something that is no ASGI app can be a WSGI app.

    Raises:
        TypeError: it cannot; the message says what can be served.
    """
    try:
        if callable(app):
            inspect.signature(app).bind({}, None)
            return
    except TypeError:
        pass
    except ValueError:  # It does not tell what it takes.
        return
    raise TypeError(
        f"{app!r} is neither an ASGI nor a WSGI app; serve it on a port, and give its address: "
        'serve("http://localhost:8000/api/inngest")'
    )


class ASGIMount:
    """An ASGI app, called on an event loop that is not the server's.

    `with_lifespan` starts and stops the app as a server does, if the app knows how.
    """

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop, *, with_lifespan: bool) -> None:
        self._app = app
        self._loop = loop
        self._lifespan = _Lifespan(app) if with_lifespan else None

    async def open(self) -> None:
        if self._lifespan is not None:
            await self._on_loop(self._lifespan.start())

    async def close(self) -> None:
        if self._lifespan is not None and not self._loop.is_closed():
            await self._on_loop(self._lifespan.stop())

    async def answer(self, request: Outgoing) -> Response:
        return await self._on_loop(self._call(request))

    async def _on_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self._loop.is_closed():
            coroutine.close()
            raise ConnectionResetError("the event loop of the test, on which the app ran, is closed")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    async def _call(self, request: Outgoing) -> Response:
        CALLED_RUN.set(request.run_id)
        parts = urlsplit(request.url)
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": parts.scheme,
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [
                (name.lower().encode(), value.encode("latin-1")) for name, value in _headers(request).items()
            ],
            "client": ("127.0.0.1", 50000),
            "server": (parts.hostname, parts.port or 80),
            "state": {} if self._lifespan is None else self._lifespan.state.copy(),
        }
        answer = _Answer()
        given: list[Any] = [{"type": "http.request", "body": request.body, "more_body": False}]

        async def receive() -> Any:
            if given:
                return given.pop()
            await answer.ended.wait()
            return {"type": "http.disconnect"}

        try:
            await self._app(scope, receive, answer.take)
        except Exception:
            return _crashed(sys.exc_info()[1])
        return answer.response()


class _Answer:
    """What an ASGI app sends, put together."""

    def __init__(self) -> None:
        self._status = 0
        self._headers = Headers()
        self._body = bytearray()
        self.ended = asyncio.Event()

    async def take(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            for name, value in message.get("headers", ()):
                self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                self.ended.set()

    def response(self) -> Response:
        if not self._status:
            return _no_answer("the app returned without an answer")
        return Response(self._status, self._headers, bytes(self._body))


class _Lifespan:
    """The start and stop of an ASGI app; one that does not know of them is left alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.state: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None
        self._told: asyncio.Queue[str] | None = None
        self._said: asyncio.Queue[Any] | None = None

    async def start(self) -> None:
        """Wait until the app has started.

        Raises:
            RuntimeError: it failed to.
        """
        self._told, self._said = asyncio.Queue(), asyncio.Queue()
        self._task = asyncio.get_running_loop().create_task(self._run(self._told, self._said))
        said = await self._ask("lifespan.startup")
        if said is not None and said["type"] == "lifespan.startup.failed":
            raise RuntimeError(f"the app failed to start: {said.get('message') or 'it did not say why'}")

    async def stop(self) -> None:
        if self._task is not None and not self._task.done():
            await self._ask("lifespan.shutdown")
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self, what: str) -> Any:
        assert self._told is not None
        assert self._said is not None
        self._told.put_nowait(what)
        return await self._said.get()

    async def _run(self, told: "asyncio.Queue[str]", said: "asyncio.Queue[Any]") -> None:
        async def receive() -> Any:
            return {"type": await told.get()}

        async def send(message: Any) -> None:
            said.put_nowait(message)

        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, receive, send)
        except Exception:
            pass  # An app without lifespan raises, says the specification; a failed start was said before.
        finally:
            said.put_nowait(None)


class WSGIMount:
    """A WSGI app, called by an executor: threads, or the test's own thread while it waits."""

    def __init__(self, app: WSGIApp, executor: Executor) -> None:
        check_wsgi(app)
        self._app = app
        self._executor = executor

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def answer(self, request: Outgoing) -> Response:
        future = self._executor.submit(contextvars.copy_context().run, self._call, request)
        return await asyncio.wrap_future(future)

    def _call(self, request: Outgoing) -> Response:
        CALLED_RUN.set(request.run_id)
        parts = urlsplit(request.url)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(parts.path, "latin-1"),
            "QUERY_STRING": parts.query,
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_NAME": parts.hostname or "",
            "SERVER_PORT": str(parts.port or 80),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": parts.scheme,
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in _headers(request).items():
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        try:
            return self._collected(environ)
        except Exception as error:
            return _crashed(error)

    def _collected(self, environ: dict[str, Any]) -> Response:
        started: list[tuple[str, list[tuple[str, str]]]] = []
        body = bytearray()

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started.append((status, headers))
            return body.extend

        parts = self._app(environ, start_response)
        try:
            for part in parts:
                body += part
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()
        if not started:
            return _no_answer("the app returned without an answer")
        status, headers = started[-1]
        pairs = {name.lower(): value for name, value in headers}
        return Response(int(status.split(" ", 1)[0]), Headers(pairs), bytes(body))


class AddressMount:
    """An app in another process, or on another machine."""

    def __init__(self, transport: Transport, *, timeout_s: float, body_bytes_max: int) -> None:
        self._transport = transport
        self._timeout_s = timeout_s
        self._body_bytes_max = body_bytes_max

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def answer(self, request: Outgoing) -> Response:
        return await self._transport.send(
            request.method,
            request.url,
            request.headers,
            request.body,
            timeout_s=self._timeout_s,
            body_bytes_max=self._body_bytes_max,
        )


class CallerThread(Executor):
    """Runs what it is given on the thread that waits for a result by `wait`.

    So WSGI apps share the thread of the test, with its database connection and everything else that belongs
    to a thread. What comes while nobody waits is done the next time.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self._work.put(lambda: _settle(future, fn, args, kwargs))
        return future

    def wait(self, awaited: "Future[Any]") -> Any:
        """The result, once it is there; until then the work of this thread is done."""
        awaited.add_done_callback(lambda _: self._work.put(None))
        while True:
            work = self._work.get()
            if work is not None:
                work()
            elif awaited.done():
                return awaited.result()


def _settle(future: "Future[Any]", fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = fn(*args, **kwargs)
    except Exception as error:
        future.set_exception(error)
    except BaseException as error:  # Ctrl-C, or the end of the test by its framework: not the app's.
        future.set_exception(ConnectionResetError("the test was ended"))
        raise error
    else:
        future.set_result(result)


async def on_executor(executor: Executor, function: Callable[..., Any], *args: Any) -> Any:
    """The result of a function of the test, which may be a coroutine function.

    That gets a loop of its own: nothing of the user's runs on the loop of the engines.
    """

    def call() -> Any:
        result = function(*args)
        return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result

    return await asyncio.wrap_future(executor.submit(contextvars.copy_context().run, call))


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def loop_of(apps: LoopThread | None) -> asyncio.AbstractEventLoop:
    """The loop of the apps, or else the one that runs the test."""
    return asyncio.get_running_loop() if apps is None else apps.loop


def _headers(request: Outgoing) -> dict[str, str]:
    given = {name.lower(): value for name, value in request.headers.items()}
    return {"host": urlsplit(request.url).netloc, **given, "content-length": str(len(request.body))}


def _crashed(error: BaseException | None) -> Response:
    """What servers answer when an app raises; with what it raised, because this one is for tests."""
    text = "".join(traceback.format_exception(error)) if error is not None else ""
    return Response(500, Headers({"content-type": "text/plain"}), text.encode("utf-8", "replace"))


def _no_answer(why: str) -> Response:
    return Response(500, Headers({"content-type": "text/plain"}), why.encode())
