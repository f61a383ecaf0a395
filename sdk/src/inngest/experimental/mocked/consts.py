"""How a run ended, and the stub of a time-out."""

from enum import Enum
from typing import Final

__all__ = ["Status", "Timeout"]


class Status(Enum):
    """How a run ended."""

    COMPLETED = "Completed"
    FAILED = "Failed"


class _Timeout:
    def __repr__(self) -> str:
        return "mocked.Timeout"


Timeout: Final[object] = _Timeout()
"""Stub of a wait that ends without its event or signal, and of an invoked function that takes too long."""
