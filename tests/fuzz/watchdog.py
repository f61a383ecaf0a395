"""Ends a test that hangs, and shows where: no assertion on speed, only on coming to an end."""

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager

GENEROUS_S = 120.0


@contextmanager
def watched(seconds: float = GENEROUS_S) -> Iterator[None]:
    """If the body takes longer, print the stacks of all threads and end the process."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
