"""Processes of a world: which task belongs to which, and what a stopped one has not run yet."""

import asyncio
import contextvars
from typing import Any


class Process:
    """Owns tasks. Killed, they end between two awaits; paused (SIGSTOP), their callbacks wait."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []
        self.held: list[asyncio.Handle] = []
        self.is_paused = False

    @property
    def is_replaced(self) -> bool:
        """Whether another process does its work."""
        return False

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        self.tasks.append(task)
        if len(self.tasks) > 1000:
            self.tasks = [one for one in self.tasks if not one.done()]


OWNER: contextvars.ContextVar[Process | None] = contextvars.ContextVar("owner", default=None)


def hold(handle: asyncio.Handle) -> bool:
    """Keep a callback whose process is paused; whether it was."""
    owner = handle._context.get(OWNER)
    if owner is None or not owner.is_paused:
        return False
    owner.held.append(handle)
    return True
