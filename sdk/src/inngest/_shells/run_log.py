"""What the client's log is told about one request, and the errors of steps used wrongly."""

from __future__ import annotations

from collections.abc import Iterable
from threading import get_ident
from typing import TYPE_CHECKING, Any

from inngest._engine.ids import StepId
from inngest._engine.session import Found, Session
from inngest.errors import NestedStepError, StepUnexpectedError, StepUsageError

from .current import EXECUTING
from .failures import is_quiet, user_frames

if TYPE_CHECKING:
    from inngest._engine.call import CallRequest
    from inngest.client import Inngest
    from inngest.function import Function


class RunLog:
    """One request's way to the client's logger."""

    def __init__(self, function: Function[Any], call: CallRequest, client: Inngest) -> None:
        self._function = function
        self._call = call
        self._logger: Any = client.logger
        self._has_warned = False
        self._has_doubted = False

    def failed(self, error: BaseException, step: StepId | None = None) -> None:
        """What user code raised, unless it asks for silence."""
        if is_quiet(error):
            return
        where = f"function {self._function.id!r}"
        if step is not None:
            where = f"step {step.text!r} of {where}"
        trace = (type(error), error, user_frames(error.__traceback__))
        self._logger.error("%s failed in run %s", where, self._call.run_id, exc_info=trace)

    def blocked(self, step: StepId, seconds: float) -> None:
        self._logger.warning(
            "step %r of %s kept the event loop for %.1f s: meanwhile nothing else of this process ran; "
            "make its handler async, or use asyncio.to_thread in it",
            step.text,
            self._function.id,
            seconds,
        )

    def mismatched(self, session: Session, new: Found | None) -> None:
        """Once for each request: the code's steps are not those that are stored."""
        if self._has_warned:
            return
        mismatch = session.describe_mismatch(new)
        if mismatch is not None:
            self._has_warned = True
            self._logger.warning("%s, run %s: %s", self._function.id, self._call.run_id, mismatch)

    def doubted(self, session: Session) -> None:
        """Once for each request: two branches share an id."""
        step = session.doubtful
        if step is not None and not self._has_doubted:
            self._has_doubted = True
            self._logger.warning(
                "%s: the step id %r is used in several parallel branches (last in %s); which of them gets "
                "which result depends on the order in which they come to it: give each branch ids of its own",
                self._function.id,
                step.user_id,
                session.places[step.hashed][1],
            )

    def went_on(self, hint: str) -> None:
        """User code that goes on although its request has been answered."""
        self._logger.error(
            "%s of run %s goes on after its request was answered; %s",
            self._function.id,
            self._call.run_id,
            hint,
        )


def refuse_nested(execution: object, function_id: str, step_id: str) -> None:
    """No step begins while the handler of another one of the same request runs.

    Raises:
        NestedStepError: it would.
    """
    executing = EXECUTING.get()
    if executing is not None and executing[0] is execution:
        raise NestedStepError(
            f"step {step_id!r} was started inside step {executing[1]!r} of {function_id!r}: steps cannot "
            "contain steps; call it in the function itself, after or beside that step"
        )


def refuse_other_thread(own: int, function_id: str, step_id: str) -> None:
    """No step begins in a thread that a plain function started: it could not be suspended with the function.

    Raises:
        StepUsageError: it would.
    """
    if get_ident() != own:
        raise StepUsageError(
            f"step {step_id!r} of {function_id!r} was started in a thread of its own: steps belong into the "
            "function's thread; for several at once use ctx.group.parallel, which gives each step a request, "
            "and so a thread"
        )


def unexpected(function_id: str, target: str | None, found: Iterable[Found]) -> StepUnexpectedError:
    """The error for a planned step that the code does not come to."""
    names = ", ".join(f"{one.op.step.text!r} ({one.place})" for one in found) or "no step"
    return StepUnexpectedError(
        f"{function_id!r} was asked to run the step with id {target}, but its code waits for {names} now: "
        "steps were renamed, reordered or removed since that step was planned, or their order depends on "
        "something outside of steps"
    )
