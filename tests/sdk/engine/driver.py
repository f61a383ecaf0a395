"""A server of one function: asks it to go on until it has ended, as protocol 4.6 says, and nothing more.

Not the production engine: a second reading of the protocol, small enough to be checked by eye, in which every
order of planned steps can be tried, and every request can be lost or repeated.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import inngest
from inngest._engine.answer import Answer
from inngest._engine.call import CallRequest
from inngest._shells.aio import execute
from inngest._shells.threads import execute_sync
from inngest.middleware import MiddlewareManager

REQUESTS_MAX = 2_000
RETRIES = 3


class CheckpointApi:
    """The part of the server that a request talks to while it runs."""

    def __init__(self, save: Callable[[list[dict[str, Any]]], int]) -> None:
        self._save = save

    async def checkpoint(self, run_id: str, body: str) -> int:
        return self.checkpoint_sync(run_id, body)

    def checkpoint_sync(self, run_id: str, body: str) -> int:
        decoded = json.loads(body)
        assert decoded["run_id"] == run_id
        return self._save(decoded["steps"])


@dataclass
class Outcome:
    """How a run ended: `output`, or `error` as it went over the wire."""

    output: Any = None
    error: dict[str, Any] | None = None
    requests: int = 0
    checkpoints: int = 0
    ops: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Every operation that was answered, in order."""


@dataclass
class Server:
    """Drives one run. `random` chooses the order of planned steps, and what is lost on the way."""

    function: inngest.Function[Any]
    client: inngest.Inngest
    random: Random = field(default_factory=lambda: Random(0))
    lost_rate: float = 0.0
    """How many answers get lost: the app has worked, and is asked again."""
    checkpoint_status: int = 200
    resolve: Callable[[dict[str, Any]], Any] = lambda op: None
    """The memo for what the server does itself: sleeps, waits, invocations."""
    steps: dict[str, Any] = field(default_factory=dict[str, Any])
    stack: list[str] = field(default_factory=list[str])
    event: Mapping[str, Any] = field(default_factory=lambda: {"name": "test", "data": {}})

    def __post_init__(self) -> None:
        self.outcome = Outcome()
        self._queue: list[tuple[str, int]] = [("step", 0)]
        self._planned: set[str] = set()
        self._pending: set[str] = set()
        self._plan_only = False

    def request(self, target: str = "step", attempt: int = 0, **ctx: Any) -> CallRequest:
        body = {
            "ctx": {
                "attempt": attempt,
                "max_attempts": RETRIES + 1,
                "run_id": "run",
                "fn_id": "7d8c2c5e-0d5f-4d9e-9c57-0a3b6f1f0a11",
                "qi_id": "item",
                "stack": {"stack": list(self.stack), "current": len(self.stack)},
                "disable_immediate_execution": self._plan_only,
                **ctx,
            },
            "event": dict(self.event),
            "events": [dict(self.event)],
            "steps": json.loads(json.dumps(self.steps)),
            "use_api": False,
        }
        return CallRequest.parse(body, {"fnId": self.function.id, "stepId": target})

    def call(self, call: CallRequest) -> Answer:
        """One request."""
        return asyncio.run(self.answer(call))

    async def answer(self, call: CallRequest) -> Answer:
        """As `call`, in a running loop; in the shell that fits the function."""
        middleware = MiddlewareManager(self.client, None, self.function)
        api: Any = CheckpointApi(self._save_checkpoint)
        if self.function.is_handler_async:
            return await execute(self.function, call, client=self.client, middleware=middleware, api=api)
        return execute_sync(self.function, call, client=self.client, middleware=middleware, api=api)

    def run(self) -> Outcome:
        """Ask until the run has ended."""
        while self._queue:
            self.outcome.requests += 1
            assert self.outcome.requests <= REQUESTS_MAX, "the run does not come to an end"
            target, attempt = self._queue.pop(self.random.randrange(len(self._queue)))
            answer = self.call(self.request(target, attempt))
            if self.random.random() < self.lost_rate:
                self._queue.append((target, attempt))
                continue
            if self._take(answer, target, attempt):
                return self.outcome
        raise AssertionError("nothing is queued, and the run has not ended")

    def _take(self, answer: Answer, target: str, attempt: int) -> bool:
        body = json.loads(answer.text)
        if answer.status == 206:
            return self._take_ops(body, target, attempt)
        if answer.status == 200:
            self.outcome.output = body
            return True
        if answer.headers.get("x-inngest-no-retry") == "true" or attempt >= RETRIES:
            self.outcome.error = body
            return True
        self._queue.append((target, attempt + 1))
        return False

    def _take_ops(self, ops: list[dict[str, Any]], target: str, attempt: int) -> bool:
        self.outcome.ops += ops
        if not ops:
            self._queue.append(("step", 0))
            return False
        to_do = [op for op in ops if op["op"] not in ("StepRun", "StepFailed", "RunComplete", "StepError")]
        if len(to_do) > 1:
            self._plan_only = True
            self._pending |= {op["id"] for op in to_do if op["id"] not in self.steps}
        for op in ops:
            match op["op"]:
                case "RunComplete":
                    self.outcome.output = op["data"]
                    return True
                case "StepError":
                    self._queue.append((target, attempt + 1))
                case "StepPlanned":
                    if op["id"] not in self._planned and op["id"] not in self.steps:
                        self._planned.add(op["id"])
                        self._queue.append((op["id"], 0))
                case "StepRun":
                    self._store(op, {"data": op["data"]})
                case "StepFailed":
                    self._store(op, {"error": op["error"]})
                case _:
                    self._store(op, self.resolve(op))
        return False

    def _store(self, op: dict[str, Any], memo: Any) -> None:
        if op["id"] not in self.steps:
            self.steps[op["id"]] = memo
            self.stack.append(op["id"])
        self._pending.discard(op["id"])
        is_race = (op.get("opts") or {}).get("parallelMode") == "race"
        if (not self._pending or is_race) and ("step", 0) not in self._queue:
            self._plan_only = False
            self._queue.append(("step", 0))

    def _save_checkpoint(self, ops: list[dict[str, Any]]) -> int:
        self.outcome.checkpoints += 1
        if self.checkpoint_status == 200:
            for op in ops:
                assert op["op"] == "StepRun"
                if op["id"] not in self.steps:
                    self.steps[op["id"]] = {"data": op["data"]}
                    self.stack.append(op["id"])
        return self.checkpoint_status
