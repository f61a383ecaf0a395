"""Forgets the past in small slices, so that nobody waits for it."""

import structlog

from inngest_server.engine.engine import Engine
from inngest_server.engine.events import MARK_LIFETIME_MS
from inngest_server.engine.rounds import repeat
from inngest_server.storage.protocol import StorageError

log = structlog.get_logger("inngest.retention")

INTERVAL_S = 60.0
PAUSE_S = 0.05
ROWS_PER_SLICE = 500
MARK_HOURS_MS = MARK_LIFETIME_MS
"""Runs are kept at least as long as event ids are remembered, however large the database is: a repeated id
looks for the first run, and would start another if that had been forgotten."""
SIZE_GOAL = 0.95
"""Of the size allowed: pruning goes on below it, so that it does not begin anew every minute."""
SIZE_STEPS = 64
"""In which the age of what is kept goes down, so that runs and events are kept equally long."""


class Retention:
    """One loop that prunes ended runs and events older than `keep_ms`, and marks that expired.

    While the storage uses more than `bytes_max`, younger runs and events go too, the oldest first. Zero is no
    limit, for either.
    """

    def __init__(self, engine: Engine, *, keep_ms: int, bytes_max: int = 0) -> None:
        self._engine = engine
        self._keep_ms = max(keep_ms, MARK_HOURS_MS) if keep_ms else 0
        self._bytes_max = bytes_max
        self._shrinking: _Shrinking | None = None

    async def run(self) -> None:
        await repeat("retention", self._round)

    async def _round(self) -> float:
        return PAUSE_S if await self.run_once() else INTERVAL_S

    async def run_once(self) -> int:
        """Prune one slice; how many rows went."""
        if not self._engine.has_memory:
            return 0  # Nobody knows which events the open windows need.
        now_ms = self._engine.now_ms()
        try:
            before_ms = min(now_ms - self._keep_ms, self._needed_ms(now_ms)) if self._keep_ms else 0
            pruned = await self._engine.storage.prune(before_ms, ROWS_PER_SLICE)
            if pruned or not self._bytes_max:
                return pruned
            return await self._shrink(now_ms)
        except StorageError as error:
            log.warning("retention.failed", code=error.code, detail=str(error))
            return 0

    def _needed_ms(self, now_ms: int) -> int:
        """From when on events are kept in any case: open windows collect them, and no run refers to them yet.

        An event may be a day older than the moment at which a window got it: the same request was sent again.
        """
        oldest_ms = self._engine.live.windows.oldest_ms()
        return now_ms if oldest_ms is None else oldest_ms - MARK_HOURS_MS

    async def _shrink(self, now_ms: int) -> int:
        """Prune one slice of what is not old enough yet, if the storage uses too much."""
        storage, shrinking = self._engine.storage, self._shrinking
        used_bytes = await storage.used_bytes()
        if used_bytes <= self._bytes_max * (SIZE_GOAL if shrinking else 1):
            self._shrinking = None
            return 0
        youngest_ms = min(now_ms - MARK_HOURS_MS, self._needed_ms(now_ms))
        if shrinking is None:
            oldest_ms = await storage.oldest_ms()
            shrinking = self._shrinking = _Shrinking(
                youngest_ms if oldest_ms is None else oldest_ms, youngest_ms
            )
            log.info(
                "retention.shrinking",
                detail="the database is larger than --retention-size: the oldest runs and events go",
                used_bytes=used_bytes,
                limit_bytes=self._bytes_max,
            )
        while True:
            if pruned := await storage.prune(min(shrinking.before_ms, youngest_ms), ROWS_PER_SLICE):
                return pruned
            if shrinking.before_ms >= youngest_ms:
                break
            shrinking.before_ms += shrinking.step_ms
        if not shrinking.has_complained:
            shrinking.has_complained = True
            log.warning(
                "retention.size_not_reached",
                detail="what is left is younger than a day or has not ended; the database stays larger than "
                "--retention-size",
                used_bytes=used_bytes,
                limit_bytes=self._bytes_max,
            )
        return 0


class _Shrinking:
    """How far back the past was forgotten for the sake of size."""

    __slots__ = ("before_ms", "has_complained", "step_ms")

    def __init__(self, oldest_ms: int, youngest_ms: int) -> None:
        self.before_ms = oldest_ms
        self.step_ms = max((youngest_ms - oldest_ms) // SIZE_STEPS, 1_000)
        self.has_complained = False
