"""The world outside: HTTP requests that steps have the server make, answered by stubs of the test."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from inngest_server.execution.http1 import Headers, Response
from inngest_server.execution.transport import Fetcher, FinalResponse, TransportError
from inngest_server.testing.mounts import on_executor


class HTTPRequest(NamedTuple):
    """A request that a step had the server make; header names are lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class HTTPAnswer(NamedTuple):
    """What a stub answers. A `body` that is neither bytes nor text is sent as JSON."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = {}


Stub = Callable[[HTTPRequest], Any]


class Outside:
    """A fetcher that reaches nothing but stubs, and what the test allows."""

    def __init__(self, executor: Executor, real: Callable[[], Fetcher]) -> None:
        self._executor = executor
        self._real = real
        self._stubs: list[tuple[str, Stub | HTTPAnswer]] = []
        self.is_allowed = False
        self.requests: list[HTTPRequest] = []

    def stub(self, pattern: str, answer: Stub | HTTPAnswer) -> None:
        """Answer requests for URLs of a pattern with `*`; the last stub that fits counts."""
        self._stubs.insert(0, (pattern, answer))

    async def fetch(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        body_bytes_max: int,
    ) -> FinalResponse:
        request = HTTPRequest(method, url, {name.lower(): value for name, value in headers.items()}, body)
        self.requests.append(request)
        for pattern, stub in self._stubs:
            if fnmatchcase(url, pattern) or fnmatchcase(url.partition("?")[0], pattern):
                answer = stub if isinstance(stub, HTTPAnswer) else await self._ask(stub, request)
                return FinalResponse(_response(answer), url)
        if not self.is_allowed:
            raise TransportError(
                "out_of_reach",
                "no stub of the test answers it, and tests reach no real network: "
                "world.stub_http(url, body) answers it, world.allow_network() lets it pass",
            )
        return await self._real().fetch(
            method, url, headers, body, timeout_s=timeout_s, body_bytes_max=body_bytes_max
        )

    async def _ask(self, stub: Stub, request: HTTPRequest) -> HTTPAnswer:
        given = await on_executor(self._executor, stub, request)
        return given if isinstance(given, HTTPAnswer) else HTTPAnswer(given)


def _response(answer: HTTPAnswer) -> Response:
    body, headers = answer.body, {name.lower(): value for name, value in answer.headers.items()}
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("content-type", "application/json")
    return Response(answer.status, Headers(headers), body)
