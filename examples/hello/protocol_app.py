"""A tiny stand-in for an SDK: serves functions made of steps to a server that speaks the Inngest protocol.

For the example beside it, and for whoever wants to see how little the protocol needs. A real app uses an SDK.

The server calls the app once per step. Each call brings the results of the steps so far; the function is run
from its beginning, known steps return their stored result at once, and the first step that is not known ends
the call: its result, or the wish to sleep, is the answer. When no step is left, the answer is the function's
return value. So a function can be continued by another process, a day or a crash later.
"""

import asyncio
import json
import traceback
import urllib.request
from collections.abc import Awaitable, Callable
from hashlib import sha1
from typing import Any
from urllib.parse import parse_qs

PATH = "/api/inngest"
SDK = "hello:v0.1.0"

Event = dict[str, Any]
Op = dict[str, Any]
Answer = tuple[int, Any]


class CallEndedError(Exception):
    """Raised through the function by its first new step; `op` is what the server is told."""

    def __init__(self, op: Op) -> None:
        super().__init__(op["displayName"])
        self.op = op


class Steps:
    """What a function uses to make steps, one after the other."""

    def __init__(self, results: dict[str, Any]) -> None:
        self._results = results

    async def run(self, name: str, action: Callable[[], Awaitable[Any]]) -> Any:
        """The result of `action`: run now, or stored by an earlier call."""
        step_id = step_id_of(name)
        if step_id in self._results:
            return self._results[step_id]["data"]
        result = await action()
        raise CallEndedError({"op": "StepRun", "id": step_id, "displayName": name, "data": result})

    async def sleep(self, name: str, duration: str) -> None:
        """Go on after the duration, such as `1s` or `3d`; nothing runs meanwhile."""
        step_id = step_id_of(name)
        if step_id not in self._results:
            options = {"duration": duration}
            raise CallEndedError({"op": "Sleep", "id": step_id, "displayName": name, "opts": options})


Function = Callable[[Event, Steps], Awaitable[Any]]


def step_id_of(name: str) -> str:
    """The id under which a step travels and is stored."""
    return sha1(name.encode()).hexdigest()


class ProtocolApp:
    """An ASGI application that serves functions; each starts on the event of its name in `functions`."""

    def __init__(self, app_id: str, url: str, server_url: str, functions: dict[str, Function]) -> None:
        self._app_id = app_id
        self._url = url
        self._server_url = server_url
        self._events = {f"{app_id}-{function.__name__}": event for event, function in functions.items()}
        self._functions = {f"{app_id}-{function.__name__}": function for function in functions.values()}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        status, answer = 404, {"message": "there is nothing here"}
        if scope["path"] == PATH and scope["method"] == "POST":
            (function_id,) = parse_qs(scope["query_string"].decode())["fnId"]
            status, answer = await self._call(function_id, json.loads(body))
        elif scope["path"] == PATH and scope["method"] == "PUT":
            status, answer = await asyncio.to_thread(self._register)
        headers = {"content-type": "application/json", "x-inngest-sdk": SDK, "x-inngest-req-version": "2"}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    async def _call(self, function_id: str, request: dict[str, Any]) -> Answer:
        """Run the function up to its next step: 206 with what that step did, or 200 with the result."""
        try:
            return 200, await self._functions[function_id](request["event"], Steps(request["steps"]))
        except CallEndedError as ended:
            return 206, [ended.op]
        except Exception as error:
            told = {"name": type(error).__name__, "message": str(error), "stack": traceback.format_exc()}
            return 500, told  # The server tries again later.

    def _register(self) -> Answer:
        """Tell the server which functions there are; it asks for this with a PUT."""
        registration = {
            "url": self._url,
            "deployType": "ping",
            "framework": "asgi",
            "appName": self._app_id,
            "sdk": SDK,
            "v": "0.1",
            "functions": [self._describe(function_id) for function_id in self._functions],
        }
        request = urllib.request.Request(
            f"{self._server_url}/fn/register",
            data=json.dumps(registration).encode(),
            headers={"content-type": "application/json", "x-inngest-sdk": SDK},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.load(response)
        except OSError as error:
            return 500, {"message": f"could not register at {self._server_url}: {error}"}

    def _describe(self, function_id: str) -> dict[str, Any]:
        runtime = {"type": "http", "url": f"{self._url}?fnId={function_id}&stepId=step"}
        return {
            "id": function_id,
            "name": function_id.removeprefix(f"{self._app_id}-").replace("_", " "),
            "triggers": [{"event": self._events[function_id]}],
            "steps": {"step": {"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": 4}}},
        }
