"""What every storage does, one claim a test; `test_generated.py` looks for what nobody thought of."""

import pytest

from inngest_server.events.records import EventRow, MarkRow
from inngest_server.runs.records import ItemRow, RunRow, WaitRow
from inngest_server.storage.protocol import CorruptDataError, Counts, EventQuery, Outcome, RunQuery, Storage
from inngest_server.storage.records import Key, MessageRow, Row, SubscriberRow, key_of
from tests.builders import (
    DAY_MS,
    EVENT_ID,
    HOUR_MS,
    RUN_ID,
    SECOND_MS,
    SHARD,
    T0_MS,
    make_app_row,
    make_batch,
    make_cron_row,
    make_event_row,
    make_function_row,
    make_item,
    make_journal_entry,
    make_mark,
    make_message,
    make_run_row,
    make_subscriber,
    make_ulid,
    make_wait,
)

ALL_SHARDS = range(16)
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
]
# Values that a careless column type or codec would change.
AWKWARD: list[Row] = [
    make_run_row(cron="", parent="", output=b"", event_name="ünï/cødé \U0001f680 \x00 '"),
    make_item(due_at_ms=2**62, queued_at_ms=-1, slots="a\nb\n"),
    make_wait(captured=b'["\xf0\x9f\x9a\x80", null]', expression='event.data.x == "\'"'),
    make_event_row(body=None, run_id=RUN_ID, event_id=""),
]


async def acquire(storage: Storage, *shards: int) -> dict[int, int]:
    return await storage.acquire(shards or [SHARD], "ann", T0_MS + 10 * SECOND_MS)


async def put(storage: Storage, *rows: Row, now_ms: int = 0) -> None:
    epochs = await acquire(storage, *ALL_SHARDS)
    result = await storage.commit(make_batch(epochs, *rows, now_ms=now_ms))
    assert result == (Outcome.DONE, frozenset(), "")


async def remove(storage: Storage, kind: type[Row], key: Key, shard: int = SHARD) -> None:
    epochs = await acquire(storage, shard)
    await storage.commit(make_batch(epochs, removes=[(kind, key, shard)]))


async def live_rows(storage: Storage, *shards: int) -> list[Row]:
    rows: list[Row] = []
    async for page in storage.load(shards or ALL_SHARDS):
        rows += [*page.runs, *page.items, *page.waits, *page.crons]
    return rows


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


# ---- history ------------------------------------------------------------------------------------

EVENTS = [
    make_event_row(
        make_ulid(at_ms=T0_MS + n * HOUR_MS),
        received_at_ms=T0_MS + n * HOUR_MS,
        name="inngest/function.finished" if n % 2 else "a",
    )
    for n in range(6)
]
RUNS = [
    make_run_row(
        make_ulid(n, at_ms=T0_MS + n),
        created_at_ms=T0_MS + n,
        function_id=f"f{n % 2}",
        status=["Running", "Failed", "Completed"][n % 3],
    )
    for n in range(6)
]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (EventQuery(limit=10), [5, 4, 3, 2, 1, 0]),
        (EventQuery(limit=2), [5, 4]),
        (EventQuery(limit=2, older_than=EVENTS[4].internal_id), [3, 2]),
        (EventQuery(limit=10, name="a"), [4, 2, 0]),
        (EventQuery(limit=10, include_internal=False), [4, 2, 0]),
        (EventQuery(limit=10, received_after_ms=T0_MS + 3 * HOUR_MS), [5, 4]),
        (EventQuery(limit=10, received_before_ms=T0_MS + 2 * HOUR_MS), [1, 0]),
        (EventQuery(limit=10, received_after_ms=T0_MS - DAY_MS, received_before_ms=0), []),
        (EventQuery(limit=0), []),
    ],
)
async def test_events_are_listed_newest_first(
    storage: Storage, query: EventQuery, expected: list[int]
) -> None:
    await put(storage, *EVENTS)
    assert await storage.list_events(query) == [EVENTS[n] for n in expected]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (RunQuery(limit=10), [5, 4, 3, 2, 1, 0]),
        (RunQuery(limit=2, older_than=RUNS[4].run_id), [3, 2]),
        (RunQuery(limit=10, function_id="f1"), [5, 3, 1]),
        (RunQuery(limit=10, statuses=("Failed", "Running")), [4, 3, 1, 0]),
        (RunQuery(limit=10, function_id="f0", statuses=("Failed",)), [4]),
        (RunQuery(limit=10, created_after_ms=T0_MS + 3), [5, 4, 3]),
        (RunQuery(limit=10, created_before_ms=T0_MS + 3), [2, 1, 0]),
    ],
)
async def test_runs_are_listed_newest_first(storage: Storage, query: RunQuery, expected: list[int]) -> None:
    await put(storage, *RUNS)
    assert await storage.list_runs(query) == [RUNS[n] for n in expected]


