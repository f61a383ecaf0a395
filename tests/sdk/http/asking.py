"""Requests as a server makes them, and a handler that is asked in either way."""

import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from hashlib import sha1
from typing import Any, cast
from urllib.parse import quote

import inngest
from inngest._http.handler import Handler
from inngest._http.messages import Request, Response
from inngest._wire import signature

KEY = "signkey-test-" + "ab" * 32
FALLBACK_KEY = "signkey-test-" + "cd" * 32
URL = "http://app.test:3000/api/inngest"


def step_hash(step: str) -> str:
    return sha1(step.encode()).hexdigest()


def call_body(
    *, steps: Mapping[str, Any] | None = None, event: Mapping[str, Any] | None = None, **ctx: Any
) -> dict[str, Any]:
    """A call request's body; `steps` are memos by the step's own id."""
    memos = {step_hash(step): memo for step, memo in (steps or {}).items()}
    sent = {"name": "a", "data": {}, "id": "01", "ts": 1_700_000_000_000, "user": {}, **(event or {})}
    return {
        "ctx": {
            "attempt": 0,
            "disable_immediate_execution": False,
            "env": "",
            "fn_id": "7d8c2c5e-0d5f-4d9e-9c57-0a3b6f1f0a11",
            "max_attempts": 4,
            "qi_id": "",
            "run_id": "01HZ0000000000000000000000",
            "stack": {"current": len(memos), "stack": list(memos)},
            "step_id": "step",
            "use_api": False,
            **ctx,
        },
        "event": sent,
        "events": [sent],
        "steps": memos,
        "use_api": bool(ctx.get("use_api")),
        "version": 2,
    }


def request(
    method: str,
    body: Any = b"",
    *,
    query: str = "",
    key: str | None = None,
    signed_at_s: float | None = None,
    url: str = URL,
    **headers: str,
) -> Request:
    """A request, signed if there is a key; names of headers with underscores."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        sent["x-inngest-signature"] = signature.sign(content, key, now_s=signed_at_s or time.time())
    return Request(method, f"{url}?{query}" if query else url, sent, content)


def call(function: str = "app-fn", body: Any = None, **options: Any) -> Request:
    """A call of a function."""
    query = f"fnId={quote(function, safe='')}&stepId={options.pop('step', 'step')}"
    return request("POST", call_body() if body is None else body, query=query, **options)


class Asker:
    """A handler that is asked with `handle` or with `handle_sync`."""

    def __init__(self, handler: Handler, *, is_async: bool) -> None:
        self.handler = handler
        self._is_async = is_async

    async def ask(self, request: Request) -> Response:
        if self._is_async:
            return await self.handler.handle(request)
        return self.handler.handle_sync(request)

    async def read(self, response: Response) -> list[bytes]:
        """The chunks of a stream."""
        if self._is_async:
            return [chunk async for chunk in cast(AsyncIterator[bytes], response.stream)]
        return list(cast(Iterator[bytes], response.stream))


def said(response: Response) -> Any:
    return json.loads(response.body)


def double_step(client: inngest.Inngest, *, is_async: bool, fn_id: str = "fn", **options: Any) -> Any:
    """A function of one step, which returns twice the step's result."""
    make = client.create_function(fn_id=fn_id, event="a", **options)
    if is_async:

        async def double(ctx: inngest.Context) -> int:
            return 2 * await ctx.step.run("one", lambda: 21)

        return make(double)

    def double_sync(ctx: inngest.ContextSync) -> int:
        return 2 * ctx.step.run("one", lambda: 21)

    return make(double_sync)
