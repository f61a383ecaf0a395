"""The server of `driver`, with requests that overlap: several see the same state before any is answered."""

from dataclasses import dataclass
from typing import Any

from .driver import REQUESTS_MAX, Outcome, Server


@dataclass
class OverlappingServer(Server):
    """Requests begin in the order in which they were asked for, and are answered in any order.

    As a real server does, it asks once for each result of a race, also while other requests are under way.
    """

    def run(self) -> Outcome:
        under_way: list[tuple[Any, str, int]] = []
        while self._queue or under_way:
            if self._queue and (not under_way or self.random.random() < 0.6):
                self.outcome.requests += 1
                assert self.outcome.requests <= REQUESTS_MAX, "the run does not come to an end"
                target, attempt = self._queue.pop(0)
                under_way.append((self.call(self.request(target, attempt)), target, attempt))
                continue
            answer, target, attempt = under_way.pop(self.random.randrange(len(under_way)))
            if self._take(answer, target, attempt):
                return self.outcome
        raise AssertionError("nothing is queued, and the run has not ended")

    def _store(self, op: dict[str, Any], memo: Any) -> None:
        if op["id"] not in self.steps:
            self.steps[op["id"]] = memo
            self.stack.append(op["id"])
        is_race = (op.get("opts") or {}).get("parallelMode") == "race"
        is_outside = op["id"] not in self._pending
        self._pending.discard(op["id"])
        if is_race or is_outside or not self._pending:
            self._plan_only = False
            self._queue.append(("step", 0))
