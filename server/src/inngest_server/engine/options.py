"""Bounds and policies of an engine, and how it says that it cannot serve."""

from dataclasses import dataclass

from inngest_server.flow_control.priority import PRIORITY_MAX_S
from inngest_server.runs.run import Limits

DEFAULT_LIMITS = Limits()


class EngineUnavailableError(Exception):
    """The engine cannot promise anything now: storage failed, or too much is undecided. Try again."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UndecidableError(EngineUnavailableError):
    """A decision about what was asked raised twice: a fault of the server. Nothing of it was kept."""

    code = "undecidable"

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"the server cannot decide this: {type(error).__name__}: {error}; its log has the details, and "
            "others are not affected",
            retry_after_s=60,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Bounds and policies of an engine."""

    limits: Limits = DEFAULT_LIMITS
    retry_interval_ms: int | None = None
    cron_catch_up: str = "skip"
    """`skip`, `one` or `all` slots that were missed while no server ran."""
    undecided_events_max: int = 20_000
    undecided_bytes_max: int = 256 * 1024 * 1024
    undecided_s_max: float = 1.0
    """Host time for which the oldest of them may wait before no more are taken."""
    idle_contents_max: int = 5_000
    idle_bytes_max: int = 64 * 1024 * 1024
    window_bytes_max: int = 64 * 1024 * 1024
    """Events that wait in debounces and batches; what is beyond is read again when those close."""
    priority_max_s: int = PRIORITY_MAX_S
    """By how much a priority may move a run, either way."""
