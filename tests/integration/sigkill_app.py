"""The app of the SIGKILL test: it writes down what it did before it tells the server.

The server dies under load and comes back; afterwards this file, outside of the server, is the witness.
Each call request appends one JSON line before its answer leaves:

    number      increases by one with each line, also over a restart of this app on the same file
    run_id, event_id, function, job_id, attempt, generation
    data_number, numbers    of the event, and of all events
    part        0, or the place of a further step in the same request, which reports steps by checkpoints
    step        the executed step's name; the name of a planned set, a sleep, a wait, or "end"
    step_hash   the id under which that step travels, when there is one
    op          StepRun, StepPlanned, Sleep, WaitForEvent, InvokeFunction, None (nothing new) or End
    memos       the results of earlier steps, by name, as the server gave them back in this request
    result      what the answer said: a fresh random text for each execution of a step, and at the end
                the memos of all steps
    at_ns       time.time_ns()

A function with checkpoints appends a line for each step of a request, before it reports the step.

So two executions of one step have different results, and an auditor sees which of them was recorded: a
memo is one of the results in this file, and in all requests of a run the same one.

Environment: PORT, SERVER_URL, SIGKILL_LOG (the file), ANSWER_DELAY_MS (how long each answer waits after
its line is written, so that many calls are in flight; 0).
"""

import asyncio
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from hashlib import sha1
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
import uvicorn

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Memos = dict[str, Any]

APP_ID = "sigkill"
SERVE_PATH = "/api/inngest"
SLEEP = "200ms"
REGISTER_TIMEOUT_S = 10
HEADERS = [
    (b"content-type", b"application/json"),
    (b"x-inngest-sdk", b"sigkill:v1"),
    (b"x-inngest-req-version", b"2"),
]

# What a function does, in order: run a step, sleep or wait, or run several steps in parallel.
PLANS: dict[str, list[list[str]]] = {
    "five": [["a"], ["b"], ["c"], ["d"], ["e"]],
    "sleepy": [["before"], ["sleep"], ["after"]],
    "parallel3": [["left", "middle", "right"], ["join"]],
    "pointed": [["p1"], ["p2"], ["p3"], ["p4"]],
    "limited": [["hold"], ["hold-again"]],
    "waiting": [["before"], ["wait"], ["after"]],
    "parent": [["before"], ["invoke"], ["after"]],
    "cancelled": [["before"], ["forever"], ["never"]],
    "child": [["inner"]],
    "scheduled": [["tick"]],
    "throttled": [["once"]],
    "heavy": [["before"], ["sleep"], ["after"]],
    "shared": [["hold"]],
    "sharing": [["hold"]],
    "urgent": [["hold"], ["hold-again"]],
    "skipping": [["before"], ["sleep"], ["after"]],
    "replacing": [["before"], ["sleep"], ["after"]],
    "timely": [["before"], ["forever"], ["never"]],
    "doomed": [["before"], ["forever"], ["never"]],
    "pausable": [["before"], ["sleep"], ["after"]],
    "debounced": [["once"]],
    "batched": [["once"]],
    "rated": [["once"]],
    "ordered": [["once"]],
}
RETURNING = (
    *("five", "sleepy", "parallel3", "pointed", "limited", "waiting", "parent"),
    *("throttled", "heavy", "shared", "sharing", "urgent"),
)
"""Functions of which each event has one run, which returns."""
ONE_RUN = (*RETURNING, "cancelled", "skipping", "replacing", "timely", "doomed")
"""Functions of which each event has one run, which may be skipped or cancelled."""
SENT = (*ONE_RUN, "pausable", "debounced", "batched", "rated", "ordered")
"""Functions that start on an event of their name. The child is invoked by `parent`."""
POINTED = "pointed"
"""Reports its steps by checkpoints while its request goes on."""
CRON = "@every 2s"
KEYS = {
    "limited": 5,
    "throttled": 3,
    "heavy": 3,
    "urgent": 3,
    "skipping": 3,
    "replacing": 3,
    "debounced": 4,
    "batched": 3,
    "rated": 3,
}
"""How many values the key of a function has: the remainders of an event's number."""
NUMBERS_PER_ORDER = 60
"""Events of so many numbers have the same order, of which `ordered` starts once."""
HEAVY_LIMIT = 3
SHARED_LIMIT, SHARING_LIMIT = 6, 4
"""Far apart the smaller one would wait for as long as there are events of the other function."""
THROTTLE_LIMIT, THROTTLE_PERIOD_S, THROTTLE_BURST = 1, 1, 3
"""What a burst has used up is remembered for longer than the server is away."""
RATE_LIMIT, RATE_PERIOD_S = 10, 10
DEBOUNCE_PERIOD_S, DEBOUNCE_TIMEOUT_S = 1, 2
BATCH_SIZE, BATCH_TIMEOUT_S = 5, 1
FINISH_TIMEOUT_S = 1
URGENT_EARLIER_S, URGENT_EVERY = 120, 4
APPROVED, CANCELLED = f"{APP_ID}/approved", f"{APP_ID}/cancel"
WAIT_TIMEOUT, CHECKPOINT_TIMEOUT_S = "3s", 5
SAME_NUMBER = "event.data.number == async.data.number"
# Steps that are done by the server and not by this app.
SERVER_STEPS: dict[str, tuple[str, str, dict[str, object]]] = {
    "sleep": ("Sleep", SLEEP, {"duration": SLEEP}),
    "forever": ("Sleep", "1h", {"duration": "1h"}),
    "wait": ("WaitForEvent", APPROVED, {"event": APPROVED, "if": SAME_NUMBER, "timeout": WAIT_TIMEOUT}),
    "invoke": ("InvokeFunction", "invoke", {"function_id": f"{APP_ID}-child", "payload": {"data": {}}}),
}


