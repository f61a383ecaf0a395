"""An ordinary app with the official Python SDK: one function for each kind of step.

Function `<case>` starts on event `interop/<case>`; `../cases.md` says what each must do.

Environment: PORT; STEP_LOG, a file that gets one JSON line per step execution and per call request;
and what the SDK reads itself: INNGEST_BASE_URL, INNGEST_DEV, INNGEST_SIGNING_KEY, INNGEST_EVENT_KEY.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import fastapi
import uvicorn

import inngest
import inngest.fast_api
from inngest.experimental.ai import openai

T = TypeVar("T")
Handler = Callable[[inngest.Context], Awaitable[Any]] | Callable[[inngest.ContextSync], Any]

APP_ID = "interop-py"
PORT = int(os.environ.get("PORT", "8000"))
PROVIDER_URL = f"http://127.0.0.1:{PORT}/provider"
"""An AI provider, which is this process too: it is asked by the server."""
PROVIDER_KEY = "sk-interop"
SERVE_PATH = "/api/inngest"
LARGE_PART_BYTES = 900 * 1024  # Five of them are more than the 4 MiB that one call request may carry.
HOLD_S = 0.3
SHAPES: list[inngest.JSON] = [
    None,
    {},
    {"data": 1},
    {"error": "no"},
    [1, "two", None, 2.5],
    'Grüße 世界 \u2028 \\ "',
    0,
    "",
]

client = inngest.Inngest(app_id=APP_ID, logger=logging.getLogger("uvicorn.error"))
functions: list[inngest.Function[Any]] = []
log_file = os.open(os.environ.get("STEP_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def append_line(line: Mapping[str, object]) -> None:
    """Append to the step log: one write for each line, so that several processes may share the file."""
    whole = {**line, "pid": os.getpid(), "at_ms": time.time_ns() // 1_000_000}
    os.write(log_file, json.dumps(whole).encode() + b"\n")


def executed(ctx: inngest.Context | inngest.ContextSync, step: str, **extra: object) -> None:
    """Record that the code of a step runs now."""
    append_line({"run_id": ctx.run_id, "step": step, "attempt": ctx.attempt, **extra})


def case(name: str, **options: Any) -> Callable[[Handler], inngest.Function[Any]]:
    """Serve a handler as function `<name>`, started by `interop/<name>` unless a trigger is given."""
    options.setdefault("trigger", inngest.TriggerEvent(event=f"interop/{name}"))

    def register(handler: Handler) -> inngest.Function[Any]:
        function: inngest.Function[Any] = client.create_function(fn_id=name, **options)(handler)
        functions.append(function)
        return function

    return register


async def run(ctx: inngest.Context, step: str, value: T) -> T:
    """A step that records its execution and returns `value`."""

    async def execute() -> T:
        executed(ctx, step)
        return value

    return await ctx.step.run(step, execute)


def field(ctx: inngest.Context, name: str, default: Any = None) -> Any:
    """One field of the triggering event's data."""
    return ctx.event.data.get(name, default)


# Steps that succeed.


@case("noop")
async def noop(ctx: inngest.Context) -> None:
    pass


@case("sequential")
async def sequential(ctx: inngest.Context) -> dict[str, int]:
    total = int(field(ctx, "start", 0))
    for number in range(1, 6):
        total = await run(ctx, f"add-{number}", total + number)
    return {"total": total}


@case("with-input")
async def with_input(ctx: inngest.Context) -> dict[str, int]:
    async def double(number: int) -> int:
        executed(ctx, "double")
        return 2 * number

    doubled = await ctx.step.run("double", double, 21)
    return {"doubled": doubled, "after": await run(ctx, "after", doubled + 1)}


@case("sequential-sync")
def sequential_sync(ctx: inngest.ContextSync) -> dict[str, int]:
    total = 0
    for number in range(1, 6):

        def add(before: int = total, number: int = number) -> int:
            executed(ctx, f"add-{number}")
            return before + number

        total = ctx.step.run(f"add-{number}", add)
    return {"total": total}


@case("many-steps")
async def many_steps(ctx: inngest.Context) -> dict[str, int]:
    count = int(field(ctx, "n", 50))
    for number in range(count):
        await run(ctx, f"step-{number}", number)
    return {"steps": count}


@case("repeated-ids")
async def repeated_ids(ctx: inngest.Context) -> list[int]:
    return [await run(ctx, "again", number) for number in range(3)]


@case("shapes")
async def shapes(ctx: inngest.Context) -> list[inngest.JSON]:
    return [await run(ctx, f"shape-{number}", shape) for number, shape in enumerate(SHAPES)]


