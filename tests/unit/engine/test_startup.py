"""What a server makes of the rows that it finds."""

import pytest

from inngest_server.engine.facts import Released
from inngest_server.engine.messages import encode
from inngest_server.events.records import EventRow
from inngest_server.runs.facts import EventArrived
from inngest_server.runs.records import WaitRow
from inngest_server.storage.records import MessageRow
from tests.builders import HOUR_MS
from tests.unit.engine.builders import Office, make_function
from tests.unit.runs.builders import make_op

PLACED = "shop/order.placed"
PAID = "shop/order.paid"


async def test_a_message_about_a_pruned_event_ends_its_wait_with_null() -> None:
    """Messages to a held run stay stored, for longer than events are kept."""
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    await office.send(PLACED)
    [call] = office.desk.calls
    wait = make_op("WaitForEvent", "wait", opts={"event": PAID, "timeout": "30d"})
    await office.report(call, wait)
    [run] = [run for shard in office.engine.live.shards.values() for run in shard.runs.values()]
    [wait_id] = run.waits
    told = EventArrived(run.id, wait_id, "01M37BGVYCFFGWNSFQR5D9C7H7", b"")
    row = MessageRow(run.row.shard, 0, 1, encode([told]))
    office.storage._put(row)
    assert not await office.storage.get(EventRow, [told.internal_id])

    await office.engine.start()
    await office.settle()

    [call] = office.desk.calls
    assert list(call.run.loaded.memos.values()) == [b"null"]
    assert await office.storage.messages(run.row.shard, 10) == []


@pytest.mark.parametrize(
    "damaged",
    ["event.data ===", "event.data.a == async.data.a && event.data.b == async.data.b && event.data.c == 1"],
    ids=["no expression", "another one"],
)
async def test_a_wait_whose_expression_cannot_be_used_holds_its_run_alone(damaged: str) -> None:
    """Only the captured values have a checksum; and a later version may refuse what this one takes."""
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    await office.send(PLACED)
    opts = {"event": PAID, "timeout": "1h", "if": "event.data.id == async.data.id"}
    await office.report(office.desk.calls[0], make_op("WaitForEvent", "wait", opts=opts))
    [wait] = office.storage._all(WaitRow)
    office.storage._put(wait._replace(expression=damaged))

    await office.engine.start()
    await office.settle()
    assert list(office.engine.held) == [wait.run_id]
    await office.send(PLACED)
    assert len(office.desk.calls) == 1

    office.engine.tell(Released(wait.run_id))
    await office.advance(HOUR_MS)
    assert len(office.desk.calls) == 2
    assert office.storage._all(WaitRow) == []
