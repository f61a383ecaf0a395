"""What is read of runs, for all of them that are shown together at once."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from inngest_server.api.graphql.errors import QueryError
from inngest_server.api.graphql.pages import checked_id
from inngest_server.api.graphql.session import Session
from inngest_server.events.records import EventRow
from inngest_server.runs.records import JournalKind, RunRow, RunStatus, opened_mark
from inngest_server.storage.protocol import RunHistory
from inngest_server.wire.ulid import timestamp_ms

STATUSES = {
    RunStatus.SCHEDULED.value: "QUEUED",
    RunStatus.RUNNING.value: "RUNNING",
    RunStatus.COMPLETED.value: "COMPLETED",
    RunStatus.FAILED.value: "FAILED",
    RunStatus.CANCELLED.value: "CANCELLED",
    RunStatus.SKIPPED.value: "SKIPPED",
}
STORED_STATUSES = {shown: stored for stored, shown in STATUSES.items()}
AI_OP = "AIGateway"
HISTORIES_AT_A_TIME = 10
"""Of a page whose traces are shown: whole journals are in memory meanwhile."""


class ReadHistory(NamedTuple):
    history: RunHistory
    now_ms: int
    """Domain time just after it was read."""


class RunGroup:
    """Runs that are shown together: what one of them needs beyond its row is read for all."""

    def __init__(self, session: Session, rows: Sequence[RunRow], *, have_outputs: bool = False) -> None:
        self._session = session
        self._rows = rows
        self._ids = [row.run_id for row in rows]
        self._outputs = {row.run_id: row.output for row in rows} if have_outputs else None
        self._histories: dict[str, ReadHistory] = {}

    @staticmethod
    def of_one(session: Session, read: ReadHistory) -> "RunGroup":
        """A run of which everything was read at one moment."""
        group = RunGroup(session, [read.history.run], have_outputs=True)
        group._histories = {read.history.run.run_id: read}
        return group

    def output_of(self, run_id: str) -> bytes | None:
        if self._outputs is None:
            rows = self._session.wait(self._session.storage.get(RunRow, self._ids))
            self._outputs = {row.run_id: row.output for row in rows}
        return self._outputs.get(run_id)

    def has_ai(self, run_id: str) -> bool:
        """Whether it had the server ask a model."""
        read = self._histories.get(run_id)
        if read is None:
            return run_id in self._with_ai
        mark = opened_mark(AI_OP)
        return any(entry.kind == JournalKind.OPENED and mark in entry.meta for entry in read.history.journal)

    @cached_property
    def _with_ai(self) -> frozenset[str]:
        return self._session.wait(self._session.storage.runs_that_opened(self._ids, AI_OP))

    def history_of(self, run_id: str) -> ReadHistory | None:
        """The run with its journal, read with those that follow it; None if it was forgotten meanwhile."""
        if run_id not in self._histories:
            start = self._ids.index(run_id)
            self._histories = read_histories(self._session, self._ids[start : start + HISTORIES_AT_A_TIME])
        return self._histories.get(run_id)

    def event_ids_of(self, row: RunRow) -> list[str]:
        """Internal ids of the events that started it, of a batch all in the order in which they came."""
        return [row.event_id, *(self._further.get(row.run_id, ()) if row.batch_id is not None else ())]

    @cached_property
    def _further(self) -> dict[str, list[str]]:
        return self._session.wait(self._session.storage.batched_events(self._ids))

    @cached_property
    def events(self) -> dict[str, EventRow]:
        """The events that started them, as far as they are still there."""
        ids = list(dict.fromkeys(row.event_id for row in self._rows))
        return {row.internal_id: row for row in self._session.wait(self._session.storage.get(EventRow, ids))}


def batch_opened_ms(run: RunRow) -> int | None:
    """When the first event of its batch came; None if it is no run on a batch."""
    return timestamp_ms(run.batch_id) if run.batch_id is not None else None


def read_histories(session: Session, run_ids: Sequence[str]) -> dict[str, ReadHistory]:
    async def read() -> dict[str, ReadHistory]:
        found = await session.storage.histories(run_ids)
        now_ms = session.context.engine.now_ms()
        return {run_id: ReadHistory(history, now_ms) for run_id, history in found.items()}

    return session.wait(read())


def get_history(session: Session, run_id: str) -> ReadHistory:
    """One run with everything, as of one moment.

    Raises:
        QueryError: `run_not_found`, `invalid_id`.
    """
    run_id = checked_id(run_id, "runID")
    read = read_histories(session, [run_id]).get(run_id)
    if read is None:
        raise QueryError(f"run {run_id} not found", code="run_not_found")
    return read
