"""Log lines: readable and coloured on a terminal, one JSON object a line otherwise."""

import logging
import sys
from typing import Any

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer

LEVELS = {"trace": 10, "debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40}


def set_up_logging(*, as_json: bool, level: str) -> None:
    """Send everything, our lines and those of libraries, to standard error."""
    number = LEVELS.get(level.lower(), 20)
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True)
        if as_json
        else structlog.processors.TimeStamper(fmt="%H:%M:%S"),
    ]
    if as_json:
        processors = [
            *shared,
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(serializer=_to_json),
        ]
    else:
        # The other formatters of structlog show local variables: events, outputs, keys.
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), pad_event_to=28, exception_formatter=structlog.dev.plain_traceback
        )
        processors = [*shared, console]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[_OfLibraries()])


class _OfLibraries(logging.Handler):
    """Gives what libraries log the form of our own lines, so that each line can be read by machines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, `library.said`; the level was compared already."""
        try:
            said = structlog.get_logger(record.name)
            trace = {} if record.exc_info is None else {"exc_info": record.exc_info}
            said.log(record.levelno, "library.said", library=record.name, detail=record.getMessage(), **trace)
        except Exception:  # As every handler of the standard library: a bad line must not stop its writer.
            self.handleError(record)


def _to_json(value: Any, **_: Any) -> str:
    return orjson.dumps(value, default=str).decode()
