"""What stands in the log."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog

from inngest_server.observability.log import set_up_logging


@contextmanager
def our_log() -> Iterator[None]:
    """Logging as a server has it. It is of the whole process, so it is left as other tests want it."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers
    root.handlers = []
    try:
        set_up_logging(as_json=True, level="info")
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        structlog.reset_defaults()


def test_lines_of_libraries_are_json_objects_too(capsys: pytest.CaptureFixture[str]) -> None:
    with our_log():
        logging.getLogger("uvicorn.error").warning("Invalid %s request received.", "HTTP")
        logging.getLogger("uvicorn.error").info("not for us")

    line = json.loads(capsys.readouterr().err)
    del line["timestamp"]
    assert line == {
        "event": "library.said",
        "library": "uvicorn.error",
        "detail": "Invalid HTTP request received.",
        "level": "warning",
    }


def test_an_exception_in_a_line_of_a_library_is_part_of_its_object(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with our_log():
        try:
            raise ValueError("boom")
        except ValueError:
            logging.getLogger("asyncio").exception("Task exception was never retrieved")

    line = json.loads(capsys.readouterr().err)
    assert line["exception"][0]["exc_type"] == "ValueError"
