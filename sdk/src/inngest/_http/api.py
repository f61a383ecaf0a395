"""Calls to the server: register, send events, fetch state, checkpoint (protocol 1, 2.1, 3.4, 7.5).

Each call exists for asyncio and for threads; both share the preparation of requests and the judgement of
answers and differ only in how they wait. Asyncio connections belong to an event loop, so there is one pool
for each loop; the pool for threads is shared by all of them.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote
from weakref import finalize

from inngest._config import Settings
from inngest._wire import headers, jsons, signature
from inngest._wire.registration import REQUEST_VERSION, SDK_HEADER
from inngest.errors import (
    ApiError,
    Error,
    EventInvalidError,
    EventKeyUnspecifiedError,
    RegistrationFailedError,
    SendEventsError,
)

from .connections import AsyncConnections, ThreadConnections, is_direct
from .per_loop import PerLoop

if TYPE_CHECKING:
    import ssl

    import httpx

    from inngest.events import Event

TRIES = 5
FETCH_TRIES = 3
BACKOFF_S = 0.1
"""Before the second try; twice as long before each further one, and up to half of it at random."""
CONNECTIONS_IDLE_MAX = 20
NO_EVENT_KEY = "NO_EVENT_KEY_SET"
"""What dev servers are told instead of a key."""
UNREACHABLE = 0
"""Status of a call that got no answer."""
_REFUSED = (401, 403)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered; `status` 0 with a `reason` when it did not."""

    status: int
    body: bytes = b""
    reason: str = ""

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_trouble(self) -> bool:
        """Whether another try may help."""
        return self.status == UNREACHABLE or self.status >= 500

    def json(self) -> Any:
        """The decoded body; None when it is no JSON."""
        try:
            return jsons.loads(self.body)
        except ValueError:
            return None

    def message(self) -> str:
        """What the server says went wrong, as far as it says it."""
        said = self.json()
        if isinstance(said, dict):
            fields = cast("dict[str, Any]", said)
            for key in ("error", "message"):
                if isinstance(fields.get(key), str) and fields[key]:
                    return fields[key]
        text = self.body.decode(errors="replace").strip()
        return text[:500] or self.reason or f"HTTP status {self.status}"


@dataclass(slots=True)
class _Call:
    """One call, which may take several tries."""

    method: str
    url: str
    content: bytes | None
    headers: dict[str, str]
    has_bearer: bool = True
    tries: int = 1
    is_frequent: bool = False
    """A POST that the server may get twice, and that is worth a connection of its own."""


