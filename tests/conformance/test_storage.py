"""What every storage does, one claim a test; `test_generated.py` looks for what nobody thought of."""

import pytest

from inngest_server.events.records import MarkRow
from inngest_server.runs.records import ItemRow, RunRow, WaitRow
from inngest_server.storage.protocol import CorruptDataError, Counts, Outcome, Storage
from inngest_server.storage.records import MessageRow, Row, SubscriberRow, key_of
from tests.builders import (
    RUN_ID,
    SHARD,
    T0_MS,
    make_app_row,
    make_batch,
    make_batched_event,
    make_cron_row,
    make_event_row,
    make_function_row,
    make_item,
    make_job,
    make_journal_entry,
    make_mark,
    make_message,
    make_meter,
    make_pause,
    make_rekey,
    make_run_row,
    make_subscriber,
    make_terms,
    make_ulid,
    make_wait,
    make_window,
)
from tests.conformance.actions import acquire, live_rows, put, remove

OTHER = 8

ONE_OF_EACH: list[Row] = [
    make_run_row(),
    make_item(),
    make_wait(),
    make_event_row(),
    make_mark(),
    make_app_row(),
    make_function_row(),
    make_cron_row(),
    make_subscriber(),
    make_batched_event(),
    make_terms(),
    make_window(),
    make_meter(),
    make_pause(),
    make_rekey(),
    make_job(),
]
# Values that a careless column type or codec would change.
AWKWARD: list[Row] = [
    make_run_row(cron="", parent="", output=b"", event_name="ünï/cødé \U0001f680 \x00 '"),
    make_item(due_at_ms=2**62, queued_at_ms=-1, slots="a\nb\n"),
    make_wait(captured=b'["\xf0\x9f\x9a\x80", null]', expression='event.data.x == "\'"'),
    make_event_row(body=None, run_id=RUN_ID, event_id=""),
    make_run_row(batch_id="", original_run_id="", priority_ms=-600_000),
    make_terms(start_by_ms=2**62, slots="a\nb"),
    make_window(deadline_ms=T0_MS, key_value="\x00 ü", event_ids="a\nb\nc", callers="x.1\ny.2"),
    make_meter(tat_ns=2**63 - 1),
    make_pause(cancel_at_ms=None),
    make_rekey(limits=b""),
    make_job(cursor="", ended_at_ms=T0_MS, errors=b""),
]


# ---- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ONE_OF_EACH + AWKWARD, ids=lambda row: type(row).__name__)
async def test_a_row_comes_back_as_it_was_put(storage: Storage, row: Row) -> None:
    await put(storage, row)
    assert await storage.get(type(row), [key_of(row)]) == [row]


@pytest.mark.parametrize("row", ONE_OF_EACH, ids=lambda row: type(row).__name__)
async def test_a_removed_row_is_gone(storage: Storage, row: Row) -> None:
    await put(storage, row)
    await remove(storage, type(row), key_of(row), row.shard)
    assert await storage.get(type(row), [key_of(row)]) == []


async def test_a_put_replaces_the_row_with_its_key(storage: Storage) -> None:
    await put(storage, make_run_row(), make_item(), make_mark())
    ended = make_run_row(ended_at_ms=T0_MS + 1)
    await put(storage, ended, make_item(attempt=2), make_mark(expires_at_ms=T0_MS))

    assert await storage.get(RunRow, [RUN_ID]) == [ended]
    assert await storage.get(ItemRow, ["item-1"]) == [make_item(attempt=2)]
    assert await storage.get(MarkRow, ["order-1"]) == [make_mark(expires_at_ms=T0_MS)]


async def test_the_last_change_of_a_key_in_a_batch_wins(storage: Storage) -> None:
    epochs = await acquire(storage)
    batch = make_batch(epochs, make_item(), make_item(attempt=1), make_item("item-2"))
    batch.remove(ItemRow, "item-2", SHARD)
    batch.remove(ItemRow, "item-3", SHARD)
    batch.put(make_item("item-3"))

    await storage.commit(batch)

    found = await storage.get(ItemRow, ["item-1", "item-2", "item-3"])
    assert sorted(found) == [make_item(attempt=1), make_item("item-3")]


async def test_removing_what_is_not_there_is_no_error(storage: Storage) -> None:
    await remove(storage, ItemRow, "nothing")


async def test_a_batch_may_be_committed_again(storage: Storage) -> None:
    epochs = await acquire(storage)
    batch = make_batch(epochs, make_run_row(), make_journal_entry(), make_message(), make_item())
    batch.remove(ItemRow, "other", SHARD)

    await storage.commit(batch)
    counts = await storage.counts()
    assert (await storage.commit(batch)).outcome is Outcome.DONE
    assert await storage.counts() == counts


