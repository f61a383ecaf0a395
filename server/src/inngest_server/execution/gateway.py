"""Makes the requests of gateway steps, and hands their answers to the engine. Source: protocol 5.7.

A request is sent again when its answer was lost, as calls to apps are, so a provider may see it twice. Each
host has a queue of its own: one that hangs holds its own connections only.
"""

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

from inngest_server.clock import Clock
from inngest_server.execution.driver import Call, HTTPDriver, QueuedDriver
from inngest_server.execution.gateway_http import failed, not_answered, outgoing, read_response
from inngest_server.execution.transport import Fetcher, ResponseTooLargeError, TransportError
from inngest_server.runs.facts import Answer, Answered, Exchange
from inngest_server.wire.limits import CALL_TIMEOUT_S, GATEWAY_RESPONSE_BYTES_MAX

HOST_CONNECTIONS = 256
"""Requests to one host at a time."""


class GatewayDriver(QueuedDriver):
    """The driver for gateway items."""

    def __init__(
        self,
        fetcher: Fetcher,
        clock: Clock,
        *,
        answered: Callable[[Answered], None],
        connections: int = HOST_CONNECTIONS,
    ) -> None:
        super().__init__(clock, answered=answered, connections=connections, keeps_workers=False)
        self._fetcher = fetcher

    def _queue_of(self, call: Call) -> str:
        try:
            return urlsplit(call.request.url if call.request else "").netloc.rpartition("@")[2]
        except ValueError:
            return ""  # Sending it says what is wrong.

    async def _call(self, call: Call) -> tuple[Answer, Exchange]:
        request, status = call.request, 0
        began_ms, began_s = self._clock.now_ms(), self._clock.monotonic_s()
        assert request is not None, "the item is of another kind"
        try:
            response, url = await self._fetcher.fetch(
                *outgoing(request), timeout_s=CALL_TIMEOUT_S, body_bytes_max=GATEWAY_RESPONSE_BYTES_MAX
            )
            status = response.status
            answer = read_response(request, response, url, self._sender_ms())
        except TransportError as error:
            answer = not_answered(request, error.kind, error.detail)
        except ResponseTooLargeError:
            answer = failed(
                request,
                "output_too_large",
                f"the response has more than {GATEWAY_RESPONSE_BYTES_MAX} bytes",
                retriable=False,
            )
        except Exception as error:  # Ours; its text may show the request, which has secrets.
            answer = failed(request, "internal", f"the request could not be made: {type(error).__name__}")
        return answer, self._exchange(status, began_ms, began_s)


class Drivers:
    """All drivers as one: calls to apps go by one, requests of gateway steps by another."""

    def __init__(self, apps: HTTPDriver, gateway: GatewayDriver) -> None:
        self._apps = apps
        self._gateway = gateway

    @property
    def under_way(self) -> int:
        """Calls and requests, queued or sent, whose answer has not come."""
        return self._apps.under_way + self._gateway.under_way

    def calls_by_app(self) -> dict[str, tuple[int, int]]:
        """Of apps only, as `HTTPDriver.calls_by_app`."""
        return self._apps.calls_by_app()

    def send(self, call: Call) -> None:
        (self._gateway if call.item.is_gateway else self._apps).send(call)

    def is_sending(self, item_id: str, generation: int) -> bool:
        return self._apps.is_sending(item_id, generation) or self._gateway.is_sending(item_id, generation)

    def has_begun(self, item_id: str) -> bool:
        """As `QueuedDriver.has_begun`."""
        return self._apps.has_begun(item_id) or self._gateway.has_begun(item_id)

    def recall(self) -> None:
        self._apps.recall()
        self._gateway.recall()

    async def drain(self, timeout_s: float) -> bool:
        """As `QueuedDriver.drain`, all at once."""
        drained = await asyncio.gather(self._apps.drain(timeout_s), self._gateway.drain(timeout_s))
        return all(drained)

    async def close(self) -> None:
        """Abandon what is under way: the next start of the server sends it again."""
        await asyncio.gather(self._apps.close(), self._gateway.close())
