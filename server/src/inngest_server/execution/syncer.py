"""Asking apps to announce their functions: the out-of-band handshake. Source: protocol 2.1."""

from inngest_server.apps.app_error import AppError, app_error_from_response, app_error_from_transport
from inngest_server.clock import Clock
from inngest_server.execution.transport import ResponseTooLargeError, Transport, TransportError
from inngest_server.wire import json
from inngest_server.wire.limits import RESPONSE_BYTES_MAX
from inngest_server.wire.signature import sign

SYNC_TIMEOUT_S = 10.0


class AppSyncer:
    """Sends the PUT that makes an app register itself."""

    def __init__(
        self, transport: Transport, clock: Clock, *, signing_key: str | None, server_kind: str
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._signing_key = signing_key
        self._server_kind = server_kind

    async def sync(self, url: str) -> AppError | None:
        """Ask the app at `url`; None when it accepted, else what its author can do."""
        body = json.canonical({"url": url})
        headers = {"content-type": "application/json", "X-Inngest-Server-Kind": self._server_kind}
        if self._signing_key is not None:
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
        return app_error_from_response(response.status, response.headers, response.body, url)