@pytest.mark.parametrize("count", [1, 2, 5, 17, 255, 256, 257, 700])
async def test_a_batch_of_any_size_is_kept_whole(storage: Storage, count: int) -> None:
    items = [make_item(f"item-{number:04}") for number in range(count)]
    await put(storage, *items)
    keys = [item.item_id for item in items]
    assert sorted(await storage.get(ItemRow, [*keys, "missing", keys[0]])) == items

    epochs = await acquire(storage)
    await storage.commit(make_batch(epochs, removes=[(ItemRow, key, SHARD) for key in keys[1:]]))
    assert await storage.get(ItemRow, keys) == items[:1]


async def test_an_empty_batch_is_done(storage: Storage) -> None:
    assert (await storage.commit(make_batch({}))).outcome is Outcome.DONE


async def test_getting_no_keys_gives_no_rows(storage: Storage) -> None:
    await put(storage, make_item())
    assert await storage.get(ItemRow, []) == []
    assert await storage.journals([]) == {}
    assert await storage.subscribers([]) == {}


async def test_rows_with_keys_of_two_columns_are_found_by_the_whole_key(storage: Storage) -> None:
    await put(storage, make_subscriber("a", 1), make_subscriber("a", 2), make_subscriber("b", 1))
    found = await storage.get(SubscriberRow, [("a", 2), ("b", 1), ("b", 2)])
    assert sorted(found) == [make_subscriber("a", 2), make_subscriber("b", 1)]


# ---- journals -----------------------------------------------------------------------------------


async def test_a_journal_comes_back_by_number(storage: Storage) -> None:
    entries = [make_journal_entry(n=n, payload=None if n == 2 else b"%d" % n) for n in range(1, 13)]
    other = make_journal_entry("other")
    await put(storage, *reversed(entries), other)
    assert await storage.journals([RUN_ID, "other", "none"]) == {RUN_ID: entries, "other": [other]}


async def test_a_journal_with_a_gap_is_refused(storage: Storage) -> None:
    await put(storage, make_journal_entry(n=1), make_journal_entry(n=3))
    with pytest.raises(CorruptDataError, match=f"{RUN_ID}.* 2"):
        await storage.journals([RUN_ID])


# ---- epochs -------------------------------------------------------------------------------------


async def test_every_grant_has_a_higher_epoch(storage: Storage) -> None:
    first = await acquire(storage, 1, 2)
    second = await acquire(storage, 2, 3)
    await storage.release(second)
    third = await acquire(storage, 2)

    assert first.keys() == {1, 2}
    assert second.keys() == {2, 3}
    assert first[2] < second[2] < third[2]


async def test_a_batch_with_a_stale_epoch_changes_nothing(storage: Storage) -> None:
    old = await acquire(storage)
    await acquire(storage)
    batch = make_batch(
        old,
        make_item(),
        make_journal_entry(),
        make_message(sender=SHARD),
        removes=[(RunRow, RUN_ID, SHARD)],
        now_ms=T0_MS,
    )
    before = await storage.counts()

    result = await storage.commit(batch)

    assert result == (Outcome.DONE, frozenset({SHARD}), "")
    assert await storage.counts() == before
    assert await storage.messages(SHARD, 10) == []
    assert await storage.domain_time_ms() == 0


async def test_a_stale_shard_takes_only_its_own_part_with_it(storage: Storage) -> None:
    await put(storage, make_item("stale-gone"), make_item("gone", shard=OTHER))
    epochs = await acquire(storage, SHARD, OTHER)
    await acquire(storage, SHARD)
    batch = make_batch(
        epochs,
        make_item("stale-put"),
        make_item("put", shard=OTHER),
        make_journal_entry("stale"),
        make_journal_entry("kept", shard=OTHER),
        make_message(1, shard=OTHER, sender=SHARD),
        make_message(2, shard=SHARD, sender=OTHER),
        removes=[(ItemRow, "stale-gone", SHARD), (ItemRow, "gone", OTHER)],
        now_ms=T0_MS,
    )

    result = await storage.commit(batch)

    assert result.stale == {SHARD}
    found = await storage.get(ItemRow, ["stale-gone", "gone", "stale-put", "put"])
    assert sorted(row.item_id for row in found) == ["put", "stale-gone"]
    assert (await storage.journals(["stale", "kept"])).keys() == {"kept"}
    assert await storage.messages(OTHER, 10) == []
    assert await storage.messages(SHARD, 10) == [make_message(2, shard=SHARD, sender=OTHER)]
    assert await storage.domain_time_ms() == T0_MS


