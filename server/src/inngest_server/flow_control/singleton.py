"""Singletons: of the runs of a function with the same key only one goes on. Source: protocol 5.9.

A run holds the *lock* of its key from the moment it is made until it ends, however it ends, also while it
sleeps or waits for another try.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from inngest_server.apps.config import FunctionConfig, SingletonMode
from inngest_server.events.expressions import EvaluationError, Expression, compile_expression
from inngest_server.flow_control.keys import value_of


class Start(NamedTuple):
    """The new run goes on; `cancels` are the runs that make way for it."""

    cancels: tuple[str, ...] = ()


class Skip(NamedTuple):
    """The new run is skipped, because of the run that holds the lock."""

    blocked_by: str


Verdict = Start | Skip


def judge(mode: SingletonMode, holders: Sequence[str]) -> Verdict:
    """What becomes of a new run whose lock these runs hold, the oldest first."""
    if not holders:
        return Start()
    if mode is SingletonMode.SKIP:
        return Skip(holders[0])
    return Start(tuple(holders))


@dataclass(frozen=True, slots=True)
class SingletonRule:
    """The singleton of a function, ready for use."""

    function_id: str
    mode: SingletonMode
    key: Expression | None

    def lock_of(self, event: dict[str, Any], now_ms: int) -> str | None:
        """Name of the lock that a run on this event needs; None if it needs none.

        That is so where the key is `false` or cannot be evaluated.
        """
        if self.key is None:
            return f"{self.function_id}/"
        try:
            value = self.key.evaluate(event, None, now_ms, missing=None)
        except EvaluationError:
            return None
        return None if value is False else f"{self.function_id}/{value_of(value).hash}"


def singleton_rule(function_id: str, config: FunctionConfig) -> SingletonRule | None:
    singleton = config.singleton
    if singleton is None:
        return None
    key = compile_expression(singleton.key) if singleton.key else None
    return SingletonRule(function_id, singleton.mode, key)
