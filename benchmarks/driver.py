"""Start a server and the neutral app, put load on them, and report what was measured.

    .venv/bin/python benchmarks/driver.py --json out.json
    .venv/bin/python benchmarks/driver.py --scenarios noop,lone10 --scale 0.2
    .venv/bin/python benchmarks/driver.py --server-url http://127.0.0.1:8288

A scenario is one function in `SCENARIOS`. All of them see the end of a run in the same two ways: the
app has given its final answer, which gives the time, and then the server's API says `Completed` for a
sample of the events. Times are nanoseconds of `time.time_ns()`, in the driver as in the app.
"""

import argparse
import asyncio
import json
import os
import platform
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

Event = dict[str, Any]
Metrics = dict[str, float]

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_SERVER_COMMAND = f"{ROOT}/.venv/bin/inngest dev --port {{port}} --no-poll --sqlite-dir {{dir}}"
APP_FILE = Path(__file__).resolve().parent / "app.py"

EVENTS_PER_POST = 100
SENDERS = 4  # POSTs under way at once, where a scenario wants throughput.
SAMPLED_EVENTS = 20  # How many events of a scenario are looked up until their runs are completed.
START_TIMEOUT_S = 30.0
STALL_TIMEOUT_S = 60.0  # A scenario in which no run ends for so long has failed.
STOP_TIMEOUT_S = 10.0
STATS_WAIT_S = 5.0

NOOP_RUNS = 5000
STEPS_RUNS = 500
PARALLEL_RUNS = 500
LATENCY_RUNS_PER_S = 50
LATENCY_S = 20
LONE_RUNS = 30
LONE_PAUSE_S = 0.05
INGEST_EVENTS = 20_000
WARM_UP_RUNS = 200
STEPS_PER_RUN = 10
STEPS_OF_PARALLEL = 5


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message says which part failed and where to look."""


# ---- processes -----------------------------------------------------------------------------------


def free_port() -> int:
    """A port on loopback that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """A process that we started, whose output goes to a file, pinned to one core if asked."""

    def __init__(self, name: str, command: Sequence[str], log: Path, core: int | None) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        self.pid = self._process.pid
        if core is not None:
            os.sched_setaffinity(self.pid, {core})  # At once, so that its later threads inherit it.

    def check_alive(self) -> None:
        """Raise when the process has ended, with the end of its output."""
        if self._process.poll() is not None:
            tail = self._log.read_text(errors="replace")[-2000:]
            raise BenchmarkError(f"the {self.name} ended with status {self._process.returncode}:\n{tail}")

    def stop(self) -> None:
        """Ask it to stop, and insist after a while."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def process_tree(pid: int) -> list[int]:
    """The process and its descendants; only on Linux more than the process itself."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It ended while we were looking.
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, []))
    return found


def rss_mb(pid: int | None) -> float:
    """Resident memory of a process tree, or 0 where it cannot be told."""
    total_kb = 0
    for member in process_tree(pid) if pid else []:
        try:
            status = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        total_kb += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return round(total_kb / 1024, 1)


def cpu_s(pid: int | None) -> float:
    """Processor seconds that a process tree has used, or 0 where it cannot be told."""
    ticks = 0
    for member in process_tree(pid) if pid else []:
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


# ---- the machine ---------------------------------------------------------------------------------


