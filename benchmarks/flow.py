"""What the rules of flow control cost, each beside runs that have none.

Every scenario runs plain no-op runs before and after its own load, in the same server, so that its figures
are shares of what this machine gave at that moment:

* `share_of_plain`: its throughput as a share of theirs, where the load may go as fast as it can;
* `cpu_to_plain`: the server's processor time for one event as a multiple of that for one no-op run. It says
  something too where a rule makes runs wait for a moment, and on a machine that others use.
"""

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from benchmarks.app import BATCH_SIZE, QUEUE_SLOTS, SMALL_BATCH_SIZE
from benchmarks.load import EVENTS_PER_POST, Bench, quantile
from benchmarks.processes import cpu_s, rss_mb

Metrics = dict[str, float]

PLAIN_RUNS = 5_000
LIMITED_KEYS = 10_000
RUNS_PER_KEY = 2
QUEUED_RUNS = 100_000
QUEUE_LEVELS = (1_000, 10_000, 100_000)
ONCE_KEYS = 100_000
REPEATED_KEYS = 20_000
DEBOUNCED_EVENTS = 50_000
DEBOUNCED_KEYS = 1_000
BATCHED_EVENTS = 50_000
BATCH_KEYS = 10_000
SKIPPED_EVENTS = 20_000
PRIORITIES = 10


class Spent(NamedTuple):
    """What a load took: seconds, and processor seconds of the server."""

    elapsed_s: float
    server_s: float


class Stopwatch:
    """Starts when it is made."""

    def __init__(self, bench: Bench) -> None:
        self._pid = bench.server_pid
        self._server_s = cpu_s(self._pid)
        self._started_ns = time.time_ns()

    def read(self, until_ns: int | None = None) -> Spent:
        """What was spent so far; `until_ns` is when the load ended, if that was not now."""
        elapsed_ns = (until_ns or time.time_ns()) - self._started_ns
        return Spent(elapsed_ns / 1e9, cpu_s(self._pid) - self._server_s)


def per_event(count: int, spent: Spent, name: str = "") -> Metrics:
    """Throughput, and the server's processor time for each."""
    return {
        f"{name}per_s": round(count / spent.elapsed_s, 1),
        f"{name}server_cpu_us": round(spent.server_s / count * 1e6, 1),
    }


async def plain(bench: Bench) -> Metrics:
    """No-op runs: the measure of all that follows."""
    await bench.settle()
    await bench.reset()
    runs = bench.scaled(PLAIN_RUNS)
    watch = Stopwatch(bench)
    await bench.post_many("noop", runs)
    counters = await bench.wait_ended(runs)
    await bench.settle()
    return per_event(runs, watch.read(counters["last_final_at_ns"]))


def beside_plain(
    measure: Callable[[Bench], Awaitable[Metrics]], *, waits: bool = False
) -> Callable[[Bench], Awaitable[Metrics]]:
    """The scenario between two loads of plain runs; `waits` says that it cannot go as fast as it could."""

    async def scenario(bench: Bench) -> Metrics:
        before = await plain(bench)
        await bench.reset()
        found = await measure(bench)
        lag_ms = await loop_lag_ms(bench)
        after = await plain(bench)
        plain_per_s = (before["per_s"] + after["per_s"]) / 2
        plain_cpu_us = (before["server_cpu_us"] + after["server_cpu_us"]) / 2
        found |= {"plain_per_s": round(plain_per_s, 1), "plain_server_cpu_us": round(plain_cpu_us, 1)}
        if not waits:
            found["share_of_plain"] = round(found["per_s"] / plain_per_s, 2)
        if plain_cpu_us:
            found["cpu_to_plain"] = round(found["server_cpu_us"] / plain_cpu_us, 2)
        return {**found, "loop_lag_ms": lag_ms}

    return scenario


async def loop_lag_ms(bench: Bench) -> float:
    """The largest lag of the server's event loop in the last minute; 0 for a server that does not say it."""
    async with bench.http.get(f"{bench.server_url}/metrics") as response:
        lines = (await response.text()).splitlines()
    values = [line.split()[-1] for line in lines if line.startswith("inngest_loop_lag_seconds")]
    return round(max(map(float, values), default=0.0) * 1000, 1)