async def test_the_runs_of_an_event_are_listed_oldest_first(storage: Storage) -> None:
    await put(storage, *reversed(RUNS), make_run_row("other", event_id="other"))
    assert await storage.runs_of_event(EVENT_ID) == RUNS
    assert await storage.runs_of_event("none") == []


async def test_the_items_of_a_run_are_listed_by_id(storage: Storage) -> None:
    await put(storage, make_item("b"), make_item("a"), make_item("c", "other"))
    assert await storage.items_of_run(RUN_ID) == [make_item("a"), make_item("b")]


async def test_counts_are_exact(storage: Storage) -> None:
    entries = [make_journal_entry(n=n) for n in (1, 2)]
    await put(storage, *ONE_OF_EACH, *entries, make_run_row("ended", ended_at_ms=T0_MS))
    assert await storage.counts() == Counts(
        live_runs=1, items=1, waits=1, marks=1, runs=2, events=1, journal=2
    )


# ---- pruning ------------------------------------------------------------------------------------


async def prune(storage: Storage, before_ms: int = T0_MS + DAY_MS, limit: int = 100) -> int:
    return await storage.prune(before_ms, limit)


async def test_a_run_that_ended_before_the_moment_goes_with_its_journal_and_its_event(
    storage: Storage,
) -> None:
    await put(storage, make_run_row(ended_at_ms=T0_MS), make_event_row(), make_journal_entry())

    assert await prune(storage) == 3
    assert await storage.get(RunRow, [RUN_ID]) == []
    assert await storage.get(EventRow, [EVENT_ID]) == []
    assert await storage.journals([RUN_ID]) == {}
    assert await prune(storage) == 0


@pytest.mark.parametrize(
    "run",
    [make_run_row(), make_run_row(ended_at_ms=T0_MS + DAY_MS)],
    ids=["has not ended", "ended at the moment"],
)
async def test_a_kept_run_keeps_its_journal_and_its_event(storage: Storage, run: RunRow) -> None:
    await put(storage, run, make_event_row(), make_journal_entry())
    assert await prune(storage) == 0
    assert (await storage.counts()).journal == 1


async def test_an_event_received_at_the_moment_is_kept(storage: Storage) -> None:
    await put(storage, make_event_row())
    assert await prune(storage, T0_MS) == 0
    assert await prune(storage, T0_MS + 1) == 1


async def test_a_mark_goes_when_domain_time_has_passed_it(storage: Storage) -> None:
    await put(storage, make_mark(), now_ms=T0_MS + DAY_MS)
    assert await prune(storage) == 0
    await put(storage, now_ms=T0_MS + DAY_MS + 1)
    assert await prune(storage) == 1
    assert await storage.get(MarkRow, ["order-1"]) == []


async def test_pruning_goes_in_slices_oldest_first(storage: Storage) -> None:
    runs = [make_run_row(f"r{n}", ended_at_ms=T0_MS + 9 - n, event_id=f"e{n}") for n in range(10)]
    events = [make_event_row(make_ulid(n)) for n in range(200)]
    await put(storage, *runs, *events)

    assert await prune(storage, limit=4) == 8
    left = await storage.list_runs(RunQuery(limit=100))
    assert [row.run_id for row in left] == ["r5", "r4", "r3", "r2", "r1", "r0"]
    assert await storage.list_events(EventQuery(limit=300)) == events[:3:-1]
    while await prune(storage, limit=70):
        pass
    assert (await storage.counts()).events == 0


async def test_live_rows_are_never_pruned(storage: Storage) -> None:
    live: list[Row] = [make_run_row(), make_item(), make_wait(), make_cron_row()]
    await put(storage, *live, now_ms=T0_MS + 100 * DAY_MS)
    assert await prune(storage, T0_MS + 50 * DAY_MS) == 0
    assert await live_rows(storage) == live


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
