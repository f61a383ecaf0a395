"""What the audit knows of flow control: each rule, told once more, of rows and of the witness's lines.

Nothing here calls the server's own rules. Of moments those count that were committed: when a run was made,
when its first request was sent, when it ended. Between the moment at which a run is let through and the one
that is committed as its start its content may have to be read; `READING_MS` allows for that.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from inngest_server.runs.records import RunStatus
from tests.integration.sigkill_app import (
    APP_ID,
    BATCH_SIZE,
    BATCH_TIMEOUT_S,
    DEBOUNCE_PERIOD_S,
    DEBOUNCE_TIMEOUT_S,
    FINISH_TIMEOUT_S,
    HEAVY_LIMIT,
    KEYS,
    RATE_LIMIT,
    RATE_PERIOD_S,
    SENT,
    SHARED_LIMIT,
    SHARING_LIMIT,
    THROTTLE_BURST,
    THROTTLE_LIMIT,
    THROTTLE_PERIOD_S,
    URGENT_EARLIER_S,
    URGENT_EVERY,
)

CLOCK_MS = 5
"""How far the moment of a decision may be from what the client's clock says; they are on one host."""
READING_MS = 300
"""Between a grant and the start that it is for."""


class Pause(NamedTuple):
    """A function paused and resumed, as the client saw it; epoch milliseconds."""

    asked_ms: int
    paused_ms: int
    """When that was answered."""
    resume_asked_ms: int
    resumed_ms: int
    cancels: bool


@dataclass(slots=True)
class Asked:
    """What the client had done beside sending events."""

    pauses: list[Pause] = field(default_factory=list)
    """Of `pausable`."""
    cancellations: dict[str, int] = field(default_factory=dict)
    """Of `doomed`: the name of each bulk cancellation, and the moment before which runs were meant."""


class FlowEvent(NamedTuple):
    internal_id: str
    event_id: str
    function: str
    number: int
    order: int
    ts_ms: int
    received_at_ms: int

    @property
    def key(self) -> int:
        return self.number % KEYS.get(self.function, 1)


class FlowRun(NamedTuple):
    run_id: str
    function: str
    events: tuple[FlowEvent, ...]
    """All of them, in the order of the run."""
    status: str
    created_at_ms: int
    started_at_ms: int | None
    ended_at_ms: int
    batch_id: str | None
    end: dict[str, Any]
    """What its journal says of its end."""

    @property
    def event(self) -> FlowEvent:
        return self.events[0]

    @property
    def key(self) -> int:
        return self.event.key

    @property
    def reason(self) -> str:
        return self.end.get("reason", "")

    @property
    def is_skipped(self) -> bool:
        return self.status == RunStatus.SKIPPED


class Job(NamedTuple):
    name: str
    created_at_ms: int
    ended_at_ms: int


@dataclass(slots=True)
class Flow:
    """The database, as far as flow control goes: events and runs by function."""

    events: dict[str, list[FlowEvent]]
    runs: dict[str, list[FlowRun]]
    dropped: set[tuple[str, str]]
    """Internal id and function of the events that a note says were dropped."""
    jobs: dict[str, Job]

    def by_key(self, function: str) -> Iterator[tuple[list[FlowRun], list[FlowEvent]]]:
        """Runs in the order in which they were made, and events in that of their arrival, of each key."""
        runs: dict[int, list[FlowRun]] = defaultdict(list)
        events: dict[int, list[FlowEvent]] = defaultdict(list)
        for run in sorted(self.runs[function], key=lambda run: (run.created_at_ms, run.run_id)):
            runs[run.key].append(run)
        for event in sorted(self.events[function], key=lambda event: event.received_at_ms):
            events[event.key].append(event)
        for key in sorted(events.keys() | runs.keys()):
            yield runs[key], events[key]


