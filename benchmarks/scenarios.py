"""The scenarios: each puts one kind of load on the system and returns what it measured.

All of them see the end of a run in the same two ways: the app has given its final answer, which gives the
time, and then the server's API says `Completed` for a sample of the events.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks.load import Bench, first_request_ms, next_step_ms, quantile
from benchmarks.processes import cpu_s, rss_mb

Metrics = dict[str, float]

NOOP_RUNS = 5000
STEPS_RUNS = 500
PARALLEL_RUNS = 500
LATENCY_RUNS_PER_S = 50
LATENCY_S = 20
LONE_RUNS = 30
LONE_PAUSE_S = 0.05
INGEST_EVENTS = 20_000
SLEEPY_RUNS = 1000
WAITING_RUNS = 10_000
SLEEPING_RUNS = 100_000
HELD_CALLS = 1000
BACKLOG_EVENTS = 20_000
GROWTH_LEVELS = (1_000, 10_000, 100_000, 1_000_000)
GROWTH_CHUNK = 10_000
GROWTH_LATENCY_S = 10
NAP_MS = 1000
STEPS_PER_RUN = 10
STEPS_OF_PARALLEL = 5


async def throughput(bench: Bench, name: str, runs: int) -> tuple[Metrics, float]:
    """Send the events of `runs` runs at once; metrics, and the seconds from first event to last answer."""
    started_ns = time.time_ns()
    posts_ms = await bench.post_many(name, runs)
    accepted_s = (time.time_ns() - started_ns) / 1e9
    counters = await bench.wait_ended(runs)
    elapsed_s = (counters["last_final_at_ns"] - started_ns) / 1e9
    await bench.wait_completed()
    metrics = {
        "runs": runs,
        "elapsed_s": round(elapsed_s, 3),
        "runs_per_s": round(runs / elapsed_s, 1),
        "calls_per_s": round(counters["calls"] / elapsed_s, 1),
        "calls_per_run": round(counters["calls"] / runs, 3),
        "events_accepted_after_s": round(accepted_s, 3),
        "event_post_p50_ms": quantile(posts_ms, 0.5),
        "repeated_final_answers": counters["repeated_finals"],
        "request_bytes_mean": round(counters["request_bytes"] / counters["calls"], 1),
    }
    return metrics, elapsed_s


async def noop(bench: Bench) -> Metrics:
    metrics, _ = await throughput(bench, "noop", bench.scaled(NOOP_RUNS))
    return metrics


async def steps10(bench: Bench) -> Metrics:
    runs = bench.scaled(STEPS_RUNS)
    metrics, elapsed_s = await throughput(bench, "steps10", runs)
    return {**metrics, "steps_per_s": round(runs * STEPS_PER_RUN / elapsed_s, 1)}


async def parallel5(bench: Bench) -> Metrics:
    runs = bench.scaled(PARALLEL_RUNS)
    metrics, elapsed_s = await throughput(bench, "parallel5", runs)
    return {**metrics, "steps_per_s": round(runs * STEPS_OF_PARALLEL / elapsed_s, 1)}


async def latency(bench: Bench, seconds: int = LATENCY_S) -> Metrics:
    """Runs start at a steady rate whatever the server does: a slow answer delays no later event."""
    runs = bench.scaled(LATENCY_RUNS_PER_S * seconds)
    started = time.monotonic()
    async with asyncio.TaskGroup() as posts:
        tasks: list[asyncio.Task[float]] = []
        for number in range(runs):
            await asyncio.sleep(max(0.0, started + number / LATENCY_RUNS_PER_S - time.monotonic()))
            tasks.append(posts.create_task(bench.post([bench.event("steps10")])))
    await bench.wait_ended(runs)
    await bench.wait_completed()
    times = await bench.run_times()
    posts_ms, firsts_ms, nexts_ms = (
        [task.result() for task in tasks],
        first_request_ms(times),
        next_step_ms(times),
    )
    whole_ms = [(run["answered_at_ns"][-1] - run["sent_at_ns"]) / 1e6 for run in times]
    return {
        "runs": runs,
        "runs_per_s": LATENCY_RUNS_PER_S,
        "event_post_p50_ms": quantile(posts_ms, 0.5),
        "event_post_p99_ms": quantile(posts_ms, 0.99),
        "event_to_first_request_p50_ms": quantile(firsts_ms, 0.5),
        "event_to_first_request_p99_ms": quantile(firsts_ms, 0.99),
        "step_to_next_step_p50_ms": quantile(nexts_ms, 0.5),
        "step_to_next_step_p99_ms": quantile(nexts_ms, 0.99),
        "whole_run_p50_ms": quantile(whole_ms, 0.5),
        "whole_run_p99_ms": quantile(whole_ms, 0.99),
    }


async def lone10(bench: Bench) -> Metrics:
    """One run of ten steps at a time on an otherwise idle server."""
    runs = max(5, bench.scaled(LONE_RUNS))
    for number in range(1, runs + 1):
        await bench.post([bench.event("steps10")])
        await bench.wait_ended(number)
        await asyncio.sleep(LONE_PAUSE_S)
    await bench.wait_completed()
    times = await bench.run_times()
    whole_ms = [(run["answered_at_ns"][-1] - run["sent_at_ns"]) / 1e6 for run in times]
    in_app_ms = [(run["answered_at_ns"][-1] - run["arrived_at_ns"][0]) / 1e6 for run in times]
    return {
        "runs": runs,
        "event_to_end_p50_ms": quantile(whole_ms, 0.5),
        "event_to_end_min_ms": round(min(whole_ms), 3),
        "event_to_end_max_ms": round(max(whole_ms), 3),
        "first_request_to_end_p50_ms": quantile(in_app_ms, 0.5),
        "event_to_first_request_p50_ms": quantile(first_request_ms(times), 0.5),
        "step_to_next_step_p50_ms": quantile(next_step_ms(times), 0.5),
    }


async def ingest(bench: Bench) -> Metrics:
    """Events that start nothing: the price of accepting and storing them."""
    count = bench.scaled(INGEST_EVENTS)
    started_ns = time.perf_counter_ns()
    posts_ms = await bench.post_many("matches-no-function", count)
    elapsed_s = (time.perf_counter_ns() - started_ns) / 1e9
    return {
        "events": count,
        "elapsed_s": round(elapsed_s, 3),
        "events_per_s": round(count / elapsed_s, 1),
        "post_p50_ms": quantile(posts_ms, 0.5),
        "post_p99_ms": quantile(posts_ms, 0.99),
    }


async def sleepy(bench: Bench) -> Metrics:
    """A step, a sleep of one second, a step: how late the sleeps end."""
    runs = bench.scaled(SLEEPY_RUNS)
    metrics, _ = await throughput(bench, "sleepy", runs)
    # The third request follows the sleep, which began when the second was answered.
    late_ms = [
        (run["arrived_at_ns"][2] - run["answered_at_ns"][1]) / 1e6 - NAP_MS for run in await bench.run_times()
    ]
    return {
        **metrics,
        "woken_late_p50_ms": quantile(late_ms, 0.5),
        "woken_late_p99_ms": quantile(late_ms, 0.99),
    }


async def waits(bench: Bench) -> Metrics:
    """Runs that each wait for their own event by an expression; then those events come, one for each."""
    runs = bench.scaled(WAITING_RUNS)
    await bench.post_many("waiter", runs, lambda number: {"id": f"order-{number}"})
    await bench.wait_counter("calls", runs)
    await bench.settle()
    started_ns = time.time_ns()
    posts_ms = await bench.post_many("resolve", runs, lambda number: {"id": f"order-{number}"})
    counters = await bench.wait_ended(runs)
    elapsed_s = (counters["last_final_at_ns"] - started_ns) / 1e9
    return {
        "waits": runs,
        "elapsed_s": round(elapsed_s, 3),
        "resolved_per_s": round(runs / elapsed_s, 1),
        "event_post_p50_ms": quantile(posts_ms, 0.5),
        "repeated_final_answers": counters["repeated_finals"],
    }


async def sleepers(bench: Bench) -> Metrics:
    """Runs that sleep for a month: what they cost meanwhile, and how fast a restart has them back."""
    runs = bench.scaled(SLEEPING_RUNS)
    before_mb = rss_mb(bench.server_pid)
    started_ns = time.time_ns()
    await bench.post_many("sleeper", runs)
    await bench.wait_counter("calls", runs)
    created_s = (time.time_ns() - started_ns) / 1e9
    await bench.settle()
    asleep_mb = rss_mb(bench.server_pid)
    ready_s = await bench.restart_server(crash=False)
    await bench.settle()
    restarted_mb = rss_mb(bench.server_pid)
    await bench.reset()
    beside = await steps10(bench)
    return {
        "runs": runs,
        "created_per_s": round(runs / created_s, 1),
        "added_mb": round(asleep_mb - before_mb, 1),
        "restart_to_ready_s": round(ready_s, 3),
        "after_restart_mb": restarted_mb,
        "steps_per_s_beside": beside["steps_per_s"],
    }


async def crash(bench: Bench) -> Metrics:
    """SIGKILL while the app holds calls: when the first and the last of them is there again."""
    calls = bench.scaled(HELD_CALLS)
    await bench.post_many("held", calls)
    await bench.settle()
    held = (await bench.counters())["held"]
    started_ns = time.time_ns()
    ready_s = await bench.restart_server(crash=True)
    await bench.wait_counter("held", 2 * held)
    again_ns = (await bench.held_times())[held:]
    await bench.release()
    await bench.wait_ended(calls)
    await bench.wait_completed()
    return {
        "runs": calls,
        "calls_held": held,
        "restart_to_ready_s": round(ready_s, 3),
        "kill_to_first_call_s": round((again_ns[0] - started_ns) / 1e9, 3),
        "kill_to_all_calls_s": round((again_ns[-1] - started_ns) / 1e9, 3),
    }


async def backlog(bench: Bench) -> Metrics:
    """Events for a function whose single slot is taken: accepted, stored and queued."""
    count = bench.scaled(BACKLOG_EVENTS)
    await bench.post_many("single", 1)
    await bench.wait_counter("held", 1)
    before_mb = rss_mb(bench.server_pid)
    started_ns = time.perf_counter_ns()
    posts_ms = await bench.post_many("single", count)
    elapsed_s = (time.perf_counter_ns() - started_ns) / 1e9
    added_mb = rss_mb(bench.server_pid) - before_mb
    released_ns = time.time_ns()
    await bench.release()
    counters = await bench.wait_ended(count + 1)
    await bench.wait_completed()
    drained_s = (counters["last_final_at_ns"] - released_ns) / 1e9
    return {
        "events": count,
        "elapsed_s": round(elapsed_s, 3),
        "events_per_s": round(count / elapsed_s, 1),
        "post_p50_ms": quantile(posts_ms, 0.5),
        "post_p99_ms": quantile(posts_ms, 0.99),
        "added_mb": round(added_mb, 1),
        "one_after_another_per_s": round(count / drained_s, 1),
    }


async def growth(bench: Bench) -> Metrics:
    """What a step costs as the number of stored runs grows; takes minutes, so only when asked for."""
    stored, found = 0, Metrics()
    for level in GROWTH_LEVELS:
        wanted = bench.scaled(level)
        while stored < wanted:
            chunk = min(GROWTH_CHUNK, wanted - stored)
            await bench.reset()
            await bench.post_many("noop", chunk)
            await bench.wait_ended(chunk)
            stored += chunk
        await bench.settle()
        await bench.reset()
        before_s = cpu_s(bench.server_pid)
        steps = await steps10(bench)
        per_step_us = (cpu_s(bench.server_pid) - before_s) / (steps["runs"] * STEPS_PER_RUN) * 1e6
        await bench.reset()
        noops = await noop(bench)
        await bench.reset()
        times = await latency(bench, GROWTH_LATENCY_S)
        stored += int(steps["runs"] + noops["runs"] + times["runs"])
        found |= {
            f"at_{wanted}_steps_per_s": steps["steps_per_s"],
            f"at_{wanted}_noop_per_s": noops["runs_per_s"],
            f"at_{wanted}_server_cpu_us_per_step": round(per_step_us, 1),
            f"at_{wanted}_step_to_next_p50_ms": times["step_to_next_step_p50_ms"],
            f"at_{wanted}_step_to_next_p99_ms": times["step_to_next_step_p99_ms"],
            f"at_{wanted}_rss_mb": rss_mb(bench.server_pid),
        }
    ready_s = await bench.restart_server(crash=False)
    return {**found, "restart_to_ready_s": round(ready_s, 3)}


SCENARIOS: dict[str, Callable[[Bench], Awaitable[Metrics]]] = {
    "noop": noop,
    "steps10": steps10,
    "parallel5": parallel5,
    "latency": latency,
    "lone10": lone10,
    "sleepy": sleepy,
    "waits": waits,
    "ingest": ingest,
    "backlog": backlog,
    "crash": crash,
    "sleepers": sleepers,
    "growth": growth,
}
LONG = frozenset({"growth"})
"""Run only when they are named."""
