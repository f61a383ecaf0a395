"""Metrics: what is counted, that it agrees with what is there, and how it is written."""

import random

import pytest

from inngest_server.engine.engine import Engine
from inngest_server.engine.options import EngineUnavailableError
from inngest_server.observability.loop_lag import SAMPLES_KEPT, LoopLag
from inngest_server.observability.metrics import Metric, Metrics, Sample, exposition
from inngest_server.storage.protocol import Batch, CommitResult, Outcome, StorageUnavailableError
from tests.builders import DAY_MS, HOUR_MS, SECOND_MS
from tests.unit.engine.builders import Desk, Office, VirtualClock, make_function
from tests.unit.runs.builders import make_failure, make_op, ran

PLACED = "shop/order.placed"
DATE = "2026-09-21"


class Calls:
    """A driver as the metrics see it."""

    def __init__(self, **by_app: tuple[int, int]) -> None:
        self.by_app = by_app

    def calls_by_app(self) -> dict[str, tuple[int, int]]:
        return self.by_app


def metrics_of(engine: Engine, **by_app: tuple[int, int]) -> Metrics:
    return Metrics(engine, Calls(**by_app), LoopLag(VirtualClock()))


def read(metrics: Metrics) -> dict[str, float]:
    """Every sample by its name and labels, without `inngest_`."""
    lines = exposition(metrics.read().metrics()).decode().splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name.removeprefix("inngest_"): float(value) for name, _, value in samples}


def counted(office: Office, name: str, *labels: str, date: str = DATE) -> float:
    shown = ",".join([f'date="{date}"', 'fn="shop-fulfil"', *labels])
    return read(metrics_of(office.engine)).get(f"{name}{{{shown}}}", 0)


def check_gauges(engine: Engine) -> None:
    """What was counted on the way is what there is."""
    live = engine.live
    runs = [run for shard in live.shards.values() for run in shard.runs.values()]
    items = [(run.row.function_id, item.state) for run in runs for item in run.items.values()]
    waits = [wait.kind for run in runs for wait in run.waits.values()]
    assert {key: n for key, n in live.item_counts.items() if n} == {key: items.count(key) for key in items}
    assert {kind: n for kind, n in live.wait_counts.items() if n} == {
        kind: waits.count(kind) for kind in waits
    }


async def test_a_run_is_counted_when_it_is_made_started_and_ended() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    await office.send(PLACED, {"id": 1})
    assert counted(office, "function_run_scheduled_total") == 1
    assert counted(office, "function_run_started_total") == 1
    assert counted(office, "function_run_ended_total", 'status="Completed"') == 0

    await office.complete(office.call_of("shop-fulfil"))

    assert counted(office, "function_run_ended_total", 'status="Completed"') == 1
    check_gauges(office.engine)


async def test_requests_are_counted_by_what_came_of_them() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    await office.send(PLACED, {"id": 1})
    await office.answer(office.call_of("shop-fulfil"), make_failure())
    assert counted(office, "sdk_req_ended_total", 'status="errored"') == 1
    check_gauges(office.engine)
    await office.advance(60 * SECOND_MS)
    await office.report(office.call_of("shop-fulfil"), ran("a", {"x": 1}))
    assert counted(office, "sdk_req_ended_total", 'status="success"') == 1
    assert counted(office, "step_output_bytes_total") == len(b'{"data":{"x":1}}')
    await office.answer(office.call_of("shop-fulfil"), make_failure(retriable=False))

    assert counted(office, "sdk_req_ended_total", 'status="failed"') == 1
    assert counted(office, "function_run_ended_total", 'status="Failed"') == 1
    assert counted(office, "sdk_req_scheduled_total") == 3
    assert counted(office, "sdk_req_started_total") == 3


async def test_counters_carry_the_day_and_keep_two() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    for date in ("2026-09-21", "2026-09-22", "2026-09-23"):
        await office.send(PLACED, {"id": date})
        assert counted(office, "function_run_scheduled_total", date=date) == 1
        await office.advance(DAY_MS)
    assert counted(office, "function_run_scheduled_total", date="2026-09-21") == 0
    assert counted(office, "function_run_scheduled_total", date="2026-09-22") == 1


async def test_the_depth_of_the_queue_says_what_waits_for_what() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED, concurrency=[{"limit": 1, "key": "event.data.to"}]))
    for number in range(3):
        await office.send(PLACED, {"id": number, "to": "x"})
    await office.send(PLACED, {"id": 9, "to": "y"}, ts=office.clock.ms + HOUR_MS)

    found = read(metrics_of(office.engine))

    check_gauges(office.engine)
    assert [found[f'queue_items{{state="{state}"}}'] for state in ("queued", "parked", "sent")] == [1, 2, 1]
    assert found['steps_scheduled{fn="shop-fulfil"}'] == 3
    assert found['steps_running{fn="shop-fulfil"}'] == 1
    assert found["runs_live"] == 4


