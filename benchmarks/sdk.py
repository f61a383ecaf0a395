"""Our SDK beside the official one: the same app, the same environment, the same server, in turns.

    python -m benchmarks.sdk [--rounds 5] [--runs 100] [--calls 1000] [--json FILE]

Both run on the interpreter and the packages of `tests/interop/python` (`make interop-python`); ours comes
before the official one on the path. In each round every SDK does the same, one after the other, and ratios
are those of one round: the machine's other work then changes them little.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.processes import ROOT, BenchmarkError, Child, free_port, machine_info

PYTHON = ROOT / "tests" / "interop" / "python" / ".venv" / "bin" / "python"
APP = ROOT / "benchmarks" / "sdk_app.py"
FUNCTIONS = {"noop": 0, "steps": 10, "steps-sync": 10, "parallel": 10}
"""Their steps."""
WARM_UP_RUNS = 20
BATCH = 50
WAIT_S = 120.0
Figures = dict[str, list[float]]


class Contender(NamedTuple):
    """An SDK, as one of the ways in which it is used."""

    name: str
    path: str
    """Before what is installed."""
    plain: bool = False
    """Without checkpoints, which the official SDK does not have."""

    def env(self, server: str = "1") -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("INNGEST_")}
        return {**kept, "PYTHONPATH": self.path, "INNGEST_DEV": server, "PLAIN": "1" if self.plain else ""}


OFFICIAL = Contender("official", "")
OURS = Contender("ours", str(ROOT / "sdk" / "src"))
OURS_PLAIN = Contender("ours-plain", OURS.path, plain=True)


class App:
    """One contender's app, registered at the server."""

    def __init__(self, contender: Contender, server: str, directory: Path) -> None:
        self.contender = contender
        self._server = server
        self._url = f"http://127.0.0.1:{(port := free_port())}"
        self.child = start(
            contender.name,
            [str(PYTHON), str(APP), "serve", contender.name, str(port)],
            directory / f"{contender.name}.log",
            contender.env(server),
        )

    def register(self) -> None:
        wait_until(self.child, self._answers, "answers")
        fetch("PUT", f"{self._url}/api/inngest")

    def _answers(self) -> bool:
        try:
            self.stats()
        except OSError:
            return False
        return True

    def stats(self) -> dict[str, float]:
        return json.loads(fetch("GET", f"{self._url}/stats"))

    def run(self, function: str, runs: int) -> dict[str, float]:
        """Seconds and processor seconds of so many runs, and their calls."""
        before = self.stats()
        begun_s = time.perf_counter()
        name = f"{self.contender.name}/{function}"
        for first in range(0, runs, BATCH):
            events = [{"name": name, "data": {"n": 1}} for _ in range(min(BATCH, runs - first))]
            fetch("POST", f"{self._server}/e/bench", events)
        wanted = before["ended"] + runs
        wait_until(self.child, lambda: self.stats()["ended"] >= wanted, f"ends {runs} runs of {function}")
        took_s = time.perf_counter() - begun_s
        time.sleep(0.2)  # The last answers are on their way.
        after = self.stats()
        if after["ended"] != wanted:
            raise BenchmarkError(f"{after['ended'] - before['ended']} ends of {runs} runs of {function}")
        return {
            "runs_per_s": runs / took_s,
            "calls_per_run": (after["calls"] - before["calls"]) / runs,
            "cpu_ms_per_run": (after["cpu_s"] - before["cpu_s"]) / runs * 1000,
        }


def start(name: str, command: Sequence[str], log: Path, env: Mapping[str, str]) -> Child:
    """A child with an environment of its own."""
    assignments = [f"{key}={value}" for key, value in env.items() if key.startswith(("INNGEST_", "PLAIN"))]
    return Child(name, ["env", *assignments, f"PYTHONPATH={env['PYTHONPATH']}", *command], log, None)


