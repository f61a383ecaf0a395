"""An event id that comes again, while the server reads what it knows of the first one."""

from inngest_server.engine.facts import EventsSent, Synced
from inngest_server.events.event import make_event, read_event
from inngest_server.events.records import EventRow
from inngest_server.runs.records import RunRow
from inngest_server.storage.protocol import RunQuery
from tests.unit.engine.builders import Office, make_function, make_registration

PLACED = "shop/order.placed"


def make_sent(office: Office, internal_id: str, *, later_ms: int = 0) -> EventsSent:
    """An event with an id that its client chose, as it is received some time later."""
    draft = read_event({"name": PLACED, "id": "order-1", "data": {}})
    received_at_ms = office.clock.now_ms() + later_ms
    return EventsSent(
        [make_event(draft, internal_id=internal_id, received_at_ms=received_at_ms, repeatable=True)]
    )


async def test_a_run_that_ended_is_not_started_again_by_a_sync_between_reading_and_deciding() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED), make_function("bill"))
    office.engine.ask_events(make_sent(office, office.engine.next_id()))
    await office.settle()
    [call] = office.desk.calls
    await office.complete(call)
    await office.sync(make_function("bill"))

    again = office.engine.ask_events(make_sent(office, office.engine.next_id()))
    await office.engine.load_once()  # The mark.
    await office.engine.run_once()
    await office.engine.load_once()  # The runs, of which none is wanted now.
    office.engine.tell(Synced(make_registration(make_function("fulfil", PLACED), make_function("bill"))))
    await office.settle()
    await again

    assert office.desk.calls == []
    [row] = await office.storage.get(RunRow, [call.item.run_id])
    assert row.status == "Completed"


async def test_a_repeated_event_that_is_sent_twice_at_once_is_stored_as_it_came_first() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    office.engine.ask_events(make_sent(office, office.engine.next_id()))
    await office.settle()
    internal_id = office.engine.next_id()
    first = make_sent(office, internal_id)

    for sent in (first, make_sent(office, internal_id, later_ms=5)):
        office.engine.ask_events(sent)
    await office.settle()

    [row] = await office.storage.get(EventRow, [internal_id])
    assert row.body == first.events[0].body


async def test_a_repeated_event_whose_request_comes_again_is_collected_once() -> None:
    """It is not the first of its id, and still the same event as the one that was collected."""
    office = Office()
    await office.open(make_function("fulfil", PLACED, debounce={"period": "10s"}))
    internal_id = office.engine.next_id()
    for sent in (make_sent(office, office.engine.next_id()), make_sent(office, internal_id)):
        office.engine.ask_events(sent)
        await office.settle()
    await office.advance(5_000)

    office.engine.ask_events(make_sent(office, internal_id))
    await office.settle()
    await office.advance(5_000)

    assert len(office.desk.calls) == 1


async def test_two_events_of_one_id_in_one_request_make_one_skipped_run() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED, singleton={"mode": "skip"}))
    await office.send(PLACED)
    before = set(await run_ids(office))
    first, second = (make_sent(office, office.engine.next_id()).events for _ in range(2))

    office.engine.ask_events(EventsSent([*first, *second]))
    await office.settle()

    [skipped] = set(await run_ids(office)) - before
    assert len((await office.storage.journals([skipped]))[skipped]) == 1


async def run_ids(office: Office) -> list[str]:
    return [run.run_id for run in await office.storage.list_runs(RunQuery(limit=10))]
