"""Models of apps: what the official SDKs do with a call request. Source: protocol 3, 4, 4.6, 7.5 and 13.

Three kinds: `py` answers with request version 2, `ts3` with version 1, and `ts4` with version 2 and
checkpoints. None keeps anything between requests; user code is a `Program`, and each time a step runs it
gives another result.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import orjson

from inngest_server.execution.http1 import Headers, Response
from inngest_server.wire.step_ids import hash_step_id
from inngest_server.wire.times import format_rfc3339

from .programs import (
    MATCH_K,
    Found,
    Function,
    FunctionFailure,
    Invoke,
    Program,
    Replay,
    Sleep,
    Step,
    StepFailure,
    WaitForEvent,
    WaitForSignal,
)

Kind = Literal["py", "ts3", "ts4"]
VERSIONS: dict[Kind, str] = {"py": "2", "ts3": "1", "ts4": "2"}
CHECKPOINT_TRIES = 5
CHECKPOINT_PAUSE_S = 0.33
MAX_RUNTIME_S = 10.0
"""After this long a checkpointing app reports its next step instead of running it."""
NOT_FOUND_AFTER_S = 10.0
"""How long a TypeScript app looks for the step of a targeted request."""


@dataclass(frozen=True)
class Request:
    """A call request as an app reads it."""

    run_id: str
    item_id: str
    generation: int
    attempt: int
    max_attempts: int
    function: str
    target: str
    """Hashed step id; empty for a discovery."""
    plan_only: bool
    memos: dict[str, Any]
    raw_memos: dict[str, bytes]
    stack: list[str]
    current: int
    event: dict[str, Any]
    use_api: bool
    """The memos are to be fetched."""
    url: str


class Observer(Protocol):
    """Who is told what really happened in apps."""

    def step_ran(self, request: Request, step_id: str, result: bytes) -> None: ...
    def step_raised(self, request: Request, step_id: str, error: bytes) -> None: ...
    def returned(self, request: Request, output: bytes) -> None: ...
    def raised(self, request: Request, error: bytes) -> None: ...
    def reported(self, request: Request, found: Sequence[Found], skew_ms: int) -> None: ...
    def found_nothing(self, request: Request) -> None: ...
    def fetched(self, request: Request) -> None: ...


class Server(Protocol):
    """What apps call: the checkpoint endpoint, the state endpoint, and their own clock."""

    async def checkpoint(self, request: Request, ops: list[dict[str, Any]]) -> int: ...
    async def state(self, request: Request) -> dict[str, Any] | None: ...
    def app_now_ms(self) -> int: ...


class App:
    """One app with its functions."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        functions: list[Function],
        *,
        chance: random.Random,
        observer: Observer,
        server: Server,
        seen: Counter[str],
        slowness_s: float,
        streams: bool = False,
        large_bytes: int = 0,
        skew_ms: int = 0,
    ) -> None:
        self.name = name
        self.kind: Kind = kind
        self.functions = {function.slug: function for function in functions}
        self.host = f"{name}.test:3000"
        self.versions: dict[str, int] = {}
        """How often the code of each function was changed."""
        self._begun_with: dict[str, int] = {}
        """Version of the code that began each run."""
        self._chance = chance
        self._observer = observer
        self._server = server
        self._seen = seen
        self._slowness_s = slowness_s
        self._streams = streams
        self._large_bytes = large_bytes
        self._skew_ms = skew_ms
        """How far this host's clock is off."""
        self._results = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}/api/inngest"

    def registration(self) -> dict[str, Any]:
        """What the app announces in a sync."""
        return {
            "appName": self.name,
            "url": self.url,
            "sdk": f"{self.kind}:v1",
            "functions": [one.config(self.url) for one in self.functions.values() if not one.hidden],
        }

    async def handle(self, request: Request) -> Response:
        """Run the function over the request's memos and answer as the SDK would."""
        if request.use_api:
            memos = await self._server.state(request)
            if memos is None:
                return self._raise(request, "the state of the run could not be fetched", no_retry=False)
            self._seen["app: state fetched over REST"] += 1
            raw = {key: orjson.dumps(memo, option=orjson.OPT_SORT_KEYS) for key, memo in memos.items()}
            request = replace(request, memos=memos, raw_memos=raw)
            self._observer.fetched(request)
        response = await self._handle(request)
        if not self._streams:
            return response
        self._seen["app: answer streamed"] += 1
        return _streamed(response)

    def stop(self, request: Request) -> Response:
        """The process of the app ends, and says so to whoever still waits for an answer."""
        return self._raise(request, "the app is shutting down", no_retry=True)

    async def _handle(self, request: Request) -> Response:
        function = self.functions.get(request.function)
        if function is None or not function.is_served:
            return self._raise(request, "function is not served here", no_retry=False)
        version = self.versions.get(function.slug, 0)
        if self._begun_with.setdefault(request.run_id, version) != version:
            self._seen["deploy: run continued on other code"] += 1
        program = function.program  # What is deployed meanwhile serves the next request.
        replay = Replay(request.memos, request.stack, request.attempt)
        try:
            found = replay.run(program)
        except StepFailure as failure:
            return self._raise(request, f"uncaught: {failure}", no_retry=self._chance.random() < 0.3)
        except FunctionFailure as failure:
            return self._raise(request, str(failure), no_retry=False)
        if request.target:
            return await self._targeted(request, replay.reached)
        if not found:
            return await self._complete(request, [])
        runs_now = len(found) == 1 and isinstance(found[0].statement, Step) and not request.plan_only
        if not runs_now:
            return self._report(request, found)
        if self.kind == "ts4":
            return await self._run_on(request, program, found[0])
        return self._ops([await self._run_step(request, found[0])])

    async def _targeted(self, request: Request, found: list[Found]) -> Response:
        for one in found:
            if one.step_id == request.target and isinstance(one.statement, Step):
                return self._ops([await self._run_step(request, one)])
        if self.kind == "py":
            self._observer.found_nothing(request)
            return self._ops([])
        await asyncio.sleep(NOT_FOUND_AFTER_S)
        return self._raise(request, "step not found", no_retry=False)

    async def _complete(self, request: Request, buffered: list[dict[str, Any]]) -> Response:
        await self._work()
        self._results += 1
        output = {"run": request.run_id, "result": self._results}
        self._observer.returned(request, orjson.dumps(output))
        if self.kind == "ts4":
            done = {"op": "RunComplete", "id": hash_step_id("complete"), "data": output}
            return self._ops([*buffered, done])
        return Response(200, Headers({"x-inngest-sdk": self.kind}), orjson.dumps(output))

    async def _work(self) -> None:
        await asyncio.sleep(self._chance.expovariate(1.0) * self._slowness_s)

    async def _run_step(self, request: Request, found: Found) -> dict[str, Any]:
        """Run a step's code; the op that says how it went."""
        step = found.statement
        assert isinstance(step, Step)
        self._observer.reported(request, [found], self._skew_ms)
        await self._work()
        op: dict[str, Any] = {
            "id": found.step_id,
            "name": step.name,
            "displayName": step.name,
            "opts": self._opts(found),
        }
        if request.attempt < step.fails:
            error = {"name": "Error", "message": f"{step.name} attempt {request.attempt}"}
            self._observer.step_raised(request, found.step_id, orjson.dumps(error))
            is_last = request.attempt + 1 >= request.max_attempts
            return {**op, "op": "StepFailed" if is_last else "StepError", "error": error}
        self._results += 1
        result: dict[str, Any] = {"app": self.name, "n": self._results}
        if self._large_bytes and self._chance.random() < 0.2:
            self._seen["app: large result"] += 1
            result["text"] = "\u00e4\u2028x" * (self._large_bytes // 6)
        self._observer.step_ran(request, found.step_id, orjson.dumps(result))
        return {**op, "op": "StepRun", "data": result}

    async def _run_on(self, request: Request, program: Program, found: Found) -> Response:
        """Run steps one after the other and store each by a checkpoint. Source: protocol 7.5."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + MAX_RUNTIME_S
        memos, stack = dict(request.memos), list(request.stack)
        buffered: list[dict[str, Any]] = []
        while True:
            op = await self._run_step(request, found)
            if op["op"] != "StepRun" or request.attempt > 0:
                return self._ops([*buffered, op])
            buffered.append(op)
            status = await self._flush(request, buffered)
            if status == 409:
                stale = {"name": "StaleDispatchError", "message": "stale"}
                return Response(
                    400, Headers({"x-inngest-sdk": "ts4", "x-inngest-no-retry": "true"}), orjson.dumps(stale)
                )
            if status != 200:
                return self._ops(buffered)
            buffered = []
            memos[found.step_id] = {"data": op["data"]}
            stack.append(found.step_id)
            try:
                more = Replay(memos, stack, request.attempt).run(program)
            except StepFailure as failure:
                return self._raise(request, f"uncaught: {failure}", no_retry=False)
            except FunctionFailure as failure:
                return self._raise(request, str(failure), no_retry=False)
            if not more:
                return await self._complete(request, buffered)
            if len(more) > 1 or not isinstance(more[0].statement, Step) or loop.time() > ends_at:
                return self._report(request, more)
            found = more[0]

    async def _flush(self, request: Request, buffered: list[dict[str, Any]]) -> int:
        status = 0
        for _ in range(CHECKPOINT_TRIES):
            status = await self._server.checkpoint(request, buffered)
            if status in (200, 409):
                break
            await asyncio.sleep(CHECKPOINT_PAUSE_S)
        return status

    def _report(self, request: Request, found: list[Found]) -> Response:
        self._observer.reported(request, found, self._skew_ms)
        return self._ops([self._op(request, one) for one in found])

    def _opts(self, found: Found) -> dict[str, Any] | None:
        if found.race:
            return {"parallelMode": "race"}
        return None if self.kind == "py" else {}

    def _op(self, request: Request, found: Found) -> dict[str, Any]:
        statement = found.statement
        opts: dict[str, Any] = self._opts(found) or {}
        op: dict[str, Any] = {"id": found.step_id, "displayName": statement.name, "data": None}
        match statement:
            case Step():
                return {**op, "op": "StepPlanned", "name": statement.name, "opts": opts or None}
            case Sleep(_, seconds):
                if self.kind == "py":
                    until = format_rfc3339(self._server.app_now_ms() + self._skew_ms + 1000 * seconds)
                    return {**op, "op": "Sleep", "name": until, "opts": opts or None}
                return {**op, "op": "Sleep", "name": f"{seconds}s", "opts": opts}
            case WaitForEvent(_, event, match, seconds):
                opts["timeout"] = f"{seconds}s"
                if match:
                    opts["if"] = MATCH_K
                return {**op, "op": "WaitForEvent", "name": event, "opts": opts}
            case WaitForSignal(_, signal, seconds, replaces):
                opts |= {"signal": signal, "timeout": f"{seconds}s"}
                if replaces or self._chance.random() < 0.5:  # To fail is also what happens when not told.
                    opts["conflict"] = "replace" if replaces else "fail"
                return {**op, "op": "WaitForSignal", "name": signal, "opts": opts}
            case Invoke(_, slug, seconds):
                opts |= {
                    "function_id": slug,
                    "payload": {"data": {"k": request.event["data"].get("k")}},
                    "timeout": f"{seconds}s",
                }
                return {**op, "op": "InvokeFunction", "name": statement.name, "opts": opts}

    def _ops(self, ops: list[dict[str, Any]]) -> Response:
        headers = Headers({"x-inngest-sdk": self.kind, "x-inngest-req-version": VERSIONS[self.kind]})
        return Response(206, headers, orjson.dumps(ops))

    def _raise(self, request: Request, message: str, *, no_retry: bool) -> Response:
        error = orjson.dumps({"name": "Error", "message": message})
        self._observer.raised(request, error)
        headers = Headers({"x-inngest-sdk": self.kind})
        if no_retry:
            headers["x-inngest-no-retry"] = "true"
        return Response(500, headers, error)


def _streamed(response: Response) -> Response:
    """The answer kept alive with blanks, its body a text. Source: protocol 4.2."""
    inner = {"status": response.status, "headers": dict(response.headers), "body": response.body.decode()}
    headers = Headers({"x-inngest-sdk": response.headers["x-inngest-sdk"]})
    return Response(201, headers, b"    " + orjson.dumps(inner))