@case("parallel")
async def parallel(ctx: inngest.Context) -> dict[str, Any]:
    parts = await ctx.group.parallel(
        (
            lambda: run(ctx, "a", 1),
            lambda: run(ctx, "b", 2),
            lambda: run(ctx, "c", 3),
        )
    )
    joined = await run(ctx, "join", sum(parts))
    return {"parts": list(parts), "joined": joined}


@case("parallel-race")
async def parallel_race(ctx: inngest.Context) -> list[int]:
    parts = await ctx.group.parallel(
        (lambda: run(ctx, "a", 1), lambda: run(ctx, "b", 2)),
        parallel_mode=inngest.ParallelMode.RACE,
    )
    return list(parts)


@case("parallel-mixed")
async def parallel_mixed(ctx: inngest.Context) -> dict[str, Any]:
    async def wait() -> Any:
        event = await ctx.step.wait_for_event("wait", event="interop/never", timeout=timedelta(seconds=1))
        return None if event is None else event.name

    async def sleep() -> Any:
        await ctx.step.sleep("sleep", timedelta(seconds=1))

    async def invoke() -> Any:
        return await ctx.step.invoke("invoke", function=child, data={"n": 4})

    async def execute() -> Any:
        return await run(ctx, "run", "ran")

    ran, slept, waited, invoked = await ctx.group.parallel((execute, sleep, wait, invoke))
    return {"ran": ran, "slept": slept, "waited": waited, "invoked": invoked}


@case("large-outputs")
async def large_outputs(ctx: inngest.Context) -> dict[str, int]:
    """The request after the pause is over the limit, so that the SDK must fetch the memos."""
    total = 0
    for number in range(5):
        total += len(await run(ctx, f"part-{number}", str(number) * LARGE_PART_BYTES))
    await ctx.step.sleep("pause", timedelta(seconds=1))
    return {"length": await run(ctx, "last", total)}


# Time.


@case("sleep")
async def sleep(ctx: inngest.Context) -> dict[str, bool]:
    await run(ctx, "before", None)
    await ctx.step.sleep("nap", timedelta(seconds=1))
    await run(ctx, "after", None)
    return {"slept": True}


@case("sleep-until")
async def sleep_until(ctx: inngest.Context) -> dict[str, int]:
    until_ms = int(field(ctx, "until_ms", ctx.event.ts + 1500))
    await ctx.step.sleep_until("until", datetime.fromtimestamp(until_ms / 1000, UTC))
    return {"until_ms": await run(ctx, "after", until_ms)}


@case("cron", trigger=inngest.TriggerCron(cron="* * * * *"))
async def cron(ctx: inngest.Context) -> dict[str, Any]:
    await run(ctx, "tick", None)
    return {"event": ctx.event.name, "cron": field(ctx, "cron")}


# Events.


@case("wait")
async def wait(ctx: inngest.Context) -> dict[str, Any]:
    event = await ctx.step.wait_for_event(
        "approval",
        event="interop/approval",
        if_exp="event.data.id == async.data.id",
        timeout=timedelta(seconds=60),
    )
    return {"matched": event is not None, "by": None if event is None else event.data.get("by")}


@case("wait-timeout")
async def wait_timeout(ctx: inngest.Context) -> dict[str, bool]:
    event = await ctx.step.wait_for_event("approval", event="interop/never", timeout=timedelta(seconds=1))
    return {"matched": event is not None}


@case("send-event")
async def send_event(ctx: inngest.Context) -> dict[str, Any]:
    events = [
        inngest.Event(name="interop/sent", data={"from": ctx.run_id, "number": number}) for number in (1, 2)
    ]
    ids = await ctx.step.send_event("send", events)
    return {"ids": ids, "count": len(ids)}


@case("receiver", trigger=inngest.TriggerEvent(event="interop/sent"))
async def receiver(ctx: inngest.Context) -> dict[str, Any]:
    return {"from": field(ctx, "from"), "number": field(ctx, "number")}


@case(
    "filtered", trigger=inngest.TriggerEvent(event="interop/filtered", expression="event.data.pass == true")
)
async def filtered(ctx: inngest.Context) -> str:
    return "passed"


@case("cancellable", cancel=[inngest.Cancel(event="interop/cancel", if_exp="event.data.id == async.data.id")])
async def cancellable(ctx: inngest.Context) -> str:
    await run(ctx, "begin", None)
    await ctx.step.sleep("long", timedelta(hours=1))
    await run(ctx, "end", None)
    return "not cancelled"


# Invoked functions.


