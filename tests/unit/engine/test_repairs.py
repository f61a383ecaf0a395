"""Repairs beside a live server: what ordinary work does meanwhile is not undone, and nothing good goes.

What each repair does about damage is tested on real databases: `tests/integration/test_doctor_repair.py`.
"""

import asyncio
from typing import Any

import pytest

from inngest_server.engine.repairs import NOTHING, WRITTEN_AGAIN, Repair, Repaired, RepairKind, repair
from inngest_server.execution.driver import Call
from inngest_server.runs.facts import Answered, CallFailed, Returned, WaitExpired
from inngest_server.runs.finish import FAILED
from inngest_server.runs.records import ItemRow, RunRow, WaitRow
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import DAMAGED
from inngest_server.storage.records import MessageRow
from tests.builders import HOUR_MS
from tests.unit.engine.builders import Office, make_function
from tests.unit.engine.test_held import held_office
from tests.unit.engine.test_reload import running
from tests.unit.runs.builders import make_op, make_reported

PLACED = "shop/order.placed"


async def mend(office: Office, kind: RepairKind, key: str) -> Repaired:
    async with running(office):
        result = await repair(office.engine, Repair(kind, key))
    await office.settle()
    return result


async def called_office() -> tuple[Office, Call]:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    await office.send(PLACED)
    return office, office.desk.calls[0]


def after_reading(
    monkeypatch: pytest.MonkeyPatch, office: Office, method: str, kind: type[Any], happens: Any
) -> None:
    """Let something happen once a repair has read rows of a kind, before it decides."""
    read = getattr(MemoryStorage, method)
    left = [happens]

    async def reading(self: MemoryStorage, asked: Any, keys: Any) -> Any:
        rows = await read(self, asked, keys)
        if asked is kind and left:
            left.pop()()
            await asyncio.sleep(0)
        return rows

    monkeypatch.setattr(MemoryStorage, method, reading)


async def test_work_that_is_answered_while_it_is_looked_at_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office, call = await called_office()
    item = call.item
    office.desk.calls.clear()
    answer = make_reported(make_op("StepRun", "a", data=1))
    answered = Answered(item.run_id, item.item_id, item.generation, answer)
    after_reading(monkeypatch, office, "get", ItemRow, lambda: office.engine.tell(answered))
    await mend(office, RepairKind.MEND_ITEM, item.item_id)
    office.engine.tell(answered)
    await office.settle()
    [left] = await office.storage.items_of_run(item.run_id)
    assert left.item_id != item.item_id
    assert [call.item.item_id for call in office.desk.calls] == [left.item_id]


async def test_a_wait_that_ends_while_it_is_looked_at_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office, call = await called_office()
    await office.report(call, make_op("Sleep", "s", name="1h"))
    [wait_id] = [row.wait_id for row in office.storage._all(WaitRow)]

    def wake() -> None:
        office.clock.ms += HOUR_MS
        office.engine.tell(WaitExpired(call.item.run_id, wait_id))

    after_reading(monkeypatch, office, "salvage", WaitRow, wake)
    await mend(office, RepairKind.MEND_WAIT, wait_id)
    await office.advance(HOUR_MS)
    assert office.storage._all(WaitRow) == []
    assert len(office.desk.calls) == 1


async def test_a_run_that_ends_while_its_output_is_looked_at_stays_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    office, call = await called_office()
    item = call.item
    office.storage._put((await office.row(item.run_id))._replace(output=DAMAGED))
    answered = Answered(item.run_id, item.item_id, item.generation, Returned(b"1"))
    after_reading(monkeypatch, office, "salvage", RunRow, lambda: office.engine.tell(answered))
    result = await mend(office, RepairKind.MEND_OUTPUT, item.run_id)
    row = await office.row(item.run_id)
    assert (result.detail, row.status, row.output) == (NOTHING, "Completed", b"1")


async def test_a_message_that_a_held_run_still_has_to_get_is_not_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = {"cancel": [{"event": "shop/stop"}]}
    office, call = await held_office(monkeypatch, **stop)
    office.engine.live.find_run(call.item.run_id).content = None  # type: ignore[union-attr]
    await office.send("shop/stop")
    [message] = office.storage._all(MessageRow)
    key = "/".join(map(str, message[:3]))
    result = await mend(office, RepairKind.DROP_MESSAGE, key)
    assert result.detail == NOTHING
    assert office.storage._all(MessageRow) == [message]


async def test_a_failure_handler_whose_journal_lost_its_end_is_not_run_again() -> None:
    """It publishes nothing when it ends, so that no event can tell whether it has."""
    office = Office()
    await office.open(make_function("fulfil", PLACED), make_function("on-failure", FAILED))
    await office.send(PLACED)
    await office.answer(office.desk.calls[0], CallFailed(b'{"name":"E","message":"m"}', "e", False, None))
    [call] = office.desk.calls
    await office.complete(call)
    journal = office.storage._journals[call.item.run_id]
    del journal[max(journal)]
    result = await mend(office, RepairKind.SETTLE_RUN, call.item.run_id)
    assert "it did end" in result.detail
    assert (await office.row(call.item.run_id)).status == "Completed"
    assert office.desk.calls == []


async def test_what_memory_has_and_the_storage_lost_is_written_again() -> None:
    office, call = await called_office()
    office.storage._remove(ItemRow, call.item.item_id)
    result = await mend(office, RepairKind.MEND_ITEM, call.item.item_id)
    assert result.detail == WRITTEN_AGAIN
    assert await office.storage.items_of_run(call.item.run_id) == [call.item]