def machine_info(data_dir: Path) -> dict[str, Any]:
    """What a reader needs to compare the figures with others."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "data_filesystem": filesystem_of(data_dir),
        "fdatasync_ms": sync_ms(data_dir),
    }


def cpu_model() -> str:
    """The processor's own name for itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def filesystem_of(folder: Path) -> str:
    """The type of the file system that holds a folder; figures from `tmpfs` say nothing about disks."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    holding = [(mount, kind) for mount, kind in mounts if folder.resolve().is_relative_to(mount)]
    return max(holding, key=lambda entry: len(entry[0]), default=("", "unknown"))[1]


def sync_ms(folder: Path) -> float:
    """Median time to write and sync 4 KiB: the floor under every durable answer."""
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            file.flush()
            started_ns = time.perf_counter_ns()
            os.fsync(file.fileno()) if sys.platform == "darwin" else os.fdatasync(file.fileno())
            times.append((time.perf_counter_ns() - started_ns) / 1e6)
    return round(statistics.median(times), 3)


# ---- load ----------------------------------------------------------------------------------------


@dataclass
class Bench:
    """The system under test, as a scenario sees it."""

    http: aiohttp.ClientSession
    server_url: str
    app_url: str
    server: Child | None
    app: Child
    scale: float
    padding: str
    event_ids: list[str] = field(default_factory=list[str])

    def scaled(self, count: int) -> int:
        """A number of runs or events, as large as this invocation wants it."""
        return max(1, round(count * self.scale))

    def event(self, name: str) -> Event:
        """One event, stamped with the moment it is made."""
        return {"name": f"bench/{name}", "data": {"sent_at_ns": time.time_ns(), "padding": self.padding}}

    async def post(self, events: list[Event]) -> float:
        """Send events and return after how many milliseconds they were acknowledged."""
        started_ns = time.perf_counter_ns()
        async with self.http.post(f"{self.server_url}/e/bench", json=events) as response:
            answer = await response.json(content_type=None)
            if response.status != 200:
                raise BenchmarkError(f"the event API answered {response.status}: {answer}")
        self.event_ids.extend(answer["ids"])
        return (time.perf_counter_ns() - started_ns) / 1e6

    async def post_many(self, name: str, count: int) -> list[float]:
        """Send `count` events in batches, several at once, and return each POST's milliseconds."""
        sizes = [min(EVENTS_PER_POST, count - start) for start in range(0, count, EVENTS_PER_POST)]
        times: list[float] = []

        async def send() -> None:
            while sizes:
                size = sizes.pop()
                times.append(await self.post([self.event(name) for _ in range(size)]))

        async with asyncio.TaskGroup() as senders:
            for _ in range(SENDERS):
                senders.create_task(send())
        return times

    async def reset(self) -> None:
        """Forget what earlier scenarios did."""
        self.event_ids.clear()
        async with self.http.post(f"{self.app_url}/reset") as response:
            response.raise_for_status()

    async def wait_ended(self, runs: int) -> dict[str, int]:
        """Wait until so many runs have had their final answer; the app's counters of that moment."""
        ended, progress_at = -1, time.monotonic()
        while True:
            query = {"finals": str(runs), "wait_s": str(STATS_WAIT_S)}
            async with self.http.get(f"{self.app_url}/stats", params=query) as response:
                counters: dict[str, int] = await response.json()
            if counters["finals"] >= runs:
                return counters
            for child in (self.server, self.app):
                if child is not None:
                    child.check_alive()
            if counters["finals"] > ended:
                ended, progress_at = counters["finals"], time.monotonic()
            elif time.monotonic() - progress_at > STALL_TIMEOUT_S:
                raise BenchmarkError(
                    f"only {ended} of {runs} runs ended, none in the last {STALL_TIMEOUT_S:.0f} s"
                )

    async def wait_completed(self) -> None:
        """Wait until the server says `Completed` for the runs of a sample of the events."""
        step = max(1, len(self.event_ids) // SAMPLED_EVENTS)
        deadline = time.monotonic() + STALL_TIMEOUT_S
        for event_id in self.event_ids[::step]:
            while True:
                async with self.http.get(f"{self.server_url}/v1/events/{event_id}/runs") as response:
                    answer = await response.json(content_type=None)
                statuses = [run["status"] for run in answer.get("data") or []]
                if statuses and all(status == "Completed" for status in statuses):
                    break
                if time.monotonic() > deadline:
                    raise BenchmarkError(
                        f"the runs of event {event_id} are {statuses or 'unknown'}, not Completed"
                    )
                await asyncio.sleep(0.02)

    async def run_times(self) -> list[dict[str, Any]]:
        """The time line of each run since the last reset."""
        async with self.http.get(f"{self.app_url}/stats/runs") as response:
            runs: dict[str, dict[str, Any]] = await response.json()
        return list(runs.values())


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all values lie, by the nearest rank."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else float("nan")


def first_request_ms(runs: Sequence[dict[str, Any]]) -> list[float]:
    """From the moment an event was sent to the first request of its run."""
    return [(run["arrived_at_ns"][0] - run["sent_at_ns"]) / 1e6 for run in runs]


def next_step_ms(runs: Sequence[dict[str, Any]]) -> list[float]:
    """From the answer that reported a step to the arrival of the run's next request."""
    return [
        (arrived - answered) / 1e6
        for run in runs
        for answered, arrived in zip(run["answered_at_ns"], run["arrived_at_ns"][1:], strict=False)
    ]


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


async def latency(bench: Bench) -> Metrics:
    """Runs start at a steady rate whatever the server does: a slow answer delays no later event."""
    runs = bench.scaled(LATENCY_RUNS_PER_S * LATENCY_S)
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


SCENARIOS: dict[str, Callable[[Bench], Awaitable[Metrics]]] = {
    "noop": noop,
    "steps10": steps10,
    "parallel5": parallel5,
    "latency": latency,
    "lone10": lone10,
    "ingest": ingest,
}


# ---- the whole -----------------------------------------------------------------------------------


async def wait_answers(http: aiohttp.ClientSession, url: str, child: Child | None) -> None:
    """Wait until a GET is answered with 200."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            async with http.get(url) as response:
                if response.status == 200:
                    return
                problem = f"status {response.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = repr(error)
        if child is not None:
            child.check_alive()
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{url} did not answer within {START_TIMEOUT_S:.0f} s: {problem}")
        await asyncio.sleep(0.05)


async def sync(bench: Bench) -> None:
    """Make the app register at the server."""
    async with bench.http.put(f"{bench.app_url}/api/inngest", json={}) as response:
        if response.status != 200:
            raise BenchmarkError(f"the sync failed with {response.status}: {await response.text()}")


async def warm_up(bench: Bench) -> None:
    """Bring connections and code paths to their usual state."""
    await bench.reset()
    await bench.post_many("noop", WARM_UP_RUNS)
    await bench.post_many("steps10", WARM_UP_RUNS // 10)
    await bench.wait_ended(WARM_UP_RUNS + WARM_UP_RUNS // 10)
    await bench.wait_completed()


async def measure(bench: Bench, name: str) -> Metrics:
    """One scenario, with what it cost in memory and processor time."""
    await bench.reset()
    server_pid = bench.server.pid if bench.server else None
    server_before_s, app_before_s = cpu_s(server_pid), cpu_s(bench.app.pid)
    metrics = await SCENARIOS[name](bench)
    return {
        **metrics,
        "server_cpu_s": round(cpu_s(server_pid) - server_before_s, 2),
        "app_cpu_s": round(cpu_s(bench.app.pid) - app_before_s, 2),
        "server_rss_mb": rss_mb(server_pid),
    }


async def benchmark(options: argparse.Namespace, folder: Path, stack: ExitStack) -> dict[str, Any]:
    """Start what is needed, run the chosen scenarios in order, and return the report."""
    machine = machine_info(folder)
    server_url, server, command = options.server_url, None, None
    if server_url is None:
        port = free_port()
        server_url = f"http://127.0.0.1:{port}"
        command = options.server_command.format(port=port, dir=folder / "data")
        (folder / "data").mkdir()
        server = Child("server", shlex.split(command), folder / "server.log", options.server_core)
        stack.callback(server.stop)
    app_port = free_port()
    app_command = [sys.executable, str(APP_FILE), "--port", str(app_port), "--server-url", server_url]
    app_command += ["--step-bytes", str(options.step_bytes)]
    app = Child("app", app_command, folder / "app.log", options.app_core)
    stack.callback(app.stop)
    if options.driver_core is not None:
        os.sched_setaffinity(0, {options.driver_core})  # Last: processes inherit it from their parent.
    timeout = aiohttp.ClientTimeout(total=STALL_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        app_url = f"http://127.0.0.1:{app_port}"
        padding = "x" * options.event_bytes
        bench = Bench(http, server_url.rstrip("/"), app_url, server, app, options.scale, padding)
        await wait_answers(http, f"{bench.server_url}/health", server)
        await wait_answers(http, f"{app_url}/stats", app)
        started_rss_mb = rss_mb(server.pid if server else None)
        await sync(bench)
        await warm_up(bench)
        results: dict[str, Metrics] = {}
        for name in options.scenarios:
            print(f"running {name} ...", file=sys.stderr, flush=True)
            results[name] = await measure(bench, name)
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "server": {
            "command": shown_command(command) if command else "already running",
            "fsync": options.fsync,
            "rss_started_mb": started_rss_mb,
        },
        "settings": {
            "scale": options.scale,
            "events_per_post": EVENTS_PER_POST,
            "senders": SENDERS,
            "event_bytes": len(json.dumps(bench.event("noop"))),
            "step_bytes": options.step_bytes,
            "cores": {"server": options.server_core, "app": options.app_core, "driver": options.driver_core},
        },
        "scenarios": results,
    }


def shown_command(command: str) -> str:
    """The command without this machine's folders."""
    return " ".join(Path(word).name if word.startswith("/") else word for word in shlex.split(command))


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    machine, server, settings = report["machine"], report["server"], report["settings"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_mb']} MB, {machine['system']}, "
        f"Python {machine['python']}",
        f"{machine['data_filesystem']}, fdatasync {machine['fdatasync_ms']} ms; server: {server['fsync']}, "
        f"{server['rss_started_mb']} MB after start",
        f"events of {settings['event_bytes']} bytes, step results of {settings['step_bytes']} bytes, "
        f"scale {settings['scale']}",
    ]
    for name, metrics in report["scenarios"].items():
        lines += ["", name, *(f"  {metric:<32} {value:>14,}" for metric, value in metrics.items())]
    return "\n".join(lines)


def scenario_names(text: str) -> list[str]:
    """Names separated by commas, each of them known."""
    names = text.split(",")
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(SCENARIOS)}")
    return names


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--server-command",
        default=DEFAULT_SERVER_COMMAND,
        help="how to start a server; {port} and {dir} are filled in",
    )
    parser.add_argument("--server-url", help="use this running server instead of starting one")
    parser.add_argument(
        "--scenarios", type=scenario_names, default=list(SCENARIOS), help="such as noop,latency"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="multiplies all numbers of runs (%(default)s)"
    )
    parser.add_argument("--event-bytes", type=int, default=0, help="padding of each event (%(default)s)")
    parser.add_argument("--step-bytes", type=int, default=32, help="size of each step's output (%(default)s)")
    parser.add_argument(
        "--data-dir", type=Path, help="where the server's data goes for the time of the benchmark"
    )
    parser.add_argument(
        "--fsync", help="the server's fsync mode, for the report; known for the default command"
    )
    parser.add_argument("--server-core", type=int, help="pin the server to this core")
    parser.add_argument("--app-core", type=int, help="pin the app to this core")
    parser.add_argument("--driver-core", type=int, help="pin the load client to this core")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    parser.add_argument("--keep", action="store_true", help="keep logs and data, and say where they are")
    options = parser.parse_args()
    if options.fsync is None:
        ours = options.server_url is None and options.server_command == DEFAULT_SERVER_COMMAND
        options.fsync = "synchronous=FULL" if ours else "fsync mode not stated"
    return options


def main() -> int:
    """Measure, print, and clean up; 1 when a part failed."""
    options = parse_arguments()
    folder = Path(tempfile.mkdtemp(prefix="inngest-bench-", dir=options.data_dir))
    report: dict[str, Any] | None = None
    try:
        with ExitStack() as stack:
            report = asyncio.run(benchmark(options, folder, stack))
    except* (BenchmarkError, aiohttp.ClientError, TimeoutError) as group:  # Senders fail in groups.
        first = group.exceptions[0]
        print(f"benchmark failed: {type(first).__name__}: {first}", file=sys.stderr)
    finally:
        if options.keep:
            print(f"logs and data: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if report is None:
        return 1
    print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
