"""What apps in this process log while they answer calls."""

import logging
from collections import deque

from inngest_server.testing.mounts import CALLED_RUN

RECORDS_MAX = 10_000
"""Of one world; older ones are forgotten."""


class AppLog(logging.Handler):
    """Keeps records with the run that the code was working for, while it is open.

    It takes what passes the levels of the loggers, and changes none of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self._records: deque[tuple[str, logging.LogRecord]] = deque(maxlen=RECORDS_MAX)

    def open(self) -> None:
        logging.getLogger().addHandler(self)

    def close(self) -> None:
        logging.getLogger().removeHandler(self)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        run_id = CALLED_RUN.get()
        if run_id:
            self._records.append((run_id, record))

    def all(self) -> list[logging.LogRecord]:
        return [record for _, record in self._records]

    def of_run(self, run_id: str) -> list[logging.LogRecord]:
        return [record for one, record in self._records if one == run_id]