def flow_problems(
    connection: sqlite3.Connection,
    witness: Path,
    asked: Asked,
    figures: Counter[str],
    answer_delay_ms: int,
) -> Iterator[str]:
    """Everything that is wrong, in words. How often each rule was met is counted in `figures`."""
    flow = read_flow(connection)
    calls = [orjson.loads(line) for line in witness.read_bytes().splitlines()]
    yield from wrong_batches(flow, calls, figures)
    yield from wrong_debounces(flow, figures)
    yield from wrong_throttle(flow, figures)
    yield from wrong_drops(flow, figures)
    yield from crowded_runs(flow, figures)
    yield from wrong_skips(flow, figures)
    yield from wrong_replacements(flow, figures)
    yield from wrong_order(flow, figures)
    yield from wrong_timeouts(flow, figures)
    yield from wrong_pauses(flow, asked.pauses, figures)
    yield from wrong_cancellations(flow, asked.cancellations, figures)
    yield from crowded_calls(calls, answer_delay_ms, figures)


def read_flow(connection: sqlite3.Connection) -> Flow:
    names = {f"{APP_ID}/{function}": function for function in SENT}
    functions = {
        function_id: slug.removeprefix(f"{APP_ID}-")
        for function_id, slug in connection.execute("SELECT function_id, slug FROM functions")
    }
    events: dict[str, FlowEvent] = {}
    rows = "SELECT internal_id, event_id, name, ts_ms, received_at_ms, body FROM events"
    for internal_id, event_id, name, ts_ms, received_at_ms, body in connection.execute(rows):
        if name in names:
            data = orjson.loads(body)["data"]
            moments = ts_ms, received_at_ms
            events[internal_id] = FlowEvent(
                internal_id, event_id, names[name], data["number"], data["order"], *moments
            )
    further: dict[str, list[FlowEvent]] = defaultdict(list)
    for run_id, event_id in connection.execute(
        "SELECT run_id, event_id FROM batched_events ORDER BY run_id, n"
    ):
        if event_id in events:
            further[run_id].append(events[event_id])
    ends = {
        run_id: orjson.loads(meta)
        for run_id, meta in connection.execute("SELECT run_id, meta FROM journal WHERE kind = 'ended'")
    }
    flow = Flow(defaultdict(list), defaultdict(list), set(), {})
    for event in events.values():
        flow.events[event.function].append(event)
    columns = "run_id, function_id, event_id, status, created_at_ms, started_at_ms, ended_at_ms, batch_id"
    ended = f"SELECT {columns} FROM runs WHERE ended_at_ms IS NOT NULL"
    for run_id, function_id, event_id, *about in connection.execute(ended):
        if event_id in events:
            function, all_events = functions[function_id], (events[event_id], *further[run_id])
            flow.runs[function].append(
                FlowRun._make((run_id, function, all_events, *about, ends.get(run_id, {})))
            )
    for (key,) in connection.execute("SELECT key FROM marks WHERE key LIKE 'why/%'"):
        _, internal_id, function_id = key.split("/")
        flow.dropped.add((internal_id, functions[function_id]))
    for job_id, *about in connection.execute("SELECT job_id, name, created_at_ms, ended_at_ms FROM jobs"):
        flow.jobs[job_id] = Job(*about)
    return flow


def wrong_batches(flow: Flow, calls: list[dict[str, Any]], figures: Counter[str]) -> Iterator[str]:
    """Each event is in one batch, in order; none is too large, and none too early that is not full."""
    found = Counter(event.internal_id for run in flow.runs["batched"] for event in run.events)
    for event in flow.events["batched"]:
        if (count := found.pop(event.internal_id, 0)) != 1:
            yield f"event {event.internal_id} is in {count} batches"
    for internal_id in found:
        yield f"event {internal_id} is in a batch, and does not start the function"
    numbers: dict[str, list[int]] = {}
    for run in flow.runs["batched"]:
        numbers[run.run_id] = [event.number for event in run.events]
        figures["batches_of_several"] += len(run.events) > 1
        if run.batch_id is None or len(run.events) > BATCH_SIZE:
            yield f"run {run.run_id}: batch {run.batch_id} has {len(run.events)} events"
        if len({event.key for event in run.events}) != 1:
            yield f"run {run.run_id}: its batch has events of several keys"
        waited_ms = run.created_at_ms - run.event.received_at_ms
        if len(run.events) < BATCH_SIZE and waited_ms < BATCH_TIMEOUT_S * 1000:
            yield f"run {run.run_id}: its batch has {len(run.events)} events and was closed too early"
    for call in calls:
        if call["function"] == "batched" and call["numbers"] != numbers.get(call["run_id"]):
            yield f"line {call['number']}: the app was given events {call['numbers']}, not those of its batch"


