"""A client that reaches no server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inngest._http.api import Answer
from inngest.client import Inngest as ServedInngest

if TYPE_CHECKING:
    from inngest.events import Event

__all__ = ["Inngest"]

EVENT_ID = "0" * 26
"""The id that every event gets."""


class Inngest(ServedInngest):
    """Takes all options of a client. Its middleware and serializer are those that `trigger` uses.

    Events that are sent with it, from functions or elsewhere, go to `sent_events` instead of a server.
    """

    def __init__(self, *, app_id: str, **options: Any) -> None:
        super().__init__(app_id=app_id, **options)
        self.sent_events: list[Event] = []
        """In the order in which they were sent, as middleware has left them."""
        self._no_server = _NoServer(self.sent_events)

    @property
    def _api(self) -> Any:
        return self._no_server


class _NoServer:
    """In place of the connection to the server."""

    def __init__(self, sent_events: list[Event]) -> None:
        self._sent_events = sent_events

    async def send_events(self, events: list[Event]) -> list[str]:
        return self.send_events_sync(events)

    def send_events_sync(self, events: list[Event]) -> list[str]:
        self._sent_events.extend(events)
        return [EVENT_ID for _ in events]

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        return self.request_sync(method, path, **options)

    def request_sync(self, method: str, path: str, **options: Any) -> Answer:
        """Realtime: messages go nowhere, and a token for them opens nothing."""
        return Answer(201, b'{"jwt":"mocked"}')

    async def aclose(self) -> None:
        """There is nothing to close."""

    def close(self) -> None:
        """There is nothing to close."""
