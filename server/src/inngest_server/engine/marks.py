"""Event ids that were marked so recently that a read from storage may have missed them.

A fact about events carries the marks that a read found. Between that read and the decision other facts may
have marked the same ids; those are kept here until no undecided fact can have read before their commit.
"""

from collections import deque


class RecentMarks:
    """Marks by key, each with the number of the read round that was the latest when it became durable."""

    def __init__(self) -> None:
        self._marks: dict[str, tuple[str, int]] = {}
        self._additions: dict[str, int] = {}
        self._undurable: list[str] = []
        self._durable: deque[tuple[int, list[str]]] = deque()

    def __len__(self) -> int:
        return len(self._marks)

    def find(self, key: str) -> tuple[str, int] | None:
        """Internal id of the first event of that id, and when its mark expires."""
        return self._marks.get(key)

    def add(self, key: str, internal_id: str, expires_at_ms: int) -> None:
        """Note a key, anew if it is there: then it stays until a read has seen the latest time."""
        self._marks[key] = (internal_id, expires_at_ms)
        self._additions[key] = self._additions.get(key, 0) + 1
        self._undurable.append(key)

    def committed(self, round_number: int) -> None:
        """All marks so far are durable; reads of later rounds will find them."""
        if self._undurable:
            self._durable.append((round_number, self._undurable))
            self._undurable = []

    def deciding(self, round_number: int) -> None:
        """A fact of that round is decided next; facts come in the order of their rounds."""
        while self._durable and self._durable[0][0] < round_number:
            for key in self._durable.popleft()[1]:
                self._additions[key] -= 1
                if not self._additions[key]:
                    del self._marks[key], self._additions[key]

    def clear(self) -> None:
        self._marks.clear()
        self._additions.clear()
        self._undurable.clear()
        self._durable.clear()
