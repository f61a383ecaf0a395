"""At any moment of a world, whatever goes wrong in it, every unfinished run can be explained."""

import asyncio
import random
from collections import Counter
from contextlib import suppress

import pytest

from inngest_server.engine.explaining import event_view, snapshot_of_run
from inngest_server.events.records import EventRow
from inngest_server.explain.gate import Verdict
from inngest_server.explain.run import explain_run

from .auditor import AuditError
from .node import Node
from .world import World

WORLDS = 12
KINDS_MIN = 8
"""Of gates that hold runs back in so many worlds."""

pytestmark = pytest.mark.simulation


class AskingWorld(World):
    """A world in which somebody asks again and again why each of the runs is not running."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.named: Counter[str] = Counter()
        """How often each gate was the answer."""
        self.unexplained: list[str] = []
        self._moments = random.Random(f"{seed} asking")

    async def _serve(self, node: Node) -> None:
        asking = self.loop.create_task(self._ask(node), context=node.owned)
        try:
            await super()._serve(node)
        finally:
            asking.cancel()

    async def _ask(self, node: Node) -> None:
        moments = self._moments
        while True:
            await asyncio.sleep(moments.expovariate(1.0) * moments.choice((0.002, 0.05, 5.0, 900.0)))
            if node.engine.failure is None:
                await self._explain_all(node)

    async def _explain_all(self, node: Node) -> None:
        live, rows = node.engine.live, self.disk.rows
        for run in [run for shard in live.shards.values() for run in shard.runs.values()]:
            events = await rows.salvage(EventRow, [run.row.event_id])
            event = event_view(events[0], events[0].body) if events and events[0].body else None
            journal = await rows.salvage_journal(run.id)
            gate = explain_run(snapshot_of_run(node.engine, run.row, event, journal)).blocking
            if live.find_run(run.id) is None:
                continue  # It ended while its rows were read.
            self.named[gate.id if gate is not None else "none"] += 1
            if gate is None or gate.verdict is Verdict.UNKNOWN or not (gate.ends or gate.eta_ms):
                waiting = [*run.items.values(), *run.waits.values()]
                self.unexplained.append(f"seed {self.seed}: {run.id}: {gate}, with {waiting}")


def test_every_unfinished_run_of_a_world_has_a_gate_that_holds_it_back() -> None:
    named, unexplained = Counter[str](), list[str]()
    for seed in range(WORLDS):
        world = AskingWorld(seed)
        with suppress(AuditError):  # Other promises have tests of their own.
            world.run()
        named += world.named
        unexplained += world.unexplained
    assert not unexplained, "\n".join(unexplained[:10])
    assert len(named) >= KINDS_MIN, named  # Or the worlds have become too dull to show anything.
