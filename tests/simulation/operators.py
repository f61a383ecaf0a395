"""Who operates functions: pauses and resumes them, cancels and replays runs, and starts runs again."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from inngest_server.api.ui.functions import pause, resume
from inngest_server.api.ui.jobs import cancel, delete_job, replay
from inngest_server.api.ui.runs import fork, rerun

from .node import NodeDownError
from .programs import Function

if TYPE_CHECKING:
    from .world import World

SETTLE_TRIES = 20_000
STATUSES = ("Completed", "Failed", "Cancelled", "Skipped")


class Operators:
    """They try once, and nobody minds if it gets lost; only what was paused is resumed in the end."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._chance = world.chance
        self._seen = world.seen
        self._jobs: list[str] = []

    async def act(self) -> None:
        """One thing that somebody does."""
        chance = self._chance
        draw = chance.random()
        if draw < 0.3:
            await self._pause()
        elif draw < 0.45:
            await self._ask_job(cancel)
        elif draw < 0.65:
            await self._ask_job(replay)
        else:
            await self._again()

    async def _ask(self, handler: Any, body: Any, **params: str) -> tuple[int, Any]:
        """Status and answer; 0 when there is no node that answers."""
        node = self._world.node
        if node is not None and not node.is_paused:
            with suppress(NodeDownError):
                return await node.request(handler, body, **params)
        return 0, None

    def _function(self) -> Function:
        functions = [one for app in self._world.apps for one in app.functions.values()]
        return self._chance.choice(functions)

    async def _pause(self) -> None:
        chance, slug = self._chance, self._function().slug
        in_flight = chance.choice(("hold", "hold", "cancel"))
        self._world.auditor.jobs.ask_job()  # One that cancels runs is part of some pauses.
        status, _ = await self._ask(pause, {"in_flight": in_flight}, slug=slug)
        if status == 200:
            self._seen[f"pause: in flight, {in_flight}"] += 1
        await asyncio.sleep(chance.expovariate(1.0) * self._world.pace_s * chance.choice((1, 10)))
        if chance.random() < 0.9:
            await self._ask(resume, {}, slug=slug)

    async def _ask_job(self, handler: Any) -> None:
        chance, fields = self._chance, dict[str, Any]()
        if chance.random() < 0.3:
            back_ms = int(chance.expovariate(1.0) * self._world.pace_s * 10_000)
            fields["until"] = _date(self._world.clock.domain_ms() - back_ms)
        if handler is replay:
            fields |= {"statuses": list(STATUSES), "rate_per_s": chance.choice((1, 20))}
        if chance.random() < 0.3:
            fields["if"] = "event.data.k == 1"
        self._world.auditor.jobs.ask_job()
        status, answer = await self._ask(handler, fields, slug=self._function().slug)
        if status != 202:
            self._seen[f"job: refused with {status}"] += status != 0
            return
        if chance.random() < 0.5:
            await asyncio.sleep(chance.expovariate(1.0) * chance.choice((0.05, 2.0)))
            await self._ask(delete_job, None, job_id=answer["id"])

    async def _again(self) -> None:
        """Start a run again, from its beginning or from a step, or fork it with another result."""
        chance, auditor = self._chance, self._world.auditor
        known = [run for run in auditor.runs.values() if run.row.run_id not in auditor.damaged]
        if not known:
            return
        run = chance.choice(known)
        auditor.jobs.ask_again(run.row.run_id)
        draw, steps = chance.random(), list(run.memos)
        if draw < 0.4 or not steps:
            await self._ask(rerun, {}, run_id=run.row.run_id)
        elif draw < 0.7:
            await self._ask(rerun, {"from_step": chance.choice(steps)}, run_id=run.row.run_id)
        else:
            await self._ask(fork, {"again": [chance.choice(steps)]}, run_id=run.row.run_id)

    async def settle(self) -> None:
        """Resume everything that is paused; refused while runs are still being cancelled."""
        auditor = self._world.auditor
        for _ in range(SETTLE_TRIES):
            if not auditor.starts.paused or auditor.problems:
                return
            function_id = next(iter(auditor.starts.paused))
            await self._ask(resume, {}, slug=function_id)
            await asyncio.sleep(1)
        auditor.note(f"for {SETTLE_TRIES} s these could not be resumed: {auditor.starts.paused}")


def _date(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
