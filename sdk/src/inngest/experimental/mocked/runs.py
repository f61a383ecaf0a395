"""A server of one run: makes call requests and stores what they report (protocol 4.6), until the run ends."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import json
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from inngest._engine.call import CallRequest
from inngest._engine.ops import Kind
from inngest.errors import ConfigError, Error, StepError
from inngest.events import Event
from inngest.middleware import MiddlewareManager, MiddlewareSync, TransformOutputResult

from .consts import Status
from .errors import RunAbortedError, RunFailedError
from .stubs import Stubs

if TYPE_CHECKING:
    from inngest._engine.answer import Answer
    from inngest.client import Inngest
    from inngest.function import Function

__all__ = ["Result", "trigger"]

T = TypeVar("T")

RUN_ID: Final = "test"
RETRIES: Final = 4
"""Of functions that do not say how many."""
STEPS_MAX: Final = 1_000
"""Protocol 4.8."""
IDLE_REQUESTS_MAX: Final = 3


@dataclass(frozen=True)
class Result:
    """How the run ended."""

    status: Status
    output: Any = None
    """What the function returned, if it completed."""
    error: Exception | None = None
    """Why it failed: the error of the last attempt, as the function or one of its steps raised it."""
    sent_events: tuple[Event, ...] = ()
    """What the run would have sent, with a mocked client."""


def trigger(
    fn: Function[Any],
    event: Event | Mapping[str, Any] | Sequence[Event | Mapping[str, Any]],
    client: Inngest,
    *,
    step_stubs: Mapping[str, object] | None = None,
) -> Result:
    """Run a function with this event, or with these as a batch, until it completes or has failed for good.

    The event need not be one of the function's triggers; `on_failure` is not called. Middleware and
    serializer are those of `client`, and the function's own. `step_stubs` has results by step id; an
    exception among them makes its step fail. Any step may have one, also such as could run. Blocks, also for
    asynchronous functions, and also inside a running event loop: the function gets a loop of its own.

    Raises:
        UnstubbedStepError: there is no stub for a step that only a server can do.
        StubInvalidError: a stub cannot be the result of its step.
        RunAbortedError: the function never ends.
    """
    events = [event] if isinstance(event, Event | Mapping) else list(event)
    if not events:
        raise ConfigError("mocked.trigger needs an event, or a list of at least one")
    sent: list[Event] = getattr(client, "sent_events", [])
    before = len(sent)
    run = _Run(fn, client, tuple(Event.from_raw(one).to_dict() for one in events), Stubs(step_stubs))
    is_async = fn.is_handler_async
    result = _outside_of_loops(lambda: _in_new_loop(run.drive_async()) if is_async else run.drive())
    return Result(result.status, result.output, result.error, tuple(sent[before:]))


@dataclass(frozen=True, slots=True)
class _Item:
    """A request that is to be made: for the function as a whole, or for one planned step."""

    target: str | None = None
    attempt: int = 0


class _Recorder(MiddlewareSync):
    """Sees what comes out of steps and function after all other middleware, as Python objects."""

    def __init__(self) -> None:
        self.function: TransformOutputResult | None = None
        self.step_errors: list[Exception] = []

    def transform_output(self, result: TransformOutputResult) -> None:
        if result.step is None:
            self.function = result
        elif result.error is not None:
            self.step_errors.append(result.error)


@dataclass(eq=False)
class _Run:
    function: Function[Any]
    client: Inngest
    events: tuple[dict[str, Any], ...]
    stubs: Stubs
    memos: dict[str, object] = field(default_factory=dict[str, object])
    """By hashed id, in the order in which they were stored."""
    items: deque[_Item] = field(default_factory=lambda: deque([_Item()]))
    waits: deque[Mapping[str, Any]] = field(default_factory=deque[Mapping[str, Any]])
    """Operations of steps that the server does: time passes when the app has nothing to do."""
    alone: set[str] = field(default_factory=set[str])
    """Steps after which the function goes on although others are still running."""
    recorder: _Recorder = field(default_factory=_Recorder)
    idle_requests: int = 0

    @property
    def max_attempts(self) -> int:
        return 1 + (RETRIES if self.function.retries is None else self.function.retries)

    def drive(self) -> Result:
        """To the end of a plain function."""
        from inngest._shells.threads import execute_sync

        result: Result | None = None
        while result is None:
            item, middleware = self._next(), self._middleware()
            call = self._call(item)
            api = self.client._api  # pyright: ignore[reportPrivateUsage]
            answer = execute_sync(self.function, call, client=self.client, middleware=middleware, api=api)
            middleware.before_response_sync()
            result = self._take(item, answer)
        return result

    async def drive_async(self) -> Result:
        """To the end of an asynchronous function."""
        from inngest._shells.aio import execute

        result: Result | None = None
        while result is None:
            item, middleware = self._next(), self._middleware()
            call = self._call(item)
            api = self.client._api  # pyright: ignore[reportPrivateUsage]
            answer = await execute(self.function, call, client=self.client, middleware=middleware, api=api)
            await middleware.before_response()
            result = self._take(item, answer)
        return result

    def _next(self) -> _Item:
        """The next request, after what the server does before it."""
        while not self.items:
            if self.waits:
                op = self.waits.popleft()
                result = self.stubs.result_of(op)
                self.recorder.step_errors.extend(self.stubs.error_of(op))
                self._store(op["id"], result)
                continue
            self.idle_requests += 1
            if self.idle_requests > IDLE_REQUESTS_MAX:
                raise RunAbortedError(
                    f"{self.function.id!r} neither ends nor comes to a new step: it waits for something "
                    "that is no step"
                )
            self.items.append(_Item())
        return self.items.popleft()

    def _middleware(self) -> MiddlewareManager:
        self.recorder.function = None
        manager = MiddlewareManager(self.client, None, self.function)
        # `transform_output` runs in reverse order, so the first one sees what all others have made of it.
        manager.instances.insert(0, self.recorder)
        return manager

    def _call(self, item: _Item) -> CallRequest:
        events = tuple(_copied(event) for event in self.events)
        return CallRequest(
            run_id=RUN_ID,
            fn_id="",
            attempt=item.attempt,
            max_attempts=self.max_attempts,
            event=events[0],
            events=events,
            steps={hashed: _copied(memo) for hashed, memo in self.memos.items()},
            stack=tuple(self.memos),
            target=item.target,
            # Steps with a stub, and those that are planned already, must not run: each is announced first.
            plan_only=bool(self.stubs or self.items or self.waits),
            version=2,
        )

    def _take(self, item: _Item, answer: Answer) -> Result | None:
        """Store what a request reports; the result, when the run has ended with it."""
        body = json.loads(answer.text)
        if answer.status == 206:
            for op in body:
                if op["op"] == "RunComplete":
                    return self._completed(op["data"])
                self._take_op(item, op)
            return None
        if answer.status == 200:
            return self._completed(body)
        if self._is_worth_another_try(item, answer.headers):
            self.items.appendleft(_Item(item.target, item.attempt + 1))
            return None
        return self._failed(body)

    def _take_op(self, item: _Item, op: Mapping[str, Any]) -> None:
        hashed: str = op["id"]
        if _opts_of(op).get("parallelMode") == "race":
            self.alone.add(hashed)
        match op["op"]:
            case Kind.RUN.value:
                self._store(hashed, {"data": op["data"]})
            case Kind.FAILED.value:
                self._store(hashed, {"error": op["error"]})
            case Kind.ERROR.value:
                self.items.appendleft(_Item(item.target, item.attempt + 1))
            case Kind.PLANNED.value if not self.stubs.has(op):
                if all(hashed != other.target for other in self.items):
                    self.items.append(_Item(hashed))
            case _:
                if all(hashed != other["id"] for other in self.waits):
                    self.waits.append(op)

    def _store(self, hashed: str, memo: object) -> None:
        """A step is done: the function goes on, at the latest when all that were planned with it are."""
        self.memos.setdefault(hashed, memo)
        self.idle_requests = 0
        if len(self.memos) >= STEPS_MAX:
            raise RunAbortedError(
                f"{self.function.id!r} has done {STEPS_MAX} steps, which is as many as a run may have"
            )
        is_last = not self.items and not self.waits
        if (is_last or hashed in self.alone) and _Item() not in self.items:
            self.items.appendleft(_Item())

    def _is_worth_another_try(self, item: _Item, headers: Mapping[str, str]) -> bool:
        return headers.get("x-inngest-no-retry") != "true" and item.attempt + 1 < self.max_attempts

    def _completed(self, output: object) -> Result:
        seen = self.recorder.function
        # As the function returned it: a tuple is still one. The server would get its JSON form.
        return Result(Status.COMPLETED, output if seen is None else seen.output)

    def _failed(self, body: Mapping[str, Any]) -> Result:
        seen = self.recorder.function
        if seen is None or seen.error is None:
            # No middleware has seen it: an output without JSON form, for one.
            return Result(Status.FAILED, error=RunFailedError(body.get("name", ""), body.get("message", "")))
        error = seen.error
        if isinstance(error, StepError):
            for original in reversed(self.recorder.step_errors):
                if (_name_of(original), str(original)) == (error.name, error.message):
                    error = original
                    break
        return Result(Status.FAILED, error=error)


def _copied(value: Any) -> Any:
    """A copy, because what the code changes in one request is not there in the next."""
    try:
        return copy.deepcopy(value)
    except Exception:  # User code: a stub may be any object.
        return value


def _opts_of(op: Mapping[str, Any]) -> Mapping[str, Any]:
    return op.get("opts") or {}


def _name_of(error: Exception) -> str:
    return error.name if isinstance(error, Error) else type(error).__name__


def _outside_of_loops(work: Callable[[], T]) -> T:
    """Do it here; where an event loop runs, on another thread: plain functions never run inside a loop."""
    if not _is_loop_running():
        return work()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name="inngest-mocked")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_new_loop(work: Coroutine[Any, Any, T]) -> T:
    # Not `asyncio.run`: that would take away the loop which the thread may have set for its own tests.
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