class Api:
    """The server as an app sees it. Safe for use from several threads and event loops at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._sync_pool: httpx.Client | None = None
        self._timeout_s = settings.request_timeout.total_seconds()
        # Reading the certificates takes 50 ms: once for each client, not for each event loop.
        self._tls = cache(partial(_tls_for, settings.api_origin, settings.event_api_origin))
        self._pools = self._no_pools()
        self._process = os.getpid()
        self._direct: tuple[AsyncConnections, ThreadConnections] | None = None
        self._is_direct: bool | None = None
        # The key that worked last comes first, so that after a rotation not every call is made twice.
        self._keys = list(settings.signing_keys)
        self._common = {
            headers.SDK: SDK_HEADER,
            headers.USER_AGENT: SDK_HEADER,
            headers.REQUEST_VERSION: REQUEST_VERSION,
        }
        if settings.env is not None:
            self._common[headers.ENV] = settings.env

    # Events.

    async def send_events(self, events: Sequence[Event]) -> list[str]:
        """Send events; the server's ids of them, in order.

        Raises:
            EventInvalidError, EventKeyUnspecifiedError, SendEventsError: as `Inngest.send`.
        """
        if not events:
            return []
        return self._sent(await self._try(self._events_call(events)), len(events))

    def send_events_sync(self, events: Sequence[Event]) -> list[str]:
        if not events:
            return []
        return self._sent(self._try_sync(self._events_call(events)), len(events))

    def _events_call(self, events: Sequence[Event]) -> _Call:
        key = self._settings.event_key
        if key is None:
            if not self._settings.is_dev:
                raise EventKeyUnspecifiedError(
                    "sending events in production mode needs an event key: set INNGEST_EVENT_KEY or give "
                    "the client "
                    "event_key=...; for a local dev server set INNGEST_DEV=1"
                )
            key = NO_EVENT_KEY
        seed = f"{time.time_ns() // 1_000_000},{base64.b64encode(os.urandom(10)).decode()}"
        return _Call(
            "POST",
            f"{self._settings.event_api_origin}/e/{quote(key, safe='')}",
            _encode_events(events),
            {**self._common, headers.CONTENT_TYPE: "application/json", headers.EVENT_ID_SEED: seed},
            has_bearer=False,
            tries=TRIES,
        )

    def _sent(self, answer: Answer, count: int) -> list[str]:
        body = answer.json()
        fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        given: object = fields.get("ids")
        ids = (
            [one for one in cast("list[Any]", given) if isinstance(one, str)]
            if isinstance(given, list)
            else []
        )
        status: object = fields.get("status")
        is_accepted = answer.is_ok and not fields.get("error") and status in (None, 200, answer.status)
        if is_accepted and len(ids) == count:
            return ids
        if is_accepted:
            raise SendEventsError(
                f"the server answered with {len(ids)} ids for {count} events; does "
                f"{self._settings.event_api_origin} belong to a server of this kind?",
                ids,
                status=answer.status,
            )
        shown = None if answer.status == UNREACHABLE else answer.status
        raise SendEventsError(self._why_not_sent(answer), [one for one in ids if one], status=shown)

    def _why_not_sent(self, answer: Answer) -> str:
        origin = self._settings.event_api_origin
        match answer.status:
            case 0:
                return f"could not send to {origin}: {answer.reason}{self._dev_hint()}"
            case 401 | 403:
                return (
                    f"{origin} refused the event key: {answer.message()}; compare INNGEST_EVENT_KEY (or "
                    "the client's "
                    "event_key) with the server's"
                )
            case _:
                return f"{origin} did not take the events (HTTP {answer.status}): {answer.message()}"

    # Registration.

    async def register(
        self,
        body: dict[str, Any],
        *,
        framework: str,
        server_kind: str | None = None,
        deploy_id: str | None = None,
    ) -> dict[str, Any]:
        """Register the app; the server's reply.

        Raises:
            RegistrationFailedError: refused, or the server could not be reached (`status` None).
        """
        return self._registered(await self._try(self._register_call(body, framework, server_kind, deploy_id)))

    def register_sync(
        self,
        body: dict[str, Any],
        *,
        framework: str,
        server_kind: str | None = None,
        deploy_id: str | None = None,
    ) -> dict[str, Any]:
        return self._registered(self._try_sync(self._register_call(body, framework, server_kind, deploy_id)))

    def _register_call(
        self, body: dict[str, Any], framework: str, server_kind: str | None, deploy_id: str | None
    ) -> _Call:
        query = f"?deployId={quote(deploy_id, safe='')}" if deploy_id else ""
        sent = {
            **self._common,
            headers.CONTENT_TYPE: "application/json",
            headers.FRAMEWORK: framework,
            headers.SYNC_KIND: "out_of_band",
        }
        if server_kind:
            sent[headers.EXPECTED_SERVER_KIND] = server_kind
        return _Call("POST", f"{self._settings.api_origin}/fn/register{query}", jsons.dumps(body), sent)

    def _registered(self, answer: Answer) -> dict[str, Any]:
        reply = answer.json()
        if answer.is_ok and isinstance(reply, dict):
            return cast("dict[str, Any]", reply)
        origin = self._settings.api_origin
        if answer.status == UNREACHABLE:
            raise RegistrationFailedError(f"could not reach {origin}: {answer.reason}{self._dev_hint()}")
        if answer.status in _REFUSED:
            message = (
                f"{origin} refused the signing key: {answer.message()}; "
                "compare INNGEST_SIGNING_KEY with the server's"
            )
        elif answer.is_ok:
            message = f"{origin} answered the registration with something that is no JSON object"
        else:
            message = answer.message()
        raise RegistrationFailedError(message, status=answer.status)

    # State of runs.

    async def fetch_memos(self, run_id: str) -> dict[str, object]:
        """Stored results of a run's steps, by hashed step id.

        Raises:
            ApiError: the server refused, or could not be reached (`status` None).
        """
        call = self._fetch_call(run_id, "actions")
        return self._fetched(await self._try(call), call, dict)

    def fetch_memos_sync(self, run_id: str) -> dict[str, object]:
        call = self._fetch_call(run_id, "actions")
        return self._fetched(self._try_sync(call), call, dict)

    async def fetch_events(self, run_id: str) -> list[dict[str, Any]]:
        """Events that started a run.

        Raises:
            ApiError: the server refused, or could not be reached (`status` None).
        """
        call = self._fetch_call(run_id, "batch")
        return self._fetched(await self._try(call), call, list)

    def fetch_events_sync(self, run_id: str) -> list[dict[str, Any]]:
        call = self._fetch_call(run_id, "batch")
        return self._fetched(self._try_sync(call), call, list)

    def _fetch_call(self, run_id: str, what: str) -> _Call:
        url = f"{self._settings.api_origin}/v0/runs/{quote(run_id, safe='')}/{what}"
        return _Call("GET", url, None, dict(self._common), tries=FETCH_TRIES)

    def _fetched(self, answer: Answer, call: _Call, kind: type[Any]) -> Any:
        body = answer.json()
        if answer.is_ok and isinstance(body, kind):
            return body
        shown = None if answer.status == UNREACHABLE else answer.status
        raise ApiError(f"could not get {call.url}: {answer.message()}", status=shown)

    # Checkpoints: the path that is taken once for each step.

    async def checkpoint(self, run_id: str, body: str | bytes | dict[str, Any]) -> int:
        """Store results of steps; the HTTP status, or 0 if the server could not be reached in all tries."""
        return (await self._try(self._checkpoint_call(run_id, body))).status

    def checkpoint_sync(self, run_id: str, body: str | bytes | dict[str, Any]) -> int:
        return self._try_sync(self._checkpoint_call(run_id, body)).status

    def _checkpoint_call(self, run_id: str, body: str | bytes | dict[str, Any]) -> _Call:
        content = (
            jsons.dumps(body) if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
        )
        url = f"{self._settings.api_origin}/v1/checkpoint/{quote(run_id, safe='')}/async"
        sent = {**self._common, headers.CONTENT_TYPE: "application/json"}
        return _Call("POST", url, content, sent, tries=TRIES, is_frequent=True)

    # Anything else.

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        content: bytes | None = None,
        content_type: str = "application/json",
        tries: int = 1,
    ) -> Answer:
        """Call `path` of the server's API with the signing key's bearer, and give whatever it answers."""
        return await self._try(self._any_call(method, path, json, content, content_type, tries))

    def request_sync(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        content: bytes | None = None,
        content_type: str = "application/json",
        tries: int = 1,
    ) -> Answer:
        return self._try_sync(self._any_call(method, path, json, content, content_type, tries))

    def _any_call(
        self, method: str, path: str, json: object, content: bytes | None, content_type: str, tries: int
    ) -> _Call:
        sent = dict(self._common)
        if json is not None:
            content = jsons.dumps(json)
        if content is not None:
            sent[headers.CONTENT_TYPE] = content_type
        return _Call(method, f"{self._settings.api_origin}/{path.lstrip('/')}", content, sent, tries=tries)

    # Trying.

    async def _try(self, call: _Call) -> Answer:
        answer = Answer(UNREACHABLE)
        for wait_s in _waits(call.tries):
            if wait_s:
                await asyncio.sleep(wait_s)
            for key in self._keys_for(call):
                answer = await self._exchange(call, key)
                if answer.status not in _REFUSED:
                    if not answer.is_trouble:
                        self._remember(key)
                    break
            if not answer.is_trouble:
                break
        return answer

    def _try_sync(self, call: _Call) -> Answer:
        answer = Answer(UNREACHABLE)
        for wait_s in _waits(call.tries):
            if wait_s:
                time.sleep(wait_s)
            for key in self._keys_for(call):
                answer = self._exchange_sync(call, key)
                if answer.status not in _REFUSED:
                    if not answer.is_trouble:
                        self._remember(key)
                    break
            if not answer.is_trouble:
                break
        return answer

    def _keys_for(self, call: _Call) -> Sequence[str | None]:
        """Signing keys in the order in which they are tried; None to send no bearer."""
        return tuple(self._keys) if call.has_bearer and self._keys else (None,)

    def _remember(self, key: str | None) -> None:
        if key is not None and self._keys[0] != key:
            self._keys = [key, *(one for one in self._keys if one != key)]

    async def _exchange(self, call: _Call, key: str | None) -> Answer:
        sent = self._headers(call, key)
        if call.is_frequent and (direct := self._direct_connections()) is not None:
            try:
                return Answer(*await direct[0].post(_target_of(call.url), sent, call.content or b""))
            except OSError as error:
                return Answer(UNREACHABLE, reason=_reason(error))
        import httpx

        try:
            answer = await self._pool().request(call.method, call.url, content=call.content, headers=sent)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return Answer(UNREACHABLE, reason=_reason(error))
        return Answer(answer.status_code, answer.content)

    def _exchange_sync(self, call: _Call, key: str | None) -> Answer:
        sent = self._headers(call, key)
        if call.is_frequent and (direct := self._direct_connections()) is not None:
            try:
                return Answer(*direct[1].post(_target_of(call.url), sent, call.content or b""))
            except OSError as error:
                return Answer(UNREACHABLE, reason=_reason(error))
        import httpx

        try:
            answer = self._pool_sync().request(call.method, call.url, content=call.content, headers=sent)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return Answer(UNREACHABLE, reason=_reason(error))
        return Answer(answer.status_code, answer.content)

    def _headers(self, call: _Call, key: str | None) -> Mapping[str, str]:
        if key is None:
            return call.headers
        try:
            bearer = signature.bearer_of(key)
        except Error:
            # A dev server takes any key, and none; elsewhere `serve` has refused such a key already.
            if self._settings.is_dev:
                return call.headers
            raise
        return {**call.headers, headers.AUTHORIZATION: f"Bearer {bearer}"}

    # Connections.

    def _pool(self) -> httpx.AsyncClient:
        self._forget_after_fork()
        return self._pools.get()

    def _no_pools(self) -> PerLoop[httpx.AsyncClient]:
        # Without a reference to this object, so that it goes, and they with it, when the last user does.
        return PerLoop(partial(_new_pool, self._timeout_s, self._tls), _close_pool)

    def _pool_sync(self) -> httpx.Client:
        import httpx

        self._forget_after_fork()
        if self._sync_pool is None:
            with self._lock:
                if self._sync_pool is None:
                    self._sync_pool = httpx.Client(**_pool_options(self._timeout_s, self._tls))
                    finalize(self, self._sync_pool.close)
        return self._sync_pool

    def _direct_connections(self) -> tuple[AsyncConnections, ThreadConnections] | None:
        """Connections for frequent calls; None where a proxy may have to be asked."""
        self._forget_after_fork()
        if self._is_direct is None:
            self._is_direct = is_direct(self._settings.api_origin)
        if self._is_direct and self._direct is None:
            origin = self._settings.api_origin
            with self._lock:
                self._direct = self._direct or (
                    AsyncConnections(origin, timeout_s=self._timeout_s),
                    ThreadConnections(origin, timeout_s=self._timeout_s),
                )
        return self._direct

    def _forget_after_fork(self) -> None:
        """Sockets of the parent process must not be used by two: a forked worker begins with its own."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._sync_pool = None
            self._pools = self._no_pools()
            self._direct = None

    def close(self) -> None:
        """Close the connections for threads, and those of event loops that have ended."""
        pool, self._sync_pool = self._sync_pool, None
        if pool is not None:
            pool.close()
        if self._direct is not None:
            self._direct[1].close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._pools.aclose()
        if self._direct is not None:
            await self._direct[0].aclose()

    def _dev_hint(self) -> str:
        if self._settings.is_dev:
            return (
                "; is the dev server running there? `inngest dev` starts it, "
                "INNGEST_DEV=<address> names another"
            )
        return "; for a local dev server set INNGEST_DEV=1"


