"""Forgets the past in small slices, so that nobody waits for it."""

import asyncio

import structlog

from inngest_server.engine.engine import Engine
from inngest_server.storage.protocol import StorageError

log = structlog.get_logger("inngest.retention")

INTERVAL_S = 60.0
PAUSE_S = 0.05
ROWS_PER_SLICE = 500
MARK_HOURS_MS = 24 * 3_600_000
"""Runs are kept at least as long as event ids are remembered: a repeated id looks for the first run."""


class Retention:
    """One loop that prunes ended runs and events older than `keep_ms`, and marks that expired."""

    def __init__(self, engine: Engine, *, keep_ms: int) -> None:
        self._engine = engine
        self._keep_ms = max(keep_ms, MARK_HOURS_MS) if keep_ms else 0

    async def run(self) -> None:
        while True:
            pruned = await self.run_once()
            await asyncio.sleep(PAUSE_S if pruned else INTERVAL_S)

    async def run_once(self) -> int:
        """Prune one slice; how many rows went."""
        before_ms = self._engine.now_ms() - self._keep_ms if self._keep_ms else 0
        try:
            return await self._engine.storage.prune(before_ms, ROWS_PER_SLICE)
        except StorageError as error:
            log.warning("retention.failed", code=error.code, detail=str(error))
            return 0
