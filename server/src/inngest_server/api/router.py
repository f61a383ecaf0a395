"""The route table and the gate that every request passes.

A small router of our own: the event endpoint is the hottest path of the server, and each route carries its
access rule in the table, so that a route without one cannot exist.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

import structlog

from inngest_server.api.access import Access, check_access, cors_headers, preflight_headers
from inngest_server.api.context import Context
from inngest_server.api.replies import (
    JSON_TYPE,
    NO_STORE,
    Header,
    Receive,
    RequestRejectedError,
    Scope,
    Send,
    header_of,
    read_body,
    reply,
)
from inngest_server.engine.options import EngineUnavailableError
from inngest_server.storage.protocol import StorageError
from inngest_server.wire import json
from inngest_server.wire.limits import BODY_BYTES_MAX

log = structlog.get_logger("inngest.api")

UI_PREFIX = "/api/ui/"
"""Paths whose errors have the shape of the interface's own API."""
PATH_SHOWN_CHARS = 200
"""Of a path that is not there, in the answer."""


class Request:
    """One request as handlers see it."""

    __slots__ = ("_receive", "context", "params", "path", "scope")

    def __init__(self, context: Context, scope: Scope, receive: Receive, params: dict[str, str]) -> None:
        self.context = context
        self.scope = scope
        self.params = params
        """Decoded parts of the path."""
        self._receive = receive

    @property
    def method(self) -> str:
        return self.scope["method"]

    def header(self, name: str) -> str:
        return header_of(self.scope, name.lower().encode())

    def query(self) -> dict[str, str]:
        """Query parameters; of repeated ones the first counts."""
        found: dict[str, str] = {}
        for name, value in parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True):
            found.setdefault(name, value)
        return found

    async def body(self, body_bytes_max: int = BODY_BYTES_MAX) -> bytes:
        return await read_body(self._receive, body_bytes_max)

    async def json(self, body_bytes_max: int = BODY_BYTES_MAX) -> object:
        """The body as JSON.

        Raises:
            RequestRejectedError: 400, it is none; 413, it is too large.
        """
        try:
            return json.parse(await self.body(body_bytes_max))
        except json.InvalidJSONError as error:
            raise RequestRejectedError(400, f"Invalid request: {error}", code=error.code) from error


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of a handler."""

    status: int = 200
    body: bytes = b""
    headers: tuple[Header, ...] = (JSON_TYPE,)

    @staticmethod
    def of(value: object, status: int = 200) -> "Reply":
        return Reply(status, json.dumps(value))


Handler = Callable[[Request], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Route:
    """A line of the route table. In `path`, `{name}` is one segment and stands for anything but a slash."""

    method: str
    path: str
    access: Access
    handler: Handler


class Router:
    """Finds the route of a request, applies its access rule, and answers errors in its shape."""

    def __init__(self, context: Context, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._context = context
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[list[str], dict[str, Route]]] = []
        kind = context.settings.kind.value.encode()
        self._always: list[Header] = [(b"x-inngest-server-kind", kind)]
        for route in routes:
            if "{" not in route.path:
                self._exact.setdefault(route.path, {})[route.method] = route
                continue
            parts = route.path.split("/")
            for known, methods in self._patterns:
                if known == parts:
                    methods[route.method] = route
                    break
            else:
                self._patterns.append((parts, {route.method: route}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        access, where = Access.BEARER, "none"
        try:
            methods, params = self._find(scope.get("raw_path") or scope["path"].encode())
            method = scope["method"]
            if method == "HEAD" and "GET" in methods:
                method = "GET"
            if methods:
                access = next(iter(methods.values())).access
            route = methods.get(method)
            if route is None:
                await self._answer_without_route(scope, send, access, methods)
                return
            access, where = route.access, route.path
            check_access(self._context.settings, access, scope)
            answer = await route.handler(Request(self._context, scope, receive, params))
            headers = [*answer.headers, *self._always, *cors_headers(access, scope)]
            await reply(send, answer.status, answer.body, headers)
        except RequestRejectedError as error:
            if error.status == 401:
                # The route and not the path, which may hold a key.
                log.warning("api.unauthorized", method=scope["method"], route=where, detail=str(error))
            await self._reject(send, scope, access, error)
        except EngineUnavailableError as error:
            rejected = RequestRejectedError(
                503, str(error), code=error.code, retry_after_s=error.retry_after_s
            )
            await self._reject(send, scope, access, rejected)
        except StorageError as error:
            log.error("api.storage_failed", route=where, code=error.code, detail=str(error))
            rejected = RequestRejectedError(
                503, "the storage cannot be read now", code=error.code, retry_after_s=1
            )
            await self._reject(send, scope, access, rejected)
        except Exception as error:
            log.error("api.request_failed", method=scope["method"], route=where, exc_info=error)
            await self._reject(
                send, scope, access, RequestRejectedError(500, "internal error", code="internal")
            )

    def _find(self, raw_path: bytes) -> tuple[dict[str, Route], dict[str, str]]:
        path = raw_path.split(b"?", 1)[0].decode("latin-1")
        methods = self._exact.get(path)
        if methods is not None:
            return methods, {}
        parts = path.split("/")
        for pattern, methods in self._patterns:
            if len(pattern) != len(parts):
                continue
            params: dict[str, str] = {}
            for wanted, given in zip(pattern, parts, strict=True):
                if wanted.startswith("{") and given:
                    params[wanted[1:-1]] = unquote(given, errors="replace")
                elif wanted != given:
                    break
            else:
                return methods, params
        return {}, {}

    async def _answer_without_route(
        self, scope: Scope, send: Send, access: Access, methods: dict[str, Route]
    ) -> None:
        if scope["method"] == "OPTIONS" and methods:
            await reply(send, 204, b"", [*self._always, *preflight_headers(access, scope)])
            return
        if not methods:
            check_access(self._context.settings, Access.BEARER, scope)
            shown = scope["path"][:PATH_SHOWN_CHARS]
            raise RequestRejectedError(404, f"there is nothing at {shown}", code="not_found")
        check_access(self._context.settings, access, scope)
        allowed = ", ".join(sorted(methods))
        raise RequestRejectedError(
            405, f"{scope['method']} is not allowed here; use {allowed}", code="method_not_allowed"
        )

    async def _reject(self, send: Send, scope: Scope, access: Access, error: RequestRejectedError) -> None:
        headers = [JSON_TYPE, NO_STORE, *error.headers(), *self._always, *cors_headers(access, scope)]
        if access is Access.EVENT_KEY:
            # SDKs read the shape of the event API from its errors too. Source: protocol 1.6 and 13.
            body = json.dumps({"ids": [], "status": error.status, "error": str(error)})
        elif scope["path"].startswith(UI_PREFIX):
            body = error.ui_body()
        else:
            body = error.body()
        await reply(send, error.status, body, headers)