def wrong_debounces(flow: Flow, figures: Counter[str]) -> Iterator[str]:
    """What came within a window is represented by a run with the newest event of that window."""
    period_ms, timeout_ms = DEBOUNCE_PERIOD_S * 1000, DEBOUNCE_TIMEOUT_S * 1000
    figures["debounced_away"] += len(flow.events["debounced"]) - len(flow.runs["debounced"])
    for runs, events in flow.by_key("debounced"):
        for event in events:
            if not any(stands_for(run, event, timeout_ms) for run in runs):
                yield f"event {event.internal_id} was debounced, and no run stands for it"
        before_ms = 0
        for run in runs:
            received_ms = run.event.received_at_ms
            if received_ms < before_ms - CLOCK_MS:
                yield f"run {run.run_id}: its event is older than the window of the run before"
            # Unless the window was at its timeout, the period after its last event has passed.
            opened = any(before_ms <= one.received_at_ms <= run.created_at_ms - timeout_ms for one in events)
            if run.created_at_ms < received_ms + period_ms and not opened:
                yield f"run {run.run_id}: its window was closed too early"
            before_ms = received_ms


def stands_for(run: FlowRun, event: FlowEvent, timeout_ms: int) -> bool:
    """Whether the run can be that of the window in which the event came."""
    apart_ms = abs(run.event.received_at_ms - event.received_at_ms)
    return (
        run.created_at_ms >= event.received_at_ms
        and run.event.ts_ms >= event.ts_ms
        and apart_ms <= timeout_ms + CLOCK_MS
    )


def wrong_throttle(flow: Flow, figures: Counter[str]) -> Iterator[str]:
    interval_ms = THROTTLE_PERIOD_S * 1000 // THROTTLE_LIMIT
    for runs, _ in flow.by_key("throttled"):
        figures["throttled"] += sum(started_ms(run) - run.created_at_ms >= interval_ms for run in runs)
        moments = sorted(started_ms(run) for run in runs)
        yield from too_fast("throttled", moments, interval_ms, THROTTLE_BURST, READING_MS)


def too_fast(
    what: str, moments: Sequence[int], interval_ms: int, burst: int, slack_ms: int = 0
) -> Iterator[str]:
    """Of sorted moments no n + 1 may lie closer together than n + 1 - `burst` intervals."""
    # The moment at which the first would have come if all came evenly, at the latest.
    due_ms = 0
    for at_ms in moments:
        due_ms = max(due_ms, at_ms) + interval_ms
        if due_ms - burst * interval_ms > at_ms + slack_ms:
            early_ms = due_ms - burst * interval_ms - at_ms
            yield f"a run of {what} was let through at {at_ms}, {early_ms} ms too early"


