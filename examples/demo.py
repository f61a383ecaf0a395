"""What `make run` shows: a server, an app, an event, and the run that it starts, step by step.

Starts `inngest dev` and `examples/hello/app.py`, sends an event, and draws the finished run; then it keeps
serving until Ctrl-C. With `--once` it ends after the run, which needs no terminal.
"""

import argparse
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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


class Entry(NamedTuple):
    """What the server wrote down about a step."""

    kind: str
    step: str
    at_ms: int
    meta: dict[str, Any]
    payload: Any


class Bar(NamedTuple):
    """A step in the picture of a run."""

    step: str
    from_ms: int
    to_ms: int
    result: str
    style: str


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


def read_journal(database: Path, run_id: str) -> list[Entry]:
    """Everything that was written down about a run, in order.

    Read where the server keeps it: the API has no traces yet.
    """
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = connection.execute(
            "SELECT kind, step_id, at_ms, meta, payload FROM journal WHERE run_id = ? ORDER BY n", (run_id,)
        ).fetchall()
    finally:
        connection.close()
    names: dict[str, str] = {}
    journal: list[Entry] = []
    for kind, step_id, at_ms, meta, payload in rows:
        about = json.loads(meta)
        name = names.setdefault(step_id, about.get("name", step_id))
        journal.append(Entry(kind, name, at_ms, about, json.loads(payload or b"null")))
    return journal


# ---- the story ----------------------------------------------------------------------------------


def follow_run(
    server: str, database: Path, event_id: str, *needed: subprocess.Popen[bytes]
) -> dict[str, Any]:
    """Say what happens to the event's run while it happens; the run, once it has ended."""
    (run,) = wait_for(
        lambda: call("GET", f"{server}/v1/events/{event_id}/runs")["data"], "a run", RUN_TIMEOUT_S, *needed
    )
    told = 0

    def ended() -> dict[str, Any] | None:
        nonlocal told
        now = call("GET", f"{server}/v1/runs/{run['run_id']}")["data"]
        journal = read_journal(database, run["run_id"])
        for entry in journal[told:]:
            say(entry)
        told = len(journal)
        return now if now["ended_at"] is not None else None

    return wait_for(ended, "the end of the run", RUN_TIMEOUT_S, *needed)


def say(entry: Entry) -> None:
    match entry.kind:
        case "memo" if entry.payload is None:
            console.print(f"  [green]✓[/] {entry.step}: time is up")
        case "memo":
            console.print(f"  [green]✓[/] {entry.step}: result is on disk")
        case "opened":
            console.print(f"  [blue]…[/] {entry.step}: the run sleeps, and holds nothing")
        case "tried" if "code" in entry.meta:
            console.print(f"  [yellow]↻[/] {entry.step}: failed, and will be tried again")
        case _:
            pass


def bars_of(journal: list[Entry]) -> list[Bar]:
    """The steps with their times: of a step that ran from its request, of a sleep from when it began."""
    opened = {entry.step: entry.at_ms for entry in journal if entry.kind == "opened"}
    bars: list[Bar] = []
    for entry in journal:
        if entry.kind == "memo":
            if entry.step in opened:
                bars.append(Bar(entry.step, opened[entry.step], entry.at_ms, "", "blue"))
            else:
                result = json.dumps(entry.payload.get("data", entry.payload))
                bars.append(
                    Bar(entry.step, entry.meta.get("sent", entry.at_ms), entry.at_ms, result, "green")
                )
    return bars


def draw(run: dict[str, Any], journal: list[Entry]) -> Table:
    """The finished run as a timeline."""
    bars = bars_of(journal)
    began_ms = min([bar.from_ms for bar in bars], default=0)
    ended_ms = journal[-1].at_ms
    chars_per_ms = BAR_CHARS / max(ended_ms - began_ms, 1)
    ended_well = run["status"] == "Completed"
    title = f"Run {run['run_id']}: {run['status']} after {ended_ms - began_ms} ms"
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify = title, "left"
    table.title_style = "bold green" if ended_well else "bold red"
    for bar in bars:
        before = min(int((bar.from_ms - began_ms) * chars_per_ms), BAR_CHARS - 1)
        length = max(1, round((bar.to_ms - bar.from_ms) * chars_per_ms))
        picture = Text().append("·" * before, "dim")
        picture.append("━" * min(length, BAR_CHARS - before), bar.style)
        picture.append("·" * (BAR_CHARS - len(picture)), "dim")
        table.add_row("", Text(bar.step), picture, f"{bar.to_ms - bar.from_ms} ms")
        if bar.result:
            table.add_row("", "", Text(f"→ {bar.result}", "dim"))
    table.add_row("", Text("result" if ended_well else "error", "bold"), Text(json.dumps(run["output"])))
    return table


def serve_until_stopped(url: str, **children: subprocess.Popen[bytes]) -> NoReturn:
    """Say how to go on, and watch the processes; ends by Ctrl-C."""
    console.print(f"\nServing on [bold]{url}[/], with the example app. Send another event:\n")
    console.print(f"  curl {url}/e/test -d '{json.dumps(EVENT)}'\n", style="cyan", soft_wrap=True)
    console.print("and look at its run, with the id that comes back:\n")
    console.print(f"  curl {url}/v1/events/ID/runs\n", style="cyan", soft_wrap=True)
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
        database = directory / "main.db"
        run = follow_run(server_url, database, event_id, server, app)
        console.print()
        console.print(draw(run, read_journal(database, run["run_id"])))
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
