"""Run an asynchronous function for one call request.

The function runs as a task of its own. Each of its steps suspends, wherever it is awaited: in the function,
in a `gather`, in a `TaskGroup`. When nothing has moved for some turns of the event loop, the code can go no
further without a step, and what happens next is decided: stored results are handed out in the order in which
they were stored, so that a replay sees every race end as it did; then the only new step is executed, or all
are reported.

A step is executed inside the task that awaits it, with that task's context variables. When the request has
its answer, the function's tasks are cancelled: what is left of the code runs in a later request.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, cast

from inngest._engine.answer import Answer
from inngest._engine.call import CallRequest
from inngest._engine.ids import StepId
from inngest._engine.memos import Output, StepMemos
from inngest._engine.ops import Op, run_complete
from inngest._engine.session import Execute, Found, Missing, Report, Session
from inngest._wire.empty import EMPTY
from inngest.context import Context, ReplayLogger, context_fields
from inngest.group import Group
from inngest.middleware import MiddlewareManager, TransformOutputResult, TransformOutputStepInfo
from inngest.step import Step

from .branches import Begun, begin
from .current import CURRENT_STEP, EXECUTING, PARALLEL_MODE, ParallelMode
from .results import (
    Checkpoints,
    Wanted,
    failed_function,
    failed_op,
    json_text,
    read_result,
    reported,
    reread,
    untyped,
)
from .run_log import RunLog, refuse_nested, unexpected
from .waits import Asked, Done, Executing, Wait

if TYPE_CHECKING:
    from inngest._http.api import Api
    from inngest.client import Inngest
    from inngest.function import Function

START_TURNS = 3
"""Turns of the loop until code that waits for nothing but steps has asked for them."""
QUIET_TURNS = 10
"""Turns of the loop without news after which branches are taken to wait for steps.

A `gather` or `TaskGroup` inside another needs two turns for each level until its steps appear or its end is
seen. A step that comes later is found in the next request.
"""
QUIET_TURNS_ALONE = 2
"""The same while only the function's own task has asked for steps."""
FLUSH_AFTER_S = 0.05
"""A result is saved at the latest when the code has not come to its next step by then."""
TARGET_WAIT_S = 10.0
"""How long a planned step may take to be reached again by the code before it."""
BLOCKED_S = 1.0
"""A plain function that keeps the event loop longer than that is worth a warning."""
CANCEL_ROUNDS = 3
CANCEL_ROUND_S = 1.0
CANCEL_MAIN_S = 0.02
"""How long the function's own task may take to end its branches, before they are cancelled as well."""
REFUSALS_MAX = 100
"""How often one task that goes on after the answer is cancelled for asking for a step."""


async def execute(
    function: Function[Any],
    call: CallRequest,
    *,
    client: Inngest,
    middleware: MiddlewareManager,
    api: Api,
    begun: Callable[[int], None] = lambda asked: None,
) -> Answer:
    """Go on with a run until it needs the server: one step further, several with checkpoints, or to its end.

    `begun` is called, more than once perhaps, when the code waits for steps or for something else, with the
    number of steps that it has asked for.
    Raises only `CancelledError`, when the request was given up; the function's tasks are cancelled then.
    """
    memos = StepMemos.from_raw(call.steps)
    run = _Run(function, call, memos, client, middleware, api, begun)
    try:
        ctx = run.context()
        await middleware.run("transform_input", ctx, function, memos)
        return await run.drive(ctx)
    except asyncio.CancelledError:
        raise
    except Exception as error:  # Of middleware: user code. The function's own errors are answered in `drive`.
        run.log.failed(error)
        return failed_function(error)
    finally:
        await run.close()


