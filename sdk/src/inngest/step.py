"""Steps: `ctx.step` of asynchronous functions (`Step`) and of plain ones (`StepSync`).

Each step is executed once and its result stored; from then on it is answered from the store. Ids name
results: one that is used again, as in a loop, counts its uses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, TypeVarTuple, cast, overload

from ._engine.memos import StepMemos
from ._engine.ops import Kind
from ._engine.session import Place
from ._shells.failures import caller
from ._shells.results import Wanted
from ._wire.durations import to_instant, to_text, to_timedelta
from ._wire.empty import EMPTY
from .client import events_of
from .errors import ConfigError, StepUsageError
from .function import target_of

if TYPE_CHECKING:
    from ._shells.aio import _Run  # pyright: ignore[reportPrivateUsage]
    from ._shells.threads import _RunSync  # pyright: ignore[reportPrivateUsage]
    from .client import EventLike, Inngest
    from .events import Event
    from .experimental.ai import BaseAdapter
    from .function import Function

__all__ = ["AI", "AISync", "FetchResponse", "ReceivedSignal", "Step", "StepMemos", "StepSync"]

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Duration = int | str | timedelta
"""Milliseconds, a `timedelta`, or text such as "5m"."""


@dataclass(frozen=True, slots=True)
class ReceivedSignal:
    """What `wait_for_signal` was waiting for."""

    signal: str
    data: Any


@dataclass(frozen=True, slots=True)
class FetchResponse:
    """The answer to a request that the server made: any status is one."""

    url: str
    status_code: int
    headers: Mapping[str, str]
    body: str

    @property
    def text(self) -> str:
        return self.body

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300

    def json(self) -> Any:
        """The body as JSON; raises `ValueError` when it is none."""
        import json

        return json.loads(self.body)


class Step:
    """`ctx.step` of an asynchronous function: every method is to be awaited."""

    def __init__(self, client: Inngest, run: _Run) -> None:
        self._client = client
        self._run = run
        self.ai = AI(run)

    @overload
    def run(
        self, step_id: str, handler: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[object, None, T]: ...

    @overload
    def run(
        self,
        step_id: str,
        handler: Callable[[*Ts], Awaitable[T]],
        *handler_args: *Ts,
        output_type: object,
    ) -> Coroutine[object, None, T]: ...

    @overload
    def run(
        self, step_id: str, handler: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[object, None, T]: ...

    @overload
    def run(
        self, step_id: str, handler: Callable[[*Ts], T], *handler_args: *Ts, output_type: object
    ) -> Coroutine[object, None, T]: ...

    def run(
        self,
        step_id: str,
        handler: Callable[..., Any],
        *args: Any,
        output_type: object = EMPTY,
        **kwargs: Any,
    ) -> Coroutine[object, None, Any]:
        """Execute `handler(*args, **kwargs)` once and store what it returns; tried again when it raises.

        The result has to have a JSON form. With a serializer on the client, `output_type` names its type. The
        handler may be a plain function, which then keeps the event loop while it runs.

        Raises:
            StepError: the step failed, and no try is left.
        """
        return self._run.step(_run_wanted(step_id, handler, args, kwargs, output_type, caller(1)))

    def sleep(self, step_id: str, duration: Duration) -> Coroutine[object, None, None]:
        """Go on after `duration` (milliseconds, `timedelta`, or text such as "2 days"), a year at most."""
        return self._run.step(_sleep_wanted(step_id, duration, caller(1)))

    def sleep_until(self, step_id: str, until: datetime | str) -> Coroutine[object, None, None]:
        """Go on at a moment; at once when it is past. Without a zone it is local time of this process."""
        return self._run.step(_sleep_until_wanted(step_id, until, caller(1)))

    @overload
    def wait_for_event(
        self,
        step_id: str,
        *,
        event: str,
        if_exp: str | None = None,
        timeout: Duration,
    ) -> Coroutine[object, None, Event | None]: ...

    @overload
    def wait_for_event(
        self, step_id: str, options: Mapping[str, Any]
    ) -> Coroutine[object, None, Event | None]: ...

    def wait_for_event(
        self,
        step_id: str,
        options: Mapping[str, Any] | None = None,
        *,
        event: str | None = None,
        if_exp: str | None = None,
        match: str | None = None,
        timeout: Duration | None = None,
    ) -> Coroutine[object, None, Event | None]:
        """The first event of that name which is received from now on, or None after `timeout`.

        `if_exp` may refer to the event that started the run as `event`, and to the awaited one as `async`.
        `match="data.id"` is short for `event.data.id == async.data.id`.
        """
        wanted = _wait_wanted(step_id, options, event, if_exp, match, timeout, caller(1))
        return self._run.step(wanted)

    def wait_for_signal(
        self, step_id: str, *, signal: str, timeout: Duration, on_conflict: str = "fail"
    ) -> Coroutine[object, None, ReceivedSignal | None]:
        """The signal of that name, or None after `timeout`.

        Only one run may wait for a name: `on_conflict` is "fail", or "replace" to take it from the other.
        """
        return self._run.step(_signal_wanted(step_id, signal, timeout, on_conflict, caller(1)))

    def invoke(
        self,
        step_id: str,
        *,
        function: Function[T],
        data: Mapping[str, object] | None = None,
        timeout: Duration | None = None,
        user: Mapping[str, object] | None = None,
        v: str | None = None,
    ) -> Coroutine[object, None, T]:
        """Run another function with `data` as its event's data, and return its result.

        Raises:
            StepError: it failed, or did not end within `timeout`.
        """
        wanted = _invoke_wanted(step_id, *target_of(step_id, function), data, timeout, user, v, caller(1))
        return self._run.step(wanted)

    def invoke_by_id(
        self,
        step_id: str,
        *,
        app_id: str | None = None,
        function_id: str,
        data: Mapping[str, object] | None = None,
        timeout: Duration | None = None,
        user: Mapping[str, object] | None = None,
        v: str | None = None,
    ) -> Coroutine[object, None, Any]:
        """As `invoke`, of a function that is not at hand: `app_id` is this app's own if left out."""
        full_id = f"{app_id or self._client.app_id}-{function_id}"
        return self._run.step(_invoke_wanted(step_id, full_id, EMPTY, data, timeout, user, v, caller(1)))

    def send_event(
        self, step_id: str, events: EventLike | Sequence[EventLike]
    ) -> Coroutine[object, None, list[str]]:
        """Send events, once; returns their ids in the same order."""
        place = caller(1)

        async def send(chosen: EventLike | Sequence[EventLike]) -> list[str]:
            return await self._client.send_through(events_of(chosen, {}), self._run.middleware)

        return self._run.step(_wanted(step_id, Kind.RUN, place, handler=send, args=(events,)))

    def fetch(
        self,
        step_id: str,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        json: object = EMPTY,
    ) -> Coroutine[object, None, FetchResponse]:
        """Let the server make an HTTP request, while this app is free; any status is a result.

        Raises:
            StepError: nobody answered.
        """
        return self._run.step(_fetch_wanted(step_id, url, method, headers, body, json, caller(1)))


