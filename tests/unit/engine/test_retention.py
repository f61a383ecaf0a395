"""What is forgotten, and when that ends."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from inngest_server.engine.engine import Engine
from inngest_server.engine.retention import SIZE_GOAL, Retention
from inngest_server.engine.timers import Timers
from inngest_server.engine.windows import Windows
from inngest_server.events.records import EventRow
from inngest_server.runs.records import RunRow
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import EventQuery, RunQuery, StorageUnavailableError
from tests.builders import DAY_MS, HOUR_MS, T0_MS, make_event_row, make_run_row, make_ulid, make_window
from tests.conformance.actions import put
from tests.unit.engine.builders import Office, make_function

NOW_MS = T0_MS + 10 * DAY_MS
KB = b"x" * 1_000


def make_retention(
    storage: MemoryStorage, *, keep_ms: int = 0, bytes_max: int = 0, windows: Windows | None = None
) -> Retention:
    live = SimpleNamespace(windows=windows or Windows(0))
    engine = SimpleNamespace(storage=storage, now_ms=lambda: NOW_MS, live=live, has_memory=True)
    return Retention(cast("Engine", engine), keep_ms=keep_ms, bytes_max=bytes_max)


def hourly(count: int) -> tuple[list[RunRow], list[EventRow]]:
    """A run that ended in each hour before now, the latest last, and an event that started none."""
    moments = [NOW_MS - (count - n) * HOUR_MS for n in range(count)]
    runs = [
        make_run_row(make_ulid(1, at_ms=at_ms), event_id="none", ended_at_ms=at_ms, output=KB)
        for at_ms in moments
    ]
    events = [make_event_row(make_ulid(2, at_ms=at_ms), received_at_ms=at_ms, body=KB) for at_ms in moments]
    return runs, events


async def prune_all(retention: Retention) -> None:
    while await retention.run_once():
        pass


async def kept(storage: MemoryStorage) -> tuple[list[RunRow], list[EventRow]]:
    runs = await storage.list_runs(RunQuery(limit=1_000, ascending=True))
    return runs, (await storage.list_events(EventQuery(limit=1_000)))[::-1]


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage(shard_count=16)


async def test_without_a_limit_of_size_only_age_counts(storage: MemoryStorage) -> None:
    runs, events = hourly(100)
    await put(storage, *runs, *events)
    await prune_all(make_retention(storage))
    assert await kept(storage) == (runs, events)

    await prune_all(make_retention(storage, keep_ms=2 * DAY_MS))

    assert await kept(storage) == (runs[-48:], events[-48:])


async def test_a_storage_within_its_size_is_left_alone(storage: MemoryStorage) -> None:
    runs, events = hourly(100)
    await put(storage, *runs, *events)
    await prune_all(make_retention(storage, bytes_max=await storage.used_bytes()))
    assert await kept(storage) == (runs, events)


async def test_beyond_its_size_the_oldest_runs_and_events_go_equally_far_back(
    storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inngest_server.engine.retention.ROWS_PER_SLICE", 1)
    runs, events = hourly(100)
    await put(storage, *runs, *events)
    used_bytes = await storage.used_bytes()
    limit = used_bytes * 6 // 10

    with capture_logs() as logs:
        await prune_all(make_retention(storage, bytes_max=limit))

    assert 0.9 * limit < await storage.used_bytes() <= SIZE_GOAL * limit
    kept_runs, kept_events = await kept(storage)
    assert (kept_runs, kept_events) == (runs[-len(kept_runs) :], events[-len(kept_events) :])
    assert abs(len(kept_runs) - len(kept_events)) <= 2
    assert [line["event"] for line in logs] == ["retention.shrinking"]


async def test_what_is_younger_than_a_day_or_has_not_ended_stays_and_is_complained_of_once(
    storage: MemoryStorage,
) -> None:
    runs, events = hourly(100)
    live = make_run_row(make_ulid(0), event_id=events[0].internal_id)
    await put(storage, live, *runs, *events)
    retention = make_retention(storage, bytes_max=1_000)

    with capture_logs() as logs:
        for _ in range(3):
            await prune_all(retention)

    assert await kept(storage) == ([live, *runs[-24:]], [events[0], *events[-24:]])
    assert [line["event"] for line in logs] == ["retention.shrinking", "retention.size_not_reached"]


async def test_what_an_open_window_collects_is_kept_however_old_it_is(storage: MemoryStorage) -> None:
    runs, events = hourly(100)
    windows = Windows(0)
    windows.load([make_window(opened_at_ms=NOW_MS - 70 * HOUR_MS)], Timers(lambda _: True))
    await put(storage, *runs, *events)

    await prune_all(make_retention(storage, keep_ms=2 * DAY_MS, windows=windows))
    await prune_all(make_retention(storage, bytes_max=1, windows=windows))

    # A day before it opened, too: an event may have come again.
    assert await kept(storage) == (runs[-94:], events[-94:])


async def test_nothing_goes_while_nobody_knows_which_windows_are_open() -> None:
    """After a failure memory is empty until it is loaded again; a simulated world lost an event then."""
    office = Office()
    await office.open(make_function("f", "shop/b", batchEvents={"maxSize": 5, "timeout": "7d"}))
    await office.send("shop/b")
    office.clock.ms += 3 * DAY_MS
    retention = Retention(office.engine, keep_ms=DAY_MS)
    office.engine._fail("a commit failed")
    assert await retention.run_once() == 0
    await office.engine.start()
    await prune_all(retention)
    await office.advance(4 * DAY_MS)
    assert [call.run.row.event_name for call in office.desk.calls] == ["shop/b"]


async def test_a_storage_that_does_not_answer_is_asked_again_later(
    storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> int:
        raise StorageUnavailableError("gone")

    monkeypatch.setattr(storage, "used_bytes", fail)
    with capture_logs() as logs:
        assert await make_retention(storage, bytes_max=1).run_once() == 0
    assert [line["event"] for line in logs] == ["retention.failed"]


async def test_a_debounce_that_is_pushed_back_for_ever_keeps_its_newest_event_alone() -> None:
    office = Office()
    await office.open(make_function("index", "doc/saved", debounce={"period": "2h"}))
    other = await office.send("doc/other")
    for _ in range(6 * 24):
        newest = await office.send("doc/saved")
        await office.advance(HOUR_MS)
    await prune_all(Retention(office.engine, keep_ms=2 * DAY_MS))
    assert await office.storage.get(EventRow, [other]) == []
    assert len(await office.storage.get(EventRow, [newest])) == 1
    assert len(office.engine.live.windows) == 1
