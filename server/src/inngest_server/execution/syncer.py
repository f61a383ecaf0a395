"""Asking apps to announce their functions. Source: protocol 2.1, 2.8 and 13.

Without a signing key the app is asked to call back and register itself. With one it is asked to answer with
its functions (in-band). The answer counts only with the app's signature, because whoever answers there
decides what is called from now on. An app may still call back instead; its answer then says nothing.
"""

from collections.abc import Awaitable, Callable

from inngest_server.apps.app_error import AppError, app_error_from_response, app_error_from_transport
from inngest_server.apps.in_band import SYNC_KIND, SYNC_KIND_HEADER, register_body
from inngest_server.apps.problems import RegistrationInvalidError
from inngest_server.clock import Clock
from inngest_server.execution.transport import Response, ResponseTooLargeError, Transport, TransportError
from inngest_server.wire import json
from inngest_server.wire.limits import RESPONSE_BYTES_MAX
from inngest_server.wire.signature import SignatureError, SignatureMismatchError, sign, verify

SYNC_TIMEOUT_S = 10.0


class AppSyncer:
    """Sends the PUT with which a sync begins.

    `register` takes in the body of a registration and raises `RegistrationInvalidError` for a bad one.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        *,
        signing_key: str | None,
        server_kind: str,
        register: Callable[[object], Awaitable[object]],
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._signing_key = signing_key
        self._server_kind = server_kind
        self._register = register

    async def sync(self, url: str) -> AppError | None:
        """Ask the app at `url`; None when it accepted, else what its author can do.

        Raises:
            EngineUnavailableError: the app answered, and nothing can be stored now.
        """
        body = json.canonical({"url": url})
        headers = {"content-type": "application/json", "X-Inngest-Server-Kind": self._server_kind}
        if self._signing_key is not None:
            headers[SYNC_KIND_HEADER] = SYNC_KIND
            headers["X-Inngest-Signature"] = sign(body, self._signing_key, self._clock.host_s())
        try:
            response = await self._transport.send(
                "PUT", url, headers, body, timeout_s=SYNC_TIMEOUT_S, body_bytes_max=RESPONSE_BYTES_MAX
            )
        except TransportError as error:
            return app_error_from_transport(error.kind, url, error.detail)
        except ResponseTooLargeError:
            return AppError(
                "not_sdk", f"what listens at {url} answered with more than {RESPONSE_BYTES_MAX} bytes"
            )
        refused = app_error_from_response(response.status, response.headers, response.body, url)
        is_in_band = response.headers.get(SYNC_KIND_HEADER.lower(), "").lower() == SYNC_KIND
        if refused is not None or self._signing_key is None or not is_in_band:
            return refused
        return await self._take_reply(response, url, self._signing_key)

    async def _take_reply(self, response: Response, url: str, signing_key: str) -> AppError | None:
        header = response.headers.get("x-inngest-signature")
        try:
            _verify_reply(response.body, header, signing_key, self._clock.host_s())
            await self._register(register_body(json.parse(response.body), url))
        except SignatureError as error:
            return AppError(
                error.code,
                f"the reply of the app at {url} was not accepted: {error}. Give app and server the same "
                "INNGEST_SIGNING_KEY, and the app INNGEST_DEV=0",
            )
        except json.InvalidJSONError as error:
            return AppError(
                "invalid_reply", f"the reply of the app at {url} to the sync is not JSON: {error}"
            )
        except RegistrationInvalidError as error:
            return AppError(error.code, f"the functions of the app at {url} were refused: {error}")
        return None


def _verify_reply(body: bytes, header: str | None, key: str, now_s: int) -> None:
    """As `verify`; Go signs its answer without the line feed at its end. Source: protocol 6.3."""
    try:
        verify(body, header, key, now_s)
    except SignatureMismatchError:
        if not body.endswith(b"\n"):
            raise
        verify(body[:-1], header, key, now_s)
