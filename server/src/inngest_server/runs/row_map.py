"""The items of a run, and its waits: rows by id, of which there is nearly always none or one."""

from collections.abc import Collection, Iterator, MutableMapping
from typing import TypeVar

from inngest_server.runs.records import ItemRow, WaitRow

R = TypeVar("R", ItemRow, WaitRow)


class RowMap(MutableMapping[str, R]):
    """A mapping from ids to rows, whose first field is their id.

    A dictionary of one entry takes 200 bytes, and a waiting run would have two. Here a lone row needs none.
    """

    __slots__ = ("_many", "_one")

    def __init__(self) -> None:
        self._one: R | None = None
        self._many: dict[str, R] | None = None
        """All of them, once there are several; then there is no `_one`."""

    def __getitem__(self, key: str) -> R:
        row = self.get(key)
        if row is None:
            raise KeyError(key)
        return row

    def __setitem__(self, key: str, row: R) -> None:
        assert row[0] == key, f"{row[0]} is not {key}"
        one = self._one
        if self._many is not None:
            self._many[key] = row
        elif one is None or one[0] == key:
            self._one = row
        else:
            self._one, self._many = None, {one[0]: one, key: row}

    def __delitem__(self, key: str) -> None:
        if self._many is not None:
            del self._many[key]
            if len(self._many) == 1:
                [self._one] = self._many.values()
                self._many = None
        elif key in self:
            self._one = None
        else:
            raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter([row[0] for row in self.values()])

    def __len__(self) -> int:
        return len(self.values())

    # The mixin has the others too, but every step asks for these.

    def __contains__(self, key: object) -> bool:
        if self._many is not None:
            return key in self._many
        return self._one is not None and self._one[0] == key

    def get(self, key: str) -> R | None:  # type: ignore[override]
        if self._many is not None:
            return self._many.get(key)
        one = self._one
        return one if one is not None and one[0] == key else None

    def values(self) -> Collection[R]:  # type: ignore[override]
        """The rows, oldest first. Rows may come and go while one looks at them."""
        if self._many is not None:
            return list(self._many.values())
        return () if self._one is None else (self._one,)
