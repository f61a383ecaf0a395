"""Every call of the world to an app: where it goes, what is planned to fail, and what is recorded of it."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from inngest_server.apps.urls import normalize_app_url
from inngest_server.execution.http1 import Headers, Response
from inngest_server.execution.transport import TransportError
from inngest_server.testing.faults import Fault, failed
from inngest_server.testing.mounts import Mount, Outgoing, on_executor
from inngest_server.wire import json

STUB_ORIGIN = "http://stubs.invalid"
"""Where functions are registered that a test answers itself."""
StubFunction = Callable[[dict[str, Any]], Any]


@dataclass(slots=True)
class AppCall:
    """A call of an app, for a run."""

    function: str
    """Composite id."""
    run_id: str
    step_id: str
    """Hashed id of the step that it was aimed at; empty for all others."""
    attempt: int
    status: int = 0
    """Of the answer; 0 while it is under way, and when none came."""
    began_s: float = 0.0
    """Host time."""


class Calls:
    """The transport of a world's engine. Used on the loop of the engines only."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._mounts: dict[str, Mount] = {}
        """By scheme, host and port."""
        self._stubs: dict[str, StubFunction] = {}
        """By composite id."""
        self.faults: list[Fault] = []
        self.made: list[AppCall] = []
        self.under_way: list[AppCall] = []
        self.syncing: Mount | None = None
        """The app that announces itself just now: an address that it names and nobody knows is its own."""

    def mount(self, url: str, mount: Mount) -> None:
        self._mounts[_origin(url)] = mount

    def knows(self, url: str) -> bool:
        return _origin(url) in self._mounts or url.startswith(STUB_ORIGIN)

    def is_at(self, url: str, mount: Mount) -> bool:
        return self._mounts.get(_origin(url)) is mount

    def learn(self, url: str) -> None:
        """An app registers under an address, which may be one that only proxies of production know."""
        if self.syncing is not None and not self.knows(url):
            self.mount(url, self.syncing)

    def stub(self, slug: str, function: StubFunction) -> None:
        self._stubs[slug] = function

    def is_stubbed(self, slug: str) -> bool:
        return slug in self._stubs

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        body_bytes_max: int,
    ) -> Response:
        if method != "POST":
            return await self.mount_of(url).answer(Outgoing(method, url, headers, body, ""))
        call = _read(url, headers, body)
        self.made.append(call)
        self.under_way.append(call)
        try:
            response = await self._carry(call, Outgoing(method, url, headers, body, call.run_id))
            call.status = response.status
            return response
        finally:
            self.under_way.remove(call)

    async def _carry(self, call: AppCall, request: Outgoing) -> Response:
        struck = [fault for fault in self.faults if fault.strikes(call.function)]
        if struck and struck[0].failure != "lost_answer":
            return failed(struck[0])
        stub = self._stubs.get(call.function)
        if stub is not None:
            response = await self._answer_by(stub, request)
        else:
            response = await self.mount_of(request.url).answer(request)
        return failed(struck[0]) if struck else response

    def mount_of(self, url: str) -> Mount:
        """
        Raises:
            TransportError: no app is there.
        """
        mount = self._mounts.get(_origin(url))
        if mount is None:
            raise TransportError("refused", f"no app of this world is at {_origin(url)}; serve it first")
        return mount

    async def _answer_by(self, stub: StubFunction, request: Outgoing) -> Response:
        """The response of a function without steps, as an SDK would make it."""
        event = json.parse_kept(request.body)["event"]
        headers = Headers({"x-inngest-sdk": "stub:v1", "content-type": "application/json"})
        headers["x-inngest-req-version"] = "2"
        try:
            result = await on_executor(self._executor, stub, event)
            return Response(200, headers, json.dumps(result))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # It is not tried again: a stub raises because the test says so.
            headers["x-inngest-no-retry"] = "true"
            return Response(400, headers, json.dumps({"name": type(error).__name__, "message": str(error)}))


class Uncounted:
    """Requests to the apps of a world that belong to no run of it: they are not recorded, and none fails."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_s: float,
        body_bytes_max: int,
    ) -> Response:
        return await self._calls.mount_of(url).answer(Outgoing(method, url, headers, body, ""))


def _read(url: str, headers: Mapping[str, str], body: bytes) -> AppCall:
    fields = parse_qs(urlsplit(url).query)
    step_id = fields.get("stepId", ["step"])[0]
    function = fields.get("fnId", [""])[0]
    attempt = json.parse_kept(body)["ctx"]["attempt"]
    run_id = headers.get("X-Run-ID", "")
    return AppCall(function, run_id, "" if step_id == "step" else step_id, attempt, began_s=time.monotonic())


def _origin(url: str) -> str:
    """Scheme, host and port, in the spelling that the server uses."""
    parts = urlsplit(normalize_app_url(url))
    return f"{parts.scheme}://{parts.netloc}"
