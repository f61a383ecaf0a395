"""The client: one app, its server, and what it sends there."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast, overload

from ._config import Settings, resolve, thread_pool_workers
from ._wire.durations import Duration
from ._wire.empty import EMPTY
from .errors import ConfigError, EventInvalidError, FunctionConfigInvalidError, SendEventsError
from .flow_control import (
    Batch,
    Cancel,
    Checkpointing,
    ConcurrencyOption,
    Debounce,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
    Timeouts,
)
from .function import Function, FunctionDecorator, Handler, check_id, check_retries, options_to_wire
from .middleware import MiddlewareManager, SendEventsResult
from .triggers import AnyTrigger, TriggerEvent

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from logging import Logger, LoggerAdapter

    from ._http.api import Api
    from ._http.background import BackgroundLoop
    from .events import Event
    from .middleware import UninitializedMiddleware
    from .serializer import Serializer

    AnyLogger: TypeAlias = Logger | LoggerAdapter[Any]

__all__ = ["Inngest"]

THREADS_MAX = 64
"""Synchronous functions at a time, unless INNGEST_THREAD_POOL_MAX_WORKERS says otherwise. Most of them
wait: for requests of their own, or for a checkpoint to be stored.
"""

EventLike: TypeAlias = "Event | Mapping[str, Any]"


class Inngest:
    """One app and its server.

    Arguments win over variables of the environment. Production mode is the default: requests have to be
    signed and both keys are needed. `INNGEST_DEV=1`, or `is_production=False`, chooses dev mode, with a local
    server and no keys.

    Raises:
        ConfigError: an argument or a variable has a value that can never work.
    """

    def __init__(
        self,
        *,
        app_id: str,
        api_base_url: str | None = None,
        app_version: str | None = None,
        base_url: str | None = None,
        checkpointing: bool | Checkpointing = True,
        env: str | None = None,
        event_api_base_url: str | None = None,
        event_key: str | None = None,
        is_production: bool | None = None,
        logger: AnyLogger | None = None,
        middleware: Sequence[UninitializedMiddleware] | None = None,
        request_timeout: Duration | None = None,
        serializer: Serializer | None = None,
        signing_key: str | None = None,
        signing_key_fallback: str | None = None,
    ) -> None:
        self.app_id = check_id("app_id", app_id)
        self.app_version = app_version
        self.checkpointing = Checkpointing.of(checkpointing)
        self.middleware: list[UninitializedMiddleware] = _checked_middleware(middleware or ())
        self.serializer = _checked_serializer(serializer)
        self.settings: Settings = resolve(
            is_production=is_production,
            base_url=base_url,
            api_base_url=api_base_url,
            event_api_base_url=event_api_base_url,
            env=env,
            event_key=event_key,
            signing_key=signing_key,
            signing_key_fallback=signing_key_fallback,
            request_timeout=request_timeout,
        )
        self._logger = _checked_logger(logger)
        self._lock = threading.Lock()
        self._own_api: Api | None = None
        self._own_thread_pool: ThreadPoolExecutor | None = None
        self._pool_process = 0
        self._own_background: BackgroundLoop | None = None

    # What the settings say, under the names of the official SDK.

    @property
    def api_origin(self) -> str:
        return self.settings.api_origin

    @property
    def event_api_origin(self) -> str:
        return self.settings.event_api_origin

    @property
    def env(self) -> str | None:
        return self.settings.env

    @property
    def event_key(self) -> str | None:
        return self.settings.event_key

    @property
    def signing_key(self) -> str | None:
        return self.settings.signing_key

    @property
    def signing_key_fallback(self) -> str | None:
        return self.settings.signing_key_fallback

    @property
    def is_production(self) -> bool:
        return not self.settings.is_dev

    @property
    def logger(self) -> AnyLogger:
        if self._logger is None:
            import logging

            self._logger = logging.getLogger("inngest")
        return self._logger

    def set_logger(self, logger: AnyLogger) -> None:
        """Use another logger from now on."""
        self._logger = _checked_logger(logger)

    def add_middleware(self, middleware: UninitializedMiddleware) -> None:
        """Add a middleware after those that the client has; requests under way do not see it."""
        self.middleware += _checked_middleware((middleware,))

    def create_function(
        self,
        *,
        fn_id: str | None = None,
        trigger: AnyTrigger | Sequence[AnyTrigger] | None = None,
        batch_events: Batch | None = None,
        cancel: Cancel | Sequence[Cancel] | None = None,
        checkpointing: bool | Checkpointing | None = None,
        concurrency: ConcurrencyOption | None = None,
        debounce: Debounce | None = None,
        event: str | None = None,
        id: str | None = None,
        idempotency: str | None = None,
        middleware: Sequence[UninitializedMiddleware] | None = None,
        name: str | None = None,
        on_failure: Handler | None = None,
        output_type: object = EMPTY,
        priority: Priority | None = None,
        rate_limit: RateLimit | None = None,
        retries: int | None = None,
        singleton: Singleton | None = None,
        throttle: Throttle | None = None,
        timeouts: Timeouts | None = None,
        _experimental_execution: object = None,
    ) -> FunctionDecorator:
        """A decorator that makes a durable function of a handler, async or plain.

        `fn_id` (or `id`) names the function in this app and must not change while runs are under way; `name`
        is shown. `trigger` is one trigger or several; `event` is short for `TriggerEvent(event=...)`; an
        empty list makes a function that is only invoked. `output_type` is what the serializer makes of
        results that are read with `invoke`. `retries` is 0 to 20 (4 if not given), for each step and for the
        function itself. `checkpointing` overrides the client's. `_experimental_execution` has no effect any
        more.

        Raises:
            FunctionConfigInvalidError: an option that the server would refuse; says which and why.
        """
        if fn_id is not None and id is not None and fn_id != id:
            raise FunctionConfigInvalidError(f"fn_id is {fn_id!r} and id is {id!r}; they are the same option")
        local_id = check_id("fn_id", fn_id if fn_id is not None else id)
        own_checkpointing = self.checkpointing if checkpointing is None else Checkpointing.of(checkpointing)
        try:
            config = options_to_wire(
                triggers=_triggers_of(trigger, event),
                batch_events=batch_events,
                cancel=cancel,
                checkpointing=None if checkpointing is None else own_checkpointing,
                concurrency=concurrency,
                debounce=debounce,
                idempotency=idempotency,
                priority=priority,
                rate_limit=rate_limit,
                singleton=singleton,
                throttle=throttle,
                timeouts=timeouts,
            )
            checked_retries = check_retries(retries)
        except FunctionConfigInvalidError as error:
            raise FunctionConfigInvalidError(f"function {local_id!r}: {error}") from None

        def decorate(handler: Handler) -> Function[Any]:
            return Function(
                app_id=self.app_id,
                local_id=local_id,
                name=name or local_id,
                handler=handler,
                config=config,
                retries=checked_retries,
                on_failure=on_failure,
                output_type=output_type,
                middleware=_checked_middleware(middleware or ()),
                checkpointing=own_checkpointing,
            )

        return cast(FunctionDecorator, decorate)

    # Sending events.

    @overload
    async def send(
        self, events: EventLike | Sequence[EventLike], *, skip_middleware: bool = False
    ) -> list[str]: ...
    @overload
    async def send(
        self,
        *,
        name: str,
        data: Mapping[str, Any] | None = None,
        id: str = "",
        ts: int = 0,
        v: str | None = None,
        user: Mapping[str, Any] | None = None,
        skip_middleware: bool = False,
    ) -> list[str]: ...
    async def send(
        self,
        events: EventLike | Sequence[EventLike] | None = None,
        *,
        skip_middleware: bool = False,
        **fields: Any,
    ) -> list[str]:
        """Send one event or several; the server's ids of them, in order.

        Tried up to five times when the server cannot be reached or is in trouble; the events of a repetition
        are recognised by the server, so nothing starts twice.

        Raises:
            EventInvalidError: an event has no name, or data without a JSON form; nothing was sent.
            EventKeyUnspecifiedError: production mode without an event key.
            SendEventsError: the server did not take them.
        """
        batch = events_of(events, fields)
        middleware = None if skip_middleware else MiddlewareManager(self)
        return await self.send_through(batch, middleware)

    @overload
    def send_sync(
        self, events: EventLike | Sequence[EventLike], *, skip_middleware: bool = False
    ) -> list[str]: ...
    @overload
    def send_sync(
        self,
        *,
        name: str,
        data: Mapping[str, Any] | None = None,
        id: str = "",
        ts: int = 0,
        v: str | None = None,
        user: Mapping[str, Any] | None = None,
        skip_middleware: bool = False,
    ) -> list[str]: ...
    def send_sync(
        self,
        events: EventLike | Sequence[EventLike] | None = None,
        *,
        skip_middleware: bool = False,
        **fields: Any,
    ) -> list[str]:
        """As `send`, for code that is not async; blocks until the server has answered."""
        batch = events_of(events, fields)
        middleware = None if skip_middleware else MiddlewareManager(self)
        return self.send_through_sync(batch, middleware)

    async def send_through(self, events: list[Event], middleware: MiddlewareManager | None) -> list[str]:
        """Send events with the hooks of `middleware` around it, which may change the list."""
        if middleware is None:
            return await self._api.send_events(events)
        await middleware.before_send_events(events)
        try:
            ids = await self._api.send_events(events)
        except SendEventsError as error:
            await middleware.after_send_events(SendEventsResult(error=error.message, ids=list(error.ids)))
            raise
        await middleware.after_send_events(SendEventsResult(ids=list(ids)))
        return ids

    def send_through_sync(self, events: list[Event], middleware: MiddlewareManager | None) -> list[str]:
        if middleware is None:
            return self._api.send_events_sync(events)
        middleware.before_send_events_sync(events)
        try:
            ids = self._api.send_events_sync(events)
        except SendEventsError as error:
            middleware.after_send_events_sync(SendEventsResult(error=error.message, ids=list(error.ids)))
            raise
        middleware.after_send_events_sync(SendEventsResult(ids=list(ids)))
        return ids

    # What the client owns.

    @property
    def thread_pool(self) -> ThreadPoolExecutor:
        """Threads of synchronous functions that an asynchronous framework serves; made when first needed."""
        if self._own_thread_pool is None or self._pool_process != os.getpid():
            from concurrent.futures import ThreadPoolExecutor

            with self._lock:
                # A forked process has the pool of its parent, but none of the threads.
                if self._own_thread_pool is None or self._pool_process != os.getpid():
                    self._pool_process = os.getpid()
                    self._own_thread_pool = ThreadPoolExecutor(
                        max_workers=thread_pool_workers() or THREADS_MAX,
                        thread_name_prefix=f"inngest-{self.app_id}",
                    )
        return self._own_thread_pool

    @property
    def _api(self) -> Api:
        if self._own_api is None:
            from ._http.api import Api

            with self._lock:
                if self._own_api is None:
                    self._own_api = Api(self.settings)
        return self._own_api

    @property
    def _background(self) -> BackgroundLoop:
        if self._own_background is None:
            from ._http.background import BackgroundLoop

            with self._lock:
                if self._own_background is None:
                    self._own_background = BackgroundLoop(f"inngest-{self.app_id}-loop")
        return self._own_background

    def close(self) -> None:
        """Close connections and end idle threads; the client may be used again afterwards.

        Connections that belong to an event loop which still runs are closed by `aclose`.
        """
        with self._lock:
            api, self._own_api = self._own_api, None
            pool, self._own_thread_pool = self._own_thread_pool, None
            background, self._own_background = self._own_background, None
        if background is not None:
            background.close(None if api is None else api.aclose())
        if api is not None:
            api.close()
        if pool is not None:
            pool.shutdown(wait=False)

    async def aclose(self) -> None:
        """As `close`, and the connections of the running event loop."""
        if self._own_api is not None:
            await self._own_api.aclose()
        self.close()

    def __repr__(self) -> str:
        return f"<Inngest app_id={self.app_id!r}, {self.settings.mode.value} mode>"


def _checked_logger(logger: AnyLogger | None) -> AnyLogger | None:
    if logger is None or callable(getattr(logger, "warning", None)):
        return logger
    raise ConfigError(
        f"logger has to be a logging.Logger, as logging.getLogger(...) gives, not {logger!r:.100}"
    )


def _checked_serializer(serializer: Serializer | None) -> Serializer | None:
    if serializer is None:
        return None
    methods = (getattr(serializer, name, None) for name in ("serialize", "deserialize"))
    if not isinstance(serializer, type) and all(callable(method) for method in methods):
        return serializer
    hint = ": make an instance" if isinstance(serializer, type) else ""
    raise ConfigError(
        f"serializer has to be an object with `serialize` and `deserialize`, as inngest.PydanticSerializer() "
        f"is, not {serializer!r:.100}{hint}"
    )


def _checked_middleware(middleware: Sequence[UninitializedMiddleware]) -> list[UninitializedMiddleware]:
    for one in middleware:
        if not callable(one):
            raise ConfigError(
                "middleware has to be a list of classes, or of functions (client, raw_request) -> instance; "
                f"{one!r:.100} is neither"
            )
    return list(middleware)


def _triggers_of(trigger: AnyTrigger | Sequence[AnyTrigger] | None, event: str | None) -> list[AnyTrigger]:
    if (trigger is None) == (event is None):
        raise FunctionConfigInvalidError(
            "a trigger is needed: trigger=inngest.TriggerEvent(event=...), or event=... for short; "
            "trigger=[] for a function that is only invoked"
        )
    if event is not None:
        return [TriggerEvent(event=event)]
    return [*trigger] if isinstance(trigger, list | tuple) else [cast(AnyTrigger, trigger)]


def events_of(events: EventLike | Sequence[EventLike] | None, fields: dict[str, Any]) -> list[Event]:
    """The events of a call of `send`, in whichever form it has them."""
    from .events import Event

    if events is None:
        unknown = fields.keys() - {"name", "data", "id", "ts", "v", "user"}
        if unknown or "name" not in fields:
            raise TypeError(
                "send takes an event, a list of events, or name=... with data=..., id=... and ts=..."
            )
        return [Event.from_raw(fields)]
    if fields:
        raise TypeError(f"send takes either events or {', '.join(sorted(fields))}=..., not both")
    if isinstance(events, Event | Mapping):
        return [Event.from_raw(events)]
    if isinstance(events, str | bytes) or not isinstance(events, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise EventInvalidError(f"an event or a list of events is needed, not {type(events).__name__}")
    return [Event.from_raw(event) for event in events]
