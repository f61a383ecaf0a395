"""Schedules of an engine that runs while slots pass."""

import pytest

from inngest_server.engine.options import EngineOptions
from tests.builders import HOUR_MS, SECOND_MS
from tests.unit.engine.builders import Office, make_function


@pytest.mark.parametrize(("policy", "runs"), [("skip", 1), ("one", 1), ("all", 180)])
async def test_slots_that_passed_while_the_machine_slept_follow_the_policy(policy: str, runs: int) -> None:
    office = Office(EngineOptions(cron_catch_up=policy))
    await office.open(make_function("tick", triggers=[{"cron": "* * * * *"}]))

    await office.advance(3 * HOUR_MS)
    assert len(office.desk.calls) == runs

    await office.advance(60 * SECOND_MS)
    assert len(office.desk.calls) == runs + 1


async def test_a_slot_that_comes_a_little_late_is_not_missed() -> None:
    office = Office()
    await office.open(make_function("tick", triggers=[{"cron": "* * * * *"}]))
    (row,) = office.engine.live.crons.values()
    for late_s in (0, 50, 5):
        office.clock.ms = row.fires_at_ms + late_s * SECOND_MS
        await office.settle()
        (row,) = office.engine.live.crons.values()
    assert len(office.desk.calls) == 3
