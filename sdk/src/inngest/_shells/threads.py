"""Run a plain function for one call request, in the calling thread.

A thread cannot be suspended from outside: when the code can go no further in this request, its stack is
unwound with `Suspended`, which no `except Exception` catches. The branches of `group.parallel` are walked one
after another, each until its first step without result; the request then reports what all of them wait for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import get_ident
from typing import TYPE_CHECKING, Any

from inngest._engine.answer import Answer
from inngest._engine.call import CallRequest
from inngest._engine.ids import StepId
from inngest._engine.memos import Output, StepMemos
from inngest._engine.ops import Op, run_complete
from inngest._engine.session import Execute, Found, Missing, Report, Session
from inngest._wire.empty import EMPTY
from inngest.context import ContextSync, ReplayLogger, context_fields
from inngest.errors import AsyncUnsupportedError
from inngest.group import GroupSync
from inngest.middleware import MiddlewareManager, TransformOutputResult, TransformOutputStepInfo
from inngest.step import StepSync

from .current import CURRENT_STEP, EXECUTING, ParallelMode
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
from .run_log import RunLog, refuse_nested, refuse_other_thread, unexpected

if TYPE_CHECKING:
    from inngest._http.api import Api
    from inngest.client import Inngest
    from inngest.function import Function


class Suspended(BaseException):
    """The function can go no further in this request; never to be caught by user code."""


def execute_sync(
    function: Function[Any],
    call: CallRequest,
    *,
    client: Inngest,
    middleware: MiddlewareManager,
    api: Api,
) -> Answer:
    """Go on with a run until it needs the server; see `aio.execute`."""
    memos = StepMemos.from_raw(call.steps)
    run = _RunSync(function, call, memos, client, middleware, api)
    try:
        ctx = run.context()
        middleware.run_sync("transform_input", ctx, function, memos)
        return run.drive(ctx)
    except Exception as error:  # Of middleware: user code. The function's own errors are answered in `drive`.
        run.log.failed(error)
        return failed_function(error)


@dataclass(eq=False)
class _RunSync:
    function: Function[Any]
    call: CallRequest
    memos: StepMemos
    client: Inngest
    middleware: MiddlewareManager
    api: Api
    found: list[Found] = field(default_factory=list[Found])
    """New steps of the branches of the group that is being walked."""

    def __post_init__(self) -> None:
        self.session = Session(self.call, self.memos)
        self.checkpoints = Checkpoints.of(self.function, self.call)
        self.log = RunLog(self.function, self.call, self.client)
        self._modes: list[ParallelMode] = []
        """Of the groups that the code is in, the innermost last."""
        self._answer: Answer | None = None
        self._is_leaving = False
        """The branch that runs now waits for a step: it is being unwound, and asks for no other one."""
        self._thread = get_ident()
        self._branch: object = object()
        """What stands for the branch of the code that runs now; the function itself outside of groups."""
        self._has_begun = False
        self._has_branches = False

    def context(self) -> ContextSync:
        """What the function is called with; it refers to this execution, which keeps no reference to it."""
        logger = ReplayLogger(self.client.logger, self._is_replaying)
        return ContextSync(**context_fields(self.call, logger, StepSync(self.client, self), GroupSync(self)))

    # Steps.

    def step(self, wanted: Wanted) -> Any:
        """The step as the code calls it: gives its result, or unwinds the code."""
        if self._answer is not None or self._is_leaving:
            raise Suspended
        refuse_other_thread(self._thread, self.function.id, wanted.step_id)
        refuse_nested(self, self.function.id, wanted.step_id)
        goes_alone = bool(self._modes) and self._modes[-1] is ParallelMode.RACE
        step = self.session.name(wanted.step_id, wanted.place, self._branch, races=goes_alone)
        if self.session.has(step):
            output = self.session.take(step)
            self._after_replay()
            return read_result(wanted, output, self.client.serializer)
        found = Found(wanted.op(step), wanted.handler is not None, goes_alone, wanted.place)
        output = self._run_new(wanted, found)
        return read_result(wanted, output, self.client.serializer)

    def _run_new(self, wanted: Wanted, found: Found) -> Output:
        is_target = self.call.target == found.op.step.hashed
        if self._modes and not is_target:
            self.found.append(found)
            self._is_leaving = True
            raise Suspended
        match self.session.decide([found], in_parallel=self.session.is_racing):
            case Execute(one):
                return self._run_step(wanted, one)
            case Report(ops):
                self._end(self._flush() or self._report(ops))
            case Missing() | None:
                self._end(self._missing([found]))
        raise Suspended

    def parallel(self, branches: tuple[Callable[[], Any], ...], mode: ParallelMode) -> tuple[Any, ...]:
        """Walk the branches; their results, when no step of theirs is missing any more."""
        self._has_branches = True
        results: list[Any] = []
        errors: list[Exception] = []
        is_suspended = False
        outer = self._branch
        self._modes.append(mode)
        try:
            for branch in branches:
                self._branch = object()
                try:
                    results.append(branch())
                except Suspended:
                    if self._answer is not None:
                        raise
                except Exception as error:
                    errors.append(error)
                # Not by `Suspended` alone: a branch may have swallowed it, or raised something over it.
                is_suspended = is_suspended or self._is_leaving
                self._is_leaving = False
        finally:
            self._branch = outer
            self._modes.pop()
        if self._answer is not None:
            raise Suspended
        if is_suspended:
            self._end_group()
            self._is_leaving = True
            raise Suspended
        if errors:
            raise errors[0]
        return tuple(results)

    def _end_group(self) -> None:
        """Report the new steps of all branches; those of a group inside another are reported with the outer
        one.
        """
        if self._modes:
            return
        found, self.found = self.found, []
        match self.session.decide(found, in_parallel=True):
            case Report(ops):
                answer = self._flush() or self._report(ops)
            case Missing() | Execute() | None:
                answer = self._missing(found)
        self._end(answer)

    def _run_step(self, wanted: Wanted, found: Found) -> Output:
        if len(self.checkpoints.unsaved) >= self.checkpoints.buffered_steps_max:
            self._end(self._flush())
        self._warn_of_mismatch(found)
        self._begin()
        try:
            value = self._execute(wanted, found.op.step)
        except Exception as error:
            self._end(self._fail_step(found, error))
            raise Suspended from None
        return Output(self._complete_step(found, value))

    def _execute(self, wanted: Wanted, step: StepId) -> object:
        token = EXECUTING.set((self, step.text))
        try:
            arguments = self.session.input_of(step)
            with self.middleware.around_step(step.text):
                value = wanted.execute(arguments)
            if inspect.isawaitable(value):
                if inspect.iscoroutine(value):
                    value.close()
                raise AsyncUnsupportedError(
                    f"the handler of step {step.text!r} is asynchronous, but function {self.function.id!r} "
                    "is plain; make the function `async def` and await its steps, or this handler plain"
                )
            return untyped(value, wanted.output_type, self.client.serializer)
        except SystemExit as error:
            raise RuntimeError(f"the step raised SystemExit: {error}") from error
        finally:
            EXECUTING.reset(token)

    def _complete_step(self, found: Found, value: object) -> object:
        """Report or save a step's result; what the code gets of it when it may go on."""
        op = found.op
        what = f"step {op.step.text!r} of {self.function.id!r}"
        try:
            text = json_text(what, value)
            sent = text
            may_continue = self.checkpoints.may_continue()
            if not may_continue:
                self.middleware.run_sync("after_execution")
            if self.middleware.hooks("transform_output"):
                output = self._transform(reread(text) if may_continue else value, None, op)
                if output.error is not None:
                    raise output.error
                sent = json_text(what, output.output)
        except Exception as error:
            self._end(self._fail_step(found, error, is_transformed=True))
            raise Suspended from None
        self.checkpoints.unsaved.append(op.to_json(sent))
        if not may_continue or sent != text:
            ops, self.checkpoints.unsaved = self.checkpoints.unsaved, []
            self._end(reported(ops))
        if len(self.checkpoints.unsaved) >= self.checkpoints.buffered_steps_max:
            # At once: no timer could save it while the code keeps this thread.
            self._end(self._flush())
        return reread(text)

    def _fail_step(self, found: Found, error: Exception, *, is_transformed: bool = False) -> Answer:
        self.log.failed(error, found.op.step)
        if not is_transformed:
            self.middleware.run_sync("after_execution")
            error = self._transform(EMPTY, error, found.op).error or error
        op, headers = failed_op(found, error, self.call)
        unsaved, self.checkpoints.unsaved = self.checkpoints.unsaved, []
        return reported([*unsaved, op], headers)

    def _transform(
        self, value: object, error: Exception | None, op: Op | None, *, is_request: bool = False
    ) -> TransformOutputResult:
        info = TransformOutputStepInfo(op.step.user_id, op.kind.value, op.opts) if op is not None else None
        result = TransformOutputResult(error, value, info, is_request=is_request)
        self.middleware.run_sync("transform_output", result)
        return result

    # The request.

    def drive(self, ctx: ContextSync) -> Answer:
        """Run the function until there is an answer."""
        self.middleware.run_sync("before_memoization")
        self._after_replay()
        token = CURRENT_STEP.set(ctx.step)
        try:
            value = self._call_function(ctx)
        except Suspended:
            if self._answer is None:
                return failed_function(RuntimeError("the function was suspended outside of a request"))
            return self._answer
        except Exception as error:
            return self._answer or self._fail(error)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raised = RuntimeError(f"the function raised {type(error).__name__}: {error}")
            return self._answer or self._fail(raised)
        finally:
            CURRENT_STEP.reset(token)
        if self._answer is not None:
            self.log.went_on("do not catch BaseException around steps")
            return self._answer
        return self._finish(value)

    def _call_function(self, ctx: ContextSync) -> object:
        handler: Any = self.function.handler
        return handler(ctx, ctx.step) if self.function.takes_step else handler(ctx)

    def _end(self, answer: Answer | None) -> None:
        """Unwind the code if the request has an answer."""
        if answer is not None:
            self._answer = answer
            raise Suspended

    def _report(self, ops: Sequence[Op]) -> Answer:
        """Answer with steps that have no result yet; middleware may change what they ask for."""
        self.middleware.run_sync("after_execution")
        if self.middleware.hooks("transform_output"):
            for op in ops:
                self._transform(None, None, op, is_request=True)
        return reported([op.to_json() for op in ops])

    def _missing(self, found: list[Found]) -> Answer:
        error = unexpected(self.function.id, self.call.target, found)
        self.log.failed(error)
        return failed_function(error)

    def _finish(self, value: object) -> Answer:
        self._warn_of_mismatch(None)
        self._begin()
        try:
            what = f"function {self.function.id!r}"
            value = untyped(value, self.function.output_type, self.client.serializer)
            self.middleware.run_sync("after_execution")
            result = self._transform(value, None, None)
            if result.error is not None:
                return self._fail(result.error, is_transformed=True)
            text = json_text(what, result.output)
        except Exception as error:
            return self._fail(error, is_transformed=True)
        unsaved, self.checkpoints.unsaved = self.checkpoints.unsaved, []
        return reported([*unsaved, run_complete(text)]) if unsaved else Answer(200, text)

    def _fail(self, error: Exception, *, is_transformed: bool = False) -> Answer:
        answer = self._flush()
        if answer is not None:
            return answer
        self.log.failed(error)
        if not is_transformed:
            self._begin()
            self.middleware.run_sync("after_execution")
            error = self._transform(EMPTY, error, None).error or error
        return failed_function(error)

    def _flush(self) -> Answer | None:
        """Save results that are not saved; an answer when the request has to end with them."""
        if not self.checkpoints.unsaved:
            return None
        status = self.api.checkpoint_sync(self.call.run_id, self.checkpoints.body())
        return self.checkpoints.answered(status)

    # Hooks and log.

    def _is_replaying(self) -> bool:
        return self.session.is_replaying

    def _after_replay(self) -> None:
        if not self.session.is_replaying:
            self._begin()

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self.middleware.run_sync("after_memoization")
            self.middleware.run_sync("before_execution")

    def _warn_of_mismatch(self, new: Found | None) -> None:
        self.log.doubted(self.session)
        if not self._has_branches:
            self.log.mismatched(self.session, new)
