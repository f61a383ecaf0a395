"""The server's own log lines, kept apart from those of the program under test.

`structlog` has one configuration for a process, which may be the user's. A processor in front of it takes
what is logged on the thread of the worlds, and nothing else.
"""

import threading
from collections import deque
from collections.abc import MutableMapping
from typing import Any

import structlog

LINES_MAX = 1_000
"""Of one world; older ones are forgotten."""


class ServerLog:
    """Lines as dictionaries with `event`, `level` and the fields that were logged."""

    def __init__(self) -> None:
        self.lines: deque[dict[str, Any]] = deque(maxlen=LINES_MAX)
        self._thread_id: int | None = None
        self._processors: list[Any] = []

    def attach(self) -> None:
        """Take lines in the present configuration: the program may have made another one."""
        # The list itself is changed, as structlog's own helpers for tests do: bound loggers keep it.
        self._processors = structlog.get_config()["processors"]
        if self._take not in self._processors:
            self._processors.insert(0, self._take)

    def listen_to(self, thread: threading.Thread) -> None:
        self._thread_id = thread.ident

    def _take(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if threading.get_ident() != self._thread_id:
            return event
        self.lines.append({"level": method, **event})
        raise structlog.DropEvent

    def close(self) -> None:
        if self._take in self._processors:
            self._processors.remove(self._take)
