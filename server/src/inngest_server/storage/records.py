"""The kinds of rows that storage keeps, and how each is named.

The fields of a row are its columns, in order. The first `KEY_WIDTH` fields are its key; the field `shard`
names the only writer.
"""

from typing import NamedTuple

from inngest_server.apps.records import AppRow, CronRow, FunctionRow
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.flow_control.records import MeterRow, PauseRow, RekeyRow, TermsRow, WindowRow
from inngest_server.jobs.records import JobRow
from inngest_server.runs.records import BatchedEventRow, ItemRow, JournalRow, RunRow, WaitRow


class SubscriberRow(NamedTuple):
    """A shard that has, or once had, a wait on an event name. Key: (`event_name`, `shard`)."""

    event_name: str
    shard: int


class MessageRow(NamedTuple):
    """What one shard tells another that has a different owner. Key: all but `body`."""

    shard: int
    """The receiver, which alone removes it."""
    sender: int
    number: int
    """Increases per sender; the receiver drops numbers it has seen."""
    body: bytes


Row = (
    AppRow
    | BatchedEventRow
    | CronRow
    | EventRow
    | FunctionRow
    | ItemRow
    | JobRow
    | JournalRow
    | MarkRow
    | MessageRow
    | MeterRow
    | PauseRow
    | RekeyRow
    | RunRow
    | SubscriberRow
    | TermsRow
    | WaitRow
    | WindowRow
)
Key = str | tuple[str | int, ...]

TABLES: dict[type[Row], str] = {
    RunRow: "runs",
    JournalRow: "journal",
    ItemRow: "items",
    WaitRow: "waits",
    EventRow: "events",
    MarkRow: "marks",
    AppRow: "apps",
    FunctionRow: "functions",
    CronRow: "crons",
    SubscriberRow: "subscribers",
    MessageRow: "messages",
    BatchedEventRow: "batched_events",
    TermsRow: "terms",
    WindowRow: "windows",
    MeterRow: "meters",
    PauseRow: "pauses",
    RekeyRow: "rekeys",
    JobRow: "jobs",
}
KEY_WIDTH: dict[type[Row], int] = {JournalRow: 2, SubscriberRow: 2, MessageRow: 3, BatchedEventRow: 2}


def key_of(row: Row) -> Key:
    """The key of a row: its first field, or the tuple of its first fields where one is not enough."""
    width = KEY_WIDTH.get(type(row), 1)
    return row[0] if width == 1 else row[:width]  # type: ignore[return-value]
