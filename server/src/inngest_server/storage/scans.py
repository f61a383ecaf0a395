"""How much of a list a scan reads at a time."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from inngest_server.events.records import EventRow
from inngest_server.storage.protocol import SCAN_BYTES, SCAN_ROWS, FoundRun

ThingT = TypeVar("ThingT")


def take_page(rows: Iterator[ThingT], size_of: Callable[[ThingT], int]) -> list[ThingT]:
    """The next page: at most `SCAN_ROWS` rows, and none after the one that reaches `SCAN_BYTES`."""
    page: list[ThingT] = []
    size = 0
    for row in rows:
        page.append(row)
        size += size_of(row)
        if len(page) == SCAN_ROWS or size >= SCAN_BYTES:
            break
    return page


def bytes_of_event(row: EventRow) -> int:
    return len(row.body or b"")


def bytes_of_run(found: FoundRun) -> int:
    return len(found.run.output or b"") + (bytes_of_event(found.event) if found.event is not None else 0)
