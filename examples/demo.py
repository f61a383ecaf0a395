"""What `make run` shows: a server, an app, an event, and the run that it starts, step by step.

Starts `inngest dev` and `examples/hello/app.py`, sends an event, and draws the finished run; then it keeps
serving until Ctrl-C. With `--once` it ends after the run, which needs no terminal.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

T = TypeVar("T")

EXAMPLES = Path(__file__).resolve().parent
INNGEST = Path(sys.executable).parent / "inngest"
APP_PORT = 8290
EVENT = {"name": "shop/order.placed", "data": {"order": 1042}}

START_TIMEOUT_S = 20.0
RUN_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.05
BAR_CHARS = 40

console = Console(highlight=False)


class DemoError(Exception):
    """The demo cannot go on; the message says what to do."""


class Step(NamedTuple):
    """A step in the picture of a run."""

    name: str
    status: str
    is_sleep: bool
    from_ms: int
    to_ms: int
    output_id: str


# ---- processes ----------------------------------------------------------------------------------


def check_port(port: int) -> None:
    """Raises DemoError: something listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError as error:
            raise DemoError(
                f"Port {port} is in use, perhaps by a server that you started before: stop that one, "
                f"or take another port: .venv/bin/python examples/demo.py --port {port + 10}"
            ) from error


def app_port() -> int:
    """The app's usual port, so that a later server finds the app where it was; else any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", APP_PORT))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(name: str, command: list[str | Path], env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A child process, stopped at the end.

    In a session of its own: Ctrl-C in the terminal reaches the demo alone, which stops the others in order.
    """
    child = subprocess.Popen(command, env=env, start_new_session=True)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            console.print(f"[red]{name} did not end within {STOP_TIMEOUT_S:.0f} s and was killed.")
            child.kill()
            child.wait()


# ---- talking to the server ----------------------------------------------------------------------


def call(method: str, url: str, body: Any = None) -> Any:
    """The decoded answer.

    Raises:
        OSError: no answer, or one with an error status.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.loads(response.read() or b"null")


def try_call(method: str, url: str) -> bool:
    try:
        call(method, url)
    except OSError:
        return False
    return True


def wait_for(
    find: Callable[[], T | None], what: str, timeout_s: float, *needed: subprocess.Popen[bytes]
) -> T:
    """What `find` returns once that is true.

    Raises:
        DemoError: it did not come in time, or a process that is needed for it has ended.
    """
    deadline_s = time.monotonic() + timeout_s
    while not (found := find()):
        if any(child.poll() is not None for child in needed):
            raise DemoError(f"A process that is needed ended before {what}; what it said is above.")
        if time.monotonic() > deadline_s:
            raise DemoError(f"Waited {timeout_s:.0f} s in vain for {what}.")
        time.sleep(POLL_S)
    return found


TRACE = """
query ($runID: String!) {
  runTrace(runID: $runID) {
    childrenSpans { name status stepID stepOp startedAt endedAt outputID }
  }
}
"""
OUTPUT = """
query ($outputID: String!) {
  runTraceSpanOutputByID(outputID: $outputID) { data }
}
"""


def ask(server: str, query: str, **variables: str) -> dict[str, Any]:
    """What a GraphQL query finds."""
    return call("POST", f"{server}/v0/gql", {"query": query, "variables": variables})["data"]


def read_steps(server: str, run_id: str) -> list[Step]:
    """The steps of a run that have begun, with the times at which things really happened."""
    spans = ask(server, TRACE, runID=run_id)["runTrace"]["childrenSpans"]
    return [
        Step(
            span["name"],
            span["status"],
            span["stepOp"] == "SLEEP",
            _ms(span["startedAt"]),
            _ms(span["endedAt"]) if span["endedAt"] else 0,
            span["outputID"] or "",
        )
        for span in spans
        if span["stepID"] and span["startedAt"]
    ]


def _ms(moment: str) -> int:
    return round(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp() * 1000)


# ---- the story ----------------------------------------------------------------------------------


def follow_run(server: str, event_id: str, *needed: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Say what happens to the event's run while it happens; the run, once it has ended."""
    (run,) = wait_for(
        lambda: call("GET", f"{server}/v1/events/{event_id}/runs")["data"], "a run", RUN_TIMEOUT_S, *needed
    )
    told: set[tuple[str, str]] = set()

    def ended() -> dict[str, Any] | None:
        now = call("GET", f"{server}/v1/runs/{run['run_id']}")["data"]
        for step in read_steps(server, run["run_id"]):
            if (step.name, step.status) not in told:
                told.add((step.name, step.status))
                say(step)
        return now if now["ended_at"] is not None else None

    return wait_for(ended, "the end of the run", RUN_TIMEOUT_S, *needed)


def say(step: Step) -> None:
    match step.status:
        case "COMPLETED" if step.is_sleep:
            console.print(f"  [green]✓[/] {step.name}: time is up")
        case "COMPLETED":
            console.print(f"  [green]✓[/] {step.name}: result is on disk")
        case "WAITING":
            console.print(f"  [blue]…[/] {step.name}: the run sleeps, and holds nothing")
        case "FAILED":
            console.print(f"  [red]✗[/] {step.name}: failed")
        case _:
            pass


