"""Concurrency: how many requests, or runs, may be under way at once.

Each limit names a counter. `fn` (the default): one of this function and value of the key. `env` and
`account`: one that functions share whose key has the same text and value. Each function goes by its own
number, whoever holds the others' units (concurrency guide, protocol 5.15).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.models.options import key_of


@dataclass(frozen=True)
class Need:
    """One limit as a run meets it: fewer than `limit` must hold the counter."""

    counter: str
    limit: int
    whole_run: bool


def needs_of(function_id: str, options: Any, data: Mapping[str, Any]) -> list[Need]:
    """The limits that apply to a run on this event; a limit of 0 is none."""
    if options is None:
        return []
    if isinstance(options, int):
        options = [{"limit": options}]
    if isinstance(options, Mapping) and ("fn" in options or "step" in options):
        for_runs, for_steps = options.get("fn", []), options.get("step", [])
    else:
        for_runs, for_steps = [], [options] if isinstance(options, Mapping) else options
    needs = [_need(function_id, entry, data, whole_run=True) for entry in for_runs]
    needs += [_need(function_id, entry, data, whole_run=False) for entry in for_steps]
    return [need for need in needs if need.limit > 0]


def _need(function_id: str, entry: Mapping[str, Any], data: Mapping[str, Any], *, whole_run: bool) -> Need:
    """One entry of the option."""
    scope = entry.get("scope", "fn")
    place = function_id if scope == "fn" else scope
    kind = "runs" if whole_run else "steps"
    return Need(f"{kind} {scope} {place} {key_of(entry, data)}", entry.get("limit", 0), whole_run)


class Counters:
    """Who holds what. A holder is the name of a request or of a run; holding twice counts once."""

    def __init__(self) -> None:
        self.holders: dict[str, set[str]] = {}

    def has_room(self, need: Need) -> bool:
        """Whether one more may hold the counter, by the number of whoever asks."""
        return len(self.holders.get(need.counter, ())) < need.limit

    def take(self, need: Need, holder: str) -> None:
        """Hold it; there must be room."""
        assert self.has_room(need) or holder in self.holders[need.counter]
        self.hold(need, holder)

    def hold(self, need: Need, holder: str) -> None:
        """Let it be held, room or not: the limit was changed."""
        self.holders.setdefault(need.counter, set()).add(holder)

    def give(self, holder: str) -> None:
        """Give back everything a holder has."""
        for held in self.holders.values():
            held.discard(holder)
