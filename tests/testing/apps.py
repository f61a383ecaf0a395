"""Small apps that speak the protocol without an SDK, so that worlds are tested with nothing else.

A function takes the event and `Steps`, whose methods give what a step gave, or leave the function by `Leave`.
"""

import asyncio
import json
import os
import urllib.request
from collections.abc import Callable
from hashlib import sha1
from typing import Any
from urllib.parse import parse_qs

Handler = Callable[[dict[str, Any], "Steps"], Any]


class Leave(Exception):
    """The function cannot go on in this request; `ops` is the answer."""

    def __init__(self, *ops: dict[str, Any]) -> None:
        super().__init__()
        self.ops = list(ops)


class StepError(Exception):
    """A step failed for good."""


def hashed(name: str) -> str:
    return sha1(name.encode()).hexdigest()


class Steps:
    """The steps of one request."""

    def __init__(self, call: dict[str, Any], target: str) -> None:
        self.memos: dict[str, Any] = call["steps"]
        self.plans = call["ctx"]["disable_immediate_execution"]
        self.attempt = call["ctx"]["attempt"]
        self.is_last = self.attempt + 1 >= call["ctx"]["max_attempts"]
        self.target = target

    def _memo(self, name: str) -> Any:
        memo = self.memos[hashed(name)]
        if isinstance(memo, dict) and set(memo) == {"error"}:
            raise StepError(memo["error"]["message"])
        return memo["data"] if isinstance(memo, dict) and set(memo) == {"data"} else memo

    def has(self, name: str) -> bool:
        return hashed(name) in self.memos

    def planned(self, name: str) -> dict[str, Any]:
        return {"op": "StepPlanned", "id": hashed(name), "displayName": name, "opts": {"type": "step"}}

    def _op(self, name: str, code: str, **fields: Any) -> dict[str, Any]:
        return {"op": code, "id": hashed(name), "displayName": name, **fields}

    def run(self, name: str, code: Callable[[], Any]) -> Any:
        if self.has(name):
            return self._memo(name)
        if self.target not in ("step", hashed(name)):
            raise Leave()
        if self.plans and self.target == "step":
            raise Leave(self.planned(name))
        try:
            data = code()
        except Exception as error:
            op = "StepFailed" if self.is_last else "StepError"
            told = {"name": type(error).__name__, "message": str(error)}
            raise Leave(self._op(name, op, error=told)) from error
        raise Leave(self._op(name, "StepRun", data=data))

    def _open(self, name: str, code: str, **opts: Any) -> Any:
        if self.has(name):
            return self._memo(name)
        raise Leave(self._op(name, code, opts=opts))

    def sleep(self, name: str, duration: str) -> None:
        self._open(name, "Sleep", duration=duration)

    def wait_for_event(self, name: str, event: str, timeout: str, condition: str = "") -> Any:
        return self._open(
            name, "WaitForEvent", event=event, timeout=timeout, **({"if": condition} if condition else {})
        )

    def wait_for_signal(self, name: str, signal: str, timeout: str) -> Any:
        return self._open(name, "WaitForSignal", signal=signal, timeout=timeout)

    def invoke(self, name: str, function: str, data: Any = None) -> Any:
        return self._open(name, "InvokeFunction", function_id=function, payload={"data": data or {}})

    def fetch(self, name: str, url: str) -> Any:
        return self._open(name, "Gateway", url=url, method="GET")

    def infer(self, name: str, url: str, key: str) -> Any:
        return self._open(name, "AIGateway", url=url, auth_key=key, format="openai-chat", body={"model": "m"})

    def parallel(self, **codes: Callable[[], Any]) -> dict[str, Any]:
        missing = [name for name in codes if not self.has(name)]
        for name in missing:
            if self.target == hashed(name):
                self.run(name, codes[name])
        if missing:
            raise Leave(*(self.planned(name) for name in missing))
        return {name: self._memo(name) for name in codes}


class App:
    """Functions by id, on the event of their name unless other triggers are given."""

    def __init__(self, name: str = "shop", **functions: Handler) -> None:
        self.name = name
        self.functions = functions
        self.triggers: dict[str, list[dict[str, str]]] = {}
        self.options: dict[str, dict[str, Any]] = {}
        self.retries = 2
        self.origin: str | None = None
        """Where it says that it is, if not where it was asked."""
        self.registers = True
        self.before_answer: Callable[[str], None] = lambda function: None

    def _config(self, function: str, url: str) -> dict[str, Any]:
        runtime = {"type": "http", "url": f"{url}?fnId={self.name}-{function}&stepId=step"}
        step = {"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": self.retries}}
        return {
            "id": f"{self.name}-{function}",
            "name": function,
            "triggers": self.triggers.get(function, [{"event": function}]),
            "steps": {"step": step},
            **self.options.get(function, {}),
        }

    def answer(self, method: str, url: str, query: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON of an answer; `url` is without the query."""
        if method == "PUT":
            return self._register(url)
        fields = parse_qs(query)
        function = fields["fnId"][0].removeprefix(f"{self.name}-")
        call = json.loads(body)
        self.before_answer(function)
        try:
            return 200, self.functions[function](call["event"], Steps(call, fields["stepId"][0]))
        except Leave as leave:
            return 206, leave.ops
        except Exception as error:
            return 500, {"name": type(error).__name__, "message": str(error)}

    def _register(self, url: str) -> tuple[int, Any]:
        url = url if self.origin is None else f"{self.origin}/api/inngest"
        registration = {
            "url": url,
            "deployType": "ping",
            "framework": "none",
            "appName": self.name,
            "sdk": "scripted:v1",
            "v": "0.1",
            "functions": [self._config(one, url) for one in self.functions],
        }
        if self.registers:
            self.post("/fn/register", registration)
        return 200, {"message": "ok", "modified": True}

    def post(self, path: str, body: Any) -> Any:
        """Ask the server that the environment names, as SDKs do."""
        request = urllib.request.Request(
            os.environ["INNGEST_DEV"] + path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            request, timeout=10
        ) as response:
            return json.load(response)

    HEADERS = (
        ("content-type", "application/json"),
        ("x-inngest-sdk", "scripted:v1"),
        ("x-inngest-req-version", "2"),
    )

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        host = dict(scope["headers"])[b"host"].decode()
        url = f"{scope['scheme']}://{host}{scope['path']}"
        given = scope["method"], url, scope["query_string"].decode(), body
        status, value = (
            await asyncio.to_thread(self.answer, *given) if given[0] == "PUT" else self.answer(*given)
        )
        headers = [(name.encode(), text.encode()) for name, text in self.HEADERS]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(value).encode()})

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        url = f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}{environ['PATH_INFO']}"
        status, value = self.answer(environ["REQUEST_METHOD"], url, environ["QUERY_STRING"], body)
        start_response(f"{status} Whatever", list(self.HEADERS))
        return [json.dumps(value).encode()]
