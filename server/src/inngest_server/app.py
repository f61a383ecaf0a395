"""The composition root: the only place that chooses concrete classes."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial

import structlog
import uvicorn

from inngest_server import __version__
from inngest_server.api.connections import BACKLOG, QuietServer, allowed_connections, bind, bounded
from inngest_server.api.context import Context
from inngest_server.api.router import Router
from inngest_server.api.table import route_table
from inngest_server.clock import Clock, SystemClock, VirtualClock, system_random
from inngest_server.engine.clock_watch import ClockWatch
from inngest_server.engine.discovery import AppDiscovery
from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import Ping
from inngest_server.engine.options import EngineOptions, EngineUnavailableError
from inngest_server.engine.polling import AppPoller
from inngest_server.engine.registering import register
from inngest_server.engine.retention import Retention
from inngest_server.engine.time_travel import TimeTravel, restore
from inngest_server.execution.driver import HTTPDriver
from inngest_server.execution.gateway import Drivers, GatewayDriver
from inngest_server.execution.reach import Reach
from inngest_server.execution.syncer import AppSyncer
from inngest_server.execution.transport import HTTPTransport
from inngest_server.observability.loop_lag import LoopLag
from inngest_server.observability.metrics import Metrics
from inngest_server.settings import ServerKind, Settings
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import Storage, StorageError
from inngest_server.storage.sqlite import SQLiteStorage

log = structlog.get_logger("inngest.server")

DRAIN_S = 10.0
"""How long calls under way may finish after a stop was asked for; the next start sends the rest again."""
SWITCH_INTERVAL_S = 0.0005
"""Ten times shorter than Python's: the writer thread asks for the interpreter back after each statement."""


def make_storage(settings: Settings) -> Storage:
    if settings.in_memory:
        return MemoryStorage()
    url = f"http://{settings.host}:{settings.port}"
    return SQLiteStorage(settings.directory, relaxed=settings.relaxed, url=url, log=_log_storage)


def make_clock(settings: Settings) -> Clock:
    """In development a clock that commands can move."""
    if settings.kind is not ServerKind.DEV:
        return SystemClock()
    return VirtualClock(SystemClock(), is_absolute=settings.clock_absolute)


def _log_storage(event: str, *, level: str = "info", **fields: object) -> None:
    getattr(structlog.get_logger("inngest.storage"), level)(event, **fields)


