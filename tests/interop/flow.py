"""An app that configures the rules of flow control; its server has a clock that stands until it is moved."""

import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from inngest_server.cli.main import main
from tests.interop.harness import OURS, PYTHON, TYPESCRIPT, TYPESCRIPT_V3, App, Sdk, require
from tests.support.api import Api, request
from tests.support.processes import wait_for
from tests.support.server import ServerProcess

FLOW_PYTHON = PYTHON._replace(app_id="flow-py", argv=(".venv/bin/python", "flow.py"))
FLOW_OURS = OURS._replace(app_id="flow-py", argv=(OURS.argv[0], "flow.py"))
FLOW_TYPESCRIPT = TYPESCRIPT._replace(app_id="flow-ts", argv=("node", "flow.mjs"))
FLOW_TYPESCRIPT_V3 = TYPESCRIPT_V3._replace(app_id="flow-ts3", argv=("node", "../typescript/flow.mjs"))
FLOW_SDKS = (FLOW_PYTHON, FLOW_OURS, FLOW_TYPESCRIPT, FLOW_TYPESCRIPT_V3)
CLOCK = "/api/ui/v1/clock"
JSON = Any


class Held(NamedTuple):
    """Work of a function at one moment."""

    sent: int
    """Calls under way."""
    parked: int
    """Those that wait for slots."""


class Flow:
    """A world for one SDK. Tests share it: each uses values of keys of its own."""

    def __init__(self, directory: Path, server: ServerProcess, app: App) -> None:
        self.directory = directory
        self.server = server
        self.api: Api = server.api
        self.app = app
        self._numbers = itertools.count(1)

    @property
    def sdk(self) -> Sdk:
        return self.app.sdk

    def name(self, what: str) -> str:
        """A key or the name of a gate that nothing else has."""
        return f"{what}-{next(self._numbers)}"

    def slug(self, function: str) -> str:
        return f"{self.sdk.app_id}-{function}"

    # Runs.

    def send(self, function: str, **data: JSON) -> str:
        """The event that starts a function; its id."""
        return self.api.send(f"flow/{function}", data)

    def runs(self, event_id: str) -> list[dict[str, Any]]:
        return self.api.runs_of_event(event_id)

    def run(self, event_id: str) -> dict[str, Any]:
        """The event's only run, as it is now."""
        return wait_for(
            lambda: runs[0] if len(runs := self.runs(event_id)) == 1 else None, f"the run of {event_id}"
        )

    def end(self, event_id: str) -> dict[str, Any]:
        """The event's only run, once it has ended."""
        return self.api.wait_ended(self.run(event_id)["run_id"])

    def outcome(self, event_id: str) -> tuple[str, JSON]:
        """Status and output of the event's only run, once it has ended."""
        run = self.end(event_id)
        return run["status"], run["output"]

    def latest(self, event_id: str) -> dict[str, Any]:
        """The last of the event's runs, once it has ended."""
        run = max(self.runs(event_id), key=lambda run: run["run_id"])
        return self.api.wait_ended(run["run_id"])

    def statuses(self, event_ids: list[str]) -> list[str]:
        return [self.run(event_id)["status"] for event_id in event_ids]

    def timeline(self, event_id: str) -> str:
        """The timeline of the event's only run, a text."""
        return self.api.call("GET", f"/v1/runs/{self.run(event_id)['run_id']}/timeline")

    def invoke(self, function: str, **data: JSON) -> str:
        """Have a function invoked by another one; the id of the event that started that one."""
        return self.send("invoker", call=function, data=data)

    # What the app did.

    def begun(self, *event_ids: str, step: str = "hold") -> list[JSON]:
        """The numbers of those events for whose runs a step was executed, in the order in which it was."""
        run_ids = {run["run_id"] for event_id in event_ids for run in self.runs(event_id)}
        return [
            line["n"]
            for line in self.app.lines()
            if line.get("step") == step and line.get("run_id") in run_ids
        ]

    def open(self, gate: str = "") -> None:
        """Let steps go on that wait for a gate, or for any."""
        url = f"http://127.0.0.1:{self.app.port}/gates{'/' + gate if gate else ''}"
        assert request("POST", url)[0] == 200

    def wait_begun(self, numbers: list[JSON], *event_ids: str) -> None:
        """Wait until these are the numbers that have begun, those that begin at once in any order."""
        wait_for(lambda: sorted(self.begun(*event_ids)) == sorted(numbers), f"{numbers} begin")

    # Functions.

    def held(self, *functions: str) -> list[Held]:
        """How much work of functions is under way and waits for slots."""
        shown = [self.api.call("GET", f"/api/ui/v1/functions/{self.slug(name)}") for name in functions]
        return [Held(one["work"]["sent"], one["work"]["parked"]) for one in shown]

    def wait_held(self, held: Mapping[str, Held]) -> None:
        wait_for(lambda: self.held(*held) == list(held.values()), f"work is {held}")

    def tell(self, function: str, action: str, body: JSON = None) -> JSON:
        """Pause, resume, replay or cancel."""
        return self.api.call("POST", f"/api/ui/v1/functions/{self.slug(function)}/{action}", body or {})

    # Time.

    def end_all(self) -> None:
        """Let all steps go on and wait until nothing happens any more."""

        def opened_and_quiet() -> bool:
            self.open()
            return self.api.call("GET", CLOCK)["quiet"]

        wait_for(opened_and_quiet, "quiet")

    def settle(self) -> None:
        """Wait until nothing happens any more unless time passes or somebody sends something."""
        wait_for(lambda: self.api.call("GET", CLOCK)["quiet"], "quiet")

    def move(self, duration: str) -> None:
        """Let time pass, and all that happens in it."""
        self.api.call("POST", CLOCK, {"advance": duration})
        wait_for(lambda: not self.api.call("GET", f"{CLOCK}?wait=5")["moving"], f"{duration} to pass")

    def now(self) -> str:
        """The server's time, as its API takes it."""
        return self.api.call("GET", CLOCK)["now"]

    @staticmethod
    def ts(shift_s: int) -> int:
        """A moment as apps say it, so long from now."""
        return time.time_ns() // 1_000_000 + shift_s * 1000

    def another(self, variant: str) -> App:
        """Another deployment of the app, not started."""
        return flow_app(self.sdk, self.directory / self.name(variant), self.server, variant)

    @contextmanager
    def deployed(self, variant: str) -> Iterator[App]:
        """Sync another deployment of the app; the first one goes on, and is synced in the end."""
        with self.another(variant) as other:
            sync(other)
            try:
                yield other
            finally:
                sync(self.app)


def sync(app: App) -> None:
    status, answer = app.sync()
    assert status == 200, f"{answer}\n{app.log_end()}"


def flow_app(sdk: Sdk, directory: Path, server: ServerProcess, variant: str = "") -> App:
    return App(sdk, directory, server_url=server.url, env={"VARIANT": variant})


@contextmanager
def flow_world(sdk: Sdk, directory: Path) -> Iterator[Flow]:
    """A server whose clock stands still, with the app synced; in the end its database must be well."""
    require(sdk)
    with ExitStack() as stack:
        flags = ("--clock", "virtual", "--no-poll")
        server = stack.enter_context(ServerProcess(directory / "server", "dev", *flags))
        app = stack.enter_context(flow_app(sdk, directory, server))
        sync(app)
        yield Flow(directory, server, app)
        server.stop()
        assert '"level":"error"' not in server.log_text(), server.log_end()
        assert main(["doctor", "--sqlite-dir", str(server.database.parent)]) == 0