@case("child")
async def child(ctx: inngest.Context) -> dict[str, int]:
    return {"doubled": await run(ctx, "double", 2 * int(field(ctx, "n", 0)))}


@case("child-fails", retries=0)
async def child_fails(ctx: inngest.Context) -> None:
    raise ValueError("the child failed")


@case("child-slow")
async def child_slow(ctx: inngest.Context) -> str:
    await ctx.step.sleep("slowly", timedelta(seconds=20))
    return "late"


async def caught(attempt: Awaitable[object]) -> dict[str, str]:
    """What the parent sees when an invoked function or a step has failed for good."""
    try:
        return {"returned": repr(await attempt)}
    except inngest.StepError as error:
        return {"name": error.name, "message": error.message}


@case("invoke")
async def invoke(ctx: inngest.Context) -> dict[str, Any]:
    result = await ctx.step.invoke("call", function=child, data={"n": field(ctx, "n", 21)})
    return {"child": result}


@case("invoke-fails")
async def invoke_fails(ctx: inngest.Context) -> dict[str, str]:
    return await caught(ctx.step.invoke("call", function=child_fails))


@case("invoke-unknown")
async def invoke_unknown(ctx: inngest.Context) -> dict[str, str]:
    return await caught(ctx.step.invoke_by_id("call", function_id="no-such-function"))


@case("invoke-timeout")
async def invoke_timeout(ctx: inngest.Context) -> dict[str, str]:
    return await caught(ctx.step.invoke("call", function=child_slow, timeout=timedelta(seconds=1)))


@case("invoke-other-app")
async def invoke_other_app(ctx: inngest.Context) -> dict[str, Any]:
    result = await ctx.step.invoke_by_id(
        "call",
        app_id=field(ctx, "app"),
        function_id=field(ctx, "function", "child"),
        data={"n": field(ctx, "n", 21)},
    )
    return {"child": result}


# Errors.


@case("step-retry")
async def step_retry(ctx: inngest.Context) -> dict[str, int]:
    async def flaky() -> int:
        executed(ctx, "flaky")
        if ctx.attempt < 2:
            raise ValueError(f"not yet, attempt {ctx.attempt}")
        return ctx.attempt

    await run(ctx, "before", None)
    attempt = await ctx.step.run("flaky", flaky)
    return {"attempt": attempt, "after": await run(ctx, "after", ctx.attempt)}


async def fail(ctx: inngest.Context, step: str, error: Exception) -> None:
    """A step that records its execution and raises."""

    async def execute() -> None:
        executed(ctx, step)
        raise error

    await ctx.step.run(step, execute)


@case("step-fails", retries=1)
async def step_fails(ctx: inngest.Context) -> dict[str, Any]:
    error = await caught(fail(ctx, "doomed", ValueError("never works")))
    return {"caught": error, "after": await run(ctx, "after", "went on")}


@case("step-fails-uncaught", retries=1)
async def step_fails_uncaught(ctx: inngest.Context) -> None:
    await fail(ctx, "doomed", ValueError("never works"))


@case("parallel-one-fails", retries=1)
async def parallel_one_fails(ctx: inngest.Context) -> dict[str, Any]:
    async def doomed() -> Any:
        return await caught(fail(ctx, "doomed", ValueError("never works")))

    async def fine() -> Any:
        return await run(ctx, "fine", "ok")

    error, value = await ctx.group.parallel((doomed, fine))
    return {"caught": error, "fine": value}


@case("non-retriable")
async def non_retriable(ctx: inngest.Context) -> None:
    executed(ctx, "body")
    raise inngest.NonRetriableError("give up")


@case("step-non-retriable")
async def step_non_retriable(ctx: inngest.Context) -> None:
    await fail(ctx, "doomed", inngest.NonRetriableError("give up"))


@case("retry-after")
async def retry_after(ctx: inngest.Context) -> dict[str, int]:
    executed(ctx, "body")
    if ctx.attempt == 0:
        raise inngest.RetryAfterError("not before two seconds", timedelta(seconds=2))
    return {"attempt": ctx.attempt}


@case("step-retry-after")
async def step_retry_after(ctx: inngest.Context) -> dict[str, int]:
    async def later() -> int:
        executed(ctx, "later")
        if ctx.attempt == 0:
            raise inngest.RetryAfterError("not before two seconds", timedelta(seconds=2))
        return ctx.attempt

    return {"attempt": await ctx.step.run("later", later)}


@case("function-retry")
async def function_retry(ctx: inngest.Context) -> dict[str, int]:
    await run(ctx, "once", None)
    executed(ctx, "body")
    if ctx.attempt < 2:
        raise ValueError(f"not yet, attempt {ctx.attempt}")
    return {"attempt": ctx.attempt}