class StepSync:
    """`ctx.step` of a plain function: as `Step`, without `await`."""

    def __init__(self, client: Inngest, run: _RunSync) -> None:
        self._client = client
        self._run = run
        self.ai = AISync(run)

    @overload
    def run(self, step_id: str, handler: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...

    @overload
    def run(
        self, step_id: str, handler: Callable[[*Ts], T], *handler_args: *Ts, output_type: object
    ) -> T: ...

    def run(
        self,
        step_id: str,
        handler: Callable[..., Any],
        *args: Any,
        output_type: object = EMPTY,
        **kwargs: Any,
    ) -> Any:
        """Execute `handler(*args, **kwargs)` once and store what it returns; see `Step.run`."""
        return self._run.step(_run_wanted(step_id, handler, args, kwargs, output_type, caller(1)))

    def sleep(self, step_id: str, duration: Duration) -> None:
        """Go on after `duration`; see `Step.sleep`."""
        self._run.step(_sleep_wanted(step_id, duration, caller(1)))

    def sleep_until(self, step_id: str, until: datetime | str) -> None:
        """Go on at a moment; see `Step.sleep_until`."""
        self._run.step(_sleep_until_wanted(step_id, until, caller(1)))

    @overload
    def wait_for_event(
        self, step_id: str, *, event: str, if_exp: str | None = None, timeout: Duration
    ) -> Event | None: ...

    @overload
    def wait_for_event(self, step_id: str, options: Mapping[str, Any]) -> Event | None: ...

    def wait_for_event(
        self,
        step_id: str,
        options: Mapping[str, Any] | None = None,
        *,
        event: str | None = None,
        if_exp: str | None = None,
        match: str | None = None,
        timeout: Duration | None = None,
    ) -> Event | None:
        """The first event of that name from now on, or None after `timeout`; see `Step.wait_for_event`."""
        wanted = _wait_wanted(step_id, options, event, if_exp, match, timeout, caller(1))
        return cast("Event | None", self._run.step(wanted))

    def wait_for_signal(
        self, step_id: str, *, signal: str, timeout: Duration, on_conflict: str = "fail"
    ) -> ReceivedSignal | None:
        """The signal of that name, or None after `timeout`; see `Step.wait_for_signal`."""
        return self._run.step(_signal_wanted(step_id, signal, timeout, on_conflict, caller(1)))

    def invoke(
        self,
        step_id: str,
        *,
        function: Function[T],
        data: Mapping[str, object] | None = None,
        timeout: Duration | None = None,
        user: Mapping[str, object] | None = None,
        v: str | None = None,
    ) -> T:
        """Run another function and return its result; see `Step.invoke`."""
        wanted = _invoke_wanted(step_id, *target_of(step_id, function), data, timeout, user, v, caller(1))
        return self._run.step(wanted)

    def invoke_by_id(
        self,
        step_id: str,
        *,
        app_id: str | None = None,
        function_id: str,
        data: Mapping[str, object] | None = None,
        timeout: Duration | None = None,
        user: Mapping[str, object] | None = None,
        v: str | None = None,
    ) -> Any:
        """As `invoke`, of a function that is not at hand: `app_id` is this app's own if left out."""
        full_id = f"{app_id or self._client.app_id}-{function_id}"
        return self._run.step(_invoke_wanted(step_id, full_id, EMPTY, data, timeout, user, v, caller(1)))

    def send_event(self, step_id: str, events: EventLike | Sequence[EventLike]) -> list[str]:
        """Send events, once; returns their ids in the same order."""

        def send(chosen: EventLike | Sequence[EventLike]) -> list[str]:
            return self._client.send_through_sync(events_of(chosen, {}), self._run.middleware)

        return self._run.step(_wanted(step_id, Kind.RUN, caller(1), handler=send, args=(events,)))

    def fetch(
        self,
        step_id: str,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        json: object = EMPTY,
    ) -> FetchResponse:
        """Let the server make an HTTP request; see `Step.fetch`."""
        return self._run.step(_fetch_wanted(step_id, url, method, headers, body, json, caller(1)))


class AI:
    """`ctx.step.ai` of an asynchronous function."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    def infer(
        self, step_id: str, *, adapter: BaseAdapter, body: Mapping[str, Any]
    ) -> Coroutine[object, None, dict[str, Any]]:
        """Let the server ask an AI provider, while this app is free; returns the provider's answer.

        Raises:
            StepError: the provider gave no answer, or none but errors.
        """
        return self._run.step(_infer_wanted(step_id, adapter, body, caller(1)))

    def wrap(
        self,
        step_id: str,
        handler: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[object, None, T]:
        """As `step.run`, for a call of an AI library that this app makes itself; shown as such."""
        return self._run.step(_wrap_wanted(step_id, handler, args, kwargs, caller(1)))


class AISync:
    """`ctx.step.ai` of a plain function."""

    def __init__(self, run: _RunSync) -> None:
        self._run = run

    def infer(self, step_id: str, *, adapter: BaseAdapter, body: Mapping[str, Any]) -> dict[str, Any]:
        """Let the server ask an AI provider; see `AI.infer`."""
        return self._run.step(_infer_wanted(step_id, adapter, body, caller(1)))

    def wrap(self, step_id: str, handler: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `step.run`, for a call of an AI library; see `AI.wrap`."""
        return self._run.step(_wrap_wanted(step_id, handler, args, kwargs, caller(1)))


# What each kind of step asks for.


def _wanted(step_id: object, kind: Kind, place: Place, **fields: Any) -> Wanted:
    if not isinstance(step_id, str) or not step_id:
        raise StepUsageError(f"a step id is a text that is not empty, not {step_id!r} ({place})")
    return Wanted(step_id=step_id, kind=kind, place=place, **fields)


def _run_wanted(
    step_id: str,
    handler: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    output_type: object,
    place: Place,
    opts: dict[str, object] | None = None,
) -> Wanted:
    if not callable(handler):
        hint = "; pass the function itself, without calling it" if hasattr(handler, "__await__") else ""
        if hasattr(handler, "close"):
            cast(Any, handler).close()
        raise StepUsageError(
            f"step {step_id!r} ({place}) needs a function, not {type(handler).__name__}{hint}"
        )

    return _wanted(
        step_id,
        Kind.RUN,
        place,
        handler=handler,
        args=args,
        kwargs=kwargs,
        output_type=output_type,
        opts=opts,
    )


def _wrap_wanted(
    step_id: str,
    handler: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    place: Place,
) -> Wanted:
    opts: dict[str, object] = {"type": "step.ai.wrap"}
    if _has_json_form(args):
        opts["input"] = list(args)
    return _run_wanted(step_id, handler, args, kwargs, EMPTY, place, opts)


def _has_json_form(value: object) -> bool:
    from ._engine.ops import dump

    try:
        dump(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _sleep_wanted(step_id: str, duration: Duration, place: Place) -> Wanted:
    text = to_text(to_timedelta(duration, what=f"the duration of step {step_id!r}"))
    return _wanted(step_id, Kind.SLEEP, place, name=text, opts={"duration": text}, read=_nothing)


def _sleep_until_wanted(step_id: str, until: datetime | str, place: Place) -> Wanted:
    moment = to_instant(until, what=f"the moment of step {step_id!r}")
    text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _wanted(step_id, Kind.SLEEP, place, name=text, read=_nothing)


def _wait_wanted(
    step_id: str,
    options: Mapping[str, Any] | None,
    event: str | None,
    if_exp: str | None,
    match: str | None,
    timeout: Duration | None,
    place: Place,
) -> Wanted:
    if options is not None:
        event, match = options.get("event", event), options.get("match", match)
        if_exp = options.get("if_exp", options.get("if", if_exp))
        timeout = options.get("timeout", timeout)
    if not event or timeout is None:
        lacking = "event, the name to wait for" if not event else "timeout, as no wait lasts for ever"
        raise ConfigError(f"step {step_id!r} ({place}) needs {lacking}")
    if match is not None:
        same = f"event.{match} == async.{match}"
        if_exp = same if if_exp is None else f"({if_exp}) && {same}"
    opts: dict[str, object] = {
        "event": event,
        "timeout": to_text(to_timedelta(timeout, what=f"the timeout of step {step_id!r}")),
    }
    if if_exp is not None:
        opts["if"] = if_exp
    return _wanted(step_id, Kind.WAIT_FOR_EVENT, place, name=event, opts=opts, read=_event_or_none)


def _signal_wanted(step_id: str, signal: str, timeout: Duration, on_conflict: str, place: Place) -> Wanted:
    if on_conflict not in ("fail", "replace"):
        raise ConfigError(f'on_conflict of step {step_id!r} is "fail" or "replace", not {on_conflict!r}')
    opts: dict[str, object] = {
        "signal": signal,
        "timeout": to_text(to_timedelta(timeout, what=f"the timeout of step {step_id!r}")),
        "conflict": on_conflict,
    }
    return _wanted(step_id, Kind.WAIT_FOR_SIGNAL, place, name=signal, opts=opts, read=_signal_or_none)


def _invoke_wanted(
    step_id: str,
    function_id: str,
    output_type: object,
    data: Mapping[str, object] | None,
    timeout: Duration | None,
    user: Mapping[str, object] | None,
    v: str | None,
    place: Place,
) -> Wanted:
    payload: dict[str, object] = {"data": dict(data) if data is not None else {}}
    if user is not None:
        payload["user"] = dict(user)
    if v is not None:
        payload["v"] = v
    opts: dict[str, object] = {"function_id": function_id, "payload": payload}
    if timeout is not None:
        opts["timeout"] = to_text(to_timedelta(timeout, what=f"the timeout of step {step_id!r}"))
    return _wanted(step_id, Kind.INVOKE, place, opts=opts, output_type=output_type)


def _infer_wanted(step_id: str, adapter: BaseAdapter, body: Mapping[str, Any], place: Place) -> Wanted:
    request = dict(body)
    adapter.on_call(request)
    opts: dict[str, object] = {
        "type": "step.ai.infer",
        "url": adapter.url_infer(),
        "headers": adapter.headers(),
        "auth_key": adapter.auth_key(),
        "format": adapter.format(),
        "body": request,
    }
    return _wanted(step_id, Kind.AI_GATEWAY, place, opts=opts)


def _fetch_wanted(
    step_id: str,
    url: str,
    method: str,
    headers: Mapping[str, str] | None,
    body: str | None,
    json: object,
    place: Place,
) -> Wanted:
    sent = dict(headers or {})
    if json is not EMPTY:
        from ._shells.results import json_text

        if body is not None:
            raise ConfigError(f"step {step_id!r} has both body and json; give one of them")
        body = json_text(f"the json of step {step_id!r}", json)
        if not any(name.lower() == "content-type" for name in sent):
            sent["content-type"] = "application/json"
    opts: dict[str, object] = {"url": url, "method": method.upper(), "headers": sent, "body": body or ""}
    return _wanted(step_id, Kind.GATEWAY, place, opts=opts, read=_fetch_response)


# What the code gets of what is stored.


def _nothing(_: object) -> None:
    """A sleep has no result."""


def _event_or_none(value: object) -> Event | None:
    from .events import Event

    return None if value is None else Event.from_raw(value)


def _signal_or_none(value: object) -> ReceivedSignal | None:
    match value:
        case {"signal": str(signal), **others}:  # pyright: ignore[reportUnknownVariableType]
            return ReceivedSignal(signal, cast("dict[str, Any]", others).get("data"))
        case _:
            return None


def _fetch_response(value: object) -> FetchResponse:
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    return FetchResponse(
        url=fields.get("url", ""),
        status_code=fields.get("status_code", 0),
        headers=fields.get("headers") or {},
        body=fields.get("body", ""),
    )
