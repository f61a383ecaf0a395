"""What the asynchronous shell knows of steps that the code awaits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from inngest._engine.ids import StepId
from inngest._engine.memos import Output
from inngest._engine.session import Found

from .results import Wanted


@dataclass(slots=True, eq=False)
class Asked:
    """A step that the code awaits. A request for one of a thousand branches has as many, and runs one."""

    wanted: Wanted
    step: StepId
    goes_alone: bool
    wait: Wait
    executing: Executing | None = None
    output: Output | None = None

    @property
    def found(self) -> Found:
        wanted = self.wanted
        return Found(wanted.op(self.step), wanted.handler is not None, self.goes_alone, wanted.place)

    @property
    def can_begin(self) -> bool:
        """Whether it was not begun, and the code has not given it up."""
        return self.executing is None and not self.wait.next.done()

    def give(self, output: Output) -> None:
        """Hand out its stored result."""
        self.output = output
        self.wait.missing -= 1
        if not self.wait.missing and not self.wait.next.done():
            self.wait.next.set_result(None)


@dataclass(slots=True, eq=False)
class Wait:
    """What one place of the code waits for: a step, or all of a group."""

    next: asyncio.Future[Asked | None]
    """Set to a step that shall be executed, or to None when there are all results; cancelled by the code."""
    steps: list[Asked] = field(default_factory=list[Asked])
    missing: int = 0
    """How many have no result yet."""


@dataclass(slots=True, eq=False)
class Executing:
    """A step that is being executed."""

    done: asyncio.Future[Done]
    """Set when it was executed, or given up by the code."""
    result: asyncio.Future[Output]
    """Set when the code may go on after it."""


@dataclass(slots=True)
class Done:
    value: object = None
    error: Exception | None = None
    given_up: bool = False
