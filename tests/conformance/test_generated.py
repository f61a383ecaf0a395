"""Whatever is committed, in whatever order, every storage answers as the one in memory does.

The keys are few, so that generated changes meet each other; every row's columns vary.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from inngest_server.apps.records import AppRow, CronRow, FunctionRow
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.flow_control.records import MeterRow, PauseRow, RekeyRow, TermsRow, WindowRow
from inngest_server.jobs.records import JobRow
from inngest_server.runs.records import BatchedEventRow, ItemRow, JournalRow, RunRow, RunStatus, WaitRow
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import Batch, EventQuery, RunCursor, RunOrder, RunQuery, Storage
from inngest_server.storage.records import Key, MessageRow, Row, SubscriberRow
from inngest_server.storage.sqlite import SQLiteStorage
from tests.builders import (
    HOUR_MS,
    T0_MS,
    make_app_row,
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

SHARD_COUNT = 3
KEYS = 3

shards = st.integers(0, SHARD_COUNT - 1)
indexes = st.integers(0, KEYS - 1)
# Few, so that bounds are met exactly: those of events, and between them.
moments = st.integers(-1, 2 * KEYS).map(lambda halves: T0_MS + halves * HOUR_MS // 2)
payloads = st.binary(max_size=8) | st.just(b"x" * 3_000)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)

JOB_IDS = [make_ulid(100 + n) for n in range(KEYS)]
RUN_IDS = [make_ulid(n) for n in range(KEYS)]
EVENT_IDS = [make_ulid(at_ms=T0_MS + n * HOUR_MS) for n in range(KEYS)]
NAMES = ["shop/order", "inngest/function.finished", "inngestion"]


@st.composite
def run_rows(draw: st.DrawFn) -> RunRow:
    index = draw(indexes)
    return make_run_row(
        RUN_IDS[index],
        shard=draw(shards),
        function_id=f"f{index % 2}",
        event_id=EVENT_IDS[index // 2],
        created_at_ms=draw(moments),
        started_at_ms=draw(st.none() | moments),
        ended_at_ms=draw(st.none() | moments),
        status=draw(st.sampled_from([status.value for status in RunStatus])),
        output=draw(st.none() | payloads),
        parent=draw(st.none() | texts),
        batch_id=draw(st.none() | texts),
        original_run_id=draw(st.none() | st.sampled_from(RUN_IDS)),
        priority_ms=draw(st.sampled_from([0, 600_000, -600_000])),
    )


@st.composite
def event_rows(draw: st.DrawFn) -> EventRow:
    index = draw(indexes)
    return make_event_row(
        EVENT_IDS[index],
        shard=draw(shards),
        name=NAMES[index],
        received_at_ms=T0_MS + index * HOUR_MS,
        event_id=draw(texts),
        body=draw(st.none() | payloads),
        run_id=draw(st.none() | st.sampled_from(RUN_IDS)),
    )


rows = st.one_of(
    run_rows(),
    event_rows(),
    st.builds(
        lambda index, shard, run, attempt: make_item(
            f"{RUN_IDS[run]}.{index}", RUN_IDS[run], shard=shard, attempt=attempt
        ),
        indexes,
        shards,
        indexes,
        st.integers(0, 3),
    ),
    st.builds(
        lambda index, shard, captured, name: make_wait(
            "w", RUN_IDS[index], shard=shard, captured=captured, name=name
        ),
        indexes,
        shards,
        payloads,
        texts,
    ),
    st.builds(
        lambda index, shard, expires: make_mark(f"m{index}", shard=shard, expires_at_ms=expires),
        indexes,
        shards,
        moments,
    ),
    st.builds(
        lambda index, shard, error: make_app_row(f"a{index}", shard=shard, error=error),
        indexes,
        shards,
        texts,
    ),
    st.builds(
        lambda index, shard, config: make_function_row(f"f{index}", shard=shard, config=config),
        indexes,
        shards,
        payloads,
    ),
    st.builds(lambda index, shard: make_cron_row(f"c{index}", shard=shard), indexes, shards),
    st.builds(make_subscriber, st.sampled_from(NAMES), shards),
    # What a row says of its cause never changes, so the event follows from the key.
    st.builds(
        lambda index, n, shard: make_batched_event(
            RUN_IDS[index], n, shard=shard, event_id=EVENT_IDS[(index + n) % KEYS]
        ),
        indexes,
        st.integers(1, 2),
        shards,
    ),
    st.builds(
        lambda index, shard, slots: make_terms(RUN_IDS[index], shard=shard, slots=slots),
        indexes,
        shards,
        texts,
    ),
    st.builds(
        lambda index, shard, callers: make_window(f"w{index}", shard=shard, callers=callers),
        indexes,
        shards,
        texts,
    ),
    st.builds(
        lambda index, shard, at_ms: make_meter(f"b{index}", shard=shard, tat_ns=at_ms),
        indexes,
        shards,
        moments,
    ),
    st.builds(
        lambda index, shard, at_ms: make_pause(f"f{index}", shard=shard, cancel_at_ms=at_ms),
        indexes,
        shards,
        st.none() | moments,
    ),
    st.builds(
        lambda index, shard, limits: make_rekey(f"f{index}", shard=shard, limits=limits),
        indexes,
        shards,
        payloads,
    ),
    st.builds(
        lambda index, shard, ended, errors: make_job(
            JOB_IDS[index], shard=shard, ended_at_ms=ended, errors=errors
        ),
        indexes,
        shards,
        st.none() | moments,
        payloads,
    ),
)
messages = st.builds(
    lambda number, shard, sender, body: make_message(number, shard=shard, sender=sender, body=body),
    indexes,
    shards,
    shards,
    payloads,
)
KEYS_OF: dict[type[Row], list[Key]] = {
    RunRow: [*RUN_IDS],
    EventRow: [*EVENT_IDS],
    ItemRow: [f"{run_id}.{n}" for run_id in RUN_IDS for n in range(KEYS)],
    WaitRow: [f"{run_id}.w" for run_id in RUN_IDS],
    MarkRow: [f"m{n}" for n in range(KEYS)],
    AppRow: [f"a{n}" for n in range(KEYS)],
    FunctionRow: [f"f{n}" for n in range(KEYS)],
    CronRow: [f"c{n}" for n in range(KEYS)],
    BatchedEventRow: [(run_id, n) for run_id in RUN_IDS for n in (1, 2)],
    TermsRow: [*RUN_IDS],
    WindowRow: [f"w{n}" for n in range(KEYS)],
    MeterRow: [f"b{n}" for n in range(KEYS)],
    PauseRow: [f"f{n}" for n in range(KEYS)],
    RekeyRow: [f"f{n}" for n in range(KEYS)],
    JobRow: [*JOB_IDS],
    SubscriberRow: [(name, shard) for name in NAMES for shard in range(SHARD_COUNT)],
    MessageRow: [
        (to, sender, n) for to in range(SHARD_COUNT) for sender in range(SHARD_COUNT) for n in range(KEYS)
    ],
}
removals = st.sampled_from([*KEYS_OF]).flatmap(
    lambda kind: st.tuples(st.just(kind), st.sampled_from(KEYS_OF[kind]), shards)
)
event_queries = st.builds(
    EventQuery,
    limit=st.integers(0, 4),
    after=st.none() | st.sampled_from(EVENT_IDS),
    names=st.none() | st.frozensets(st.sampled_from([*NAMES, "none"]), max_size=2),
    from_ms=st.none() | moments,
    until_ms=st.none() | moments,
    include_internal=st.booleans(),
    with_bodies=st.booleans(),
)
run_queries = st.builds(
    RunQuery,
    limit=st.integers(0, 4),
    order=st.sampled_from(RunOrder),
    ascending=st.booleans(),
    after=st.none() | st.builds(RunCursor, moments, st.sampled_from(RUN_IDS)),
    from_ms=st.none() | moments,
    until_ms=st.none() | moments,
    statuses=st.none() | st.frozensets(st.sampled_from([status.value for status in RunStatus]), max_size=2),
    function_ids=st.none() | st.frozensets(st.sampled_from(["f0", "f1", "none"]), max_size=2),
    event_id=st.none() | st.sampled_from(EVENT_IDS),
    with_outputs=st.booleans(),
)


async def everything(storage: Storage, loaded: set[int]) -> dict[str, Any]:
    """All that a storage tells, in a form that does not depend on the order where none is promised."""
    live: list[Row] = []
    async for page in storage.load(loaded):
        live += page.rows()
    catalogue = await storage.catalogue()
    found: dict[str, Any] = {
        "live": sorted(map(repr, live)),
        "catalogue": (sorted(catalogue.apps), sorted(catalogue.functions)),
        "journals": await storage.journals(RUN_IDS),
        "subscribers": await storage.subscribers(NAMES),
        "counts": await storage.counts(),
        "time": await storage.domain_time_ms(),
        "oldest": await storage.oldest_ms(),
        "of events": [await storage.runs_of_event(event_id) for event_id in EVENT_IDS],
        "of all events": await storage.runs_of_events([*EVENT_IDS, "none"]),
        "batched": await storage.batched_events([*RUN_IDS, "none"]),
        "jobs": await storage.list_jobs(limit=100),
        "older jobs": await storage.list_jobs(limit=1, after=JOB_IDS[-1]),
        "of runs": [await storage.items_of_run(run_id) for run_id in RUN_IDS],
        "messages": [await storage.messages(shard, 100) for shard in range(SHARD_COUNT)],
    }
    for kind, keys in KEYS_OF.items():
        found[kind.__name__] = sorted(map(repr, await storage.get(kind, keys)))
    return found


class Comparison(RuleBasedStateMachine):
    """Does the same to the model and to SQLite."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.model = MemoryStorage(shard_count=SHARD_COUNT)
        self.other = SQLiteStorage(Path(self.folder.name) / "data", shard_count=SHARD_COUNT, relaxed=True)
        self.runner.run(self.other.open())
        self.epochs: dict[int, int] = {}
        self.old: list[Batch] = []

    def same(self, ask: Any) -> Any:
        """The answer of both, which must be one."""
        expected, answer = self.runner.run(ask(self.model)), self.runner.run(ask(self.other))
        assert answer == expected
        return answer

    @initialize()
    def acquire_all(self) -> None:
        self.epochs = self.same(lambda storage: storage.acquire(range(SHARD_COUNT), "ann", 0))

    @rule(taken=st.sets(shards))
    def acquire(self, taken: set[int]) -> None:
        self.epochs |= self.same(lambda storage: storage.acquire(sorted(taken), "ann", 0))

    @rule(shard=shards)
    def lose(self, shard: int) -> None:
        """Somebody else takes the shard: what is committed from now on is stale."""
        self.same(lambda storage: storage.acquire([shard], "bob", 0))

    @rule(given=st.sets(shards))
    def release(self, given: set[int]) -> None:
        self.same(lambda storage: storage.release({shard: self.epochs[shard] for shard in given}))

    @rule(
        changes=st.lists(rows | removals | messages, max_size=12),
        entries=st.lists(st.tuples(indexes, st.booleans(), payloads), max_size=8),
        stale=st.just(set[int]()) | st.sets(shards),
        now_ms=moments,
    )
    def commit(
        self, changes: list[Any], entries: list[tuple[int, bool, bytes]], stale: set[int], now_ms: int
    ) -> None:
        batch = Batch()
        batch.epochs = {shard: epoch - (shard in stale) for shard, epoch in self.epochs.items()}
        batch.now_ms = now_ms
        for change in changes:
            if isinstance(change, MessageRow):
                batch.messages.append(change)
            elif len(change) == 3 and isinstance(change[0], type):
                batch.remove(*change)
            else:
                batch.put(change)
        batch.journal += self.entries(entries)
        self.old.append(batch)
        self.same(lambda storage: storage.commit(batch))
        self.read(set(range(SHARD_COUNT)))

    def entries(self, wanted: list[tuple[int, bool, bytes]]) -> list[JournalRow]:
        """Journal entries without gaps; some are written for a second time."""
        journals = self.runner.run(self.model.journals(RUN_IDS))
        ends = {run_id: len(journals.get(run_id, ())) for run_id in RUN_IDS}
        found: list[JournalRow] = []
        for index, again, payload in wanted:
            run_id = RUN_IDS[index]
            ends[run_id] += not again or ends[run_id] == 0
            entry = make_journal_entry(run_id, ends[run_id], shard=index % SHARD_COUNT, payload=payload)
            found.append(entry)
        return found

    @rule(data=st.data())
    def commit_again(self, data: st.DataObject) -> None:
        """An old batch once more, as a caller does who never heard the answer."""
        if self.old:
            batch = data.draw(st.sampled_from(self.old[-2:]))
            if not batch.journal:  # Later entries may be gone: a gap no caller would make.
                self.same(lambda storage: storage.commit(batch))

    @rule(query=event_queries)
    def list_events(self, query: EventQuery) -> None:
        self.same(lambda storage: storage.list_events(query))
        self.same(lambda storage: storage.count_events(query))

    @rule(query=run_queries)
    def list_runs(self, query: RunQuery) -> None:
        self.same(lambda storage: storage.list_runs(query))
        self.same(lambda storage: storage.count_runs(query))

    @rule(before_ms=moments, limit=st.integers(0, 3))
    def prune(self, before_ms: int, limit: int) -> None:
        self.same(lambda storage: storage.prune(before_ms, limit))
        self.read(set(range(SHARD_COUNT)))

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.other.close())
        self.runner.run(self.other.open())

    @rule(loaded=st.sets(shards))
    def read(self, loaded: set[int]) -> None:
        self.same(lambda storage: everything(storage, loaded))

    def teardown(self) -> None:
        self.read(set(range(SHARD_COUNT)))
        self.runner.run(self.other.close())
        self.runner.close()
        self.folder.cleanup()


Comparison.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestComparison = Comparison.TestCase
