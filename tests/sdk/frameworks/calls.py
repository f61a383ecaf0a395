"""What the contract serves and asks: functions of both kinds, call requests, and signatures."""

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import inngest
from tests.sdk.frameworks.exchange import Message

SIGNING_KEY = "signkey-test-" + "ab" * 32
OTHER_KEY = "signkey-test-" + "cd" * 32


def functions_of(client: inngest.Inngest, *, is_async: bool) -> list[inngest.Function[Any]]:
    return async_functions(client) if is_async else sync_functions(client)


def sync_functions(client: inngest.Inngest) -> list[inngest.Function[Any]]:
    @client.create_function(fn_id="add", trigger=inngest.TriggerEvent(event="add"))
    def add(ctx: inngest.ContextSync) -> Any:
        one = ctx.step.run("one", lambda: ctx.event.data["a"])
        return {"sum": one + ctx.event.data["b"]}

    @client.create_function(fn_id="fail", trigger=inngest.TriggerEvent(event="fail"))
    def fail(ctx: inngest.ContextSync) -> Any:
        if ctx.event.data.get("for_good"):
            raise inngest.NonRetriableError("never")
        raise ValueError("not today")

    @client.create_function(fn_id="size", trigger=inngest.TriggerEvent(event="size"))
    def size(ctx: inngest.ContextSync) -> Any:
        return len(str(ctx.event.data["text"]))

    return [add, fail, size]


def async_functions(client: inngest.Inngest) -> list[inngest.Function[Any]]:
    @client.create_function(fn_id="add", trigger=inngest.TriggerEvent(event="add"))
    async def add(ctx: inngest.Context) -> Any:
        async def a() -> Any:
            return ctx.event.data["a"]

        one = await ctx.step.run("one", a)
        return {"sum": one + ctx.event.data["b"]}

    @client.create_function(fn_id="fail", trigger=inngest.TriggerEvent(event="fail"))
    async def fail(ctx: inngest.Context) -> Any:
        if ctx.event.data.get("for_good"):
            raise inngest.NonRetriableError("never")
        raise ValueError("not today")

    @client.create_function(fn_id="size", trigger=inngest.TriggerEvent(event="size"))
    async def size(ctx: inngest.Context) -> Any:
        return len(str(ctx.event.data["text"]))

    return [add, fail, size]


def step_hash(step: str) -> str:
    return hashlib.sha1(step.encode()).hexdigest()


def call(
    function: str,
    data: Mapping[str, Any] | None = None,
    *,
    steps: Mapping[str, Any] | None = None,
    path: str = "/api/inngest",
    app_id: str = "contract",
    key: str | None = None,
) -> Message:
    """A call request (protocol 3), signed when there is a key; `steps` are results by the step's own id."""
    memos = {step_hash(step): {"data": value} for step, value in (steps or {}).items()}
    event = {
        "name": function,
        "data": dict(data or {}),
        "id": "01J00000000000000000000001",
        "ts": 1700000000000,
    }
    body = {
        "ctx": {
            "attempt": 0,
            "disable_immediate_execution": False,
            "env": "",
            "fn_id": "7d8c2c5e-0d5f-4d9e-9c57-0a3b6f1f0a11",
            "max_attempts": 5,
            "qi_id": "",
            "run_id": "01J00000000000000000000002",
            "stack": {"current": len(memos), "stack": list(memos)},
            "step_id": "step",
            "use_api": False,
        },
        "event": {**event, "user": {}},
        "events": [{**event, "user": {}}],
        "steps": memos,
        "use_api": False,
        "version": 2,
    }
    # With ASCII and integers only, this is the canonical form that is signed (RFC 8785).
    raw = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    headers = {"content-type": b"application/json"}
    if key is not None:
        headers["x-inngest-signature"] = signature(key, raw).encode()
    return Message("POST", f"{path}?fnId={quote(f'{app_id}-{function}')}&stepId=step", headers, raw)


def signature(key: str, body: bytes, at: int | None = None) -> str:
    """The value of `x-inngest-signature` (protocol 6.2 and 6.3)."""
    now = int(time.time()) if at is None else at
    secret = key.removeprefix("signkey-test-").encode()
    return f"t={now}&s={hmac.new(secret, body + str(now).encode(), hashlib.sha256).hexdigest()}"


def is_signed_with(key: str, header: str, body: bytes) -> bool:
    at = int(header.partition("&")[0].removeprefix("t="))
    return hmac.compare_digest(header, signature(key, body, at))