class Server:
    """One server process: engine, driver, polling and HTTP, started and stopped together."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.storage = make_storage(settings)
        self.clock = make_clock(settings)
        self.engine = Engine(
            self.storage,
            self.clock,
            system_random(),
            options=EngineOptions(
                retry_interval_ms=settings.retry_interval_s * 1000 or None,
                cron_catch_up=settings.cron_catch_up,
                priority_max_s=settings.priority_max_s,
            ),
        )
        self._loop_lag = LoopLag(self.clock)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._http: uvicorn.Server | None = None
        self._travel: TimeTravel | None = None

    async def run(self) -> None:
        """Serve until a signal or `stop`.

        Raises:
            AddressInUseError: something else listens on the port.
            StorageError: the database cannot be opened.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        sockets = [bind(self.settings.host, self.settings.port)]
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        transport = HTTPTransport()
        reach = Reach.LOCAL if self.settings.allow_private_gateway else Reach.PUBLIC
        outside = HTTPTransport(reach, redirects=reach)
        try:
            async with self._engine_on(transport, outside) as (driver, syncer):
                await self._serve(sockets, driver, syncer)
                await self._finish(driver)
        except StorageError as error:
            log.error("server.storage_failed", code=error.code, detail=str(error))
            raise
        finally:
            await transport.close()
            await outside.close()
            await self.storage.close()
            log.info("server.stopped")

    def stop(self) -> None:
        """Ask the server to finish what it is doing and end; asked again, it ends without finishing."""
        if self._stop.is_set():
            self._hurry.set()
            if self._http is not None:
                self._http.force_exit = True
        self._stop.set()

    async def _finish(self, driver: Drivers) -> None:
        """Wait for the answers of the calls under way, and until they are stored."""
        if driver.under_way:
            log.info("server.stopping", calls_under_way=driver.under_way, waits_s=DRAIN_S)
        storing = asyncio.create_task(self._drain(driver))
        hurrying = asyncio.create_task(self._hurry.wait())
        await asyncio.wait([storing, hurrying], timeout=2 * DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
        storing.cancel()
        hurrying.cancel()
        await asyncio.gather(storing, hurrying, return_exceptions=True)

    async def _drain(self, driver: Drivers) -> None:
        await driver.drain(DRAIN_S)
        with suppress(EngineUnavailableError):
            await self.engine.ask(Ping())  # Answered when what came before it is stored.

    @asynccontextmanager
    async def _engine_on(
        self, transport: HTTPTransport, outside: HTTPTransport
    ) -> AsyncGenerator[tuple[Drivers, AppSyncer]]:
        settings, engine = self.settings, self.engine
        apps = HTTPDriver(
            transport,
            self.clock,
            answered=engine.tell,
            next_request_id=engine.next_id,
            signing_key=settings.signing_key,
            server_kind=settings.kind.value,
            app_connections=settings.app_connections,
        )
        driver = Drivers(apps, GatewayDriver(outside, self.clock, answered=engine.tell))
        engine.driver = driver
        syncer = AppSyncer(
            transport,
            self.clock,
            signing_key=settings.signing_key,
            server_kind=settings.kind.value,
            register=partial(register, engine),
        )
        if isinstance(self.clock, VirtualClock):
            self._travel = TimeTravel(engine, self.clock, lambda: driver.under_way)
        await restore(self.storage, self.clock, starts_stopped=settings.clock == "virtual")
        gc.set_threshold(50_000, 20, 50)  # First: loading makes many objects, and none of them is garbage.
        await engine.start()
        gc.collect()
        gc.freeze()
        log.info("server.storage", storage=self.storage.description, unfinished_runs=engine.live.run_count())
        loops = [
            asyncio.create_task(engine.run()),
            asyncio.create_task(
                Retention(engine, keep_ms=settings.retention_ms, bytes_max=settings.retention_bytes).run()
            ),
            asyncio.create_task(self._loop_lag.run()),
            asyncio.create_task(ClockWatch(engine, self.clock).run()),
        ]
        if self._travel is not None:
            loops.append(asyncio.create_task(self._travel.run()))
        if settings.sdk_urls or settings.poll or settings.kind is ServerKind.DEV:
            poller = AppPoller(
                engine,
                syncer,
                urls=settings.sdk_urls,
                poll=settings.poll,
                interval_s=settings.poll_interval_s,
            )
            loops.append(asyncio.create_task(poller.run()))
            if settings.discovery_ports:
                discovery = AppDiscovery(engine, poller, ports=settings.discovery_ports)
                loops.append(asyncio.create_task(discovery.run()))
        for task in loops:
            task.add_done_callback(self._loop_ended)
        try:
            yield driver, syncer
        finally:
            await driver.close()
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    def _loop_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            log.critical("server.loop_failed", exc_info=task.exception())
            self.stop()

    async def _serve(self, sockets: list[socket.socket], driver: Drivers, syncer: AppSyncer) -> None:
        settings = self.settings
        metrics = Metrics(self.engine, driver, self._loop_lag)
        context = Context(
            settings, self.engine, self.storage, syncer, self.clock, __version__, metrics, travel=self._travel
        )
        config = uvicorn.Config(
            Router(context, route_table()),
            http=bounded(allowed_connections()),
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(DRAIN_S),
        )
        self._http = http = QuietServer(config)
        serving = asyncio.create_task(http.serve(sockets=sockets))
        url = f"http://{_shown_host(settings.host)}:{settings.port}"
        log.info("server.listening", url=url, kind=settings.kind.value)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        http.should_exit = True
        await serving
        context.lane.close()


def _shown_host(host: str) -> str:
    return "localhost" if host in ("127.0.0.1", "0.0.0.0", "::1", "::") else host
