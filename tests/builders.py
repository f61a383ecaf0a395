"""Rows and batches with sensible defaults: a test overrides what it is about."""

from collections.abc import Iterable
from typing import Any

from inngest_server.apps.records import AppRow, CronRow, FunctionRow
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.flow_control.records import (
    MeterRow,
    PauseRow,
    RekeyRow,
    TermsRow,
    WindowKind,
    WindowRow,
)
from inngest_server.jobs.records import JobKind, JobRow, JobStatus
from inngest_server.runs.records import (
    BatchedEventRow,
    ItemRow,
    ItemState,
    JournalKind,
    JournalRow,
    RunRow,
    RunStatus,
    WaitKind,
    WaitRow,
)
from inngest_server.storage.protocol import Batch
from inngest_server.storage.records import Key, MessageRow, Row, SubscriberRow

T0_MS = 1_790_000_000_000
"""An autumn day in 2026, at which most tests begin."""
SECOND_MS = 1_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

SHARD = 7
FUNCTION_ID = "5b1d6e0a-0000-4000-8000-000000000001"
APP_ID = "5b1d6e0a-0000-4000-8000-0000000000aa"

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def make_ulid(number: int = 0, *, at_ms: int = T0_MS) -> str:
    """A ULID of that moment; equal arguments give equal ids, and larger numbers sort later."""
    digits = (at_ms << 80) + number
    return "".join(CROCKFORD[(digits >> shift) & 31] for shift in range(125, -1, -5))


RUN_ID = make_ulid(1)
EVENT_ID = make_ulid(1)


def make_run_row(run_id: str = RUN_ID, **changes: Any) -> RunRow:
    """A run that has just been scheduled; `ended_at_ms=...` alone makes it a completed one."""
    row = RunRow(
        run_id=run_id,
        shard=SHARD,
        function_id=FUNCTION_ID,
        function_version=1,
        event_id=EVENT_ID,
        event_name="shop/order.placed",
        cron=None,
        parent=None,
        status=RunStatus.SCHEDULED.value,
        created_at_ms=T0_MS,
        started_at_ms=None,
        ended_at_ms=None,
        output=None,
    )
    if changes.get("ended_at_ms") is not None:
        row = row._replace(status=RunStatus.COMPLETED.value, started_at_ms=T0_MS, output=b'{"ok":true}')
    return row._replace(**changes)


def make_journal_entry(run_id: str = RUN_ID, n: int = 1, **changes: Any) -> JournalRow:
    return JournalRow(
        run_id=run_id,
        n=n,
        shard=SHARD,
        kind=JournalKind.MEMO.value,
        step_id=f"{n:040x}",
        at_ms=T0_MS,
        meta=b'{"name":"charge","attempt":0}',
        payload=b'{"charged":true}',
    )._replace(**changes)


def make_item(item_id: str = "item-1", run_id: str = RUN_ID, **changes: Any) -> ItemRow:
    return ItemRow(
        item_id=item_id,
        shard=SHARD,
        run_id=run_id,
        kind="discovery",
        step_id="",
        stack_index=0,
        attempt=0,
        generation=0,
        losses=0,
        state=ItemState.QUEUED.value,
        queued_at_ms=T0_MS,
        due_at_ms=T0_MS,
        sent_at_ms=0,
        slots="",
    )._replace(**changes)


def make_wait(step_id: str = "step-1", run_id: str = RUN_ID, **changes: Any) -> WaitRow:
    return WaitRow(
        wait_id=f"{run_id}.{step_id}",
        shard=SHARD,
        run_id=run_id,
        step_id=step_id,
        kind=WaitKind.EVENT.value,
        name="shop/order.paid",
        expression="event.data.id == async.data.id",
        captured=b'["o-1"]',
        opened_at_ms=T0_MS,
        fires_at_ms=T0_MS + HOUR_MS,
    )._replace(**changes)


def make_event_row(internal_id: str = EVENT_ID, **changes: Any) -> EventRow:
    return EventRow(
        internal_id=internal_id,
        shard=SHARD,
        event_id="order-1",
        name="shop/order.placed",
        ts_ms=T0_MS,
        received_at_ms=T0_MS,
        body=b'{"data":{"id":"o-1"},"id":"order-1","name":"shop/order.placed","ts":1790000000000,"user":{}}',
        run_id=None,
    )._replace(**changes)


def make_mark(key: str = "order-1", **changes: Any) -> MarkRow:
    return MarkRow(key=key, shard=SHARD, value=EVENT_ID, expires_at_ms=T0_MS + DAY_MS)._replace(**changes)