def draw(server: str, run: dict[str, Any]) -> Table:
    """The finished run as a timeline."""
    steps = read_steps(server, run["run_id"])
    began_ms = min([step.from_ms for step in steps], default=0)
    ended_ms = max([step.to_ms for step in steps], default=0)
    chars_per_ms = BAR_CHARS / max(ended_ms - began_ms, 1)
    ended_well = run["status"] == "Completed"
    title = f"Run {run['run_id']}: {run['status']} after {ended_ms - began_ms} ms"
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify = title, "left"
    table.title_style = "bold green" if ended_well else "bold red"
    for step in steps:
        before = min(int((step.from_ms - began_ms) * chars_per_ms), BAR_CHARS - 1)
        length = max(1, round((step.to_ms - step.from_ms) * chars_per_ms))
        picture = Text().append("·" * before, "dim")
        picture.append("━" * min(length, BAR_CHARS - before), "blue" if step.is_sleep else "green")
        picture.append("·" * (BAR_CHARS - len(picture)), "dim")
        table.add_row("", Text(step.name), picture, f"{step.to_ms - step.from_ms} ms")
        if step.output_id and not step.is_sleep:
            found = ask(server, OUTPUT, outputID=step.output_id)["runTraceSpanOutputByID"]
            table.add_row("", "", Text(f"→ {json.dumps(json.loads(found['data']))}", "dim"))
    table.add_row("", Text("result" if ended_well else "error", "bold"), Text(json.dumps(run["output"])))
    return table


def serve_until_stopped(url: str, **children: subprocess.Popen[bytes]) -> NoReturn:
    """Say how to go on, and watch the processes; ends by Ctrl-C."""
    console.print(f"\nServing on [bold]{url}[/], with the example app. Send another event:\n")
    console.print(f"  curl {url}/e/test -d '{json.dumps(EVENT)}'\n", style="cyan", soft_wrap=True)
    console.print("and look at its run, with the id that comes back, and at what it did:\n")
    console.print(f"  curl {url}/v1/events/ID/runs", style="cyan", soft_wrap=True)
    console.print(f"  curl {url}/v1/runs/RUN/timeline\n", style="cyan", soft_wrap=True)
    console.print("Ctrl-C stops both.")
    while True:
        for name, child in children.items():
            if child.poll() is not None:
                raise DemoError(f"The {name} ended by itself, with exit code {child.returncode}.")
        time.sleep(POLL_S)


def show(port: int, directory: Path, *, once: bool) -> bool:
    """The whole demo; whether the run was completed.

    Raises:
        DemoError: something is in the way.
    """
    server_url = f"http://localhost:{port}"
    check_port(port)
    with ExitStack() as processes:
        # The app first: a server that knows it from the last time looks for it at once.
        own_port = app_port()
        env = {**_environment(), "PORT": str(own_port), "INNGEST_BASE_URL": server_url}
        app_command: list[str | Path] = [sys.executable, EXAMPLES / "hello" / "app.py"]
        app = processes.enter_context(running("app", app_command, env))
        command: list[str | Path] = [INNGEST, "dev", "--port", str(port), "--sqlite-dir", directory]
        command += ["--log-level", "warning"]
        server = processes.enter_context(running("server", command, _environment()))
        wait_for(
            lambda: try_call("GET", f"{server_url}/health"), "the server answers", START_TIMEOUT_S, server
        )
        console.print(f"[green]✓[/] server on {server_url}, database in {directory / 'main.db'}")
        app_url = f"http://127.0.0.1:{own_port}/api/inngest"
        wait_for(lambda: try_call("PUT", app_url), "the app has registered", START_TIMEOUT_S, server, app)
        console.print("[green]✓[/] app 'hello' with the function 'ship order' (examples/hello/app.py)")
        (event_id,) = call("POST", f"{server_url}/e/demo", EVENT)["ids"]
        console.print(
            f"[green]✓[/] event {EVENT['name']} {json.dumps(EVENT['data'])} accepted: it is on disk"
        )
        run = follow_run(server_url, event_id, server, app)
        console.print()
        console.print(draw(server_url, run))
        if not once:
            serve_until_stopped(server_url, server=server, app=app)
    return run["status"] == "Completed"


def _environment() -> dict[str, str]:
    """Ours, without settings that are meant for other servers and apps."""
    return {name: value for name, value in os.environ.items() if not name.startswith("INNGEST_")}


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=8288, help="of the server (8288)")
    parser.add_argument("--directory", type=Path, default=Path(".inngest"), help="of its database (.inngest)")
    parser.add_argument("--once", action="store_true", help="end when the run has ended")
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        return 0 if show(given.port, given.directory, once=given.once) else 1
    except DemoError as error:
        console.print(f"[red]{error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped.")
        return 0


if __name__ == "__main__":
    sys.exit(main())