async def finish(bench: Bench, watch: Stopwatch, runs: int) -> Spent:
    """Wait until so many runs have ended; what was spent until then."""
    counters = await bench.wait_ended(runs)
    await bench.settle()
    return watch.read(counters["last_final_at_ns"])


# Runs that wait for slots.


async def keys(bench: Bench) -> Metrics:
    """Two runs for each of 10,000 keys, of which one may be under way."""
    runs = RUNS_PER_KEY * bench.scaled(LIMITED_KEYS)
    watch = Stopwatch(bench)
    await bench.post_many("keyed", runs, lambda number: {"key": f"tenant-{number // RUNS_PER_KEY}"})
    spent = await finish(bench, watch, runs)
    await bench.wait_completed()
    return {"runs": runs, **per_event(runs, spent)}


async def queue(bench: Bench, function: str = "queued", count: int | None = None) -> Metrics:
    """Runs behind one limit whose slots are taken; then the slots become free."""
    count = bench.scaled(QUEUED_RUNS) if count is None else count
    await bench.post_many(function, QUEUE_SLOTS)
    await bench.wait_counter("held", QUEUE_SLOTS)
    before_mb, filling = rss_mb(bench.server_pid), Stopwatch(bench)
    posts_ms = await bench.post_many(function, count, lambda number: {"priority": number * 7 % PRIORITIES})
    filled = filling.read()
    await bench.settle()
    added_mb = rss_mb(bench.server_pid) - before_mb
    draining = Stopwatch(bench)
    await bench.release()
    drained = await finish(bench, draining, count + QUEUE_SLOTS)
    await bench.wait_completed()
    whole = Spent(filled.elapsed_s + drained.elapsed_s, filled.server_s + drained.server_s)
    return {
        "runs": count,
        **per_event(count, whole),
        **per_event(count, filled, "queueing_"),
        **per_event(count, drained, "serving_"),
        "post_p99_ms": quantile(posts_ms, 0.99),
        "bytes_per_queued_run": round(added_mb * 2**20 / count),
    }


async def priority(bench: Bench) -> Metrics:
    """As `queue`, with runs that are not served in the order in which they came."""
    return await queue(bench, "prioritised")


async def queue_growth(bench: Bench) -> Metrics:
    """`queue` with more and more runs."""
    found = Metrics()
    for level in QUEUE_LEVELS:
        await bench.reset()
        metrics = await queue(bench, count=bench.scaled(level))
        wanted = ("queueing_server_cpu_us", "serving_server_cpu_us", "serving_per_s", "bytes_per_queued_run")
        found |= {f"at_{level}_{name}": metrics[name] for name in wanted}
        found |= {name: metrics[name] for name in ("per_s", "server_cpu_us")}
    return found


async def throttle(bench: Bench) -> Metrics:
    """Two runs for each of 10,000 keys, of which one may start in a second."""
    runs = RUNS_PER_KEY * bench.scaled(LIMITED_KEYS)
    watch = Stopwatch(bench)
    await bench.post_many("throttled", runs, lambda number: {"key": f"tenant-{number // RUNS_PER_KEY}"})
    spent = await finish(bench, watch, runs)
    await bench.wait_completed()
    return {"runs": runs, **per_event(runs, spent)}


# Events that start nothing, or not at once.


async def idempotency(bench: Bench) -> Metrics:
    """100,000 runs, each of a key of its own; then some of the keys once more, which start nothing."""
    runs, repeated = bench.scaled(ONCE_KEYS), bench.scaled(REPEATED_KEYS)
    watch = Stopwatch(bench)
    await bench.post_many("once", runs, lambda number: {"key": f"order-{number}"})
    spent = await finish(bench, watch, runs)
    await bench.wait_completed()
    watch = Stopwatch(bench)
    await bench.post_many("once", repeated, lambda number: {"key": f"order-{number}"})
    again = watch.read()
    return {"runs": runs, **per_event(runs, spent), **per_event(repeated, again, "dropped_")}