async def test_a_released_shard_is_stale(storage: Storage) -> None:
    epochs = await acquire(storage)
    await storage.release(epochs)
    assert (await storage.commit(make_batch(epochs, make_item()))).stale == {SHARD}


async def test_releasing_an_old_epoch_does_not_disturb_the_current_one(storage: Storage) -> None:
    old = await acquire(storage)
    current = await acquire(storage)
    await storage.release(old)
    assert (await storage.commit(make_batch(current, make_item()))).stale == frozenset()


async def test_domain_time_only_increases(storage: Storage) -> None:
    assert await storage.domain_time_ms() == 0
    for now_ms, expected in [(5, 5), (3, 5), (9, 9)]:
        await put(storage, now_ms=now_ms)
        assert await storage.domain_time_ms() == expected


# ---- loading ------------------------------------------------------------------------------------


async def test_loading_gives_the_live_rows_of_the_shards_asked_for(storage: Storage) -> None:
    mine: list[Row] = [make_run_row(), make_item(), make_wait(), make_cron_row()]
    others: list[Row] = [
        make_run_row("other", shard=OTHER),
        make_item("other", shard=OTHER),
        make_wait("other", shard=OTHER),
        make_cron_row("other", shard=OTHER),
    ]
    await put(storage, *mine, *others, make_run_row("ended", ended_at_ms=T0_MS), make_event_row())

    assert await live_rows(storage, SHARD) == mine
    assert len(await live_rows(storage, SHARD, OTHER)) == 8
    assert await live_rows(storage, 9) == []


async def test_a_run_comes_before_its_items_and_waits(storage: Storage) -> None:
    for start in range(0, 2_500, 500):
        numbers = range(start, start + 500)
        await put(
            storage,
            *[make_run_row(make_ulid(n)) for n in numbers],
            *[make_item(make_ulid(n), make_ulid(n)) for n in numbers],
            *[make_wait("w", make_ulid(n)) for n in numbers],
        )

    seen: set[str] = set()
    rows = await live_rows(storage)
    for row in rows:
        if isinstance(row, RunRow):
            seen.add(row.run_id)
        elif isinstance(row, ItemRow | WaitRow):
            assert row.run_id in seen
    assert len(rows) == len(set(rows)) == 7_500


async def test_the_catalogue_has_archived_apps_and_functions_too(storage: Storage) -> None:
    apps = [make_app_row("a"), make_app_row("b", archived_at_ms=T0_MS)]
    functions = [make_function_row("f"), make_function_row("g", archived_at_ms=T0_MS)]
    await put(storage, *apps, *functions)
    catalogue = await storage.catalogue()
    assert sorted(catalogue.apps) == apps
    assert sorted(catalogue.functions) == functions


# ---- between shards -----------------------------------------------------------------------------


async def test_subscribers_are_found_by_exact_name(storage: Storage) -> None:
    await put(storage, make_subscriber("a", 9), make_subscriber("a", 2), make_subscriber("A", 3))
    assert await storage.subscribers(["a", "b"]) == {"a": [2, 9], "b": []}


async def test_messages_come_by_sender_and_number_until_they_are_removed(storage: Storage) -> None:
    messages = [make_message(n, sender=sender, body=b"%d" % n) for sender in (1, 2) for n in (1, 2, 10)]
    await put(storage, *reversed(messages), make_message(1, shard=OTHER))

    assert await storage.messages(SHARD, 4) == messages[:4]
    await remove(storage, MessageRow, (SHARD, 1, 2))
    assert await storage.messages(SHARD, 10) == [messages[0], *messages[2:]]


async def test_counts_are_exact(storage: Storage) -> None:
    entries = [make_journal_entry(n=n) for n in (1, 2)]
    await put(storage, *ONE_OF_EACH, *entries, make_run_row("ended", ended_at_ms=T0_MS))
    assert await storage.counts() == Counts(
        live_runs=1, items=1, waits=1, marks=1, runs=2, events=1, journal=2
    )


# ---- opening ------------------------------------------------------------------------------------


async def test_what_was_committed_is_there_after_closing_and_opening(storage: Storage) -> None:
    epochs = await acquire(storage)
    await storage.commit(make_batch(epochs, *ONE_OF_EACH, make_journal_entry(), now_ms=T0_MS))
    before = await live_rows(storage)

    await storage.close()
    await storage.open()

    assert await live_rows(storage) == before
    assert await storage.domain_time_ms() == T0_MS
    assert storage.shard_count == 16
    again = await acquire(storage)
    assert again[SHARD] > epochs[SHARD]


async def test_opening_what_is_open_changes_nothing(storage: Storage) -> None:
    epochs = await acquire(storage)
    await storage.open()
    assert (await storage.commit(make_batch(epochs, make_item()))).stale == frozenset()
