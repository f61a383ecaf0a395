"""What a run's journal tells an explanation: names of steps, the last failure, and how the run ended."""

from typing import Any, NamedTuple

from inngest_server.apps.fields import is_object
from inngest_server.explain.origin import error_text
from inngest_server.explain.snapshot import RunSnapshot
from inngest_server.runs.records import ItemRow, JournalKind, JournalRow
from inngest_server.wire import json


class Failure(NamedTuple):
    """A try that failed and is repeated."""

    at_ms: int
    code: str
    text: str
    """Name and message of the error."""


def meta_of(entry: JournalRow) -> dict[str, Any]:
    meta: Any = json.parse(entry.meta) if entry.meta else {}  # Of a damaged entry nothing is left.
    return meta if is_object(meta) else {}


def step_name(shot: RunSnapshot, step_id: str) -> str:
    """What the app calls a step; its hashed id where the journal has no name for it."""
    if not step_id:
        return ""
    for entry in reversed(shot.journal):
        if entry.step_id == step_id and isinstance(name := meta_of(entry).get("name"), str) and name:
            return name
    return step_id


def steps_of_races(shot: RunSnapshot) -> frozenset[str]:
    """The steps whose end alone lets the run go on."""
    opened = [
        entry for entry in shot.journal if entry.kind == JournalKind.OPENED and b'"race":' in entry.meta
    ]
    return frozenset([entry.step_id for entry in opened if meta_of(entry).get("race")])


def find_failure(shot: RunSnapshot, item: ItemRow) -> Failure | None:
    """The last failed try of an item; None if none has failed."""
    name = item.item_id.partition(".")[2]
    for entry in reversed(shot.journal):
        if entry.kind != JournalKind.TRIED:
            continue
        meta = meta_of(entry)
        if meta.get("item", entry.step_id) == name:
            return Failure(entry.at_ms, str(meta.get("code", "")), error_text(entry.payload))
    return None


def find_ending(shot: RunSnapshot) -> dict[str, Any]:
    """What the last entry says of the end; empty if there is none."""
    last = shot.journal[-1] if shot.journal else None
    return meta_of(last) if last is not None and last.kind == JournalKind.ENDED else {}
