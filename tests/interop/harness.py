"""An official SDK's app against a real server: what the test modules of both SDKs share.

A world is one server and the apps that it serves. All cases of a module are begun at once when its world
starts; each test then waits for its own case, so that a module takes about as long as its slowest case.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.api import Api, request
from tests.support.processes import Process, free_port, wait_for
from tests.support.server import ServerProcess

HERE = Path(__file__).parent
SERVE_PATH = "/api/inngest"
# Of even length, as real ones: a bearer is the hash of the bytes that it spells.
SIGNING_KEY = "signkey-test-0123456789abcdef0123456789abcdef"
EVENT_KEY = "interop-event-key"
KEYS = {"INNGEST_DEV": "0", "INNGEST_SIGNING_KEY": SIGNING_KEY, "INNGEST_EVENT_KEY": EVENT_KEY}
"""What an app needs in its environment for a server in `start` mode."""

Line = dict[str, Any]


class Sdk(NamedTuple):
    """One of the apps in this folder."""

    name: str
    app_id: str
    folder: Path
    argv: tuple[str, ...]
    needs: str
    """A file that is there once the app's environment was installed."""
    error_name: str
    """The SDK's word for an ordinary error."""
    checkpoints: bool = False
    """Whether it reports steps while its function goes on, unless told otherwise."""


PYTHON = Sdk(
    "python", "interop-py", HERE / "python", (".venv/bin/python", "app.py"), ".venv/bin/python", "ValueError"
)
# The same apps, unchanged, on our SDK: in the environment of the tests.
OURS = PYTHON._replace(name="ours", argv=(sys.executable, "app.py"), needs="app.py", checkpoints=True)
OURS_PLAIN = OURS._replace(
    name="ours-plain", argv=(sys.executable, "../without_checkpoints.py", "app.py"), checkpoints=False
)
TYPESCRIPT = Sdk(
    "typescript",
    "interop-ts",
    HERE / "typescript",
    ("node", "app.mjs"),
    "node_modules/inngest/package.json",
    "Error",
    checkpoints=True,
)
TYPESCRIPT_V3 = Sdk(
    "typescript-v3",
    "interop-ts3",
    HERE / "typescript_v3",
    ("node", "../typescript/app.mjs"),
    "node_modules/inngest/package.json",
    "Error",
)


