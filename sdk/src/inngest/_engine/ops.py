"""Operations that an app reports to the server (protocol 4.4)."""

import json
from dataclasses import dataclass, field
from enum import Enum

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


@dataclass(frozen=True, slots=True)
class Op:
    """What a step asks for. `opts` are the opcode's own; `name` where it is not the step's id."""

    kind: Kind
    step: StepId
    opts: dict[str, object] | None = None
    name: str | None = None
    display_name: str | None = None
    error: dict[str, object] | None = field(default=None)

    def to_json(self, data: str = "null") -> str:
        """The operation as JSON text; `data` is JSON text already."""
        step = self.step
        fields: dict[str, object] = {
            "displayName": self.display_name or step.user_id,
            "id": step.hashed,
            "name": step.user_id if self.name is None else self.name,
            "op": self.kind.value,
            "opts": self.opts,
            "userland": {"id": step.user_id, "index": step.index or None},
        }
        if self.error is not None:
            fields["error"] = self.error
        return f'{{"data":{data},{dump(fields)[1:]}'


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