def key_of(function: str) -> str:
    """The key expression of a function."""
    return f"event.data.number % {KEYS[function]}"


# Two functions have one counter of calls, to which each has its own limit.
SHARED_KEY: dict[str, object] = {"scope": "env", "key": '"shared"'}
OPTIONS: dict[str, dict[str, object]] = {
    "limited": {"concurrency": [{"limit": 1, "key": key_of("limited")}]},
    "cancelled": {"cancel": [{"event": CANCELLED, "if": SAME_NUMBER}]},
    "throttled": {
        "throttle": {
            "limit": THROTTLE_LIMIT,
            "period": f"{THROTTLE_PERIOD_S}s",
            "burst": THROTTLE_BURST,
            "key": key_of("throttled"),
        }
    },
    "heavy": {"concurrency": {"fn": [{"limit": HEAVY_LIMIT, "key": key_of("heavy")}]}},
    "shared": {"concurrency": [{"limit": SHARED_LIMIT, **SHARED_KEY}]},
    "sharing": {"concurrency": [{"limit": SHARING_LIMIT, **SHARED_KEY}]},
    "urgent": {
        "concurrency": [{"limit": 1, "key": key_of("urgent")}],
        "priority": {"run": f"event.data.number % {URGENT_EVERY} == 0 ? {URGENT_EARLIER_S} : 0"},
    },
    "skipping": {"singleton": {"mode": "skip", "key": key_of("skipping")}},
    "replacing": {"singleton": {"mode": "cancel", "key": key_of("replacing")}},
    "timely": {"timeouts": {"finish": f"{FINISH_TIMEOUT_S}s"}},
    "debounced": {
        "debounce": {
            "period": f"{DEBOUNCE_PERIOD_S}s",
            "timeout": f"{DEBOUNCE_TIMEOUT_S}s",
            "key": key_of("debounced"),
        }
    },
    "batched": {
        "batchEvents": {"maxSize": BATCH_SIZE, "timeout": f"{BATCH_TIMEOUT_S}s", "key": key_of("batched")}
    },
    "rated": {"rateLimit": {"limit": RATE_LIMIT, "period": f"{RATE_PERIOD_S}s", "key": key_of("rated")}},
    "ordered": {"idempotency": "event.data.order"},
}


