"""The app of `sdk.py`: served or called in process, the same file with the official SDK and with ours.

python sdk_app.py serve NAME PORT        an app `NAME` on that port; PLAIN=1 without checkpoints
python sdk_app.py calls COUNT            calls the ASGI app in process; JSON of seconds for each call
python sdk_app.py imports                JSON of seconds for the imports
"""

import sys
import time

if sys.argv[1] == "imports":
    begun_s = time.perf_counter()
    import inngest

    imported_s = time.perf_counter()
    client = inngest.Inngest(app_id="bench", is_production=False)

    @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="a"))
    async def fn(ctx: inngest.Context) -> None:
        pass

    inngest.Event(name="a")
    print(f'{{"import": {imported_s - begun_s}, "first_use": {time.perf_counter() - begun_s}}}')
    sys.exit()

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha1
from typing import Any

import fastapi
import uvicorn

import inngest
import inngest.fast_api

STEPS = 10
SERVE_PATH = "/api/inngest"
Scope = MutableMapping[str, Any]
ASGIApp = Callable[[Scope, Any, Any], Awaitable[None]]

logging.disable(logging.INFO)
counted = {"calls": 0, "ended": 0}


def make_client(name: str) -> inngest.Inngest:
    options: dict[str, Any] = {"checkpointing": False} if os.environ.get("PLAIN") == "1" else {}
    return inngest.Inngest(app_id=name, is_production=False, logger=logging.getLogger("bench"), **options)


def make_app(name: str) -> ASGIApp:
    """The functions, on FastAPI, behind a counter of calls."""
    client = make_client(name)

    def trigger(function: str) -> inngest.TriggerEvent:
        return inngest.TriggerEvent(event=f"{name}/{function}")

    @client.create_function(fn_id="noop", trigger=trigger("noop"))
    async def noop(ctx: inngest.Context) -> int:
        counted["ended"] += 1
        return 1

    @client.create_function(fn_id="steps", trigger=trigger("steps"))
    async def steps(ctx: inngest.Context) -> int:
        total = 0
        for number in range(STEPS):
            total += await ctx.step.run(f"step-{number}", work, number)
        counted["ended"] += 1
        return total

    @client.create_function(fn_id="steps-sync", trigger=trigger("steps-sync"))
    def steps_sync(ctx: inngest.ContextSync) -> int:
        total = 0
        for number in range(STEPS):
            total += ctx.step.run(f"step-{number}", work_sync, number)
        counted["ended"] += 1
        return total

    @client.create_function(fn_id="parallel", trigger=trigger("parallel"))
    async def parallel(ctx: inngest.Context) -> int:
        branches = tuple(
            (lambda number=number: ctx.step.run(f"step-{number}", work, number)) for number in range(STEPS)
        )
        total = sum(await ctx.group.parallel(branches))
        counted["ended"] += 1
        return total

    app = fastapi.FastAPI()
    inngest.fast_api.serve(app, client, [noop, steps, steps_sync, parallel])

    async def counting(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/stats":
            await answer_stats(send)
            return
        if scope["type"] == "http" and scope["method"] == "POST":
            counted["calls"] += 1
        await app(scope, receive, send)

    return counting


async def work(number: int) -> int:
    return number


def work_sync(number: int) -> int:
    return number


async def answer_stats(send: Any) -> None:
    """Calls and ends so far, and the processor time of this process."""
    body = json.dumps({**counted, "cpu_s": time.process_time()}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/json")]})
    await send({"type": "http.response.body", "body": body})


# In process.


def hashed(step_id: str) -> str:
    """The id on the wire (protocol 4.5)."""
    return sha1(step_id.encode()).hexdigest()


def call_body(function: str, memos: int) -> bytes:
    """A call request of a run that has the results of so many steps (protocol 3.1)."""
    ids = [hashed(f"step-{number}") for number in range(memos)]
    event = {"name": f"bench/{function}", "data": {"n": 1}, "id": "01M7Y0000000000000000EVENT", "ts": 1}
    context = {
        "attempt": 0,
        "disable_immediate_execution": False,
        "env": "",
        "fn_id": "00000000-0000-4000-8000-000000000000",
        "run_id": "01M7Y00000000000000000RUN0",
        "stack": {"stack": ids, "current": memos},
        "use_api": False,
    }
    steps = {step: {"data": number} for number, step in enumerate(ids)}
    body = {"ctx": context, "event": event, "events": [event], "steps": steps, "use_api": False, "version": 1}
    return json.dumps(body).encode()


async def call(app: ASGIApp, function: str, target: str, body: bytes) -> tuple[int, bytes]:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": SERVE_PATH,
        "raw_path": SERVE_PATH.encode(),
        "root_path": "",
        "query_string": f"fnId=bench-{function}&stepId={target}".encode(),
        "headers": [
            (b"host", b"127.0.0.1:8000"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-inngest-server-kind", b"dev"),
            (b"x-inngest-req-version", b"-1"),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    messages: list[dict[str, Any]] = []
    unsent = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not unsent:
            await asyncio.Event().wait()
        return unsent.pop()

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    await app(scope, receive, send)
    return messages[0]["status"], b"".join(message.get("body", b"") for message in messages[1:])


async def time_calls(count: int) -> dict[str, float]:
    """Processor seconds of one call, by what it has to do."""
    os.environ["PLAIN"] = "1" if hasattr(inngest, "Checkpointing") else ""
    app = make_app("bench")
    target = hashed("step-5")
    cases = {
        "noop": ("noop", "step", 0, 200),
        "one_step": ("steps", "step", 0, 206),
        "next_step": ("steps", "step", 5, 206),
        "replay": ("steps", "step", STEPS, 200),
        "next_step_sync": ("steps-sync", "step", 5, 206),
        "plan": ("parallel", "step", 0, 206),
        "branch": ("parallel", target, 0, 206),
        "joined": ("parallel", "step", STEPS, 200),
    }
    taken: dict[str, float] = {}
    for case, (function, step_id, memos, status) in cases.items():
        body = call_body(function, memos)
        for _ in range(count // 10):
            answered = await call(app, function, step_id, body)
        assert answered[0] == status, (case, answered)
        begun_s = time.process_time()
        for _ in range(count):
            await call(app, function, step_id, body)
        taken[case] = (time.process_time() - begun_s) / count
    return taken


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _, _, name, port = sys.argv
        # The same loop and parser for both, whatever else is installed.
        uvicorn.run(
            make_app(name),
            host="127.0.0.1",
            port=int(port),
            log_level="warning",
            access_log=False,
            loop="asyncio",
            http="h11",
            lifespan="off",
        )
    else:
        print(json.dumps(asyncio.run(time_calls(int(sys.argv[2])))))
