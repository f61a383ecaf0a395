"""What is read of events, for all of them that are shown together at once."""

from collections.abc import Sequence
from functools import cached_property

from inngest_server.api.graphql.run_group import RunGroup
from inngest_server.api.graphql.session import Session
from inngest_server.api.rest.system_events import bodies_of
from inngest_server.events.records import EventRow
from inngest_server.runs.records import RunRow
from inngest_server.wire import json


class EventGroup:
    """Events that are shown together; their rows may lack the bodies."""

    def __init__(self, session: Session, rows: Sequence[EventRow]) -> None:
        self._session = session
        self._ids = [row.internal_id for row in rows]

    @cached_property
    def _bodies(self) -> dict[str, bytes]:
        async def read() -> dict[str, bytes]:
            rows = await self._session.storage.get(EventRow, self._ids)
            bodies = await bodies_of(self._session.context, rows)
            return {row.internal_id: body for row, body in zip(rows, bodies, strict=True)}

        return self._session.wait(read())

    def body_of(self, internal_id: str) -> bytes | None:
        """The event as functions receive it; None if it was forgotten meanwhile."""
        return self._bodies.get(internal_id)

    def data_of(self, internal_id: str) -> bytes | None:
        body = self.body_of(internal_id)
        return json.dumps(json.parse_kept(body).get("data")) if body is not None else None

    def version_of(self, internal_id: str) -> str | None:
        body = self.body_of(internal_id)
        return json.parse_kept(body).get("v") if body is not None else None

    @cached_property
    def _runs(self) -> dict[str, list[RunRow]]:
        return self._session.wait(self._session.storage.runs_of_events(self._ids))

    def runs_of(self, internal_id: str) -> Sequence[RunRow]:
        """Those that the event started, oldest first."""
        return self._runs.get(internal_id, ())

    @cached_property
    def group_of_runs(self) -> RunGroup:
        return RunGroup(self._session, [run for runs in self._runs.values() for run in runs])
