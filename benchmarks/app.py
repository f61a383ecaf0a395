"""A neutral app: speaks the protocol without any SDK, and as cheaply as Python can, in one process.

So a benchmark measures the server rather than an SDK. It trusts every caller and keeps its
measurements in memory:

    PUT  /api/inngest               register at the server
    POST /api/inngest?fnId=&stepId= a call request
    GET  /stats[?finals=N&wait_s=S] counters; waits until N runs have ended, at most S seconds
    GET  /stats/runs                the time line of each run
    GET  /stats/held                when each held call arrived
    POST /release                   answer the held calls, and hold no more until the next reset
    POST /reset                     forget all of it

Times are nanoseconds of `time.time_ns()`, which the driver on the same host reads from the same clock.
"""

import argparse
import asyncio
import gc
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any
from urllib.parse import parse_qs

import orjson
import uvicorn

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Reply = tuple[int, bytes]

APP_ID = "bench"
SERVE_PATH = "/api/inngest"
REGISTER_TIMEOUT_S = 10
STATS_WAIT_S_MAX = 60.0
SEQUENTIAL_STEPS = 10
PARALLEL_STEPS = 5
PROTOCOL_HEADERS = [
    (b"content-type", b"application/json"),
    (b"x-inngest-sdk", b"bench:v1"),
    (b"x-inngest-req-version", b"2"),
]
HELD_FUNCTIONS = frozenset({"held", "single", "queued", "prioritised", "single-run"})
"""Their calls are answered once the driver says so."""
QUEUE_SLOTS = 250
"""About as many as calls that the server has under way without a limit."""
BATCH_SIZE = 100
SMALL_BATCH_SIZE = 5
BY_KEY = "event.data.key"
LIMITS: dict[str, dict[str, object]] = {
    "single": {"concurrency": 1},
    "keyed": {"concurrency": [{"limit": 1, "key": BY_KEY}]},
    "queued": {"concurrency": QUEUE_SLOTS},
    "prioritised": {"concurrency": QUEUE_SLOTS, "priority": {"run": "event.data.priority"}},
    "throttled": {"throttle": {"limit": 1, "period": "1s", "key": BY_KEY}},
    "once": {"idempotency": BY_KEY},
    "single-run": {"singleton": {"mode": "skip"}},
    "debounced": {"debounce": {"period": "1s", "key": BY_KEY}},
    "debounced-long": {"debounce": {"period": "30s", "key": BY_KEY}},
    "batched": {"batchEvents": {"maxSize": BATCH_SIZE, "timeout": "60s"}},
    "batched-keys": {"batchEvents": {"maxSize": SMALL_BATCH_SIZE, "timeout": "60s", "key": BY_KEY}},
}
"""Options of functions besides those that all have."""
NO_OPS = ("noop", "held", *LIMITS)
"""Functions without steps."""
DONE: Reply = (200, b"null")
NOTHING_NEW: Reply = (206, b"[]")


def step_hash(step: str) -> str:
    """The id under which a step travels."""
    return sha1(step.encode()).hexdigest()


def ops_reply(*ops: Mapping[str, object]) -> Reply:
    """An answer that reports opcodes."""
    return 206, orjson.dumps(ops)


def step_run(step: str, output: object) -> dict[str, object]:
    """The op of a step that was executed now."""
    return {"op": "StepRun", "id": step_hash(step), "name": step, "displayName": step, "data": output}


