"""The kinds of rows that storage keeps, and how each is named.

The fields of a row are its columns, in order. The first `KEY_WIDTH` fields are its key; the field `shard`
names the only writer.
"""

from typing import NamedTuple

from inngest_server.apps.records import AppRow, CronRow, FunctionRow
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.runs.records import ItemRow, JournalRow, RunRow, WaitRow


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
    | CronRow
    | EventRow
    | FunctionRow
    | ItemRow
    | JournalRow
    | MarkRow
    | MessageRow
    | RunRow
    | SubscriberRow
    | WaitRow
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
}
KEY_WIDTH: dict[type[Row], int] = {JournalRow: 2, SubscriberRow: 2, MessageRow: 3}


def key_of(row: Row) -> Key:
    """The key of a row: its first field, or the tuple of its first fields where one is not enough."""
    width = KEY_WIDTH.get(type(row), 1)
    return row[0] if width == 1 else row[:width]  # type: ignore[return-value]
