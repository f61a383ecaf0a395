"""Answers what a server asks of an app: its functions, their registration, and calls of them.

One handler serves one list of functions, whatever the framework. `handle` is for servers with an event loop
and `handle_sync` for those without; a function of the other kind runs elsewhere meanwhile:

                    async function                    plain function
    handle          this event loop                   a thread of the client's pool
    handle_sync     the client's background loop      the calling thread

The background loop is one for each client, not one for each request, so that what asynchronous code keeps
between requests (connection pools, locks) stays usable: such objects belong to the loop that they were made
in. Context variables of the request are visible in all four places.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from inngest._config import Mode, ServeSettings, Streaming, resolve_serving
from inngest._engine.answer import Answer
from inngest._engine.call import CallRequest
from inngest._shells.results import failed_function
from inngest._wire import headers, jsons, registration, signature
from inngest.errors import (
    CallRequestError,
    ConfigError,
    Error,
    FunctionNotFoundError,
    QueryParamMissingError,
    RegistrationFailedError,
    RequestRejectedError,
    ServerKindMismatchError,
    SignatureError,
    SigningKeyMissingError,
)
from inngest.middleware import MiddlewareManager

from .entrance import FREE, Entrance, Entry
from .messages import Request, Response
from .per_loop import PerLoop

if TYPE_CHECKING:
    from inngest.client import Inngest
    from inngest.function import Function

__all__ = ["Handler"]

BODY_BYTES_MAX = 64 * 1024 * 1024
"""Servers stop at 4 MiB and let the app fetch the rest; far above that, a body is a mistake or an attack."""
QUERY_FIELDS_MAX = 100
KEPT_URL_CHARS_MAX = 1_000
STREAM_INTERVAL_S = 3.0
"""Between two signs of life of a streamed answer (protocol 4.2)."""
METHODS = ("GET", "HEAD", "POST", "PUT")
KNOWN_IDS_SHOWN_MAX = 20
_FIRST_CHUNK = b" "
# What RFC 3986 allows in a path, and the escapes of one that is quoted already.
_SAFE_IN_PATHS = "/:@!$&'()*+,;=~%"


@dataclass(frozen=True, slots=True)
class _Call:
    """An admitted call request: which function, what to go on with, and the key that signed it."""

    function: Function[Any]
    request: CallRequest
    key: str | None
    raw: object


@dataclass(frozen=True, slots=True)
class _Sync:
    """An admitted sync that has to be passed on to the server."""

    url: str
    deploy_id: str | None
    server_kind: str | None
    key: str | None


class Handler:
    """Serves `functions` for a framework's adapter.

    Raises:
        ConfigError: two functions of one id, or something in the list that is no function.
        SigningKeyMissingError: production mode without a signing key.
    """

    stream_interval_s = STREAM_INTERVAL_S

    def __init__(
        self,
        client: Inngest,
        functions: Sequence[Function[Any]],
        *,
        framework: str,
        serve_origin: str | None = None,
        serve_path: str | None = None,
        public_path: str | None = None,
        enable_unauthed_sync: bool | None = None,
        streaming: Streaming | None = None,
    ) -> None:
        _check_order(client, functions)
        self._client = client
        self._framework = framework
        self._settings: ServeSettings = resolve_serving(
            serve_origin=serve_origin,
            serve_path=serve_path,
            public_path=public_path,
            enable_unauthed_sync=enable_unauthed_sync,
            streaming=streaming,
        )
        self._functions = list(functions)
        self._by_id = _by_id(self._functions)
        for function in self._functions:
            if function.app_id != client.app_id:
                client.logger.warning(
                    "function %r was made by the client of app %r and is served as part of app %r; "
                    "it keeps the first app's name in its id",
                    function.id,
                    function.app_id,
                    client.app_id,
                )
        self._entrances = PerLoop(Entrance, _nothing)
        self._keys = client.settings.signing_keys
        self._is_dev = client.settings.is_dev
        if not self._is_dev:
            _check_keys(self._keys)
        self._headers = {
            headers.CONTENT_TYPE: "application/json",
            headers.SDK: registration.SDK_HEADER,
            headers.USER_AGENT: registration.SDK_HEADER,
            headers.SDK_HANDLED: "true",
            headers.REQUEST_VERSION: registration.REQUEST_VERSION,
            headers.FRAMEWORK: framework,
            headers.EXPECTED_SERVER_KIND: client.settings.mode.value,
        }
        if client.env is not None:
            self._headers[headers.ENV] = client.env

    # The two entrances.

    async def handle(self, request: Request) -> Response:
        """Answer a request; raises nothing but `CancelledError`, which also cancels the function's tasks."""
        entry = await self._entrances.get().enter(_function_id_of(request.url))
        try:
            match self._admit(request):
                case Response() as response:
                    return response
                case _Sync() as sync:
                    entry.leave()
                    return await self._sync(sync)
                case _Call() as call if self._settings.streaming is Streaming.FORCE:
                    return self._streamed(self._stream(call))
                case _Call() as call:
                    return self._called(await self._answer(call, entry), call)
        except Exception as error:
            return self._refusal(error)
        finally:
            entry.leave()

    def handle_sync(self, request: Request) -> Response:
        """As `handle`, in a thread without an event loop; blocks until the answer is there."""
        try:
            match self._admit(request):
                case Response() as response:
                    return response
                case _Sync() as sync:
                    return self._sync_blocking(sync)
                case _Call() as call if self._settings.streaming is Streaming.FORCE:
                    return self._streamed(self._stream_blocking(call))
                case _Call() as call:
                    return self._called(self._answer_blocking(call), call)
        except Exception as error:
            return self._refusal(error)
        except asyncio.CancelledError:
            # Nobody cancels a thread: the background loop has ended under the function.
            return self._refusal(RuntimeError("the request was given up, as this process is shutting down"))

    # Admission: everything that needs no waiting.

    def _admit(self, request: Request) -> Response | _Sync | _Call:
        """Check a request and answer it at once, or say what is to be done.

        Raises:
            RequestRejectedError: it cannot be answered.
        """
        if len(request.body) > BODY_BYTES_MAX:
            return self._json(413, {"code": "body_too_large", "message": f"more than {BODY_BYTES_MAX} bytes"})
        match request.method:
            case "POST":
                return self._admit_post(request)
            case "PUT":
                return self._admit_sync(request)
            case "GET":
                return self._introspect(request)
            case "HEAD":
                try:
                    response = self._introspect(request)
                except RequestRejectedError as error:
                    response = self._refusal(error)
                return replace(response, body=b"")
            case _:
                response = self._json(
                    405,
                    {"code": "method_not_allowed", "message": f"{request.method:.20} means nothing here"},
                )
                response.headers["allow"] = ", ".join(METHODS)
                return response

    def _admit_post(self, request: Request) -> Response | _Call:
        key = self._verify(request)
        query = _query_of(request.url)
        if "probe" in query:
            return self._probe(query["probe"], key)
        function_id = query.get("fnId")
        if not function_id:
            raise QueryParamMissingError("the URL of a call request needs fnId=<app>-<function>")
        try:
            body: object = jsons.loads(request.body)
        except ValueError as error:
            raise CallRequestError(f"the body is not JSON: {error}") from None
        function = self._by_id.get(function_id)
        if function is None:
            raise self._not_found(function_id)
        return _Call(function, CallRequest.parse(body, query), key, request.raw)

    def _verify(self, request: Request) -> str | None:
        """The key that signed the request; None in dev mode, which trusts everybody."""
        if self._is_dev:
            return None
        return signature.verify(
            request.headers.get(headers.SIGNATURE), request.body, self._keys, now_s=time.time()
        )

    def _probe(self, kind: str, key: str | None) -> Response:
        if kind != "trust":
            raise CallRequestError(f"there is no probe called {kind!r:.50}")
        response = Response(200, dict(self._headers))
        del response.headers[headers.CONTENT_TYPE]
        return self._signed(response, key)

    def _not_found(self, function_id: str) -> FunctionNotFoundError:
        known = sorted(self._by_id)
        shown = ", ".join(known[:KNOWN_IDS_SHOWN_MAX]) or "none"
        more = f" and {len(known) - KNOWN_IDS_SHOWN_MAX} more" if len(known) > KNOWN_IDS_SHOWN_MAX else ""
        return FunctionNotFoundError(
            f"function {function_id!r:.200} is not served here; known: {shown}{more}. Was its id changed, "
            "or is it "
            "missing in the list given to serve()?"
        )

    # Introspection and syncs (protocol 2.1, 2.8, 2.9).

    def _introspect(self, request: Request) -> Response:
        if self._is_mismatch(request.headers.get(headers.SERVER_KIND)):
            return self._json(403, {})
        key = self._trusted_key(request)
        if key is not None:
            return self._signed(self._json(200, self._trusted_inspection()), key)
        if not self._is_dev:
            raise SignatureError("the introspection request is not signed with this app's key")
        return self._json(200, registration.open_inspection(self._client, len(self._functions)))

    def _trusted_inspection(self) -> dict[str, Any]:
        return registration.trusted_inspection(
            self._client,
            len(self._functions),
            framework=self._framework,
            serve_origin=self._settings.origin,
            serve_path=self._settings.path,
        )

    def _trusted_key(self, request: Request) -> str | None:
        """The key that signed a request which need not be signed."""
        header = request.headers.get(headers.SIGNATURE)
        if not header or not self._keys:
            return None
        try:
            return signature.verify(header, request.body, self._keys, now_s=time.time())
        except SignatureError:
            return None

    def _admit_sync(self, request: Request) -> Response | _Sync:
        server_kind = request.headers.get(headers.SERVER_KIND)
        if self._is_mismatch(server_kind):
            raise ServerKindMismatchError(
                f"the sync comes from a server in {server_kind} mode and this app is in "
                f"{self._client.settings.mode.value} mode; INNGEST_DEV=1 chooses dev mode, INNGEST_DEV=0 "
                "production"
            )
        wants_in_band = (
            request.headers.get(headers.SYNC_KIND) == registration.IN_BAND
            and self._settings.allow_in_band_sync
        )
        key = self._trusted_key(request)
        is_signed = headers.SIGNATURE in request.headers
        if (
            not self._is_dev
            and key is None
            and (is_signed or wants_in_band or not self._settings.allow_unsigned_sync)
        ):
            # Says what is wrong with the signature, where there is one.
            self._verify(request)
        if not self._functions:
            raise RegistrationFailedError(
                "No functions registered: the list given to serve() is empty", status=400
            )
        if wants_in_band and key is not None:
            return self._sync_in_band(request, key)
        query = _query_of(request.url)
        return _Sync(self._app_url(request.url), query.get("deployId"), server_kind, key)

    def _sync_in_band(self, request: Request, key: str) -> Response:
        try:
            body: object = jsons.loads(request.body)
        except ValueError as error:
            raise CallRequestError(f"the body is not JSON: {error}") from None
        url: object = body.get("url") if isinstance(body, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        if not isinstance(url, str) or not url:
            raise CallRequestError("an in-band sync needs a body with the app's url")
        url = self._app_url(url)
        answer = registration.in_band_body(
            self._client,
            self._configs(url),
            url=url,
            framework=self._framework,
            inspection=self._trusted_inspection(),
        )
        response = self._json(200, answer)
        response.headers[headers.SYNC_KIND] = registration.IN_BAND
        return self._signed(response, key)

    async def _sync(self, sync: _Sync) -> Response:
        reply = await self._client._api.register(  # pyright: ignore[reportPrivateUsage]
            self._register_body(sync),
            framework=self._framework,
            server_kind=sync.server_kind,
            deploy_id=sync.deploy_id,
        )
        return self._synced(reply, sync)

    def _sync_blocking(self, sync: _Sync) -> Response:
        reply = self._client._api.register_sync(  # pyright: ignore[reportPrivateUsage]
            self._register_body(sync),
            framework=self._framework,
            server_kind=sync.server_kind,
            deploy_id=sync.deploy_id,
        )
        return self._synced(reply, sync)

    def _register_body(self, sync: _Sync) -> dict[str, Any]:
        return registration.register_body(
            self._client, self._configs(sync.url), url=sync.url, framework=self._framework
        )

    def _synced(self, reply: dict[str, Any], sync: _Sync) -> Response:
        response = self._json(200, {"message": "Successfully registered", **reply})
        response.headers[headers.SYNC_KIND] = "out_of_band"
        return self._signed(response, sync.key)

    def _configs(self, url: str) -> list[dict[str, Any]]:
        return [config for function in self._functions for config in function.get_config(url)]

    def _app_url(self, url: str) -> str:
        """Where the server reaches this app: as it asked, but for what the settings say."""
        parts = urlsplit(url)
        origin = self._settings.origin or f"{parts.scheme}://{parts.netloc}"
        path = self._settings.public_path or parts.path
        served = self._settings.path
        # A request that came to the served path knows more: the prefix that the app is mounted under.
        if not self._settings.public_path and served and not unquote(path).endswith(served):
            path = quote(served, safe=_SAFE_IN_PATHS)
        return f"{origin}{path}"

    def _is_mismatch(self, server_kind: str | None) -> bool:
        kinds = {mode.value for mode in Mode}
        return server_kind in kinds and server_kind != self._client.settings.mode.value

    # Calls.

    async def _answer(self, call: _Call, entry: Entry = FREE) -> Answer:
        """Run the function as far as it goes."""
        if not call.function.is_handler_async:
            entry.leave()
            return await self._in_thread(call)
        from inngest._shells.aio import execute

        middleware = MiddlewareManager(self._client, call.raw, call.function)
        api = self._client._api  # pyright: ignore[reportPrivateUsage]
        request = call.request
        if request.use_api:
            entry.leave()
            run_id = request.run_id
            request = _completed(request, await api.fetch_memos(run_id), await api.fetch_events(run_id))
        if middleware.instances:
            entry.leave()  # Their hooks may wait for anything.
        answer = await execute(
            call.function, request, client=self._client, middleware=middleware, api=api, begun=entry.leave
        )
        try:
            await middleware.before_response()
        except Exception as error:
            answer = self._failed_hook(error, answer)
        return answer

    async def _in_thread(self, call: _Call) -> Answer:
        # `submit` instead of `to_thread`: these threads are the client's, and their number is an option.
        future = self._client.thread_pool.submit(contextvars.copy_context().run, self._answer_here, call)
        return await asyncio.wrap_future(future)

    def _answer_blocking(self, call: _Call) -> Answer:
        if not call.function.is_handler_async:
            return self._answer_here(call)
        return self._client._background.run(self._answer(call))  # pyright: ignore[reportPrivateUsage]

    def _answer_here(self, call: _Call) -> Answer:
        """Run a plain function as far as it goes, in this thread."""
        from inngest._shells.threads import execute_sync

        middleware = MiddlewareManager(self._client, call.raw, call.function)
        api = self._client._api  # pyright: ignore[reportPrivateUsage]
        request = call.request
        if request.use_api:
            run_id = request.run_id
            request = _completed(request, api.fetch_memos_sync(run_id), api.fetch_events_sync(run_id))
        try:
            answer = execute_sync(call.function, request, client=self._client, middleware=middleware, api=api)
        except (asyncio.CancelledError, GeneratorExit) as error:
            # Would look like the cancellation of whoever waits for this thread.
            raise RuntimeError(f"the function raised {type(error).__name__}") from error
        try:
            middleware.before_response_sync()
        except Exception as error:
            answer = self._failed_hook(error, answer)
        return answer

    def _failed_hook(self, error: Exception, answer: Answer) -> Answer:
        """A hook that raises fails the request, unless that has failed already."""
        self._client.logger.error("middleware failed in before_response", exc_info=error)
        return failed_function(error) if answer.status < 300 else answer

    # Streams (protocol 4.2).

    async def _stream(self, call: _Call) -> AsyncIterator[bytes]:
        task = asyncio.create_task(self._answer(call))
        try:
            yield _FIRST_CHUNK
            while not (await asyncio.wait({task}, timeout=self.stream_interval_s))[0]:
                yield _FIRST_CHUNK
            yield self._enveloped(lambda: self._called(task.result(), call))
        finally:
            if not task.done():
                # The client has gone; the generator is closed where it stands.
                task.cancel()
                await asyncio.wait({task})
                if not task.cancelled():
                    task.exception()  # Nobody is left to hear of it.

    def _stream_blocking(self, call: _Call) -> Iterator[bytes]:
        from concurrent.futures import wait

        future = self._client.thread_pool.submit(contextvars.copy_context().run, self._answer_blocking, call)
        yield _FIRST_CHUNK
        while not wait((future,), timeout=self.stream_interval_s).done:
            yield _FIRST_CHUNK
        yield self._enveloped(lambda: self._called(future.result(), call))

    def _enveloped(self, respond: Any) -> bytes:
        """The last chunk: what would have been the response without streaming."""
        try:
            response: Response = respond()
        except Exception as error:
            response = self._refusal(error)
        return jsons.dumps(
            {"status": response.status, "headers": response.headers, "body": response.body.decode()}
        )

    def _streamed(self, stream: AsyncIterator[bytes] | Iterator[bytes]) -> Response:
        return Response(201, dict(self._headers), stream=stream)

    # Responses.

    def _called(self, answer: Answer, call: _Call) -> Response:
        response = Response(answer.status, {**self._headers, **answer.headers}, answer.text.encode())
        return self._signed(response, call.key)

    def _json(self, status: int, body: object) -> Response:
        return Response(status, dict(self._headers), jsons.dumps(body))

    def _signed(self, response: Response, key: str | None) -> Response:
        if key is not None:
            response.headers[headers.SIGNATURE] = signature.sign(response.body, key, now_s=time.time())
        return response

    def _refusal(self, error: Exception) -> Response:
        """The response for a request that was not carried out."""
        logger = self._client.logger
        match error:
            case SignatureError():
                logger.warning("request refused: %s", error)
                # Whoever has no key learns nothing of this app (protocol 2.9).
                bare = {headers.CONTENT_TYPE: "application/json", headers.SDK_HANDLED: "true"}
                return Response(401, bare, jsons.dumps({"message": "Unauthorized"}))
            case RegistrationFailedError():
                logger.error("registration failed: %s", error)
                return self._failed_registration(error)
            case Error():
                logger.error("request refused: %s", error)
                status = error.status if isinstance(error, RequestRejectedError) else 500
                response = self._json(status, _described(error))
                if not error.is_retriable:
                    response.headers[headers.NO_RETRY] = "true"
                return response
            case _:
                logger.error("request failed", exc_info=error)
                return self._json(
                    500, {"code": "unknown", "name": type(error).__name__, "message": str(error)}
                )

    def _failed_registration(self, error: RegistrationFailedError) -> Response:
        """How the server that asked for the sync shall understand its failure (protocol 2.1)."""
        if error.status in (401, 403):
            # In this very wording; our own 401 would mean that we refuse the server's key.
            return self._json(400, {**_described(error), "message": "Your signing key is invalid"})
        is_fault_of_app = error.status is not None and 400 <= error.status < 500
        return self._json(400 if is_fault_of_app else 500, _described(error))


def _check_order(client: object, functions: object) -> None:
    from inngest.client import Inngest
    from inngest.function import Function

    if not isinstance(client, Inngest):
        raise ConfigError(
            "serve() takes the client (inngest.Inngest) behind the framework's application, "
            f"not {type(client).__name__}"
        )
    if isinstance(functions, Function):
        raise ConfigError(f"serve() takes a list of functions; put {functions!r} into one: [...]")


def _by_id(functions: Sequence[Function[Any]]) -> dict[str, Function[Any]]:
    from inngest.function import Function

    found: dict[str, Function[Any]] = {}
    for function in functions:
        if not isinstance(function, Function):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(
                f"serve() was given {function!r:.100}, which is no function of this SDK; is "
                "@client.create_function(...) missing above it?"
            )
        for one in (function, function.failure_function):
            if one is None:
                continue
            if one.id in found:
                raise ConfigError(f"two functions have the id {one.id!r}; ids are unique in an app")
            found[one.id] = one
    return found


def _check_keys(keys: Sequence[str]) -> None:
    if not keys:
        raise SigningKeyMissingError(
            "production mode needs a signing key: set INNGEST_SIGNING_KEY or give the client "
            "signing_key=...; for a "
            "local dev server set INNGEST_DEV=1 (or is_production=False), which needs none"
        )
    for key in keys:
        signature.bearer_of(key)


async def _nothing(_: object) -> None:
    """How an entrance is closed."""


def _completed(
    request: CallRequest, memos: Mapping[str, object], events: list[dict[str, Any]]
) -> CallRequest:
    """The request with what was too large to come with it."""
    return replace(request, steps=memos, events=tuple(events) or request.events)


def _query_of(url: str) -> Mapping[str, str]:
    """Fields of a URL's query, the last of each name.

    Raises:
        CallRequestError: it cannot be read, or has too many fields.
    """
    try:
        return _kept_query_of(url) if len(url) <= KEPT_URL_CHARS_MAX else _new_query_of(url)
    except ValueError as error:
        raise CallRequestError(f"the URL's query cannot be read: {error}") from None


def _function_id_of(url: str) -> str:
    """The function that a request is for; empty when it does not say, in a way that can be read."""
    try:
        return _query_of(url).get("fnId", "")
    except CallRequestError:
        return ""


def _new_query_of(url: str) -> Mapping[str, str]:
    return MappingProxyType(dict(parse_qsl(urlsplit(url).query, max_num_fields=QUERY_FIELDS_MAX)))


# A function is called at one address again and again, and reading that costs a tenth of a short call.
_kept_query_of = lru_cache(maxsize=512)(_new_query_of)


def _described(error: Error) -> dict[str, str]:
    return {"code": error.code, "name": error.name, "message": error.message}
