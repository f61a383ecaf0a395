"""What becomes of results, whichever shell they come from: their JSON text, operations, answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from inngest._engine.answer import Answer
from inngest._engine.call import CallRequest
from inngest._engine.ids import StepId
from inngest._engine.memos import Output
from inngest._engine.ops import Kind, Op, dump, listed
from inngest._engine.session import Found, Place
from inngest._wire.empty import EMPTY
from inngest._wire.jsons import dumps

from .failures import error_json, headers_for, is_final, step_error, unserializable

if TYPE_CHECKING:
    from inngest.function import Function
    from inngest.serializer import Serializer

STALE = 409
OK = 200


class Wanted(NamedTuple):
    """What the code asks for with one step: how to report it, how to execute it, how to read its result."""

    step_id: str
    kind: Kind
    opts: dict[str, object] | None = None
    name: str | None = None
    handler: Callable[..., Any] | None = None
    """Executes the step; None for what the server does. May give an awaitable."""
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})
    output_type: object = EMPTY
    read: Callable[[object], Any] | None = None
    """Makes what the code gets of the stored result; None leaves it as it is."""
    place: Place | None = None

    def op(self, step: StepId) -> Op:
        return Op(self.kind, step, self.opts, self.name)

    def execute(self, edited: Sequence[object] | None = None) -> Any:
        """Call the step's handler; with the arguments of a rerun whose input was edited, if there are any."""
        assert self.handler is not None
        return self.handler(*(self.args if edited is None else edited), **self.kwargs)


def read_result(wanted: Wanted, output: Output, serializer: Serializer | None) -> Any:
    """What the code gets for a stored result.

    Raises:
        StepError: the step failed for good.
    """
    if output.error is not None:
        raise step_error(output.error)
    value = output.data
    if wanted.read is not None:
        return wanted.read(value)
    return typed(value, wanted.output_type, serializer)


def typed(value: object, output_type: object, serializer: Serializer | None) -> Any:
    """A decoded JSON value as the type that the code named, if the client has a serializer."""
    if output_type is EMPTY or serializer is None:
        return value
    return serializer.deserialize(value, output_type)


def untyped(value: object, output_type: object, serializer: Serializer | None) -> object:
    """The JSON value of a result; the reverse of `typed`."""
    if output_type is EMPTY or serializer is None:
        return value
    return serializer.serialize(value, output_type)


def json_text(what: str, value: object) -> str:
    """JSON text of a result of `what`.

    Raises:
        OutputUnserializableError: it has none.
    """
    try:
        return dump(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise unserializable(what, value, _place_of_fault(value) or error) from error


def _place_of_fault(value: object) -> Exception | None:
    try:
        dumps(value, what="in it, the value")
    except ValueError as error:
        return error
    return None


def reread(text: str) -> object:
    """A result as a replay sees it: tuples are lists, keys are text."""
    return json.loads(text)


def failed_op(found: Found, error: BaseException, call: CallRequest) -> tuple[str, dict[str, str]]:
    """The operation for a step that raised, and what the headers say about another try."""
    final = is_final(error) or call.is_last_attempt
    headers = headers_for(error)
    if final and "x-inngest-no-retry" not in headers:
        headers = {}
    described = error_json(error)
    if is_final(error):
        described["noRetry"] = True
    kind = Kind.FAILED if final else Kind.ERROR
    return found.op._replace(kind=kind, error=described).to_json(), headers


def failed_function(error: BaseException) -> Answer:
    """The answer for a function that raised (protocol 4.1)."""
    return Answer(500, dump(error_json(error)), headers_for(error))


def reported(ops: Sequence[str], headers: dict[str, str] | None = None) -> Answer:
    return Answer(206, listed(list(ops)), headers or {})


STALE_ANSWER = Answer(
    400,
    dump(
        {
            "code": "stale_dispatch",
            "name": "StaleDispatchError",
            "message": "another request goes on with this run",
        }
    ),
    {"x-inngest-no-retry": "true"},
)
"""For a request that the server has given up (protocol 13); it ignores this answer."""


@dataclass(slots=True)
class Checkpoints:
    """Results of this request that the server may not have stored yet, and whether more steps may follow."""

    call: CallRequest
    is_on: bool
    max_runtime: timedelta
    buffered_steps_max: int
    started_ms: int
    started_s: float
    unsaved: list[str]

    @staticmethod
    def of(function: Function[Any], call: CallRequest) -> Checkpoints:
        """Retried requests answer after their first step, so that the server counts its attempts (protocol
        7.5).
        """
        options = function.checkpointing  # Its own option, or else the client's.
        is_possible = bool(call.fn_id and call.qi_id) and call.target is None and call.attempt == 0
        return Checkpoints(
            call=call,
            is_on=options is not None and is_possible and not call.plan_only,
            max_runtime=options.max_runtime if options is not None else timedelta(0),
            buffered_steps_max=options.buffered_steps if options is not None else 1,
            started_ms=time.time_ns() // 1_000_000,
            started_s=time.monotonic(),
            unsaved=[],
        )

    def may_continue(self) -> bool:
        """Whether the code may go on after a step, instead of answering with its result."""
        return self.is_on and time.monotonic() - self.started_s < self.max_runtime.total_seconds()

    def body(self) -> str:
        """The checkpoint request for what is unsaved (protocol 7.5), as JSON text."""
        call = self.call
        fields: dict[str, object] = {
            "run_id": call.run_id,
            "fn_id": call.fn_id,
            "qi_id": call.qi_id,
            "request_id": call.request_id or "",
            "generation_id": call.generation_id,
            "request_started_at": self.started_ms,
            "ts": time.time_ns() // 1_000_000,
        }
        return f'{dump(fields)[:-1]},"steps":{listed(self.unsaved)}}}'

    def answered(self, status: int) -> Answer | None:
        """What the server's answer to a checkpoint means: None to go on, else how this request ends."""
        if status == OK:
            self.unsaved.clear()
            return None
        if status == STALE:
            return STALE_ANSWER
        ops, self.unsaved = self.unsaved, []
        return reported(ops)
