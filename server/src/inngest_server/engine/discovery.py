"""Finds the apps of this machine in development, so that nobody needs to name them. Source: protocol 2.6."""

import asyncio
from collections.abc import Sequence

import structlog

from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import AppDiscovered
from inngest_server.engine.options import EngineUnavailableError
from inngest_server.engine.polling import AppPoller
from inngest_server.engine.rounds import repeat
from inngest_server.execution.prober import Found, ask_port, listening_at

log = structlog.get_logger("inngest.discovery")

INTERVAL_S = 5.0
ROUNDS_MAX = 6
"""A program that listens and is no app is asked again after so many rounds at the latest."""
PORTS_AT_ONCE = 8


class AppDiscovery:
    """One loop that looks at `ports` until an app has synced, and again when all are gone."""

    def __init__(
        self, engine: Engine, poller: AppPoller, *, ports: Sequence[int], interval_s: float = INTERVAL_S
    ) -> None:
        self._engine = engine
        self._poller = poller
        self._ports = tuple(dict.fromkeys(ports))
        self._interval_s = interval_s
        self._strangers: dict[int, tuple[int, int]] = {}
        """Ports of programs that are no app: rounds to leave out, and how many were left out before."""
        self._room = asyncio.Semaphore(PORTS_AT_ONCE)

    async def run(self) -> None:
        log.info(
            "discovery.started", detail="looking for apps on common local ports; --no-discovery stops it"
        )
        await repeat("discovery of apps", self._round)

    async def _round(self) -> float:
        await self.run_once()
        return self._interval_s

    async def run_once(self) -> None:
        """Ask the ports that are taken, and sync what is found; does nothing while there is an app."""
        if any(app.archived_at_ms is None for app in self._engine.functions.apps.values()):
            return
        open_ports: list[tuple[int, str]] = []
        for port in self._ports:
            if self._is_left_out(port):
                continue
            await asyncio.sleep(0)  # All ports together take longer than the loop may wait.
            if (address := listening_at(port)) is not None:
                open_ports.append((port, address))
            else:
                self._strangers.pop(port, None)
        found = await asyncio.gather(*[self._ask(port, address) for port, address in open_ports])
        for one in found:
            if one.url is not None:
                await self._sync(one.url, one.sdk)

    def _is_left_out(self, port: int) -> bool:
        """Whether this round spares a program that was no app the last time; others' logs are not ours."""
        left, before = self._strangers.get(port, (0, 0))
        if left:
            self._strangers[port] = (left - 1, before)
        return left > 0

    async def _ask(self, port: int, address: str) -> Found:
        async with self._room:
            found = await ask_port(port, address)
        if found.url is None:
            rounds = min(2 * self._strangers.get(port, (0, 0))[1] + 1, ROUNDS_MAX - 1)
            self._strangers[port] = (rounds, rounds)
        else:
            self._strangers.pop(port, None)
        return found

    async def _sync(self, url: str, sdk: str) -> None:
        if not await self._poller.ask(url):
            return
        log.info("discovery.found", url=url, sdk=sdk)
        try:
            await self._engine.ask(AppDiscovered(url))
        except EngineUnavailableError:
            return