async def test_waits_are_counted_by_kind_until_they_end() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED, cancel=[{"event": "shop/stop"}]))
    await office.send(PLACED, {"id": 1})
    sleep = make_op("Sleep", "nap", opts={"duration": "1h"})
    await office.report(office.call_of("shop-fulfil"), sleep)
    found = read(metrics_of(office.engine))
    assert (found['waits{kind="sleep"}'], found['waits{kind="cancel"}']) == (1, 1)

    await office.advance(HOUR_MS)
    await office.complete(office.call_of("shop-fulfil"))

    found = read(metrics_of(office.engine))
    assert (found['waits{kind="sleep"}'], found['waits{kind="cancel"}'], found["runs_live"]) == (0, 0, 0)
    check_gauges(office.engine)


async def test_what_is_loaded_at_a_start_is_counted() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED, cancel=[{"event": "shop/stop"}]))
    for number in range(3):
        await office.send(PLACED, {"id": number})
    await office.report(office.desk.calls[0], make_op("Sleep", "nap", opts={"duration": "1h"}))
    again = Engine(office.storage, office.clock, random.Random(8))
    again.driver = Desk()

    await again.start()

    check_gauges(again)
    assert sum(again.live.item_counts.values()) == 2
    assert again.live.wait_counts == {"cancel": 3, "sleep": 1}


async def test_a_batch_that_was_refused_is_not_counted() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    call_count = len(office.desk.calls)

    async def fails(batch: Batch) -> CommitResult:
        return CommitResult(Outcome.FAILED, frozenset(), "the disk is full")

    office.storage.commit = fails
    with pytest.raises(EngineUnavailableError):
        await office.send(PLACED, {"id": 1})
    assert len(office.desk.calls) == call_count
    assert counted(office, "function_run_scheduled_total") == 0
    assert read(metrics_of(office.engine))["engine_available"] == 0


async def test_calls_are_shown_by_the_name_of_their_app() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    (app_id,) = office.engine.functions.apps
    found = read(metrics_of(office.engine, **{app_id: (3, 40), "gone": (1, 0)}))
    assert found['app_calls{app="shop",state="under_way"}'] == 3
    assert found['app_calls{app="shop",state="waiting"}'] == 40
    assert found['app_calls{app="gone",state="under_way"}'] == 1


def test_lines_are_written_as_prometheus_reads_them() -> None:
    labels = (("a", 'quote " slash \\ line\n'), ("b", "ü"))
    written = exposition(
        [
            Metric("x_total", "counter", "What it is", [Sample(3, labels), Sample(12345678901)]),
            Metric("empty", "gauge", "No samples", []),
            Metric("lag", "gauge", "Seconds", [Sample(0.25)]),
        ]
    )
    assert written.decode() == (
        "# HELP x_total What it is\n"
        "# TYPE x_total counter\n"
        'x_total{a="quote \\" slash \\\\ line\\n",b="ü"} 3\n'
        "x_total 12345678901\n"
        "# HELP lag Seconds\n"
        "# TYPE lag gauge\n"
        "lag 0.25\n"
    )


def test_the_lag_shown_is_the_largest_of_the_last_minute() -> None:
    lag = LoopLag(VirtualClock())
    assert lag.largest_s == 0
    lag.note(0.5)
    lag.note(-0.1)
    assert lag.largest_s == 0.5
    for _ in range(SAMPLES_KEPT):
        lag.note(0.01)
    assert lag.largest_s == 0.01


async def test_a_clock_that_was_set_back_is_measured() -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    office.engine.now_ms()
    assert read(metrics_of(office.engine))["clock_behind_ms"] == 0

    office.clock.ms -= HOUR_MS

    assert read(metrics_of(office.engine))["clock_behind_ms"] == HOUR_MS


async def test_the_bytes_of_the_storage_are_asked_at_each_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    office = Office()
    await office.open(make_function("fulfil", PLACED))
    used_bytes = await office.storage.used_bytes()
    metrics = metrics_of(office.engine)
    assert f"\ninngest_storage_bytes {used_bytes}\n" in (await metrics.text()).decode()

    async def fail() -> int:
        raise StorageUnavailableError("gone")

    monkeypatch.setattr(office.storage, "used_bytes", fail)
    assert "inngest_storage_bytes" not in (await metrics.text()).decode()
