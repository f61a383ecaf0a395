"""An app with the official Python SDK whose functions configure the rules of flow control.

Function `<name>` starts on event `flow/<name>`; `../cases.md` says what each configures. A step named `hold`
takes until the gate is open that the event names, if it names one: `POST /gates/<name>` opens it for good,
`POST /gates` opens all for which somebody waits.

Environment: PORT; STEP_LOG, a file that gets one JSON line per step execution and per call request; VARIANT,
`next` for another deployment, `invalid` for one with a function that no server accepts; and what the SDK
reads itself.
"""

import asyncio
import functools
import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import fastapi
import uvicorn

import inngest
import inngest.fast_api

Handler = Callable[[inngest.Context], Awaitable[Any]]

APP_ID = "flow-py"
SERVE_PATH = "/api/inngest"
VARIANT = os.environ.get("VARIANT", "")
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

client = inngest.Inngest(app_id=APP_ID, logger=logging.getLogger("uvicorn.error"))
functions: list[inngest.Function[Any]] = []
gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
log_file = os.open(os.environ.get("STEP_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def append_line(line: Mapping[str, object]) -> None:
    """Append to the step log, in one write."""
    whole = {**line, "pid": os.getpid(), "at_ms": time.time_ns() // 1_000_000}
    os.write(log_file, json.dumps(whole).encode() + b"\n")


def serve(name: str, handler: Handler, *, trigger: str | None = None, **options: Any) -> None:
    """Serve a handler as function `<name>`."""
    started_by = inngest.TriggerEvent(event=trigger or f"flow/{name}")
    functions.append(client.create_function(fn_id=name, trigger=started_by, **options)(handler))


async def run(ctx: inngest.Context, step: str) -> Any:
    """A step that records its execution and returns the event's number; `hold` waits for the gate."""
    data = ctx.event.data

    async def execute() -> Any:
        append_line({"run_id": ctx.run_id, "step": step, "attempt": ctx.attempt, "n": data.get("n")})
        if step == "hold" and "gate" in data:
            await gates[str(data["gate"])].wait()
        return data.get("n")

    return await ctx.step.run(step, execute)


async def work(ctx: inngest.Context) -> Any:
    return await run(ctx, "hold")


async def twice(ctx: inngest.Context) -> Any:
    await run(ctx, "hold")
    return await run(ctx, "after")


async def rest(ctx: inngest.Context) -> Any:
    """Two steps with an hour between them."""
    await run(ctx, "hold")
    await ctx.step.sleep("an-hour", HOUR)
    return await run(ctx, "after")


async def collect(ctx: inngest.Context) -> dict[str, Any]:
    async def execute() -> list[Any]:
        return [event.data["n"] for event in ctx.events]

    return {"first": ctx.event.data["n"], "all": await ctx.step.run("collect", execute)}


async def parallel(ctx: inngest.Context) -> tuple[int, ...]:
    """Three steps that say when they begin and end."""

    async def hold(number: int) -> int:
        append_line({"run_id": ctx.run_id, "step": "hold", "n": number})
        await asyncio.sleep(0.05)
        append_line({"run_id": ctx.run_id, "step": "hold-end", "n": number})
        return number

    return await ctx.group.parallel(
        tuple(functools.partial(ctx.step.run, f"hold-{number}", hold, number) for number in (1, 2, 3))
    )


async def fail_until_fixed(ctx: inngest.Context) -> Any:
    if not gates["fixed"].is_set():
        raise inngest.NonRetriableError("not fixed yet")
    return await run(ctx, "hold")


async def invoke(ctx: inngest.Context) -> dict[str, Any]:
    """What a parent sees of a function that it invokes."""
    data: Any = ctx.event.data
    try:
        return {"returned": await ctx.step.invoke_by_id("call", function_id=data["call"], data=data["data"])}
    except inngest.StepError as error:
        return {"name": error.name, "message": error.message}


async def note_cancelled(ctx: inngest.Context) -> Any:
    append_line({"cancelled_run_id": ctx.event.data["run_id"], "function": ctx.event.data["function_id"]})


# Concurrency.

serve("number", work, concurrency=[inngest.Concurrency(limit=2)])
serve("keyed", work, concurrency=[inngest.Concurrency(limit=1, key="event.data.key")])
serve(
    "two",
    work,
    concurrency=[inngest.Concurrency(limit=2), inngest.Concurrency(limit=1, key="event.data.key")],
)
SHARED: Any = {"key": "event.data.key"}
serve("env-small", work, concurrency=[inngest.Concurrency(limit=1, scope="env", **SHARED)])
serve("env-large", work, concurrency=[inngest.Concurrency(limit=2, scope="env", **SHARED)])
serve("account-small", work, concurrency=[inngest.Concurrency(limit=1, scope="account", **SHARED)])
serve("account-large", work, concurrency=[inngest.Concurrency(limit=2, scope="account", **SHARED)])
serve("resting", rest, concurrency=[inngest.Concurrency(limit=1)])
serve(
    "prioritized",
    work,
    concurrency=[inngest.Concurrency(limit=1)],
    priority=inngest.Priority(run="event.data.urgent ? 120 : 0"),
)

# Rates.

serve("throttled", work, throttle=inngest.Throttle(limit=1, period=MINUTE, burst=2, key="event.data.key"))
serve("rated", work, rate_limit=inngest.RateLimit(limit=1, period=MINUTE, key="event.data.key"))
serve("idempotent", work, idempotency="event.data.key")

# Windows.

serve(
    "debounced",
    work,
    debounce=inngest.Debounce(period=10 * SECOND, timeout=25 * SECOND, key="event.data.key"),
)
serve(
    "batched",
    collect,
    batch_events=inngest.Batch(
        max_size=3, timeout=10 * SECOND, key="event.data.key", if_exp="event.data.alone != true"
    ),
)

# One at a time, and not for ever.

serve("singleton-skip", rest, singleton=inngest.Singleton(mode="skip", key="event.data.key"))
serve("singleton-cancel", rest, singleton=inngest.Singleton(mode="cancel", key="event.data.key"))
serve(
    "start-timeout",
    work,
    throttle=inngest.Throttle(limit=1, period=HOUR, key="event.data.key"),
    timeouts=inngest.Timeouts(start=10 * MINUTE),
)
serve("finish-timeout", rest, timeouts=inngest.Timeouts(finish=10 * MINUTE))
serve(
    "cancellable",
    rest,
    cancel=[
        inngest.Cancel(
            event="flow/cancel",
            if_exp="event.data.key == async.data.key && async.data.amount > 10",
            timeout=30 * MINUTE,
        )
    ],
)
serve("note-cancelled", note_cancelled, trigger="inngest/function.cancelled")

# Several rules at once.

serve(
    "many-rules",
    rest,
    rate_limit=inngest.RateLimit(limit=1, period=MINUTE, key="event.data.rate"),
    debounce=inngest.Debounce(period=10 * SECOND, key="event.data.window"),
    singleton=inngest.Singleton(mode="skip", key="event.data.single"),
    throttle=inngest.Throttle(limit=1, period=2 * HOUR, key="event.data.throttle"),
    concurrency=[inngest.Concurrency(limit=1, key="event.data.throttle")],
    priority=inngest.Priority(run="event.data.n"),
)
serve(
    "once-settled",
    work,
    debounce=inngest.Debounce(period=10 * SECOND, key="event.data.key"),
    idempotency="event.data.key",
)
serve("parallel", parallel, concurrency=[inngest.Concurrency(limit=1)])
FAMILY: Any = [inngest.Concurrency(limit=1, scope="env", key="'family'")]
serve("parent", invoke, concurrency=FAMILY)
serve("child", work, concurrency=FAMILY)

# What the next deployment changes.

IS_NEXT = VARIANT == "next"
serve("slow", work, throttle=None if IS_NEXT else inngest.Throttle(limit=1, period=HOUR))
serve("wide", work, concurrency=[inngest.Concurrency(limit=2 if IS_NEXT else 1)])
serve(
    "rekeyed",
    work,
    concurrency=[inngest.Concurrency(limit=1, key="event.data.key2" if IS_NEXT else "event.data.key")],
)
serve("retimed", rest, timeouts=inngest.Timeouts(finish=2 * HOUR if IS_NEXT else 10 * MINUTE))
if not IS_NEXT:
    serve("removed", rest, throttle=inngest.Throttle(limit=1, period=HOUR))

# Without any rule.

serve("plain", work)
serve("twice", twice)
serve("rest", rest)
serve("broken", fail_until_fixed)
serve("invoker", invoke)

if VARIANT == "invalid":
    serve(
        "impossible",
        work,
        batch_events=inngest.Batch(max_size=2, timeout=SECOND),
        debounce=inngest.Debounce(period=SECOND),
    )

app = fastapi.FastAPI()


@app.middleware("http")
async def record_calls(
    request: fastapi.Request, answer: Callable[[fastapi.Request], Awaitable[fastapi.Response]]
) -> fastapi.Response:
    """Append one line for each call request."""
    if request.url.path == SERVE_PATH and request.method == "POST":
        call = json.loads(await request.body() or b"{}").get("ctx", {})
        append_line({"request": "POST", "run_id": call.get("run_id"), "use_api": call.get("use_api")})
    return await answer(request)


@app.post("/gates")
async def open_gates() -> None:
    for gate in list(gates.values()):
        gate.set()


@app.post("/gates/{name}")
async def open_gate(name: str) -> None:
    gates[name].set()


inngest.fast_api.serve(app, client, functions)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")), log_level="warning")
