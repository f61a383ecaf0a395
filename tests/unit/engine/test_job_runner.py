"""When the runner of jobs waits, and whom it tells."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from inngest_server.engine.job_runner import CROWD_MAX, JobRunner
from inngest_server.engine.live import Live
from inngest_server.engine.options import EngineUnavailableError
from inngest_server.storage.memory import MemoryStorage
from tests.builders import make_job


class Stage:
    """A runner with one job that is due, and what it asks for."""

    def __init__(self) -> None:
        self.storage = MemoryStorage(shard_count=4)
        self.live = cast("Live", SimpleNamespace(jobs={}, due_jobs={}))
        self.job = make_job()
        self.live.jobs[self.job.job_id] = self.job
        self.live.due_jobs[self.job.job_id] = None
        self.asked: list[Any] = []
        self.was_asked = asyncio.Event()
        self.answer: Any = None
        self.crowd = 0
        self.rests = 0
        self.runner = JobRunner(
            self.storage, self.live, ask=self._ask, crowd=lambda: self.crowd, rested=self._rested
        )

    def _ask(self, fact: Any) -> "asyncio.Future[Any]":
        assert not self.runner.is_quiet
        self.asked.append(fact)
        self.was_asked.set()
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if isinstance(self.answer, Exception):
            reply.set_exception(self.answer)
        else:
            reply.set_result(self.answer)
        return reply

    def _rested(self) -> None:
        assert self.runner.is_quiet or self.crowd
        self.rests += 1


@pytest.fixture
async def stage() -> Stage:
    return Stage()


async def test_one_slice_is_asked_for_and_then_it_is_quiet(stage: Stage) -> None:
    assert not stage.runner.is_quiet
    assert await stage.runner.run_once()
    assert [(one.job_id, one.is_last) for one in stage.asked] == [(stage.job.job_id, True)]
    assert stage.runner.is_quiet
    assert stage.rests == 1
    assert not await stage.runner.run_once()
    assert stage.rests == 1


async def test_no_further_runs_are_told_while_many_have_not_heard(stage: Stage) -> None:
    stage.crowd = CROWD_MAX + 1
    await stage.runner.run_once()
    assert stage.asked == []
    assert not stage.runner.is_quiet
    stage.crowd = CROWD_MAX
    task = asyncio.create_task(stage.runner.run())
    async with asyncio.timeout(10):
        await stage.was_asked.wait()
    task.cancel()


async def test_an_engine_that_is_away_brings_its_jobs_back_by_itself(stage: Stage) -> None:
    stage.answer = EngineUnavailableError("the disk is full")
    await stage.runner.run_once()
    assert stage.runner.is_quiet
    assert stage.live.due_jobs == {}


async def test_a_job_that_is_gone_is_not_asked_for(stage: Stage) -> None:
    del stage.live.jobs[stage.job.job_id]
    await stage.runner.run_once()
    assert stage.asked == []
    assert stage.runner.is_quiet