class Functions:
    """What each function answers: all bodies are made once, a call only picks one.

    `step_bytes` is the size of the text that each step returns.
    """

    def __init__(self, step_bytes: int) -> None:
        output = "x" * step_bytes
        self._output = orjson.dumps(output)
        self._sequential = [ops_reply(step_run(f"step-{n}", output)) for n in range(SEQUENTIAL_STEPS)]
        self._plan = ops_reply(
            *(
                {
                    "op": "StepPlanned",
                    "id": step_hash(f"part-{n}"),
                    "name": f"part-{n}",
                    "displayName": f"part-{n}",
                }
                for n in range(PARALLEL_STEPS)
            )
        )
        self._sleepy = [
            ops_reply(step_run("before", output)),
            ops_reply({"op": "Sleep", "id": step_hash("nap"), "name": "1s", "opts": {"duration": "1s"}}),
            ops_reply(step_run("after", output)),
        ]
        wait = {"event": "bench/resolve", "if": "event.data.id == async.data.id", "timeout": "24h"}
        self._waiter = [
            ops_reply({"op": "WaitForEvent", "id": step_hash("wait"), "name": "bench/resolve", "opts": wait})
        ]
        self._sleeper = [
            ops_reply({"op": "Sleep", "id": step_hash("long"), "name": "720h", "opts": {"duration": "720h"}})
        ]
        self.by_name: dict[str, Callable[[int, str], Reply]] = {
            **dict.fromkeys(NO_OPS, lambda memos, step: DONE),
            "steps10": lambda memos, step: in_order(self._sequential, memos),
            "parallel5": self._parallel5,
            "sleepy": lambda memos, step: in_order(self._sleepy, memos),
            "waiter": lambda memos, step: in_order(self._waiter, memos),
            "sleeper": lambda memos, step: in_order(self._sleeper, memos),
        }

    def _parallel5(self, memos: int, step: str) -> Reply:
        """Plan all parts, execute the one asked for, and end once all of them are known."""
        if step != "step":
            return 206, b'[{"op":"StepRun","id":"%s","data":%s}]' % (step.encode(), self._output)
        if memos == 0:
            return self._plan
        return DONE if memos >= PARALLEL_STEPS else NOTHING_NEW


def in_order(replies: Sequence[Reply], memos: int) -> Reply:
    """The reply that follows `memos` known steps."""
    return replies[memos] if memos < len(replies) else DONE


@dataclass(slots=True)
class RunTimes:
    """The time line of one run: for each request when it arrived and when its answer was sent."""

    function: str
    sent_at_ns: int
    arrived_at_ns: list[int] = field(default_factory=list[int])
    answered_at_ns: list[int] = field(default_factory=list[int])
    ended: bool = False


class Measurements:
    """What the calls looked like from the app's side."""

    def __init__(self) -> None:
        self.calls = 0
        self.finals = 0
        self.repeated_finals = 0
        self.request_bytes = 0
        self.first_arrived_at_ns = 0
        self.last_final_at_ns = 0
        self.runs: dict[str, RunTimes] = {}
        self.held_at_ns: list[int] = []
        self.released = asyncio.Event()
        self._waiting: list[tuple[int, asyncio.Event]] = []

    def record(
        self, run_id: str, function: str, sent_at_ns: int, arrived_at_ns: int, final: bool, size: int
    ) -> None:
        """Add one answered call; a run that ends twice counts once, and as repeated."""
        now = time.time_ns()
        self.calls += 1
        self.request_bytes += size
        run = self.runs.get(run_id)
        if run is None:
            run = self.runs[run_id] = RunTimes(function, sent_at_ns)
            self.first_arrived_at_ns = self.first_arrived_at_ns or arrived_at_ns
        run.arrived_at_ns.append(arrived_at_ns)
        run.answered_at_ns.append(now)
        if final:
            self._record_final(run, now)

    def _record_final(self, run: RunTimes, now_ns: int) -> None:
        if run.ended:
            self.repeated_finals += 1
            return
        run.ended = True
        self.finals += 1
        self.last_final_at_ns = now_ns
        for finals, reached in self._waiting:
            if self.finals >= finals:
                reached.set()

    async def wait_finals(self, finals: int, timeout_s: float) -> None:
        """Return once `finals` runs have ended, or after `timeout_s`."""
        if self.finals >= finals:
            return
        waiter = (finals, asyncio.Event())
        self._waiting.append(waiter)
        try:
            await asyncio.wait_for(waiter[1].wait(), timeout_s)
        except TimeoutError:
            pass
        finally:
            self._waiting.remove(waiter)

    def counters(self) -> dict[str, int]:
        """Everything but the time lines."""
        return {
            "calls": self.calls,
            "runs": len(self.runs),
            "finals": self.finals,
            "held": len(self.held_at_ns),
            "repeated_finals": self.repeated_finals,
            "request_bytes": self.request_bytes,
            "first_arrived_at_ns": self.first_arrived_at_ns,
            "last_final_at_ns": self.last_final_at_ns,
        }


