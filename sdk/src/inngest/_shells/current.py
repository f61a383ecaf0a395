"""What code can know about where it runs, whatever lies between it and the function."""

from __future__ import annotations

from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inngest.step import Step, StepSync

CURRENT_STEP: ContextVar[Step | StepSync | None] = ContextVar("inngest_step", default=None)
"""`ctx.step` of the function that runs now."""

EXECUTING: ContextVar[tuple[object, str] | None] = ContextVar("inngest_executing", default=None)
"""The execution and the id of the step whose handler runs now: no step may begin inside it."""


class ParallelMode(Enum):
    """When the function goes on after one of several parallel steps (protocol 4.6)."""

    WAIT = "wait"
    """When all of them are done: one request for all."""
    RACE = "race"
    """After each: branches of several steps go on without waiting for the others."""


PARALLEL_MODE: ContextVar[ParallelMode | None] = ContextVar("inngest_parallel_mode", default=None)
"""Of the group in which the code runs now; None outside of `group.parallel`."""
