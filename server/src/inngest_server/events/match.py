"""Which functions an event starts: exact names, wildcards, and trigger expressions.

Source: protocol 2.7 and 5.1.
"""

from functools import lru_cache
from typing import Any, Generic, TypeVar

from inngest_server.events.expressions import Expression, compile_expression

T = TypeVar("T")

NAMES_KEPT = 500
"""Event names whose possible triggers are kept: every event asks for them several times."""


class TriggerIndex(Generic[T]):
    """Triggers by event name. What they belong to is any value; it is returned in the order of adding."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[tuple[T, Expression | None]]] = {}

    def add(self, owner: T, event_name: str, expression: str) -> None:
        """`event_name` is exact, or ends in `*` after `/` or `.`; an empty expression is always true.

        Raises:
            CompileError: the expression is invalid.
        """
        compiled = compile_expression(expression) if expression else None
        self._by_name.setdefault(event_name, []).append((owner, compiled))

    def knows(self, event_name: str) -> bool:
        """Whether any trigger could match an event of that name."""
        return not self._by_name.keys().isdisjoint(trigger_names(event_name))

    def match(self, event_name: str, event: dict[str, Any], now_ms: int) -> list[T]:
        """Owners whose trigger matches, each once however many of its triggers do.

        Those of the exact name come first, then those of wildcards, each in the order of adding.
        """
        found: list[T] = []
        for key in trigger_names(event_name):
            for owner, expression in self._by_name.get(key, ()):
                if owner not in found and (expression is None or expression.is_true(event, None, now_ms)):
                    found.append(owner)
        return found


@lru_cache(maxsize=NAMES_KEPT)
def trigger_names(event_name: str) -> tuple[str, ...]:
    """What a trigger for it may be called: the name itself and each wildcard that covers it.

    `a/b.c` is covered by `a/*` and `a/b.*`.
    """
    wildcards = [
        event_name[: position + 1] + "*"
        for position, character in enumerate(event_name[:-1])
        if character in "/."
    ]
    return event_name, *wildcards