async def singleton(bench: Bench) -> Metrics:
    """Events for a function whose one run is under way: each is a run that is skipped."""
    count = bench.scaled(SKIPPED_EVENTS)
    await bench.post_many("single-run", 1)
    await bench.wait_counter("held", 1)
    watch = Stopwatch(bench)
    await bench.post_many("single-run", count)
    spent = watch.read()
    await bench.release()
    await bench.wait_ended(1)
    return {"events": count, **per_event(count, spent)}


async def debounce(bench: Bench) -> Metrics:
    """50 events for each of 1,000 keys, of which the newest starts a run."""
    events, keys = bench.scaled(DEBOUNCED_EVENTS), bench.scaled(DEBOUNCED_KEYS)
    watch = Stopwatch(bench)
    posts_ms = await bench.post_many("debounced", events, lambda number: {"key": f"user-{number % keys}"})
    accepted = watch.read()
    spent = await finish(bench, watch, keys)
    return {
        "events": events,
        **per_event(events, spent),
        **per_event(events, accepted, "accepting_"),
        "post_p99_ms": quantile(posts_ms, 0.99),
    }


async def debounce_keys(bench: Bench) -> Metrics:
    """50,000 keys with an event each, so that as many windows are open and close within seconds."""
    events = bench.scaled(DEBOUNCED_EVENTS)
    before_mb, watch = rss_mb(bench.server_pid), Stopwatch(bench)
    await bench.post_many("debounced-long", events, lambda number: {"key": f"user-{number}"})
    accepted = watch.read()
    added_mb = rss_mb(bench.server_pid) - before_mb
    spent = await finish(bench, watch, events)
    await bench.wait_completed()
    return {
        "events": events,
        **per_event(events, spent),
        **per_event(events, accepted, "accepting_"),
        "bytes_per_window": round(added_mb * 2**20 / events),
    }


async def batch(bench: Bench) -> Metrics:
    """Batches of 100 events, all of one key."""
    events = BATCH_SIZE * bench.scaled(BATCHED_EVENTS // BATCH_SIZE)
    watch = Stopwatch(bench)
    await bench.post_many("batched", events)
    spent = await finish(bench, watch, events // BATCH_SIZE)
    await bench.wait_completed()
    return {"events": events, **per_event(events, spent)}


async def batch_keys(bench: Bench) -> Metrics:
    """10,000 keys whose batches of 5 are all open until their last events come."""
    keys = EVENTS_PER_POST * bench.scaled(BATCH_KEYS // EVENTS_PER_POST)
    before_mb, watch = rss_mb(bench.server_pid), Stopwatch(bench)
    open_events = keys * (SMALL_BATCH_SIZE - 1)
    await bench.post_many("batched-keys", open_events, lambda number: {"key": f"user-{number % keys}"})
    added_mb = rss_mb(bench.server_pid) - before_mb
    await bench.post_many("batched-keys", keys, lambda number: {"key": f"user-{number}"})
    spent = await finish(bench, watch, keys)
    await bench.wait_completed()
    events = open_events + keys
    return {"events": events, **per_event(events, spent), "bytes_per_window": round(added_mb * 2**20 / keys)}


FLOW: dict[str, Callable[[Bench], Awaitable[Metrics]]] = {
    "flow_keys": beside_plain(keys),
    "flow_queue": beside_plain(queue),
    "flow_priority": beside_plain(priority),
    "flow_throttle": beside_plain(throttle, waits=True),
    "flow_idempotency": beside_plain(idempotency),
    "flow_singleton": beside_plain(singleton),
    "flow_debounce": beside_plain(debounce, waits=True),
    "flow_debounce_keys": beside_plain(debounce_keys, waits=True),
    "flow_batch": beside_plain(batch),
    "flow_batch_keys": beside_plain(batch_keys),
    "flow_queue_growth": beside_plain(queue_growth),
}