def wait_until(child: Child, is_so: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not is_so():
        child.check_alive()
        if time.monotonic() > deadline_s:
            raise BenchmarkError(f"the {child.name} has not {what} within {WAIT_S:.0f} s")
        time.sleep(0.02)


def fetch(method: str, url: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return answer.read()


def report_of(contender: Contender, *arguments: str) -> dict[str, float]:
    """What the app prints about itself."""
    done = subprocess.run(
        [str(PYTHON), str(APP), *arguments],
        env=contender.env(),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        raise BenchmarkError(f"{contender.name} {' '.join(arguments)}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


# Rounds.


def measure_alone(contender: Contender, calls: int, figures: Figures) -> None:
    """Imports, and calls of the handler in process."""
    for name, value in report_of(contender, "imports").items():
        figures.setdefault(f"{name} (ms)", []).append(value * 1000)
    for name, value in report_of(contender, "calls", str(calls)).items():
        figures.setdefault(f"call {name} (us)", []).append(value * 1_000_000)


def measure_served(app: App, runs: int, figures: Figures) -> None:
    for function, steps in FUNCTIONS.items():
        found = app.run(function, runs)
        figures.setdefault(f"{function} (runs/s)", []).append(found["runs_per_s"])
        figures.setdefault(f"{function} (calls/run)", []).append(found["calls_per_run"])
        cpu_ms = found["cpu_ms_per_run"] / (steps or 1)
        figures.setdefault(f"{function} (CPU ms/{'step' if steps else 'run'})", []).append(cpu_ms)


def measure(rounds: int, runs: int, calls: int) -> dict[str, Figures]:
    """Figures of each contender by name, one value for each round."""
    contenders = [OFFICIAL, OURS_PLAIN, OURS]
    found: dict[str, Figures] = {contender.name: {} for contender in contenders}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        server_url = f"http://127.0.0.1:{(port := free_port())}"
        server = start(
            "server",
            [
                *(str(Path(sys.executable).with_name("inngest")), "dev", "--port", str(port)),
                *("--no-discovery", "--no-poll", "--sqlite-dir", str(directory)),
            ],
            directory / "server.log",
            {"PYTHONPATH": ""},
        )
        stack.callback(server.stop)
        wait_until(server, lambda: is_healthy(server_url), "become healthy")
        apps = [App(contender, server_url, directory) for contender in contenders]
        for app in apps:
            stack.callback(app.child.stop)
            app.register()
            for function in FUNCTIONS:
                app.run(function, WARM_UP_RUNS)
        for number in range(rounds):
            # Another one goes first each time.
            for index in range(len(apps)):
                app = apps[(number + index) % len(apps)]
                if app.contender is not OURS:  # Alone, there is no server for its checkpoints.
                    measure_alone(app.contender, calls, found[app.contender.name])
                measure_served(app, runs, found[app.contender.name])
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return found


def is_healthy(server_url: str) -> bool:
    try:
        fetch("GET", f"{server_url}/health")
    except OSError:
        return False
    return True


# Report.


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def ratios(ours: Sequence[float], official: Sequence[float]) -> str:
    return spread([mine / theirs for mine, theirs in zip(ours, official, strict=True)])


def print_table(found: Mapping[str, Figures]) -> None:
    """Median and range of the rounds, and of the ratios of each round."""
    official = found[OFFICIAL.name]
    print("| figure | official | ours without checkpoints | to official | ours | to official |")
    print("|---|---|---|---|---|---|")
    for figure, values in official.items():
        cells = [spread(values)]
        for contender in (OURS_PLAIN, OURS):
            mine = found[contender.name].get(figure)
            cells += ["", ""] if mine is None else [spread(mine), ratios(mine, values)]
        print(f"| {figure} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=100, help="of each function in each round")
    parser.add_argument("--calls", type=int, default=1000, help="in process, of each kind")
    parser.add_argument("--json", type=Path, help="also write all values to this file")
    options = parser.parse_args()
    if not PYTHON.exists():
        sys.exit("the official SDK is not installed: run `make interop-python`")
    found: dict[str, Any] = measure(options.rounds, options.runs, options.calls)
    print_table(found)
    if options.json:
        report = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine_info(Path(tempfile.gettempdir())),
            "runs": options.runs,
            "calls": options.calls,
            "figures": found,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