async def on_failure(ctx: inngest.Context) -> dict[str, Any]:
    """Runs as `function-fails-failure`; its log line names the run that failed."""
    failed_run_id, error = field(ctx, "run_id"), field(ctx, "error", {})

    async def handle() -> str:
        executed(ctx, "on-failure", failed_run_id=failed_run_id)
        return str(error.get("message"))

    return {"failed_run_id": failed_run_id, "message": await ctx.step.run("handle", handle)}


@case("function-fails", retries=1, on_failure=on_failure)
async def function_fails(ctx: inngest.Context) -> None:
    executed(ctx, "body")
    raise ValueError("the function failed")


# Requests that the server makes.


def infer(ctx: inngest.Context, step: str, text: str, path: str = "") -> Awaitable[dict[str, Any]]:
    adapter = openai.Adapter(auth_key=PROVIDER_KEY, base_url=PROVIDER_URL + path, model="m-1")
    return ctx.step.ai.infer(step, adapter=adapter, body={"messages": [{"role": "user", "content": text}]})


@case("ai-infer")
async def ai_infer(ctx: inngest.Context) -> dict[str, Any]:
    answer = await infer(ctx, "ask", "hello")
    return {"model": answer["model"], "content": answer["choices"][0]["message"]["content"]}


@case("ai-infer-parallel")
async def ai_infer_parallel(ctx: inngest.Context) -> list[Any]:
    first, second, ran = await ctx.group.parallel(
        (
            lambda: infer(ctx, "first", "one"),
            lambda: infer(ctx, "second", "two"),
            lambda: run(ctx, "run", "ran"),
        )
    )
    return [answer["choices"][0]["message"]["content"] for answer in (first, second)] + [ran]


@case("ai-infer-slow")
async def ai_infer_slow(ctx: inngest.Context) -> str:
    answer = await infer(ctx, "ask", "hello", "/slow")
    return answer["choices"][0]["message"]["content"]


@case("ai-infer-fails", retries=1)
async def ai_infer_fails(ctx: inngest.Context) -> dict[str, str]:
    return await caught(infer(ctx, "ask", "hello", "/busy"))


# Limits.


@case("limited", concurrency=[inngest.Concurrency(limit=1, key="event.data.key")])
async def limited(ctx: inngest.Context) -> str:
    async def hold() -> str:
        executed(ctx, "hold", key=field(ctx, "key"))
        await asyncio.sleep(HOLD_S)
        executed(ctx, "hold-end", key=field(ctx, "key"))
        return "held"

    return await ctx.step.run("hold", hold)


app = fastapi.FastAPI()


@app.middleware("http")
async def record_calls(
    request: fastapi.Request, answer: Callable[[fastapi.Request], Awaitable[fastapi.Response]]
) -> fastapi.Response:
    """Append one line for each request to the serve endpoint."""
    if request.url.path == SERVE_PATH:
        call = json.loads(await request.body() or b"{}").get("ctx", {}) if request.method == "POST" else {}
        append_line(
            {
                "request": request.method,
                "run_id": call.get("run_id"),
                "function": request.query_params.get("fnId"),
                "step_id": request.query_params.get("stepId"),
                "attempt": call.get("attempt"),
                "use_api": call.get("use_api"),
            }
        )
    return await answer(request)


@app.post("/provider/chat/completions")
async def provide(request: fastapi.Request) -> fastapi.Response:
    """Say what was said, to who has the key."""
    if request.headers.get("authorization") != f"Bearer {PROVIDER_KEY}":
        return fastapi.responses.JSONResponse({"error": "no key"}, 401)
    asked = await request.json()
    said = asked["messages"][-1]["content"]
    choices = [{"message": {"role": "assistant", "content": f"echo: {said}"}}]
    return fastapi.responses.JSONResponse({"model": asked["model"], "choices": choices})


asked_before = asyncio.Event()
asked_again = asyncio.Event()


@app.post("/provider/slow/chat/completions")
async def provide_slowly(request: fastapi.Request) -> fastapi.Response:
    """The first request gets no answer before there is a second one."""
    is_first = not asked_before.is_set()
    append_line({"provider": "slow", "number": 1 if is_first else 2})
    (asked_before if is_first else asked_again).set()
    await asked_again.wait()
    return await provide(request)


@app.post("/provider/busy/chat/completions")
async def refuse() -> fastapi.Response:
    return fastapi.responses.JSONResponse({"error": {"message": "slow down"}}, 429)


inngest.fast_api.serve(app, client, functions)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")
