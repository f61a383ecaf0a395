"""What is set aside: runs and schedules about which a decision raised, or whose rows cannot be read.

That is our own mistake, or damage of the disk, and must not reach others. A held entity decides nothing until
it is released or cancelled, or the server starts again, which tries it once more. Meanwhile

* whoever asks about it is told so;
* messages to it stay stored, and are decided once it is released;
* work of it that is not under way is queued without slots, so that nobody waits for them.
"""

from typing import Literal, NamedTuple

from inngest_server.engine.facts import Pending
from inngest_server.engine.options import EngineUnavailableError

HeldKind = Literal["run", "cron", "window"]


class Held(NamedTuple):
    """Why something is held."""

    kind: HeldKind
    reason: str
    since_ms: int
    """Domain time."""


class EntityHeldError(EngineUnavailableError):
    """What was asked concerns a run that is held."""

    code = "held"

    def __init__(self, entity: str, reason: str) -> None:
        super().__init__(
            f"{entity} is held: {reason}; cancel it, or release it to try again", retry_after_s=60
        )


class HeldTable:
    """The held entities of a node, by id. Outlives a reload of memory."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._messages: dict[str, list[Pending]] = {}

    def __contains__(self, entity: str) -> bool:
        return entity in self._held

    def __len__(self) -> int:
        return len(self._held)

    def all(self) -> dict[str, Held]:
        """A copy, in the order in which they were held."""
        return dict(self._held)

    def add(self, entity: str, held: Held) -> bool:
        """Hold it; False when it is held already, for the reason that it had first."""
        return self._held.setdefault(entity, held) is held

    def refuse(self, entity: str, pending: Pending) -> None:
        """Take a fact about it that will not be decided now."""
        if pending.message is not None:
            self._messages.setdefault(entity, []).append(pending)
        pending.fail(EntityHeldError(entity, self._held[entity].reason))

    def release(self, entity: str) -> list[Pending]:
        """Hold it no longer; returns the messages that wait to be decided."""
        self._held.pop(entity, None)
        return self._messages.pop(entity, [])

    def forget_messages(self) -> None:
        """Memory is loaded again, and stored messages with it."""
        self._messages.clear()
