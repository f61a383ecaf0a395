"""What stubs make of a step: the stored result that a server would have sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, cast

from inngest._engine.ops import Kind
from inngest.errors import Error
from inngest.events import Event
from inngest.step import FetchResponse, ReceivedSignal

from .consts import Timeout
from .errors import StubInvalidError, UnstubbedStepError

__all__ = ["Stubs"]

_NEEDED: Final = {
    Kind.INVOKE: ("function to invoke", "<what the function returns>"),
    Kind.WAIT_FOR_EVENT: ("event to wait for", "inngest.Event(name=...), or mocked.Timeout"),
    Kind.WAIT_FOR_SIGNAL: ("signal to wait for", "<the signal's data>, or mocked.Timeout"),
    Kind.AI_GATEWAY: ("AI provider to ask", "<the provider's answer, a dict>"),
    Kind.GATEWAY: ("request to make", "<the answer's body>, or inngest.step.FetchResponse(...)"),
}
_INVOKE_TIMED_OUT: Final = {
    "name": "InngestInvokeTimeoutError",
    "message": "Timed out waiting for invoked function to complete",
}
"""Protocol 3.3."""


class Stubs:
    """Results by step id. `"poll"` is that of each use of the id, `"poll:1"` that of its second use alone."""

    def __init__(self, stubs: Mapping[str, object] | None) -> None:
        self._stubs = dict(stubs or {})

    def __bool__(self) -> bool:
        return bool(self._stubs)

    def has(self, op: Mapping[str, Any]) -> bool:
        return self._find(op) is not None

    def error_of(self, op: Mapping[str, Any]) -> list[Exception]:
        """The stub of that step, if it is an exception."""
        return [stub for stub in self._find(op) or () if isinstance(stub, Exception)]

    def _find(self, op: Mapping[str, Any]) -> tuple[object] | None:
        """The stub of the step that an operation reports."""
        user_id, index = op["userland"]["id"], op["userland"]["index"] or 0
        for key in (f"{user_id}:{index}", user_id):
            if key in self._stubs:
                return (self._stubs[key],)
        return None

    def result_of(self, op: Mapping[str, Any]) -> object:
        """The stored result of a step that the server does, or whose stub spares the app to do it.

        Raises:
            UnstubbedStepError: there is none.
            StubInvalidError: the stub cannot be that step's result.
        """
        kind = Kind(op["op"])
        if kind is Kind.SLEEP:
            return None
        found = self._find(op)
        step_id = op["userland"]["id"]
        if found is None:
            raise UnstubbedStepError(step_id, *_NEEDED[kind])
        (stub,) = found
        if isinstance(stub, Exception):
            return _failed(stub)
        match kind:
            case Kind.WAIT_FOR_EVENT:
                return _event(step_id, stub)
            case Kind.WAIT_FOR_SIGNAL:
                return _signal(op["opts"]["signal"], stub)
            case Kind.GATEWAY:
                return _response(op["opts"]["url"], step_id, stub)
            case Kind.INVOKE if stub is Timeout:
                return {"error": _INVOKE_TIMED_OUT}
            case _:
                return _data(step_id, stub)


def _data(step_id: str, stub: object) -> dict[str, object]:
    if stub is Timeout:
        raise StubInvalidError(
            f"step {step_id!r} cannot time out: mocked.Timeout is for wait_for_event, wait_for_signal and "
            "invoke"
        )
    return {"data": stub}


def _failed(error: Exception) -> dict[str, object]:
    final = isinstance(error, Error) and not error.is_retriable
    name = error.name if isinstance(error, Error) else type(error).__name__
    return {"error": {"name": name, "message": str(error), "noRetry": final}}


def _event(step_id: str, stub: object) -> object:
    if stub is None or stub is Timeout:
        return None
    if not isinstance(stub, Event | Mapping):
        raise StubInvalidError(
            f"step {step_id!r} waits for an event, so its stub is an inngest.Event or mocked.Timeout, not "
            f"{type(stub).__name__}"
        )
    return Event.from_raw(cast("object", stub)).to_dict()


def _signal(name: str, stub: object) -> object:
    if stub is None or stub is Timeout:
        return None
    return {"data": {"signal": name, "data": stub.data if isinstance(stub, ReceivedSignal) else stub}}


def _response(url: str, step_id: str, stub: object) -> object:
    fields: Mapping[str, Any]
    match stub:
        case FetchResponse():
            fields = asdict(stub)
        case str():
            fields = {"body": stub}
        case Mapping():
            fields = cast("Mapping[str, Any]", stub)
        case _:
            raise StubInvalidError(
                f"step {step_id!r} makes a request, so its stub is the answer's body as text, a dict with "
                f"status_code, headers and body, or an inngest.step.FetchResponse; not {type(stub).__name__}"
            )
    return {"data": {"url": url, "status_code": 200, "headers": {}, "body": "", **fields}}
