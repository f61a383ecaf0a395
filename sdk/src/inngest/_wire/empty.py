"""The mark for "nothing was given", where `None` is a value."""

from enum import Enum
from typing import Final, Literal


class _Empty(Enum):
    EMPTY = "empty"

    def __repr__(self) -> str:
        return "EMPTY"

    def __bool__(self) -> bool:
        return False


Empty = Literal[_Empty.EMPTY]
EMPTY: Final = _Empty.EMPTY
