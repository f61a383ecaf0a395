"""The call request: what the server asks an app to go on with (protocol 3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from inngest.errors import CallRequestError

WHOLE_FUNCTION = "step"
"""The `stepId` of a request that names no step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """One request to go on with a run. `target` is the hashed id of the only step to run, if there is one."""

    run_id: str
    fn_id: str
    attempt: int
    max_attempts: int
    event: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    steps: Mapping[str, object]
    stack: tuple[str, ...]
    target: str | None = None
    plan_only: bool = False
    """`disable_immediate_execution`: a new step is only announced, never run at once."""
    use_api: bool = False
    qi_id: str = ""
    generation_id: int = 0
    request_id: str | None = None
    job_id: str | None = None
    version: int = -1

    @property
    def is_last_attempt(self) -> bool:
        return self.attempt + 1 >= self.max_attempts

    @staticmethod
    def parse(body: object, query: Mapping[str, str]) -> "CallRequest":
        """Read a decoded request body and the query of its URL.

        Raises:
            CallRequestError: something is missing or has another type; says what and where.
        """
        read = _Reader(body, "the body")
        ctx = _Reader(read.value("ctx"), "ctx")
        event = read.mapping("event")
        events = tuple(read.mappings("events")) or (event,)
        target = query.get("stepId", WHOLE_FUNCTION)
        return CallRequest(
            run_id=ctx.text("run_id"),
            fn_id=ctx.text("fn_id", ""),
            attempt=ctx.number("attempt"),
            max_attempts=ctx.number("max_attempts", 1 << 30),
            event=event,
            events=events,
            steps=read.mapping("steps", {}),
            stack=_stack_of(ctx),
            target=None if target in ("", WHOLE_FUNCTION) else target,
            plan_only=ctx.flag("disable_immediate_execution"),
            use_api=read.flag("use_api") or ctx.flag("use_api"),
            qi_id=ctx.text("qi_id", ""),
            generation_id=ctx.number("generation_id", 0),
            request_id=ctx.text("request_id", "") or None,
            job_id=ctx.text("job_id", "") or None,
            version=read.number("version", -1),
        )


def _stack_of(ctx: "_Reader") -> tuple[str, ...]:
    stack = ctx.mapping("stack", {}).get("stack")
    if stack is None:
        return ()
    if isinstance(stack, list) and all(isinstance(one, str) for one in cast("list[object]", stack)):
        return tuple(cast("list[str]", stack))
    raise CallRequestError("ctx.stack.stack must be a list of step ids")


class _Reader:
    """Fields of a JSON object, each with the type it must have; null counts as absent."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise CallRequestError(f"{where} must be a JSON object, not {_kind(value)}")
        self._fields = cast("dict[str, Any]", value)
        self._where = where

    def value(self, key: str) -> object:
        return self._fields.get(key)

    def text(self, key: str, default: str | None = None) -> str:
        return self._read(key, str, "a string", default)

    def number(self, key: str, default: int | None = None) -> int:
        value = self._read(key, int, "an integer", default)
        if isinstance(value, bool):
            raise self._wrong(key, "an integer", value)
        return value

    def flag(self, key: str) -> bool:
        return self._read(key, bool, "true or false", False)

    def mapping(self, key: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._read(key, dict, "a JSON object", default)

    def mappings(self, key: str) -> list[dict[str, Any]]:
        values: list[Any] = self._read(key, list, "a list", [])
        for value in values:
            if not isinstance(value, dict):
                raise self._wrong(key, "a list of JSON objects", value)
        return values

    def _read(self, key: str, kind: type[Any], wanted: str, default: Any) -> Any:
        value = self._fields.get(key)
        if value is None:
            if default is None:
                raise CallRequestError(f"{self._where} has no {key!r}, which must be {wanted}")
            return default
        if not isinstance(value, kind):
            raise self._wrong(key, wanted, value)
        return value

    def _wrong(self, key: str, wanted: str, value: object) -> CallRequestError:
        return CallRequestError(f"{key!r} of {self._where} must be {wanted}, not {_kind(value)}")


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__