def require(sdk: Sdk) -> None:
    """Skip without the SDK's environment, with the reason; in continuous integration fail."""
    if (sdk.folder / sdk.needs).exists():
        return
    reason = f"the official {sdk.name} SDK is not installed: run `make interop-{sdk.name}`"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class App(Process):
    """A running interop app with its step log."""

    def __init__(
        self,
        sdk: Sdk,
        directory: Path,
        *,
        server_url: str,
        env: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self.sdk = sdk
        self.port = port or free_port()
        directory.mkdir(parents=True, exist_ok=True)
        self.url = f"http://127.0.0.1:{self.port}{SERVE_PATH}"
        self.step_log = directory / f"{sdk.name}-steps.jsonl"
        first = sdk.folder / sdk.argv[0]
        super().__init__(
            [first if first.exists() else sdk.argv[0], *sdk.argv[1:]],
            cwd=sdk.folder,
            log=directory / f"{sdk.name}-app.log",
            env={
                "PORT": str(self.port),
                "INNGEST_BASE_URL": server_url,
                "INNGEST_DEV": "1",
                "STEP_LOG": str(self.step_log),
                **(env or {}),
            },
        )

    def start(self) -> "App":
        """Start it and wait until it serves."""
        super().start()
        self.wait_until(self._answers, f"the {self.sdk.name} app on port {self.port} answers")
        return self

    def _answers(self) -> bool:
        try:
            request("GET", self.url)
        except OSError:
            return False
        return True

    def sync(self) -> tuple[int, Any]:
        """Ask the app to register itself; status and body of its answer."""
        status, _, body = request("PUT", self.url)
        return status, json.loads(body)

    def lines(self) -> list[Line]:
        """The whole step log."""
        if not self.step_log.exists():
            return []
        return [json.loads(line) for line in self.step_log.read_text().splitlines()]

    def steps(self, run_id: str) -> list[Line]:
        return [line for line in self.lines() if line.get("run_id") == run_id and "step" in line]

    def calls(self, run_id: str) -> list[Line]:
        return [
            line for line in self.lines() if line.get("run_id") == run_id and line.get("request") == "POST"
        ]


class Outcome(NamedTuple):
    """How a run ended, and what the app noted about it."""

    run: dict[str, Any]
    steps: list[Line]
    calls: list[Line]
    world: "World"

    @property
    def output(self) -> Any:
        return self.run["output"]

    def at_ms(self, step: str) -> int:
        """When a step began, by its name and attempt."""
        return next(line["at_ms"] for line in self.steps if executed(line) == step)


def executed(line: Line) -> str:
    return f"{line['step']}@{line['attempt']}"


Check = Callable[[Outcome], None]
Then = Callable[["World", str, str], None]
"""What must happen while the run waits, given its world, run id and event id; repeatable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A row of cases.md."""

    name: str
    variant: str = ""
    data: Mapping[str, Any] | None = None
    status: str = "Completed"
    output: Any = None
    """A value, or for a failed run the error's message."""
    error_name: str | None = None
    steps: Sequence[str] = ()
    """`step@attempt` in order."""
    any_order: bool = False
    calls: int | range = 1
    then: Then | None = None
    check: Check | None = None
    timeout_s: float = 40.0

    @property
    def id(self) -> str:
        return f"{self.name}-{self.variant}" if self.variant else self.name


class World:
    """A server, the apps on it, and the runs that were begun."""

    def __init__(self, server: ServerProcess, apps: Mapping[str, App]) -> None:
        self.server = server
        self.api: Api = server.api
        self.apps = apps
        self._begun: dict[str, str] = {}

    @property
    def app(self) -> App:
        """The only app."""
        (app,) = self.apps.values()
        return app

    def begin(self, cases: Sequence[Case]) -> None:
        """Send the events of all cases at once."""
        ids = self.api.send_all([{"name": f"interop/{case.name}", "data": case.data or {}} for case in cases])
        self._begun.update(zip([case.id for case in cases], ids, strict=True))

    def slug_of(self, run: Mapping[str, Any]) -> str:
        """The composite id of a run's function."""
        for app_id in self.apps:
            for slug, internal_id in self.api.functions(app_id).items():
                if internal_id == run["function_id"]:
                    return slug
        raise AssertionError(f"run {run['run_id']} has an unknown function {run['function_id']}")

    def outcome(self, case: Case) -> Outcome:
        """The case's run once it has ended."""
        event_id = self._begun[case.id]
        run_id = wait_for(
            lambda: next((run["run_id"] for run in self.api.runs_of_event(event_id)), None),
            f"a run of {case.id}",
        )
        if case.then is not None:
            case.then(self, run_id, event_id)
        return self.outcome_of(run_id, timeout_s=case.timeout_s)

    def outcome_of(self, run_id: str, *, timeout_s: float = 30.0) -> Outcome:
        run = self.api.wait_ended(run_id, timeout_s=timeout_s)
        return Outcome(run, self.app.steps(run_id), self.app.calls(run_id), self)


def check(case: Case, outcome: Outcome) -> None:
    """Compare a run with its row of cases.md."""
    run = outcome.run
    assert run["status"] == case.status, run
    if case.status == "Completed":
        assert outcome.output == case.output
    elif case.status == "Failed":
        assert outcome.output["message"] == case.output, outcome.output
        if case.error_name is not None:
            assert outcome.output["name"] == case.error_name
    ran = [executed(line) for line in outcome.steps]
    wanted = list(case.steps)
    assert (sorted(ran) == sorted(wanted)) if case.any_order else (ran == wanted), ran
    calls = [(line["step_id"], line["attempt"]) for line in outcome.calls]
    assert len(calls) in (case.calls if isinstance(case.calls, range) else (case.calls,)), calls
    assert run["run_started_at"] is not None
    assert run["ended_at"] is not None
    if case.check is not None:
        case.check(outcome)


@contextmanager
def world(
    directory: Path,
    *sdks: Sdk,
    cases: Sequence[Case] = (),
    signed: bool = False,
    app_env: Mapping[str, str] | None = None,
) -> Iterator[World]:
    """A server, `dev` or signed `start`, with synced apps, and the cases begun."""
    for sdk in sdks:
        require(sdk)
    with ExitStack() as stack:
        server = ServerProcess(
            directory / "server",
            "start" if signed else "dev",
            "--retry-interval",
            "1",
            signing_key=SIGNING_KEY if signed else None,
            event_key=EVENT_KEY if signed else None,
        )
        keys = KEYS if signed else {}
        apps = {
            sdk.app_id: App(sdk, directory, server_url=server.url, env={**keys, **(app_env or {})})
            for sdk in sdks
        }
        stack.enter_context(server)
        for app in apps.values():
            stack.enter_context(app)
        for app in apps.values():
            status, answer = app.sync()
            assert status == 200, f"{answer}\n{app.log_end()}"
        made = World(server, apps)
        made.begin(cases)
        yield made


# What the cases need while they wait, and checks that a row of a table cannot say.


def resend(name: str, data: Mapping[str, Any], *, after_calls: int = 1) -> Then:
    """Send an event until the run has ended: when its wait is open only the server knows."""

    def then(world: World, run_id: str, _: str) -> None:
        wait_for(lambda: len(world.app.calls(run_id)) >= after_calls, f"{after_calls} calls of run {run_id}")

        def sent_and_ended() -> bool:
            world.api.send(name, dict(data))
            return (world.api.run(run_id))["ended_at"] is not None

        wait_for(sent_and_ended, f"{name} ends the wait of run {run_id}", interval_s=0.2)

    return then


def signal(name: str, data: Any) -> Then:
    """Send a signal until somebody got it."""

    def then(world: World, run_id: str, _: str) -> None:
        resumed = wait_for(
            lambda: world.api.signal(name, data), f"somebody waits for signal {name}", interval_s=0.1
        )
        assert resumed == run_id

    return then


def apart(first: str, second: str, at_least_s: float) -> Check:
    """The second step began at least so long after the first."""

    def check(outcome: Outcome) -> None:
        gap_s = (outcome.at_ms(second) - outcome.at_ms(first)) / 1000
        assert gap_s >= at_least_s, f"{second} began {gap_s} s after {first}"

    return check


def has_large_state(outcome: Outcome) -> None:
    """Only the last request was over the limit."""
    flags = [line["use_api"] for line in outcome.calls]
    assert flags[-1] is True
    assert flags[0] is False


def sends_to_receivers(outcome: Outcome) -> None:
    """Each event of `send-event` started the receiver, which knows its sender."""
    ids = outcome.output["ids"]
    assert outcome.output == {"ids": ids, "count": 2}
    received = [run for event_id in ids for run in outcome.world.api.wait_runs(event_id)]
    assert [run["output"] for run in received] == [
        {"from": outcome.run["run_id"], "number": number} for number in (1, 2)
    ]
    assert [len(outcome.world.app.calls(run["run_id"])) for run in received] == [1, 1]


def starts_failure_handler(outcome: Outcome) -> None:
    """The failed run's handler ran once and knows it."""
    app, failed = outcome.world.app, outcome.run["run_id"]
    handled = wait_for(
        lambda: [line for line in app.lines() if line.get("failed_run_id") == failed] or None,
        f"a failure handler for run {failed}",
    )
    ended = outcome.world.outcome_of(handled[0]["run_id"])
    assert ended.run["status"] == "Completed"
    assert ended.output == {"failed_run_id": failed, "message": "the function failed"}
    assert [executed(line) for line in ended.steps] == ["on-failure@0"]
    assert len(ended.calls) == (1 if app.sdk.checkpoints else 2)


def runs_a_child(outcome: Outcome) -> None:
    """The invoked function ran its step as a run of its own."""
    runs = {line["run_id"] for line in outcome.world.app.lines() if line.get("step") == "double"}
    assert outcome.run["run_id"] not in runs
    assert runs


def begins_after_slept(outcome: Outcome) -> None:
    """Not before the moment that it slept until."""
    assert outcome.at_ms("after@0") >= outcome.output["until_ms"]


def wait_for_cron(world: World, *, after_ms: int = 0) -> Outcome:
    """A run of the cron function that began later than that: at the next full minute at the latest."""
    slug = f"{world.app.sdk.app_id}-cron"
    left_s = 60 - time.time() % 60

    def called() -> Line | None:
        return next(
            (line for line in world.app.lines() if line.get("function") == slug and line["at_ms"] > after_ms),
            None,
        )

    line = wait_for(called, "the cron function is called at the next full minute", timeout_s=left_s + 10)
    return world.outcome_of(line["run_id"])
