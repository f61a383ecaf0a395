"""What a run has left behind: its reason to end, the events about it, and what should be gone."""

from inngest_server.events.records import EventRow
from inngest_server.flow_control.records import TermsRow
from inngest_server.runs.records import ItemRow, JournalKind, RunRow, WaitRow
from inngest_server.wire import json
from tests.unit.engine.builders import Office

CANCELLED_EVENTS = ["inngest/function.cancelled", "inngest/function.finished"]


async def reload(office: Office) -> None:
    """Stop the server and start another one on the same storage; calls under way are lost."""
    office.desk.recall()
    await office.engine.start()
    await office.settle()


async def run_of_event(office: Office, event_id: str) -> RunRow:
    """The only run that an event started, as it is stored."""
    (row,) = await office.storage.runs_of_event(event_id)
    return row


async def status_of(office: Office, run_id: str) -> str:
    return (await office.row(run_id)).status


async def reason_of(office: Office, run_id: str) -> str:
    """Why the run ended, as its journal has it."""
    journal = (await office.storage.journals([run_id]))[run_id]
    (entry,) = [one for one in journal if one.kind == JournalKind.ENDED]
    return json.parse(entry.meta).get("reason", "")


def events_about(office: Office, run_id: str) -> list[str]:
    """Names of the system events about a run that nobody listened for, sorted."""
    return sorted(row.name for row in office.storage._all(EventRow) if row.run_id == run_id)


def left_behind(office: Office, run_id: str) -> list[ItemRow | WaitRow | TermsRow]:
    """Live rows of a run; none once it has ended."""
    storage = office.storage
    rows = [*storage._all(ItemRow), *storage._all(WaitRow), *storage._all(TermsRow)]
    return [row for row in rows if row.run_id == run_id]