def step_hash(step: str) -> str:
    """The id under which a step travels."""
    return sha1(step.encode()).hexdigest()


class Witness:
    """The file of what was done; a line is in the operating system's hands before `append` returns."""

    def __init__(self, path: Path) -> None:
        self._number = path.read_bytes().count(b"\n") if path.exists() else 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def append(self, line: dict[str, object]) -> None:
        """Number a line and write it at once, whole."""
        self._number += 1
        os.write(self._file, orjson.dumps({"number": self._number, **line, "at_ns": time.time_ns()}) + b"\n")


def run_step(step: str) -> dict[str, Any]:
    """Execute a step: the result of each execution is unique."""
    return {"op": "StepRun", "id": step_hash(step), "name": step, "data": secrets.token_hex(8)}


def next_ops(function: str, memos: Memos, target: str) -> list[dict[str, Any]] | None:
    """What to report after these memos; None when the function has ended."""
    for stage in PLANS[function]:
        missing = [step for step in stage if step_hash(step) not in memos]
        if not missing:
            continue
        if target != "step":
            return [run_step(step) for step in missing if step_hash(step) == target]
        if len(stage) > 1:
            return [{"op": "StepPlanned", "id": step_hash(step), "name": step} for step in missing]
        if (step := stage[0]) in SERVER_STEPS:
            code, name, opts = SERVER_STEPS[step]
            return [{"op": code, "id": step_hash(step), "name": name, "displayName": step, "opts": opts}]
        return [run_step(stage[0])]
    return None


def results_of(function: str, memos: Memos) -> dict[str, object]:
    """The results of the known steps, as the server gave them back: null for a sleep or a wait in vain."""
    steps = [step for stage in PLANS[function] for step in stage if step_hash(step) in memos]
    return {step: result_of(memos[step_hash(step)]) for step in steps}


def result_of(memo: Any) -> object:
    """What a memo says that its step returned; of an event what its sender made of it."""
    return memo["data"] if isinstance(memo, dict) else memo


