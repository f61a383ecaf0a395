"""An office whose jobs are done by hand, a slice at a time."""

import asyncio
import random
from typing import Any

from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import JobAsked
from inngest_server.engine.jobs import JobRefusal
from inngest_server.engine.options import EngineOptions
from inngest_server.jobs.filter import RunFilter
from inngest_server.jobs.records import JobKind, JobRow
from inngest_server.runs.facts import CallFailed
from inngest_server.runs.records import RunRow
from inngest_server.storage.protocol import EventQuery, RunQuery
from tests.unit.engine.builders import Desk, Office

PLACED = "shop/order.placed"
CANCELLED = "inngest/function.cancelled"
FAILURE = CallFailed(b'{"name":"Error","message":"no"}', "function_error", False, None)


class Yard(Office):
    """`settle` decides and loads, as in an office, but does no slice of any job."""

    def __init__(self, options: EngineOptions | None = None, *, storage: Any = None) -> None:
        super().__init__(options)
        self._options = options
        if storage is not None:
            self.storage = storage
            self._new_engine()

    def _new_engine(self) -> None:
        self.engine = Engine(self.storage, self.clock, random.Random(7), options=self._options)
        self.desk = Desk()
        self.engine.driver = self.desk

    async def restart(self) -> None:
        """The server is gone with all that was not stored, and another one starts."""
        self._new_engine()
        await self.engine.start()
        await self.settle()

    async def ask_job(
        self, kind: JobKind, slug: str = "shop-fulfil", wanted: RunFilter | None = None, rate_per_s: int = 0
    ) -> JobRow | JobRefusal:
        fact = JobAsked(
            self.engine.next_id(), kind, slug, "after the incident", wanted or RunFilter(), rate_per_s
        )
        reply = self.engine.ask(fact)
        await self.settle()
        return await reply

    async def begin(self, kind: JobKind, *args: Any, **options: Any) -> JobRow:
        """Ask for a job that is not refused."""
        job = await self.ask_job(kind, *args, **options)
        assert isinstance(job, JobRow)
        return job

    async def do_slice(self) -> bool:
        """One slice of each job that is due, and what follows from it; False if none was."""
        await self.settle()
        task = asyncio.create_task(self.engine.jobs.run_once())
        while not task.done():
            await asyncio.sleep(0)
            await self.settle()
        return await task

    async def work_off(self) -> None:
        """Do slices until none is due at this moment."""
        while await self.do_slice():
            pass

    async def job(self, job: JobRow) -> JobRow:
        [stored] = await self.storage.get(JobRow, [job.job_id])
        return stored

    async def runs(self, **query: Any) -> list[RunRow]:
        return await self.storage.list_runs(RunQuery(limit=1_000, ascending=True, **query))

    async def statuses(self) -> list[str]:
        return sorted(row.status for row in await self.runs())

    async def events_named(self, name: str) -> int:
        return len(await self.storage.list_events(EventQuery(limit=1_000, names=frozenset({name}))))

    async def fail_run(self, data: dict[str, Any] | None = None) -> str:
        """A run that failed; its id."""
        await self.send(PLACED, data)
        call = self.desk.calls[-1]
        await self.answer(call, FAILURE)
        return call.item.run_id