def wrong_drops(flow: Flow, figures: Counter[str]) -> Iterator[str]:
    """Rate limit and idempotency: never more than allowed, and each event has a run or a note of why not."""
    interval_ms = RATE_PERIOD_S * 1000 // RATE_LIMIT
    for runs, _ in flow.by_key("rated"):
        yield from too_fast("rated", [run.created_at_ms for run in runs], interval_ms, RATE_LIMIT // 10 + 1)
    orders = Counter(run.event.order for run in flow.runs["ordered"])
    for order in {event.order for event in flow.events["ordered"]} | orders.keys():
        if orders[order] != 1:
            yield f"order {order} has {orders[order]} runs, and is to have one in a day"
    for function in ("rated", "ordered"):
        started = Counter(run.event.event_id for run in flow.runs[function])
        dropped = {
            event.event_id for event in flow.events[function] if (event.internal_id, function) in flow.dropped
        }
        figures[f"dropped_{function}"] += len(dropped)
        for event_id in {event.event_id for event in flow.events[function]}:
            if started[event_id] + (event_id in dropped) != 1:
                yield (
                    f"event id {event_id} has {started[event_id]} runs of {function} and "
                    f"{'a' if event_id in dropped else 'no'} note that it was dropped"
                )


def crowded_runs(flow: Flow, figures: Counter[str]) -> Iterator[str]:
    """Never more runs of a key between their start and their end than the function may have."""
    for function, most in (("heavy", HEAVY_LIMIT), ("replacing", 1), ("skipping", 1)):
        for runs, _ in flow.by_key(function):
            spans = [(run.started_at_ms, run.ended_at_ms) for run in runs if run.started_at_ms is not None]
            count = most_at_once(spans)
            figures[f"{function}_full"] += count == most
            if count > most:
                yield f"{count} runs of {function} with one key were under way at once"


def most_at_once(spans: Iterable[tuple[int, int]]) -> int:
    """How many spans overlap, at most; of two that touch, one has ended when the other begins."""
    steps = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    now = most = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def wrong_skips(flow: Flow, figures: Counter[str]) -> Iterator[str]:
    """A singleton's run is skipped for a run that holds the lock: from when it is made until it ends."""
    for runs, _ in flow.by_key("skipping"):
        made = {run.run_id: run for run in runs if not run.is_skipped}
        if most_at_once([(run.created_at_ms, run.ended_at_ms) for run in made.values()]) > 1:
            yield f"two runs of skipping with the key {runs[0].key} were there at once"
        for run in runs:
            if not run.is_skipped:
                continue
            figures["skipped_for_singleton"] += 1
            holder = made.get(run.end.get("blocked_by", ""))
            if run.reason != "Singleton" or holder is None:
                yield f"run {run.run_id}: it was skipped because of {run.end}"
            elif not holder.created_at_ms <= run.created_at_ms <= holder.ended_at_ms:
                yield f"run {run.run_id}: it was skipped for {holder.run_id}, which was not there then"


def wrong_replacements(flow: Flow, figures: Counter[str]) -> Iterator[str]:
    """A singleton's run is cancelled by a later one of its key, and the last one completes."""
    for runs, _ in flow.by_key("replacing"):
        by_id = {run.run_id: run for run in runs}
        newest = [run for run in runs if run.created_at_ms == runs[-1].created_at_ms]
        if not any(run.status == RunStatus.COMPLETED for run in newest):
            yield f"run {newest[-1].run_id}: it is {newest[-1].status}, and no later run replaces it"
        for run in runs:
            if run.status != RunStatus.CANCELLED:
                continue
            figures["replaced"] += 1
            later = by_id.get(run.reason.removeprefix("singleton: run "))
            if later is None or later.created_at_ms < run.created_at_ms:
                yield f"run {run.run_id}: it was replaced because of {run.reason!r}"


def wrong_order(flow: Flow, figures: Counter[str]) -> Iterator[str]:
    """Of runs of one key that wait, the one starts that was made first, with its priority taken off."""
    for runs, _ in flow.by_key("urgent"):
        for run in runs:
            at_ms, place = started_ms(run), place_of(run)
            for other in runs:
                # Who was there well before, and still waited.
                waited = other.created_at_ms + READING_MS < at_ms < started_ms(other)
                if waited and place_of(other) < place:
                    yield f"run {run.run_id} started before {other.run_id}, which was first in line"
                figures["overtaken"] += waited and other.created_at_ms < run.created_at_ms


def place_of(run: FlowRun) -> int:
    earlier_s = URGENT_EARLIER_S if run.event.number % URGENT_EVERY == 0 else 0
    return run.created_at_ms - earlier_s * 1000


def started_ms(run: FlowRun) -> int:
    """When its first request was sent; its end if none was."""
    return run.ended_at_ms if run.started_at_ms is None else run.started_at_ms


def wrong_timeouts(flow: Flow, figures: Counter[str]) -> Iterator[str]:
    for run in flow.runs["timely"]:
        figures["timed_out"] += 1
        if run.reason != f"timeout: finish {FINISH_TIMEOUT_S}s":
            yield f"run {run.run_id}: it was cancelled because of {run.reason!r}"
        elif run.ended_at_ms - started_ms(run) < FINISH_TIMEOUT_S * 1000:
            yield f"run {run.run_id}: it timed out too early"


def wrong_pauses(flow: Flow, pauses: list[Pause], figures: Counter[str]) -> Iterator[str]:
    """While a function is paused its runs are skipped and none starts; before and after, none is skipped."""
    made: dict[str, list[bool]] = {event.event_id: [] for event in flow.events["pausable"]}
    for run in flow.runs["pausable"]:
        made[run.event.event_id].append(run.is_skipped)
        figures["skipped_for_pause"] += run.is_skipped
        if run.is_skipped:
            at_ms = run.created_at_ms
            in_pause = any(
                pause.asked_ms - CLOCK_MS <= at_ms <= pause.resumed_ms + CLOCK_MS for pause in pauses
            )
            if run.reason != "FunctionPaused" or not in_pause:
                yield f"run {run.run_id}: it was skipped because of {run.end}, made at {at_ms}"
            continue
        for pause in pauses:
            for what, at_ms in (("made", run.created_at_ms), ("started", run.started_at_ms or 0)):
                if pause.paused_ms + CLOCK_MS < at_ms < pause.resume_asked_ms - CLOCK_MS:
                    yield f"run {run.run_id}: it was {what} while its function was paused"
        if run.status == RunStatus.CANCELLED:
            figures["cancelled_for_pause"] += 1
            meant = any(pause.cancels and run.created_at_ms <= pause.paused_ms + CLOCK_MS for pause in pauses)
            if run.reason != "function paused" or not meant:
                yield f"run {run.run_id}: it was cancelled because of {run.reason!r}"
    for event_id, skipped in made.items():
        if not skipped or skipped.count(False) > 1:
            yield f"event id {event_id} has {len(skipped)} runs of pausable, {sum(skipped)} of them skipped"


def wrong_cancellations(flow: Flow, asked: dict[str, int], figures: Counter[str]) -> Iterator[str]:
    """A run is cancelled by a job that means it, and by the first one of those."""
    for run in flow.runs["doomed"]:
        job = flow.jobs.get(run.reason.removeprefix("job "))
        if job is None or job.name not in asked:
            yield f"run {run.run_id}: it was cancelled because of {run.reason!r}"
            continue
        figures["cancelled_by_jobs"] += 1
        if run.created_at_ms >= asked[job.name]:
            yield f"run {run.run_id}: the job {job.name!r} was not about it"
        latest_ms = max(run.created_at_ms, run.started_at_ms or 0)
        for other in flow.jobs.values():
            was_done = other.name in asked and other.ended_at_ms < job.created_at_ms
            if was_done and latest_ms < asked[other.name]:
                yield f"run {run.run_id}: the job {other.name!r} left it out"
    known = {job.name for job in flow.jobs.values()}
    for name in asked.keys() - known:
        yield f"the job {name!r} was answered with 200 and is not stored"


def crowded_calls(calls: list[dict[str, Any]], answer_delay_ms: int, figures: Counter[str]) -> Iterator[str]:
    """Of one concurrency key the app never has more calls at once than the function may have.

    Calls need not arrive in the order in which they were sent. So of the counter that two functions have in
    common it is told that together they keep to the larger limit, and the other one to its own.
    """
    until_ns: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for call in calls:
        function, at_ns = call["function"], call["at_ns"]
        for bucket, most in buckets_of(function, call["data_number"]):
            under_way = until_ns[bucket]
            for run_id in [run_id for run_id, end_ns in under_way.items() if end_ns <= at_ns]:
                del under_way[run_id]
            # A call that is sent again after a kill has the slot that it had.
            under_way[call["run_id"]] = at_ns + answer_delay_ms * 1_000_000
            figures[f"{function}_full"] += len(under_way) == most
            if len(under_way) > most:
                yield f"line {call['number']}: {len(under_way)} calls of {function} with one key overlap"


def buckets_of(function: str, number: int) -> list[tuple[tuple[str, int], int]]:
    """Where a call is counted, and how many there may be."""
    match function:
        case "limited" | "urgent":
            return [((function, number % KEYS[function]), 1)]
        case "shared":
            return [(("both", 0), SHARED_LIMIT)]
        case "sharing":
            return [(("both", 0), SHARED_LIMIT), (("sharing", 0), SHARING_LIMIT)]
        case _:
            return []
