"""Errors of user code, as they go to the server (protocol 4.4, 4.7)."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from inngest._engine.memos import MemoError
from inngest._engine.session import Place
from inngest.errors import (
    Error,
    NonRetriableError,
    NonRetriableStepError,
    OutputUnserializableError,
    RetryAfterError,
    StepError,
)

OWN_FOLDER = f"{Path(__file__).parent.parent}{os.sep}"
STACK_CHARS_MAX = 32 * 1024
"""Of a traceback; its end says what happened, so that is what is kept."""
CAUSES_MAX = 5


def error_json(error: BaseException) -> dict[str, object]:
    """The error object: name, message, traceback from the user's first line on, and what caused it."""
    error = single(error)
    described: dict[str, object] = {
        "code": error.code if isinstance(error, Error) else "unknown",
        "name": error.name if isinstance(error, Error) else type(error).__name__,
        "message": message_of(error),
    }
    stack = _stack_of(error)
    if stack:
        described["stack"] = stack
    cause = _cause_json(error, CAUSES_MAX)
    if cause is not None:
        described["cause"] = cause
    return described


def message_of(error: BaseException) -> str:
    """What the error says; its parts, too, when it is a group."""
    try:
        text = error.message if isinstance(error, Error) else str(error)
    except Exception as broken:  # User code: the `__str__` of an error may fail as well.
        text = f"(the error's own text cannot be made: {type(broken).__name__})"
    if isinstance(error, BaseExceptionGroup):
        parts = "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves(cast(BaseException, error)))
        return f"{text}: {parts}"
    return text or type(error).__name__


def is_final(error: BaseException) -> bool:
    """Whether a further try cannot help; of a group, when none of its errors is worth another."""
    return all(isinstance(leaf, Error) and not leaf.is_retriable for leaf in leaves(error))


def retry_after(error: BaseException) -> str | None:
    """The `retry-after` header for an error that chose its time; the latest one of a group."""
    chosen = [leaf for leaf in leaves(error) if isinstance(leaf, RetryAfterError)]
    return max(chosen, key=lambda one: one.retry_after).header() if chosen else None


def headers_for(error: BaseException) -> dict[str, str]:
    """What the answer's headers say about another try."""
    if is_final(error):
        return {"x-inngest-no-retry": "true"}
    after = retry_after(error)
    return {"retry-after": after} if after is not None else {}


def is_quiet(error: BaseException) -> bool:
    return all(isinstance(leaf, Error) and leaf.quiet for leaf in leaves(error))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The error itself, or those of a group and its groups."""
    if isinstance(error, BaseExceptionGroup):
        for part in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from leaves(part)
    else:
        yield error


def single(error: BaseException) -> BaseException:
    """A group of one is as good as that one: `TaskGroup` wraps each error."""
    found = list(leaves(error))
    return found[0] if len(found) == 1 else error


def step_error(memo: MemoError) -> StepError:
    """What the code catches for a step that failed for good."""
    is_non_retriable = memo.name == NonRetriableError.__name__ or memo.is_final
    kind = NonRetriableStepError if is_non_retriable else StepError
    return kind(memo.message, memo.name, memo.stack)


def unserializable(what: str, value: object, error: Exception) -> OutputUnserializableError:
    """Says what has no JSON form, and what to do about it."""
    kind = type(value).__name__
    if hasattr(value, "__await__"):
        hint = "an `await` is missing"
        if hasattr(value, "close"):
            cast(Any, value).close()
    elif hasattr(value, "model_dump"):
        hint = (
            "set `serializer=inngest.PydanticSerializer()` on the client and give its type as `output_type`, "
            "or return `model_dump(mode='json')`"
        )
    else:
        hint = "return what JSON knows: dict with text keys, list, str, int, finite float, bool, None"
    return OutputUnserializableError(f"{what} returned {kind}, which has no JSON form ({error}); {hint}")


def _stack_of(error: BaseException) -> str | None:
    if isinstance(error, StepError):
        return error.stack
    if isinstance(error, Error) and not error.include_stack:
        return None
    text = "".join(traceback.format_exception(type(error), error, user_frames(error.__traceback__)))
    return text if len(text) <= STACK_CHARS_MAX else f"[...]\n{text[-STACK_CHARS_MAX:]}"


def user_frames(trace: TracebackType | None) -> TracebackType | None:
    """Without the leading lines of this package, which say nothing to its user."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(OWN_FOLDER):
        trace = trace.tb_next
    return trace


def _cause_json(error: BaseException, depth: int) -> dict[str, object] | None:
    cause = error.__cause__
    if cause is None or depth == 0:
        return None
    described: dict[str, object] = {"name": type(cause).__name__, "message": message_of(cause)}
    further = _cause_json(cause, depth - 1)
    if further is not None:
        described["cause"] = further
    return described


def caller(depth: int) -> Place:
    """File and line of the code that called the caller."""
    frame = sys._getframe(depth + 1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_code.co_filename.startswith(OWN_FOLDER) and frame.f_back is not None:
        frame = frame.f_back  # A step that this package makes for the user, as `experimental.step` does.
    return Place(frame.f_code.co_filename, frame.f_lineno)
