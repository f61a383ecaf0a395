"""What a server makes of the rows that it finds."""

from inngest_server.engine.messages import encode
from inngest_server.events.records import EventRow
from inngest_server.runs.facts import EventArrived
from inngest_server.storage.records import MessageRow
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