def make_batched_event(run_id: str = RUN_ID, n: int = 1, **changes: Any) -> BatchedEventRow:
    return BatchedEventRow(run_id=run_id, n=n, shard=SHARD, event_id=make_ulid(n + 1))._replace(**changes)


def make_terms(run_id: str = RUN_ID, **changes: Any) -> TermsRow:
    return TermsRow(run_id=run_id, shard=SHARD, start_by_ms=None, singleton="", slots="")._replace(**changes)


def make_window(window_id: str = "window-1", **changes: Any) -> WindowRow:
    return WindowRow(
        window_id=window_id,
        shard=SHARD,
        function_id=FUNCTION_ID,
        kind=WindowKind.DEBOUNCE.value,
        key_value="customer-1",
        opened_at_ms=T0_MS,
        due_at_ms=T0_MS + SECOND_MS,
        deadline_ms=None,
        period_ms=SECOND_MS,
        max_size=0,
        size_bytes=0,
        newest_ts_ms=T0_MS,
        event_ids=EVENT_ID,
        callers="",
    )._replace(**changes)


def make_meter(bucket: str = "t/f/k/v", **changes: Any) -> MeterRow:
    return MeterRow(bucket=bucket, shard=SHARD, tat_ns=T0_MS * 1_000_000)._replace(**changes)


def make_pause(function_id: str = FUNCTION_ID, **changes: Any) -> PauseRow:
    return PauseRow(
        function_id=function_id, shard=SHARD, paused_at_ms=T0_MS, cancel_at_ms=T0_MS + 7 * DAY_MS
    )._replace(**changes)


def make_rekey(function_id: str = FUNCTION_ID, **changes: Any) -> RekeyRow:
    return RekeyRow(function_id=function_id, shard=SHARD, limits=b'[{"concurrency":[{"limit":1}]}]')._replace(
        **changes
    )


def make_job(job_id: str = RUN_ID, **changes: Any) -> JobRow:
    return JobRow(
        job_id=job_id,
        shard=SHARD,
        kind=JobKind.CANCEL.value,
        name="after the incident",
        function_id=FUNCTION_ID,
        filter=b"{}",
        until_ms=T0_MS,
        rate_per_s=0,
        cursor="",
        status=(JobStatus.RUNNING if changes.get("ended_at_ms") is None else JobStatus.DONE).value,
        created_at_ms=T0_MS,
        ended_at_ms=None,
        seen=0,
        affected=0,
        undecided=0,
        errors=b"[]",
    )._replace(**changes)


def make_app_row(app_id: str = APP_ID, **changes: Any) -> AppRow:
    return AppRow(
        app_id=app_id,
        shard=SHARD,
        name="shop",
        url="http://localhost:8000/api/inngest",
        sdk="inngest-py:v0.5.0",
        framework="fast_api",
        app_version="",
        checksum="c0ffee",
        error="",
        synced_at_ms=T0_MS,
        archived_at_ms=None,
        autodiscovered=0,
        takes_input=0,
    )._replace(**changes)


def make_function_row(function_id: str = FUNCTION_ID, **changes: Any) -> FunctionRow:
    return FunctionRow(
        function_id=function_id,
        shard=SHARD,
        app_id=APP_ID,
        slug="shop-fulfil",
        version=1,
        config=b'{"id":"shop-fulfil"}',
        created_at_ms=T0_MS,
        archived_at_ms=None,
    )._replace(**changes)


def make_cron_row(cron_id: str = "cron-1", **changes: Any) -> CronRow:
    return CronRow(
        cron_id=cron_id,
        shard=SHARD,
        function_id=FUNCTION_ID,
        expression="0 * * * *",
        last_slot_ms=T0_MS,
        next_slot_ms=T0_MS + HOUR_MS,
        fires_at_ms=T0_MS + HOUR_MS,
    )._replace(**changes)


def make_subscriber(event_name: str = "shop/order.paid", shard: int = SHARD) -> SubscriberRow:
    return SubscriberRow(event_name, shard)


def make_message(number: int = 1, *, shard: int = SHARD, sender: int = 3, body: bytes = b"{}") -> MessageRow:
    return MessageRow(shard=shard, sender=sender, number=number, body=body)


def make_batch(
    epochs: dict[int, int],
    *puts: Row,
    removes: Iterable[tuple[type[Row], Key, int]] = (),
    now_ms: int = 0,
) -> Batch:
    """A batch of those changes: removals first; journal entries and messages go where they belong."""
    batch = Batch()
    batch.epochs = dict(epochs)
    batch.now_ms = now_ms
    for kind, key, shard in removes:
        batch.remove(kind, key, shard)
    for row in puts:
        match row:
            case JournalRow():
                batch.journal.append(row)
            case MessageRow():
                batch.messages.append(row)
            case _:
                batch.put(row)
    return batch
