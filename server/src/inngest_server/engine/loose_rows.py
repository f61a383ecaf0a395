"""Removing rows of flow control and of jobs that belong to nothing, or cannot be read any more.

None of them is needed for what was acknowledged: events and runs are stored apart. What is lost is what such
a row alone said: events that were collected and no run was made of, or how far a job had come.
"""

from inngest_server.engine.work import Work
from inngest_server.events.records import EventRow
from inngest_server.flow_control.records import PauseRow, RekeyRow, TermsRow, WindowRow
from inngest_server.jobs.records import JobRow
from inngest_server.storage.protocol import DAMAGED, Storage
from inngest_server.storage.records import TABLES

LooseRow = TermsRow | WindowRow | PauseRow | RekeyRow | JobRow

LOOSE: dict[str, type[LooseRow]] = {
    TABLES[kind]: kind for kind in (TermsRow, WindowRow, PauseRow, RekeyRow, JobRow)
}
"""Kinds of rows that may be removed, by table."""


async def find_loose(storage: Storage, key: str) -> tuple[LooseRow, bool] | None:
    """The stored row of `table/key`, and whether it is useless whatever memory has; None without one."""
    table, _, name = key.partition("/")
    [row] = await storage.salvage(LOOSE[table], [name]) or [None]
    if row is None:
        return None
    if isinstance(row, WindowRow):
        return row, not await storage.get(EventRow, row.event_ids.split("\n"))
    return row, DAMAGED in row


def drop_loose(work: Work, row: LooseRow, *, is_useless: bool) -> bool:
    """Remove the row unless something needs it; whether it went."""
    live = work.live
    match row:
        case TermsRow():
            needed = live.find_run(row.run_id) is not None
        case JobRow():
            needed = not is_useless
        case WindowRow() | PauseRow() | RekeyRow():
            needed = not is_useless and work.functions.find(row.function_id) is not None
    if needed:
        return False
    for table in (live.pauses, live.rekeys, live.jobs):
        if isinstance(table.get(row[0]), type(row)):
            del table[row[0]]
    if isinstance(row, WindowRow) and (window := live.windows.find(row.window_id)) is not None:
        live.windows.forget(window)
    work.batch.remove(type(row), row[0], row.shard)
    work.owns(row.shard)
    return True
