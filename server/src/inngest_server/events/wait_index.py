"""Open waits of one node, found by the events that can end them.

Waits stand under the name of the event they wait for. Those whose expression demands that some field of
the event equals a known value stand in a table for the fields (`data.id`, or `data.id` and `data.plan`
together), under the values demanded; one lookup per table finds them, however many there are. The few
whose expression demands no such thing are tried with every event of the name.

The tables only choose whom to try. Whether an event ends a wait is decided by evaluating its expression.
"""

from collections.abc import Hashable, Iterator
from typing import Any, Generic, TypeVar

from .expressions import NEVER, Expression, IndexEntry, Segments, Shape, event_key

W = TypeVar("W", bound=Hashable)


class _Wait(Generic[W]):
    """One wait. `shape` is `None` when every event of the name ends it."""

    __slots__ = ("captured", "event_name", "literals", "number", "shape", "wait_id")

    def __init__(
        self,
        wait_id: W,
        number: int,
        event_name: str,
        expression: Expression | None,
        captured: tuple[Any, ...],
    ) -> None:
        self.wait_id = wait_id
        self.number = number
        self.event_name = event_name
        # Not the expression itself: a text with an id written into it would be kept for each wait. Nor both
        # tuples in one, since the literals are usually shared.
        self.shape: Shape | None = expression.shape if expression else None
        self.literals = expression.literals if expression else ()
        self.captured = captured

    def index_entry(self) -> IndexEntry | None:
        # Computed again when the wait is removed: that is cheaper than keeping it for months.
        return None if self.shape is None else self.shape.index_entry(self.captured + self.literals)

    def is_ended_by(self, event: dict[str, Any], now_ms: int) -> bool:
        return self.shape is None or self.shape.is_true(self.captured + self.literals, event, now_ms)


# A key that several waits share has them by number; a single wait, the usual case, needs no dict of its own.
_Bucket = _Wait[W] | dict[int, _Wait[W]]
_Table = dict[Hashable, _Bucket[W]]


class _Name(Generic[W]):
    """The waits for events of one name."""

    __slots__ = ("rest", "tables")

    def __init__(self) -> None:
        self.tables: dict[tuple[Segments, ...], _Table[W]] = {}
        self.rest: dict[int, _Wait[W]] = {}

    def add(self, wait: _Wait[W]) -> None:
        entry = wait.index_entry()
        if entry is None:
            self.rest[wait.number] = wait
            return
        if not entry.keys:
            return  # No event can match it.
        table = self.tables.setdefault(entry.paths, {})
        for key in entry.keys:
            bucket = table.get(key)
            if bucket is None:
                table[key] = wait
            elif isinstance(bucket, dict):
                bucket[wait.number] = wait
            else:
                table[key] = {bucket.number: bucket, wait.number: wait}

    def remove(self, wait: _Wait[W]) -> None:
        entry = wait.index_entry()
        if entry is None:
            del self.rest[wait.number]
            return
        if not entry.keys:
            return  # No event can match it, so it stands nowhere.
        table = self.tables[entry.paths]
        for key in entry.keys:
            bucket = table[key]
            if isinstance(bucket, dict):
                del bucket[wait.number]
            if bucket is wait or not bucket:
                del table[key]
        if not table:
            del self.tables[entry.paths]

    def candidates(self, event: dict[str, Any]) -> list[_Wait[W]]:
        """The waits that the event may end, in no particular order; each once."""
        found = list(self.rest.values())
        for paths, table in self.tables.items():
            key = event_key(paths, event)
            bucket = table.get(key) if key is not NEVER else None
            if isinstance(bucket, dict):
                found.extend(bucket.values())
            elif bucket is not None:
                found.append(bucket)
        return found


class WaitIndex(Generic[W]):
    """Finds the open waits that an event ends: in memory, for one node. The caller keeps the waits.

    The answers depend on the calls alone: never on hashes or addresses.
    """

    def __init__(self) -> None:
        self.evaluations = 0
        """How many expressions `match` has evaluated."""
        self._names: dict[str, _Name[W]] = {}
        self._waits: dict[W, _Wait[W]] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._waits)

    def __contains__(self, wait_id: W) -> bool:
        return wait_id in self._waits

    def __iter__(self) -> Iterator[W]:
        """The ids of all waits, in the order in which they were added."""
        return iter(self._waits)

    def add(
        self, wait_id: W, event_name: str, expression: Expression | None, captured: tuple[Any, ...]
    ) -> None:
        """Let `match` find a wait. Without an expression, every event of the name ends it.

        `captured` is what `expression.capture` gave for the run's own event, and must not change. A wait
        that is there already is replaced, and counts as added last.

        Raises:
            ValueError: the values were captured by another expression.
        """
        if expression is not None:
            expression.check_captured(captured)
        self.remove(wait_id)
        self._number += 1
        wait = _Wait(wait_id, self._number, event_name, expression, captured)
        self._waits[wait_id] = wait
        self._name(event_name).add(wait)

    def remove(self, wait_id: W) -> bool:
        """Forget a wait; false when it is not there, which is ordinary: an event and a timeout may race."""
        wait = self._waits.pop(wait_id, None)
        if wait is None:
            return False
        name = self._name(wait.event_name)
        name.remove(wait)
        if not name.rest and not name.tables:
            del self._names[wait.event_name]
        return True

    def match(self, event_name: str, event: dict[str, Any], now_ms: int) -> list[W]:
        """The ids of the waits that the event ends, in the order of adding. Removes nothing."""
        name = self._names.get(event_name)
        if name is None:
            return []
        matched: list[W] = []
        for wait in sorted(name.candidates(event), key=_number_of):
            self.evaluations += wait.shape is not None
            if wait.is_ended_by(event, now_ms):
                matched.append(wait.wait_id)
        return matched

    def knows(self, event_name: str) -> bool:
        """Whether any wait is for events of that name."""
        return event_name in self._names

    def unindexed_count(self, event_name: str) -> int:
        """How many waits are tried with every event of the name: their expressions demand no equality."""
        name = self._names.get(event_name)
        return len(name.rest) if name else 0

    def _name(self, event_name: str) -> _Name[W]:
        name = self._names.get(event_name)
        if name is None:
            name = self._names[event_name] = _Name()
        return name


def _number_of(wait: _Wait[W]) -> int:
    return wait.number
