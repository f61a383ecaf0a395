"""The branches of a group, as they begin."""

from __future__ import annotations

import contextvars
import operator
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from .results import Wanted


class Begun(NamedTuple):
    """What a branch of a group gave when it was called."""

    awaitable: Any
    step: Wanted | None
    """What the awaitable asks for, if it is a step."""
    context: contextvars.Context | None
    """With the context variables that the branch set; None if it set none."""


def begin(
    branches: Sequence[Callable[[], Awaitable[Any]]],
    created: list[tuple[object, Wanted]],
    is_target: Callable[[str], bool],
) -> list[Begun]:
    """Call the branches; none sees the context variables that another one sets.

    Those after the step that the request is for are left out, where all before are steps, too: with its
    result the request ends.

    Args:
        created: Grows by each step that the code makes, with what it asks for.
        is_target: Whether the next use of an id is the step that the request is for.
    """
    begun: list[Begun] = []
    own = contextvars.copy_context()
    context = own.copy()
    are_steps = True
    for branch in branches:
        one = context.run(_begun, branch)
        # Taken away: a step that another branch gives again is awaited twice, which Python refuses.
        step = created.pop()[1] if created and created[-1][0] is one else None
        if _is_same(context, own):
            begun.append(Begun(one, step, None))
        else:
            begun.append(Begun(one, step, context))
            context = own.copy()
        are_steps = are_steps and step is not None and begun[-1].context is None
        if are_steps and step is not None and is_target(step.step_id):
            break
    return begun


def _is_same(changed: contextvars.Context, own: contextvars.Context) -> bool:
    """Whether code has set nothing in a copy of `own`. Not by `==`, which is what user code makes of it."""
    return len(changed) == len(own) and all(map(operator.is_, changed.values(), own.values()))


def _begun(branch: Callable[[], Awaitable[Any]]) -> Any:
    """What a branch gives when it is called: an error, too, comes from awaiting it."""
    try:
        return branch()
    except Exception as error:
        return _raise(error)


async def _raise(error: Exception) -> NoReturn:
    raise error
