"""Replaces outputs by references, and references by outputs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from inngest.middleware import MiddlewareSync

if TYPE_CHECKING:
    from inngest.client import Inngest
    from inngest.context import Context, ContextSync
    from inngest.function import Function
    from inngest.middleware import StepMemos, TransformOutputResult

__all__ = ["RemoteStateMiddleware", "StateDriver"]


class StateDriver(Protocol):
    """A store of step outputs.

    A driver with the attribute `blocks = True` waits for a network or a disk: in asynchronous functions its
    methods are called on another thread, so that the event loop goes on.
    """

    def load_steps(self, steps: StepMemos) -> None:
        """Put the outputs in place of all references that this driver has made, and leave the rest."""
        ...

    def save_step(self, run_id: str, value: object) -> dict[str, object]:
        """Store the output of a step; the reference to it, which the server gets instead."""
        ...


class RemoteStateMiddleware(MiddlewareSync):
    """For asynchronous and synchronous functions. Only outputs of steps that the app executes are stored."""

    def __init__(self, client: Inngest, raw_request: object, driver: StateDriver) -> None:
        super().__init__(client, raw_request)
        self._driver = driver
        self._run_id = ""
        self._is_async = False

    @classmethod
    def factory(cls, driver: StateDriver) -> Callable[[Inngest, object], RemoteStateMiddleware]:
        """An entry for a list of middleware; all requests share the driver."""

        def make(client: Inngest, raw_request: object) -> RemoteStateMiddleware:
            return cls(client, raw_request, driver)

        return make

    def transform_input(self, ctx: Context | ContextSync, function: Function[Any], steps: StepMemos) -> Any:
        self._run_id = ctx.run_id
        self._is_async = function.is_handler_async
        return self._call(lambda: self._driver.load_steps(steps)) if steps.size else None

    def transform_output(self, result: TransformOutputResult) -> Any:
        if result.step is None or result.error is not None or not result.has_output():
            return None

        def save() -> None:
            result.output = self._driver.save_step(self._run_id, result.output)

        return self._call(save)

    def _call(self, work: Callable[[], None]) -> Any:
        """Do it here, or give what to await where the driver would block an event loop."""
        if self._is_async and getattr(self._driver, "blocks", False):
            return asyncio.to_thread(work)
        work()
        return None
