"""Identities of steps (protocol 4.5)."""

from functools import lru_cache
from hashlib import sha1
from typing import NamedTuple


@lru_cache(maxsize=4_096)  # Every request of a run asks for the same ones again.
def hash_step_id(text: str) -> str:
    """The id of a step on the wire: SHA-1 of its text, in hex."""
    return sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


class StepId(NamedTuple):
    """`user_id` as the code has it; `number` counts its uses from 0; `hashed` names it on the wire."""

    user_id: str
    number: int
    hashed: str

    @property
    def text(self) -> str:
        """As people read it: `charge`, and `charge:1` for its second use."""
        return f"{self.user_id}:{self.number}" if self.number else self.user_id


class StepIds:
    """Gives the steps of one request their identities, in the order in which the code comes to them."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._used: set[str] = set()

    def next(self, user_id: str) -> StepId:
        """The n-th use of an id, from 0, is hashed as `id`, `id:1`, `id:2`; texts in use are skipped."""
        step = self.peek(user_id)
        self._counts[user_id] = step.number + 1
        self._used.add(step.text)
        return step

    def peek(self, user_id: str) -> StepId:
        """What `next` would give."""
        number = self._counts.get(user_id, 0)
        text = f"{user_id}:{number}" if number else user_id
        while text in self._used:
            number += 1
            text = f"{user_id}:{number}"
        return StepId(user_id, number, hash_step_id(text))
