"""Operations that an app reports to the server (protocol 4.4)."""

import json
from enum import Enum
from typing import NamedTuple

from .ids import StepId, hash_step_id


class Kind(Enum):
    """Opcodes, by their names on the wire."""

    RUN = "StepRun"
    SLEEP = "Sleep"
    WAIT_FOR_EVENT = "WaitForEvent"
    WAIT_FOR_SIGNAL = "WaitForSignal"
    INVOKE = "InvokeFunction"
    AI_GATEWAY = "AIGateway"
    GATEWAY = "Gateway"
    PLANNED = "StepPlanned"
    ERROR = "StepError"
    FAILED = "StepFailed"


class Op(NamedTuple):
    """What a step asks for. `opts` are the opcode's own; `name` where it is not the step's id."""

    kind: Kind
    step: StepId
    opts: dict[str, object] | None = None
    name: str | None = None
    display_name: str | None = None
    error: dict[str, object] | None = None

    def to_json(self, data: str = "null") -> str:
        """The operation as JSON text; `data` is JSON text already."""
        step = self.step
        user_id = dump(step.user_id)  # Texts are encoded several times faster than the whole as a dictionary.
        name = user_id if self.name is None else dump(self.name)
        shown = dump(self.display_name) if self.display_name else user_id
        opts = "null" if self.opts is None else dump(self.opts)
        error = "" if self.error is None else f',"error":{dump(self.error)}'
        return (
            f'{{"data":{data},"displayName":{shown},"id":"{step.hashed}","name":{name},"op":"{self.kind.value}",'
            f'"opts":{opts},"userland":{{"id":{user_id},"index":{step.number or "null"}}}{error}}}'
        )


def dump(value: object) -> str:
    """Compact JSON; raises `TypeError` or `ValueError` for what JSON cannot say (NaN and infinities too)."""
    return _ENCODER.encode(value)


_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def run_complete(data: str) -> str:
    """The operation that ends a run, beside results that are not stored yet; `data` is JSON text."""
    return f'{{"op":"RunComplete","id":"{_COMPLETE}","data":{data}}}'


_COMPLETE = hash_step_id("complete")


def listed(ops: list[str]) -> str:
    return f"[{','.join(ops)}]"
