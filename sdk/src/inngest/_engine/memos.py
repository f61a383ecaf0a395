"""Stored results of steps, as the server sends them with a call request (protocol 3.3)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from inngest._wire.empty import EMPTY, Empty


@dataclass(slots=True)
class MemoError:
    """Why a step failed for good."""

    name: str
    message: str
    stack: str | None = None
    is_final: bool = False
    """No further attempt was made, because the app said so (`noRetry`)."""


@dataclass(slots=True)
class Output:
    """What one step came to: `data`, or an `error`. Middleware may change both before the code sees them."""

    data: object = None
    error: MemoError | None = None


class StepMemos:
    """The stored steps of one call request, by hashed id, in the order in which they were stored.

    Middleware gets it in `transform_input` and may change each output.
    """

    def __init__(self, memos: Mapping[str, Output]) -> None:
        self._memos = dict(memos)

    @classmethod
    def from_raw(cls, raw: Mapping[str, object]) -> "StepMemos":
        """Read what is on the wire; edited inputs (`{"input": [...]}`) are no results and left out."""
        return cls({hashed: _output_of(value) for hashed, value in raw.items() if not is_input(value)})

    @property
    def size(self) -> int:
        """How many results the code has not asked for yet."""
        return len(self._memos)

    def values(self) -> Iterator[Output]:
        """Every result that the code has not asked for yet."""
        return iter(self._memos.values())

    def pop(self, hashed_id: str) -> Output | Empty:
        """Take the result of a step; `EMPTY` when there is none."""
        return self._memos.pop(hashed_id, EMPTY)

    def __contains__(self, hashed_id: object) -> bool:
        return hashed_id in self._memos

    def __len__(self) -> int:
        return len(self._memos)


def is_input(value: object) -> bool:
    """Whether a memo says with which arguments a step is to be run, instead of its result."""
    if not isinstance(value, dict):
        return False
    fields = cast("dict[str, Any]", value)
    return fields.keys() - {"type"} == {"input"} and isinstance(fields["input"], list)


def _output_of(value: object) -> Output:
    """A wrapper has exactly one of `data` and `error`; everything else is the result itself."""
    if not isinstance(value, dict):
        return Output(value)
    fields = cast("dict[str, Any]", value)
    keys = fields.keys() - {"type"}
    if keys == {"data"}:
        return Output(fields["data"])
    if keys == {"error"} and (error := _error_of(fields["error"])) is not None:
        return Output(None, error)
    return Output(fields)


def _error_of(value: object) -> MemoError | None:
    match value:
        case {"name": str(name), "message": str(message)}:
            fields = cast("dict[str, Any]", value)
            stack = fields.get("stack")
            is_final = fields.get("noRetry") is True
            return MemoError(name, message, stack if isinstance(stack, str) else None, is_final)
        case _:
            return None