def _tls_for(*origins: str) -> ssl.SSLContext | bool:
    """What connections to these origins trust; False where none of them is secure, nor a proxy before it."""
    if all(origin.startswith("http:") and is_direct(origin) for origin in origins):
        return False
    import httpx

    return httpx.create_ssl_context()


def _pool_options(timeout_s: float, tls: Callable[[], ssl.SSLContext | bool]) -> dict[str, Any]:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=CONNECTIONS_IDLE_MAX)
    return {"timeout": timeout_s, "limits": limits, "verify": tls()}


def _new_pool(timeout_s: float, tls: Callable[[], ssl.SSLContext | bool]) -> httpx.AsyncClient:
    import httpx

    return httpx.AsyncClient(**_pool_options(timeout_s, tls))


async def _close_pool(pool: httpx.AsyncClient) -> None:
    await pool.aclose()


def _encode_events(events: Sequence[Event]) -> bytes:
    """The body of a send.

    Raises:
        EventInvalidError: an event has no name, or something in it has no JSON form.
    """
    encoded: list[bytes] = []
    for event in events:
        if not event.name:
            raise EventInvalidError("an event needs a name that is not empty")
        try:
            encoded.append(jsons.dumps(event.to_dict(), what=f"event {event.name!r}"))
        except jsons.NotJsonError as error:
            raise EventInvalidError(str(error)) from None
    return b"[" + b",".join(encoded) + b"]"


def _target_of(url: str) -> str:
    """Path and query of an address."""
    return "/" + url.split("/", 3)[3]


def _waits(tries: int) -> Iterator[float]:
    """Seconds to wait before each try."""
    yield 0
    for number in range(tries - 1):
        yield BACKOFF_S * 2**number * (1 + random.random() / 2)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
