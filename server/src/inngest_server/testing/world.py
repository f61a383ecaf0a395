"""Worlds: the production engine in the process of a test, on a clock that only the test moves.

`World` is for ordinary tests, `AsyncWorld` for coroutines; they have the same commands. A command returns
when the world is *quiet*: nothing happens any more without time passing. So nothing goes on behind a test's
back, and what a test sees does not depend on how fast the machine is.
"""

from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from inngest_server.engine.time_travel import HORIZON_MS, Goal
from inngest_server.testing import mounts
from inngest_server.testing.either_world import (
    EitherWorld,
    Histories,
    check_verdicts,
    events_of,
    histories_of,
    rules_of,
    slug_of,
    stub_of,
)
from inngest_server.testing.host import Host
from inngest_server.testing.run import Link, RunView
from inngest_server.testing.sent import Sent

T = TypeVar("T")


class Run(RunView):
    """A run, and what can be done to it."""

    def __init__(self, link: Link, do: Callable[[Coroutine[Any, Any, Any]], Any], run_id: str) -> None:
        super().__init__(link, run_id)
        self._link = link
        self._do = do

    def cancel(self) -> None:
        self._do(self._node.command("DELETE", f"/v1/runs/{self.id}"))

    def rerun(self, *, from_step: str | None = None) -> "Run":
        """Run it once more on its events; what was completed before `from_step` is kept."""
        body = {} if from_step is None else {"from_step": from_step}
        found = self._do(self._node.command("POST", f"/api/ui/v1/runs/{self.id}/rerun", body))
        return Run(self._link, self._do, found["run_id"])


class World(EitherWorld):
    """A world for tests that are ordinary functions. Use it as a context manager, or by the fixture.

    `start` is where its clock stands at first, the present by default. `absolute_times` takes moments that
    apps send as they are, however far the world's time is from theirs. `retry_interval` replaces the
    documented back-off. `patience` is how long one call of an app may really take.
    """

    def __init__(
        self,
        *,
        start: datetime | None = None,
        absolute_times: bool = False,
        retry_interval: timedelta | None = None,
        patience: timedelta = timedelta(seconds=30),
        seed: str | None = None,
        host: Host | None = None,
    ) -> None:
        self._thread = mounts.CallerThread()
        rules = rules_of(start, absolute_times, retry_interval, patience, seed)
        super().__init__(host, rules, lambda _: self._thread)

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = self._host.engines.submit(coroutine)
        try:
            return self._thread.wait(future)
        except BaseException:
            future.cancel()
            raise

    def serve(self, app: Any, *, path: str = "/api/inngest", host: str = "testserver") -> list[str]:
        """Let an app announce its functions; returns their composite ids.

        `app` is an ASGI callable, a WSGI callable, or the address of an app in another process. Callables are
        called in this process, at `path`, with `host` as the name that they see.

        Raises:
            AppNotServedError: it did not register.
        """
        if isinstance(app, str):
            return self._do(self._node.serve(self._address_mount(), app))
        if mounts.is_asgi(app):
            mount: mounts.Mount = mounts.ASGIMount(app, self._host.apps.loop, with_lifespan=True)
        else:
            mount = mounts.WSGIMount(app, self._thread)
        return self._do(self._node.serve(mount, self._next_address(path, host)))

    def send(self, event: Any, data: Mapping[str, Any] | None = None, *more: Any, **fields: Any) -> Sent[Run]:
        """Send an event by name and data, or any number of events as dictionaries or objects of an SDK.

            world.send("shop/order.placed", {"id": 1})
            world.send({"name": "shop/order.placed", "data": {"id": 1}}, {"name": "shop/order.paid"})

        `fields` are further ones of a single event: `id`, `ts` in the world's time, `user`, `v`.
        """
        events = events_of(event, data, more, fields)
        return Sent(self._link, self._do(self._node.send(events, settles=True)), self._run)

    def invoke(self, function: object, data: Mapping[str, Any] | None = None) -> Run:
        """Start one function, whatever its triggers."""
        slug = self._slug_of(function)
        found = self._do(self._node.command("POST", f"/invoke/{slug}", {"data": dict(data or {})}))
        return Sent(self._link, [found["id"]], self._run).run

    def send_signal(self, signal: str, data: Any = None) -> Run:
        """Send a signal to the run that waits for it."""
        found = self._do(self._node.command("POST", "/v1/signals", {"signal": signal, "data": data}))
        return self._run(found["data"]["run_id"])

    def advance(self, by: timedelta | str | None = None, **parts: float) -> None:
        """Let time pass: `advance(days=3)`, `advance("90m")`, `advance(timedelta(hours=1))`.

        What is due on the way happens at its moment: crons, retries, sleeps, timeouts.
        """
        self._do(self._node.move(Goal.MOMENT, self._after_ms(by, parts)))

    def advance_to(self, moment: datetime) -> None:
        """Let time pass until a moment; one that has passed changes nothing."""
        self._do(self._node.move(Goal.MOMENT, self._moment_ms(moment)))

    def advance_to_next(self) -> None:
        """Let time pass until something is due, and let that happen."""
        self._do(self._node.move(Goal.NEXT_TIMER, self._after_ms(None, {"milliseconds": HORIZON_MS})))

    def until_idle(self, within: timedelta | str | None = None) -> None:
        """Let time pass until nothing waits for it but crons, for 366 days at most unless `within` says less.

        Raises:
            NotIdleError: something still waits then.
        """
        limit_ms = self._after_ms(within or timedelta(milliseconds=HORIZON_MS), {})
        self._do(self._node.move(Goal.IDLE, limit_ms))

    def settle(self) -> None:
        """Wait until nothing happens without time. All commands do; it is for what others began."""
        self._do(self._node.settle())

    def runs(self, function: object = None) -> list[Run]:
        """Runs, oldest first; of one function, if it is given by local or composite id or as an object."""
        return [self._run(one) for one in self._run_ids(function)]

    def stub_function(self, function: object, result: Any = None) -> None:
        """Answer runs of a function with a result, or by a callable that takes the event.

        It need not be served here: so functions of other apps can be invoked.
        """
        self._do(self._node.stub_function(self._slug_of(function), stub_of(result)))

    def check_histories(self, histories: Histories, *, compare_output: bool = False) -> None:
        """Let the code of the apps that are served here follow histories of runs; nothing of it is stored.

        Steps are answered from the histories and not executed; what functions do outside of steps is done.

        Raises:
            HistoriesDifferError: it asks for other steps, or ends otherwise.
        """
        runs = histories_of(histories)
        check_verdicts(self._do(self._node.follow(runs, compares_output=compare_output)))

    def pause_function(self, function: object) -> None:
        self._do(self._node.command("POST", f"/api/ui/v1/functions/{self._slug_of(function)}/pause"))

    def resume_function(self, function: object) -> None:
        self._do(self._node.command("POST", f"/api/ui/v1/functions/{self._slug_of(function)}/resume"))

    def _slug_of(self, function: object) -> str:
        return self._read(slug_of(self._node, function))

    def _run(self, run_id: str) -> Run:
        return Run(self._link, self._do, run_id)