@dataclass(eq=False)
class _Run:
    function: Function[Any]
    call: CallRequest
    memos: StepMemos
    client: Inngest
    middleware: MiddlewareManager
    api: Api
    begun: Callable[[int], None]
    parked: dict[str, Asked] = field(default_factory=dict[str, Asked])
    """Steps whose results are stored, and that wait for their turn."""
    waiting: dict[str, Asked] = field(default_factory=dict[str, Asked])
    """Steps without results."""

    def __post_init__(self) -> None:
        self.session = Session(self.call, self.memos)
        self.checkpoints = Checkpoints.of(self.function, self.call)
        self.log = RunLog(self.function, self.call, self.client)
        self._loop = asyncio.get_running_loop()
        self._main: asyncio.Task[Any] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._moves = 0
        self._wake: asyncio.Future[None] | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self._is_flush_due = False
        self._created: list[tuple[object, Wanted]] | None = None
        """Steps that the branches of a group are made of, while those are called."""
        self._open_groups = 0
        self._has_branches = False
        self._has_losers = False
        """The code gave up a branch whose step may be under way; its result brings a request of its own."""
        self._is_closed = False
        self._has_begun = False
        self._missing_since: float | None = None
        self._refused: Counter[asyncio.Task[Any]] = Counter()

    def context(self) -> Context:
        """What the function is called with; it refers to this execution, which keeps no reference to it."""
        logger = ReplayLogger(self.client.logger, self._is_replaying)
        return Context(**context_fields(self.call, logger, Step(self.client, self), Group(self)))

    # The side of the code: steps.

    def step(self, wanted: Wanted) -> Coroutine[Any, Any, Any]:
        """The step as the code awaits it."""
        coroutine = self._step(wanted)
        coroutine.__qualname__ = f"step {wanted.step_id}"  # Python names it when nobody awaits it.
        if self._created is not None:
            self._created.append((coroutine, wanted))
        return coroutine

    async def _step(self, wanted: Wanted) -> Any:
        task = await self._enter((wanted,))
        goes_alone = self._goes_alone(task)
        races = goes_alone and (task is not self._main or self._is_parallel())
        is_main = task is self._main
        step = self.session.name(wanted.step_id, wanted.place, task, races=races)
        del task  # Its traceback, when it is cancelled, refers to this frame: see `close`.
        if is_main and not self.parked and not self.waiting and self._is_next(step):
            output = self.session.take(step)
        else:
            (output,) = await self._outputs(self._wait_for([(wanted, step)], goes_alone=goes_alone))
        await self._after_replay()
        return read_result(wanted, output, self.client.serializer)

    def begin(self, branches: Sequence[Callable[[], Awaitable[Any]]]) -> list[Begun]:
        """Call the branches of a group."""
        created = self._created = []
        try:
            return begin(branches, created, self.session.is_target)
        finally:
            self._created = None

    async def together(self, wanted: Sequence[Wanted]) -> list[Any]:
        """The results of steps that the code awaits together; an error for each that failed.

        As tasks they would be the same, but a request for one of a thousand would make a thousand.
        """
        self._has_branches = True
        self._open_groups += 1
        try:
            # One branch: the steps of a group come in its order, whatever the time.
            branch = await self._enter(wanted)
            name = self.session.name
            asked = [(one, name(one.step_id, one.place, branch, races=False)) for one in wanted]
            del branch  # As in `_step`.
            outputs = await self._outputs(self._wait_for(asked, goes_alone=False))
            await self._after_replay()
        finally:
            self._open_groups -= 1
        results: list[Any] = []
        for one, output in zip(wanted, outputs, strict=True):
            try:
                results.append(read_result(one, output, self.client.serializer))
            except Exception as error:
                results.append(error)
        return results

    async def _enter(self, wanted: Sequence[Wanted]) -> asyncio.Task[Any]:
        """Admit steps of the current task, which has to be one of a request that goes on."""
        task = asyncio.current_task()
        assert task is not None
        if self._is_closed:
            await self._never(task)
        refuse_nested(self, self.function.id, wanted[0].step_id)
        self._tasks.add(task)
        return task

    def _is_next(self, step: StepId) -> bool:
        return self.session.has(step) and self.session.is_next(step)

    def _wait_for(self, asked: Sequence[tuple[Wanted, StepId]], *, goes_alone: bool) -> Wait:
        wait = Wait(self._loop.create_future(), missing=len(asked))
        for wanted, step in asked:
            one = Asked(wanted, step, goes_alone, wait)
            wait.steps.append(one)
            (self.parked if self.session.has(step) else self.waiting)[step.hashed] = one
        self._moved()
        return wait

    async def _outputs(self, wait: Wait) -> list[Output]:
        """Execute what shall be executed in this task, and wait for the rest."""
        try:
            while (asked := await wait.next) is not None:
                executing = asked.executing
                assert executing is not None
                wait.next = self._loop.create_future()
                executing.done.set_result(await self._execute(asked.wanted, asked.step))
                output = await executing.result
                del self.waiting[asked.step.hashed]
                asked.give(output)
            return [cast(Output, one.output) for one in wait.steps]
        finally:
            if not self._is_closed:
                for one in wait.steps:
                    self._give_up(one)
                self._moved()
            wait.steps.clear()  # They refer to it.
            del wait  # As in `_step`.

    def _give_up(self, asked: Asked) -> None:
        """The code waits no longer for a step; without a result that is a time-out of its own, for one."""
        if asked.output is not None or self.parked.pop(asked.step.hashed, None) is not None:
            return
        self.waiting.pop(asked.step.hashed, None)
        executing = asked.executing
        if executing is None or not executing.done.done():
            self._has_losers = self._has_losers or self._has_branches
        if executing is not None and not executing.done.done():
            executing.done.set_result(Done(given_up=True))

    async def _execute(self, wanted: Wanted, step: StepId) -> Done:
        """Execute the step's handler here, in the task that awaits it."""
        token = EXECUTING.set((self, step.text))
        try:
            arguments = self.session.input_of(step)
            with self.middleware.around_step(step.text):
                began = time.perf_counter()
                value = wanted.execute(arguments)
                if inspect.isawaitable(value):
                    value = await value
                elif time.perf_counter() - began > BLOCKED_S:
                    self.log.blocked(step, time.perf_counter() - began)
            return Done(untyped(value, wanted.output_type, self.client.serializer))
        except Exception as error:
            return Done(error=error)
        except SystemExit as error:
            return Done(error=RuntimeError(f"the step raised SystemExit: {error}"))
        except asyncio.CancelledError:
            if _is_cancelled(asyncio.current_task()):  # In no variable: see `close`.
                raise
            # Nobody cancelled this task: the handler waited for something that was. A `TaskGroup` would take
            # the branch for cancelled and go on without the step.
            return Done(error=RuntimeError("the step waited for something that was cancelled"))
        finally:
            EXECUTING.reset(token)

    def _goes_alone(self, task: asyncio.Task[Any]) -> bool:
        """Whether the code goes on after this step while others are still running.

        A step that is itself the task, as in `gather(step.run(...), ...)`, is one of several that the code
        waits for; a branch of the user's own goes on by itself.
        """
        if task is not self._main:
            self._has_branches = True
        mode = PARALLEL_MODE.get()
        if mode is not None:
            return mode is ParallelMode.RACE
        coroutine: object = task.get_coro()
        return getattr(coroutine, "cr_code", None) is not _Run._step.__code__

    def _is_parallel(self) -> bool:
        """Whether branches are under way: groups, and tasks, other than the function's own, that asked for
        steps.
        """
        if self._open_groups:
            return True
        return self._has_branches and any(not task.done() for task in self._tasks if task is not self._main)

    def _is_alone(self) -> bool:
        """Whether no other request can be where this one is, so that a step may be executed at once."""
        return not (self._is_parallel() or self._has_losers or self.session.is_racing)

    # The other side: deciding.

    async def drive(self, ctx: Context) -> Answer:
        """Run the function until there is an answer."""
        await self.middleware.run("before_memoization")
        await self._after_replay()
        self._main = self._loop.create_task(self._call_function(ctx))
        self._main.add_done_callback(self._moved)
        while True:
            await self._settle()
            self._let_others_begin()
            answer = await self._next(self._main)
            if answer is not None:
                return answer

    async def _next(self, main: asyncio.Task[Any]) -> Answer | None:
        if self._is_flush_due and not main.done():
            return await self._flush()
        if main.done():
            return await self._finish(main)
        # A planned step is executed as soon as it is found again: with results that were stored after it was
        # planned, the code may not want it any more (a lost race, a `TaskGroup` with an error).
        if self.parked and not self._is_target_found():
            self._hand_out()
            return None
        if not self._has_begun and not self.session.is_replaying:
            # The last stored result went to a group that waits for others. The code may move while hooks run.
            await self._begin()
            return None
        target = self.waiting.get(self.call.target) if self.call.target is not None else None
        found = [target.found] if target is not None else [one.found for one in self.waiting.values()]
        match self.session.decide(found, in_parallel=not self._is_alone()):
            case Execute(one):
                return await self._run_step(self.waiting[one.op.step.hashed], one)
            case Report(ops):
                return await self._flush() or await self._report(ops)
            case Missing():
                return await self._await_target()
            case None:
                return None

    def _is_target_found(self) -> bool:
        target = self.waiting.get(self.call.target) if self.call.target is not None else None
        return target is not None and target.can_begin

    async def _call_function(self, ctx: Context) -> Any:
        CURRENT_STEP.set(ctx.step)
        handler: Any = self.function.handler
        try:
            if self.function.takes_step:
                return await handler(ctx, ctx.step)
            return await handler(ctx)
        except SystemExit as error:  # Out of a task it would end the whole process.
            raise RuntimeError(f"the function raised SystemExit: {error}") from error

    def _let_others_begin(self) -> None:
        self.begun(len(self.session.places))

    async def _settle(self) -> None:
        """Return when the function has ended, or the code waits for steps and nothing moves any more."""
        assert self._main is not None
        # What is about to run, where the loop is asyncio's own: without that, only time can move the code.
        ready: object = getattr(self._loop, "_ready", None)
        turns = START_TURNS
        while not self._main.done() and not self._is_flush_due:
            if self._is_target_found():
                return
            if not self.parked and not self.waiting:
                if turns:
                    turns -= 1
                    await asyncio.sleep(0)
                    continue
                self._let_others_begin()
                self._wake = self._loop.create_future()
                await self._wake
                continue
            self._let_others_begin()
            moves = self._moves
            for _ in range(QUIET_TURNS if self._has_branches else QUIET_TURNS_ALONE):
                await asyncio.sleep(0)
                if moves != self._moves:
                    break
                if ready is not None and not ready:
                    return
            else:
                return

    def _moved(self, _: object = None) -> None:
        self._moves += 1
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _hand_out(self) -> None:
        """Give out the next stored results: all that were awaited together, or one of a race."""

        def position(parked: Asked) -> int:
            return self.session.position(parked.step)

        first = min(self.parked.values(), key=position)
        # Sorting for each of a thousand racing branches would take longer than all the rest.
        in_order = [first] if first.goes_alone else sorted(self.parked.values(), key=position)
        for number, parked in enumerate(in_order):
            if parked.goes_alone and number > 0:
                break
            del self.parked[parked.step.hashed]
            parked.give(self.session.take(parked.step))
            if parked.goes_alone:
                break
        self._moved()

    async def _run_step(self, asked: Asked, found: Found) -> Answer | None:
        """Execute a step and say how the request ends, or None when the code goes on after it."""
        if len(self.checkpoints.unsaved) >= self.checkpoints.buffered_steps_max:
            answer = await self._flush()
            if answer is not None:
                return answer
        self._warn_of_mismatch(found)
        await self._begin()
        if not asked.can_begin:  # Given up meanwhile: a time-out in user code, for one.
            return None
        executing = Executing(self._loop.create_future(), self._loop.create_future())
        asked.executing = executing
        asked.wait.next.set_result(asked)
        done = await executing.done
        if done.given_up:
            return None
        if done.error is not None:
            return await self._fail_step(found, done.error)
        return await self._complete_step(executing, found, done.value)

    async def _complete_step(self, executing: Executing, found: Found, value: object) -> Answer | None:
        op = found.op
        what = f"step {op.step.text!r} of {self.function.id!r}"
        hooks = self.middleware.hooks("transform_output")
        try:
            text = json_text(what, value)
            sent = text
            may_continue = self.checkpoints.may_continue()
            if hooks:
                if not may_continue:
                    await self.middleware.run("after_execution")
                output = await self._transform(reread(text) if may_continue else value, None, op)
                if output.error is not None:
                    return await self._fail_step(found, output.error, is_transformed=True)
                sent = json_text(what, output.output)
            elif not may_continue:
                await self.middleware.run("after_execution")
        except Exception as error:
            return await self._fail_step(found, error, is_transformed=True)
        self.checkpoints.unsaved.append(op.to_json(sent))
        if not may_continue or sent != text or executing.result.done():
            ops, self.checkpoints.unsaved = self.checkpoints.unsaved, []
            return reported(ops)
        executing.result.set_result(Output(reread(text)))
        self._flush_timer = self._loop.call_later(FLUSH_AFTER_S, self._make_flush_due)
        return None

    async def _fail_step(self, found: Found, error: Exception, *, is_transformed: bool = False) -> Answer:
        self.log.failed(error, found.op.step)
        await self.middleware.run("after_execution")
        if not is_transformed:
            output = await self._transform(EMPTY, error, found.op)
            if output.error is not None:
                error = output.error
        op, headers = failed_op(found, error, self.call)
        unsaved, self.checkpoints.unsaved = self.checkpoints.unsaved, []
        return reported([*unsaved, op], headers)

    async def _transform(
        self, value: object, error: Exception | None, op: Op | None, *, is_request: bool = False
    ) -> TransformOutputResult:
        info = TransformOutputStepInfo(op.step.user_id, op.kind.value, op.opts) if op is not None else None
        result = TransformOutputResult(error, value, info, is_request=is_request)
        await self.middleware.run("transform_output", result)
        return result

    async def _report(self, ops: Sequence[Op]) -> Answer:
        """Answer with steps that have no result yet; middleware may change what they ask for."""
        await self.middleware.run("after_execution")
        if self.middleware.hooks("transform_output"):
            for op in ops:
                await self._transform(None, None, op, is_request=True)
        return reported([op.to_json() for op in ops])

    async def _await_target(self) -> Answer | None:
        """Let the code before the planned step take its time; without other branches it can go no further."""
        self._missing_since = self._missing_since or time.monotonic()
        left_s = self._missing_since + TARGET_WAIT_S - time.monotonic()
        if self._has_branches and left_s > 0:
            self._wake = self._loop.create_future()
            await asyncio.wait([self._wake], timeout=left_s)
            return None
        error = unexpected(self.function.id, self.call.target, [one.found for one in self.waiting.values()])
        self.log.failed(error)
        return failed_function(error)

    # The end.

    async def _finish(self, main: asyncio.Task[Any]) -> Answer:
        """The answer for a function that has returned or raised."""
        if main.cancelled():
            return await self._fail(RuntimeError("the function cancelled itself"))
        error = main.exception()
        if isinstance(error, Exception):
            return await self._fail(error)
        if error is not None:
            return await self._fail(RuntimeError(f"the function raised {type(error).__name__}: {error}"))
        self._warn_of_mismatch(None)
        await self._begin()
        value: object = main.result()
        try:
            what = f"function {self.function.id!r}"
            if inspect.isawaitable(value):
                json_text(what, value)
            value = untyped(value, self.function.output_type, self.client.serializer)
            await self.middleware.run("after_execution")
            result = await self._transform(value, None, None)
            if result.error is not None:
                return await self._fail(result.error, is_transformed=True)
            text = json_text(what, result.output)
        except Exception as error:
            return await self._fail(error, is_transformed=True)
        unsaved, self.checkpoints.unsaved = self.checkpoints.unsaved, []
        return reported([*unsaved, run_complete(text)]) if unsaved else Answer(200, text)

    async def _fail(self, error: Exception, *, is_transformed: bool = False) -> Answer:
        answer = await self._flush()
        if answer is not None:
            return answer
        self.log.failed(error)
        if not is_transformed:
            await self._begin()
            await self.middleware.run("after_execution")
            result = await self._transform(EMPTY, error, None)
            error = result.error or error
        return failed_function(error)

    async def close(self) -> None:
        """Cancel what is left of the function: it goes on in a later request."""
        self._is_closed = True
        self._let_others_begin()  # Code that is cancelled may take its time.
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        if self._main is not None:
            self._tasks.add(self._main)
            if not self._main.done():
                # What cancels its own branches, as `gather` does, needs no help with them.
                self._main.cancel()
                await asyncio.wait([self._main], timeout=CANCEL_MAIN_S)
        for _ in range(CANCEL_ROUNDS):
            running = [task for task in self._tasks if not task.done()]
            if not running:
                break
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=CANCEL_ROUND_S)
        else:
            self.log.went_on("do not catch CancelledError without raising it again")
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.exception()  # Seen: what code does while it is cancelled is nobody's result.
        # Without circles most of a request is freed at once; the collector would cost more than all the rest.
        self._tasks.clear()
        self.waiting.clear()
        self.parked.clear()
        self.session.forget()
        self._main = None

    async def _never(self, task: asyncio.Task[Any]) -> NoReturn:
        """The request has its answer: whoever asks for another step is cancelled again.

        At once, as `finally` blocks with steps would hold the answer up; not for ever, as code that swallows
        it would go round in circles.
        """
        self._refused[task] += 1
        if self._refused[task] <= REFUSALS_MAX:
            task.cancel()
        await self._loop.create_future()
        raise AssertionError("nobody sets this future")

    # Checkpoints.

    def _make_flush_due(self) -> None:
        self._is_flush_due = True
        self._moved()

    async def _flush(self) -> Answer | None:
        """Save results that are not saved; an answer when the request has to end with them."""
        self._is_flush_due = False
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        if not self.checkpoints.unsaved:
            return None
        status = await self.api.checkpoint(self.call.run_id, self.checkpoints.body())
        return self.checkpoints.answered(status)

    # Hooks and log.

    def _is_replaying(self) -> bool:
        return self.session.is_replaying

    async def _after_replay(self) -> None:
        """Tell middleware when the last stored result was handed out."""
        if not self.session.is_replaying:
            await self._begin()

    async def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            await self.middleware.run("after_memoization")
            await self.middleware.run("before_execution")

    def _warn_of_mismatch(self, new: Found | None) -> None:
        self.log.doubted(self.session)
        if not self._has_branches and not self.parked:  # Branches that lost a race leave results behind.
            self.log.mismatched(self.session, new)


def _is_cancelled(task: asyncio.Task[Any] | None) -> bool:
    return task is None or task.cancelling() > 0