class App:
    """The ASGI application."""

    def __init__(self, server_url: str, app_url: str, witness: Witness, answer_delay_s: float) -> None:
        self._server_url = server_url
        self._app_url = app_url
        self._witness = witness
        self._answer_delay_s = answer_delay_s
        self._without: set[str] = set()
        """Functions that are not registered any more."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await read_body(receive)
        match scope["method"], scope["path"]:
            case "POST", "/api/inngest":
                status, answer = await self._execute(scope["query_string"].decode(), orjson.loads(body))
                await asyncio.sleep(self._answer_delay_s)
            case "PUT", "/api/inngest":
                # For good: in development the server asks every few seconds, and names nothing to leave out.
                self._without.update(parse_qs(scope["query_string"].decode()).get("without", ()))
                status, answer = await asyncio.to_thread(self._register)
            case "GET", "/api/inngest":
                status, answer = 200, orjson.dumps({"function_count": len(PLANS), "mode": "dev"})
            case _:
                status, answer = 404, b'{"error":"no such route"}'
        await send({"type": "http.response.start", "status": status, "headers": HEADERS})
        await send({"type": "http.response.body", "body": answer})

    async def _execute(self, query: str, request: dict[str, Any]) -> tuple[int, bytes]:
        """Do what the call asks for, and write it down."""
        fields, call = parse_qs(query), request["ctx"]
        function = fields["fnId"][0].removeprefix(f"{APP_ID}-")
        # Only stacked memos count: others belong to steps that have not been completed.
        memos = {step: request["steps"][step] for step in call["stack"]["stack"] or ()}
        target = fields.get("stepId", ["step"])[0]
        about: dict[str, object] = {
            "run_id": call["run_id"],
            "event_id": request["event"]["id"],
            "data_number": request["event"]["data"].get("number"),
            "numbers": [event["data"].get("number") for event in request["events"]],
            "function": function,
            "job_id": call.get("job_id"),
            "attempt": call["attempt"],
            "generation": call.get("generation_id", 0),
        }
        part = 0
        while True:
            results = results_of(function, memos)
            ops = next_ops(function, memos, target)
            line = {"step": "end", "step_hash": None, "op": "End", "result": results}
            line = line if ops is None else line_of(ops)
            self._witness.append({**about, "part": part, "memos": results, **line})
            if ops is None and part > 0:
                complete = {"op": "RunComplete", "id": step_hash("complete"), "name": "complete"}
                return 206, orjson.dumps([{**complete, "data": results}])
            if ops is None:
                return 200, orjson.dumps(results)
            if function != POINTED or not await asyncio.to_thread(self._checkpoint, call, ops):
                return 206, orjson.dumps(ops)
            memos[ops[0]["id"]] = {"data": ops[0]["data"]}
            part += 1

    def _checkpoint(self, call: dict[str, Any], ops: list[dict[str, Any]]) -> bool:
        """Report steps in the middle of a request; whether the server has them. Blocks."""
        body = {
            "run_id": call["run_id"],
            "fn_id": call["fn_id"],
            "qi_id": call["qi_id"],
            "generation_id": call["generation_id"],
            "request_id": call["request_id"],
            "steps": ops,
        }
        request = urllib.request.Request(
            f"{self._server_url}/v1/checkpoint/{call['run_id']}/async",
            data=orjson.dumps(body),
            headers={"content-type": "application/json", "x-inngest-sdk": "sigkill:v1"},
        )
        try:
            with urllib.request.urlopen(request, timeout=CHECKPOINT_TIMEOUT_S) as response:
                return response.status == 200
        except OSError:
            return False  # The answer has the steps, then; a server that took them knows them already.

    def _register(self) -> tuple[int, bytes]:
        """Register at the server, and pass its reply on; blocks."""
        request = urllib.request.Request(
            f"{self._server_url}/fn/register",
            data=orjson.dumps(self._registration()),
            headers={"content-type": "application/json", "x-inngest-sdk": "sigkill:v1"},
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
            "sdk": "sigkill:v1",
            "v": "0.1",
            "functions": [self._function_config(name) for name in PLANS if name not in self._without],
        }

    def _function_config(self, name: str) -> dict[str, object]:
        function_id = f"{APP_ID}-{name}"
        runtime = {"type": "http", "url": f"{self._app_url}?fnId={function_id}&stepId=step"}
        return {
            **OPTIONS.get(name, {}),
            "id": function_id,
            "name": name,
            "triggers": [{"cron": CRON} if name == "scheduled" else {"event": f"{APP_ID}/{name}"}],
            "steps": {"step": {"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": 4}}},
        }


def line_of(ops: list[dict[str, Any]]) -> dict[str, object]:
    """The witness's words for an answer."""
    if not ops:
        return {"step": None, "step_hash": None, "op": "None", "result": None}
    if len(ops) > 1:
        planned = [op["name"] for op in ops]
        return {"step": "+".join(planned), "step_hash": None, "op": ops[0]["op"], "result": planned}
    op = ops[0]
    step = op.get("displayName", op["name"])
    return {"step": step, "step_hash": op["id"], "op": op["op"], "result": op.get("data")}


async def read_body(receive: Receive) -> bytes:
    """The whole body of a request."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def main() -> None:
    """Serve until stopped."""
    port = int(os.environ["PORT"])
    witness = Witness(Path(os.environ["SIGKILL_LOG"]))
    delay_s = float(os.environ.get("ANSWER_DELAY_MS", "0")) / 1000
    app = App(os.environ["SERVER_URL"].rstrip("/"), f"http://127.0.0.1:{port}{SERVE_PATH}", witness, delay_s)
    uvicorn.run(
        app, host="127.0.0.1", port=port, lifespan="off", access_log=False, log_level="warning", backlog=4096
    )


if __name__ == "__main__":
    main()
