"""Start a server and the neutral app, put load on them, and report what was measured.

    python -m benchmarks.driver --json out.json
    python -m benchmarks.driver --scenarios noop,lone10 --scale 0.2
    python -m benchmarks.driver --server-url http://127.0.0.1:8288

Which scenarios there are say `scenarios.py` and `flow.py`; `flow` names all of the latter but the longest.
"""

import argparse
import asyncio
import json
import os
import shlex
import shutil
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.flow import FLOW
from benchmarks.load import EVENTS_PER_POST, SENDERS, STALL_TIMEOUT_S, Bench, wait_answers
from benchmarks.processes import (
    ROOT,
    BenchmarkError,
    Child,
    OwnServer,
    cpu_s,
    free_port,
    machine_info,
    rss_mb,
)
from benchmarks.scenarios import LONG, SCENARIOS, Metrics

ALL = SCENARIOS | FLOW
WHEN_NAMED = LONG | FLOW.keys()
GROUPS = {"flow": [name for name in FLOW if not name.endswith("growth")]}
"""Names for several scenarios."""

DEFAULT_SERVER_COMMAND = (
    f"{ROOT}/.venv/bin/inngest dev --port {{port}} --no-poll --no-discovery --sqlite-dir {{dir}}"
)
APP_FILE = Path(__file__).resolve().parent / "app.py"
WARM_UP_RUNS = 200


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
    server_pid = bench.server_pid
    server_before_s, app_before_s = cpu_s(server_pid), cpu_s(bench.app.pid)
    metrics = await ALL[name](bench)
    metrics["app_cpu_s"] = round(cpu_s(bench.app.pid) - app_before_s, 2)
    if bench.server_pid == server_pid:  # A server that was started again counts from zero.
        metrics["server_cpu_s"] = round(cpu_s(server_pid) - server_before_s, 2)
    metrics["server_rss_mb"] = rss_mb(bench.server_pid)
    return metrics


async def benchmark(options: argparse.Namespace, folder: Path, stack: ExitStack) -> dict[str, Any]:
    """Start what is needed, run the chosen scenarios in order, and return the report."""
    machine = machine_info(folder)
    server_url, server, command = options.server_url, None, None
    if server_url is None:
        port = free_port()
        server_url = f"http://127.0.0.1:{port}"
        command = options.server_command.format(port=port, dir=folder / "data")
        (folder / "data").mkdir()
        server = OwnServer(shlex.split(command), folder / "server.log", options.server_core)
        stack.callback(lambda: server.child.stop())
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
        await wait_answers(http, f"{bench.server_url}/health", server.child if server else None)
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
    names = [name for word in text.split(",") for name in GROUPS.get(word, [word])]
    if unknown := [name for name in names if name not in ALL]:
        known = ", ".join([*ALL, *GROUPS])
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {known}")
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
        "--scenarios",
        type=scenario_names,
        default=[name for name in SCENARIOS if name not in LONG],
        help=f"such as noop,latency; run only when named: flow, {', '.join(sorted(WHEN_NAMED))}",
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
