"""What apps in this process log while they answer calls."""

import logging
from collections import deque

from inngest_server.testing.calls import Calls
from inngest_server.testing.mounts import CALLED_RUN

RECORDS_MAX = 10_000
"""Of one world; older ones are forgotten."""


class AppLog(logging.Handler):
    """Keeps what is logged during calls, with the run that the code was working for, while it is open.

    It takes what passes the levels of the loggers, and changes none of them. The official SDK runs sync
    functions on threads that do not know whom they work for: that is the run of the only call under way, or
    nobody's.
    """

    def __init__(self, calls: Calls, server_thread: int | None) -> None:
        super().__init__()
        self._calls = calls
        self._server_thread = server_thread
        self._records: deque[tuple[str, logging.LogRecord]] = deque(maxlen=RECORDS_MAX)

    def open(self) -> None:
        logging.getLogger().addHandler(self)

    def close(self) -> None:
        logging.getLogger().removeHandler(self)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        run_id = CALLED_RUN.get()
        under_way = {call.run_id for call in list(self._calls.under_way)}
        if record.thread == self._server_thread or not (run_id or under_way):
            return
        if not run_id and len(under_way) == 1:
            [run_id] = under_way
        self._records.append((run_id, record))

    def all(self) -> list[logging.LogRecord]:
        return [record for _, record in list(self._records)]

    def of_run(self, run_id: str) -> list[logging.LogRecord]:
        return [record for one, record in list(self._records) if one == run_id]
