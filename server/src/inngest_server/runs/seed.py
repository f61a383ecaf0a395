"""What a run begins with that was not executed for it: results of another run, and an edited input.

A seed becomes the first entries of the run's journal, in the batch that makes the run. Folding them gives
what its first request carries, as it does for results of its own: nothing else has to know that it is a
fork. Which version the SDK speaks, and what was pending, are not taken over: the first answer tells them
anew.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from inngest_server.runs.records import ItemRow, JournalKind, JournalRow
from inngest_server.runs.run import Content
from inngest_server.runs.start import NewRun
from inngest_server.wire import json


class SeedEntry(NamedTuple):
    """An entry of the journal, before it is known of which run."""

    kind: JournalKind
    step_id: str
    meta: dict[str, Any]
    payload: bytes


class Seed(NamedTuple):
    entries: Sequence[SeedEntry] = ()
    """Memos in the order in which they are to stand on the stack, and at most one opened step after them."""
    target: str = ""
    """Hashed id of the opened step, which the first request is for; empty: it asks for what comes next."""
    kind: str = "discovery"
    """Of that item: `step`, or `gateway` where the server makes the request."""


class Planted(NamedTuple):
    """A run that was just made and has grown from its seed."""

    new: NewRun
    journal: list[JournalRow]
    """To be stored in the same batch; the content has it already."""


def plant(new: NewRun, seed: Seed, now_ms: int) -> Planted:
    """Let a new run begin with a seed; it starts at once, whatever the time of its event."""
    row = new.row
    journal = [
        JournalRow(
            row.run_id,
            n,
            row.shard,
            entry.kind.value,
            entry.step_id,
            now_ms,
            json.dumps(entry.meta),
            entry.payload,
        )
        for n, entry in enumerate(seed.entries, start=1)
    ]
    for entry in journal:
        new.content.fold(entry)
    return Planted(new._replace(first_item=_first_item(new.first_item, seed, new.content, now_ms)), journal)


def _first_item(item: ItemRow, seed: Seed, content: Content, now_ms: int) -> ItemRow:
    stack_index = 0 if seed.kind == "step" else len(content.memos)
    item = item._replace(kind=seed.kind, stack_index=stack_index, due_at_ms=now_ms)
    if not seed.target:
        return item
    return item._replace(item_id=f"{item.run_id}.{seed.target}", step_id=seed.target)