class App:
    """The ASGI application."""

    def __init__(self, server_url: str, app_url: str, step_bytes: int) -> None:
        self._server_url = server_url
        self._app_url = app_url
        self._functions = Functions(step_bytes).by_name
        self._targets: dict[bytes, tuple[str, str]] = {}
        self._measured = Measurements()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived_at_ns = time.time_ns()
        if scope["type"] != "http":
            return
        match scope["method"], scope["path"]:
            case "POST", "/api/inngest":
                await self._call(scope, arrived_at_ns, await read_body(receive), send)
            case "PUT", "/api/inngest":
                await read_body(receive)
                await reply(send, *await asyncio.to_thread(self._register))
            case "GET", "/api/inngest":
                await reply(send, 200, orjson.dumps({"function_count": len(self._functions), "mode": "dev"}))
            case "GET", "/stats":
                await reply(send, 200, await self._stats(scope["query_string"]))
            case "GET", "/stats/runs":
                await reply(send, 200, orjson.dumps(self._measured.runs))
            case "GET", "/stats/held":
                await reply(send, 200, orjson.dumps(self._measured.held_at_ns))
            case "POST", "/release":
                self._measured.released.set()
                await reply(send, 200, b"{}")
            case "POST", "/reset":
                self._measured = Measurements()
                await reply(send, 200, b"{}")
            case _:
                await reply(send, 404, b'{"error":"no such route"}')

    async def _call(self, scope: Scope, arrived_at_ns: int, body: bytes, send: Send) -> None:
        request = orjson.loads(body)
        call = request["ctx"]
        function, step = self._target(scope["query_string"])
        if function in HELD_FUNCTIONS:
            self._measured.held_at_ns.append(arrived_at_ns)
            await self._measured.released.wait()
        status, answer = self._functions[function](len(call["stack"]["stack"] or ()), step)
        await reply(send, status, answer)
        sent_at_ns = (request["event"]["data"] or {}).get("sent_at_ns", 0)
        self._measured.record(call["run_id"], function, sent_at_ns, arrived_at_ns, status == 200, len(body))

    def _target(self, query: bytes) -> tuple[str, str]:
        """Function name and step id of a query; the same few come again and again."""
        target = self._targets.get(query)
        if target is None:
            fields = parse_qs(query.decode())
            target = fields["fnId"][0].removeprefix(f"{APP_ID}-"), fields.get("stepId", ["step"])[0]
            self._targets[query] = target
        return target

    async def _stats(self, query: bytes) -> bytes:
        fields = parse_qs(query.decode())
        wait_s = min(float(fields.get("wait_s", ["0"])[0]), STATS_WAIT_S_MAX)
        await self._measured.wait_finals(int(fields.get("finals", ["0"])[0]), wait_s)
        return orjson.dumps(self._measured.counters())

    def _register(self) -> Reply:
        """Register at the server and pass its reply on; blocks."""
        request = urllib.request.Request(
            f"{self._server_url}/fn/register",
            data=orjson.dumps(self._registration()),
            headers={"content-type": "application/json", "x-inngest-sdk": "bench:v1"},
        )
        try:
            with urllib.request.urlopen(request, timeout=REGISTER_TIMEOUT_S) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError as error:
            return 502, orjson.dumps({"error": f"cannot register at {self._server_url}: {error}"})

    def _registration(self) -> dict[str, object]:
        return {
            "url": self._app_url,
            "deployType": "ping",
            "framework": "asgi",
            "appName": APP_ID,
            "sdk": "bench:v1",
            "v": "0.1",
            "functions": [self._function_config(name) for name in self._functions],
        }

    def _function_config(self, name: str) -> dict[str, object]:
        function_id = f"{APP_ID}-{name}"
        runtime = {"type": "http", "url": f"{self._app_url}?fnId={function_id}&stepId=step"}
        return {
            "id": function_id,
            "name": name,
            "triggers": [{"event": f"bench/{name}"}],
            **LIMITS.get(name, {}),
            "steps": {"step": {"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": 4}}},
        }


async def read_body(receive: Receive) -> bytes:
    """The whole body; nearly always it is one message."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    return body


async def reply(send: Send, status: int, body: bytes) -> None:
    """Send one whole answer with the protocol's headers."""
    headers = [*PROTOCOL_HEADERS, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--server-url", required=True, help="where to register, such as http://127.0.0.1:8288"
    )
    parser.add_argument("--step-bytes", type=int, default=32, help="size of each step's output (%(default)s)")
    options = parser.parse_args()
    app_url = f"http://127.0.0.1:{options.port}{SERVE_PATH}"
    app = App(options.server_url.rstrip("/"), app_url, options.step_bytes)
    gc.freeze()
    gc.set_threshold(
        100_000
    )  # The records grow and stay; collecting them again and again would be our noise.
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
        backlog=4096,
    )


if __name__ == "__main__":
    main()
