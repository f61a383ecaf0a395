"""An asyncio event loop whose time is a number and whose scheduling is drawn from a seed.

Nothing here waits: when no callback is ready, time jumps to the next timer. Among ready callbacks the next
one is drawn at random, so that tasks interleave as differently as they ever might. What is given to a thread
is done at once. There are no sockets or subprocesses: whoever asks for one gets `NotImplementedError`.
"""

import asyncio
import heapq
import random
from collections.abc import Callable, Iterable
from typing import Any


class DeadlockError(AssertionError):
    """Nothing is ready and no timer is set: whoever waits would wait for ever."""


class LivelockError(AssertionError):
    """So much happens at one moment of virtual time that it would hardly ever end."""


STEPS_PER_MOMENT_MAX = 100_000


class SimulatedLoop(asyncio.BaseEventLoop):
    """Deterministic: the same seed and the same program give the same order of callbacks."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._now_s = 0.0
        self._order = random.Random(f"loop {seed}")
        self.steps = 0
        """Callbacks run so far."""
        self.interrupt_at: int | None = None
        """Number of the step before which `interrupt` is called, between any two awaits of anybody."""
        self.interrupt: Callable[[], None] | None = None
        self.hold: Callable[[asyncio.Handle], bool] | None = None
        """Takes a callback whose process is stopped, to be given back by `put_back`; False for others."""
        self._moment_began = 0
        self.errors: list[str] = []
        self.set_exception_handler(self._note_error)

    def time(self) -> float:
        return self._now_s

    def _note_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    # What BaseEventLoop leaves to the loops that have a selector.

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        timers: Any = self._scheduled  # type: ignore[attr-defined]
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not ready:
            if self._stopping:  # type: ignore[attr-defined]
                return
            if not timers:
                raise DeadlockError("nothing is ready and no timer is set")
            if timers[0]._when > self._now_s:
                self._now_s = timers[0]._when
                self._moment_began = self.steps
        if self.steps - self._moment_began > STEPS_PER_MOMENT_MAX:
            self._moment_began = self.steps
            raise LivelockError(
                f"{STEPS_PER_MOMENT_MAX} callbacks ran at {self._now_s} s and time stands still"
            )
        while timers and timers[0]._when <= self._now_s:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            if not timer._cancelled:
                ready.append(timer)
        if not ready:
            return
        if len(ready) > 1:
            ready.rotate(-self._order.randrange(len(ready)))
        handle = ready.popleft()
        self.steps += 1
        if self.interrupt_at is not None and self.steps >= self.interrupt_at and self.interrupt is not None:
            self.interrupt_at = None
            self.interrupt()
        if handle._cancelled or (self.hold is not None and self.hold(handle)):
            return
        handle._run()

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """The result of a function, which no other thread may delay or reorder."""
        future: asyncio.Future[Any] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def put_back(self, handles: Iterable[asyncio.Handle]) -> None:
        """Make callbacks ready that were held."""
        ready: Any = self._ready  # type: ignore[attr-defined]
        ready.extend(handles)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are skipped when their turn comes."""

    def _process_events(self, event_list: object) -> None:
        raise NotImplementedError

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector that would have to be woken."""


def run_simulated(loop: SimulatedLoop, main: Any, *, at_end: Callable[[], None] = lambda: None) -> Any:
    """Run a coroutine to its end in the loop, end what it left behind, and close the loop.

    `at_end` puts back what is held, so that everything can end.
    """
    try:
        return loop.run_until_complete(main)
    finally:
        at_end()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
