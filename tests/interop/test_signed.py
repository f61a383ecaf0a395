"""The official SDKs, and ours, against `start`: signed requests, bearers and event keys; and wrong ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.harness import (
    EVENT_KEY,
    KEYS,
    OURS,
    PYTHON,
    SIGNING_KEY,
    TYPESCRIPT,
    TYPESCRIPT_V3,
    App,
    Case,
    Sdk,
    World,
    check,
    require,
    world,
)
from tests.interop.table import cases
from tests.support.api import Api, ApiError, request
from tests.support.processes import free_port, wait_for
from tests.support.server import ServerProcess

# Servers and apps are made for the module, so all of it belongs to one worker.
pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("interop-signed")]

WRONG_KEY = "signkey-test-ffffffffffffffffffffffffffffffff"
SDKS = [
    pytest.param(PYTHON, id="python"),
    pytest.param(OURS, id="ours"),
    pytest.param(TYPESCRIPT, id="typescript"),
    pytest.param(TYPESCRIPT_V3, id="typescript-v3"),
]
NAMES = (
    "noop",
    "sequential",
    "shapes",  # Its texts test the canonical form that is signed.
    "parallel-mixed",
    "large-outputs",
    "sleep",
    "wait",
    "send-event",
    "invoke",
    "step-retry",
    "step-fails",
    "function-fails",
)


def signed_cases(sdk: Sdk) -> list[Case]:
    return [case for case in cases(sdk) if case.id in NAMES]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("py"), PYTHON, cases=signed_cases(PYTHON), signed=True) as made:
        yield made


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("ours"), OURS, cases=signed_cases(OURS), signed=True) as made:
        yield made


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(
        tmp_path_factory.mktemp("ts"), TYPESCRIPT, cases=signed_cases(TYPESCRIPT), signed=True
    ) as made:
        yield made


@pytest.fixture(scope="module")
def typescript_v3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(
        tmp_path_factory.mktemp("ts3"), TYPESCRIPT_V3, cases=signed_cases(TYPESCRIPT_V3), signed=True
    ) as made:
        yield made


@pytest.mark.parametrize("case", signed_cases(PYTHON), ids=lambda case: case.id)
def test_python_case(python: World, case: Case) -> None:
    check(case, python.outcome(case))


@pytest.mark.parametrize("case", signed_cases(OURS), ids=lambda case: case.id)
def test_case_of_our_sdk(ours: World, case: Case) -> None:
    """The Python app, unchanged; its checkpoints are let in by their bearer."""
    check(case, ours.outcome(case))


@pytest.mark.parametrize("case", signed_cases(TYPESCRIPT), ids=lambda case: case.id)
def test_typescript_case(typescript: World, case: Case) -> None:
    """`sequential` takes one call: the checkpoints between its steps were let in by their bearer."""
    check(case, typescript.outcome(case))


@pytest.mark.parametrize("case", signed_cases(TYPESCRIPT_V3), ids=lambda case: case.id)
def test_typescript_v3_case(typescript_v3: World, case: Case) -> None:
    check(case, typescript_v3.outcome(case))


def test_no_step_sends_the_server_into_its_own_network(python: World) -> None:
    (run,) = python.api.wait_runs(python.api.send("interop/ai-infer-fails", {}))
    outcome = python.outcome_of(run["run_id"])
    assert outcome.output["name"] == "AIGatewayError"
    message = outcome.output["message"]
    assert "/provider/busy/chat/completions may not be reached: the host's address is this machine" in message
    assert "start the server with --allow-private-gateway" in message
    assert len(outcome.calls) == 2


def test_nothing_is_served_without_keys(python: World) -> None:
    stranger = Api(python.server.url, event_key="not-a-key")

    for method, path in (
        ("GET", "/v1/events"),
        ("POST", "/v1/signals"),
        ("POST", "/fn/register"),
        ("GET", "/dev"),
    ):
        with pytest.raises(ApiError) as refused:
            stranger.call(method, path, {} if method == "POST" else None)
        assert refused.value.status in (401, 404)
    with pytest.raises(ApiError) as refused:
        stranger.send("interop/noop")
    assert (refused.value.status, refused.value.body["error"]) == (401, "Event key not found")


class Misconfigured:
    """A `start` server that asks an app for its functions, and that app with keys of its own."""

    def __init__(self, sdk: Sdk, directory: Path, **env: str) -> None:
        require(sdk)
        port = free_port()
        self.app = App(
            sdk, directory, server_url=f"http://127.0.0.1:{port}", env={"INNGEST_EVENT_KEY": EVENT_KEY, **env}
        )
        self.server = ServerProcess(
            directory / "server",
            "start",
            "--sdk-url",
            self.app.url,
            port=port,
            signing_key=SIGNING_KEY,
            event_key=EVENT_KEY,
        )

    def complaint(self) -> str:
        """What the server logs about the sync."""
        return wait_for(
            lambda: next((line for line in self.server.log_text().splitlines() if "sync." in line), None),
            "a line about the sync in the server's log",
        )


@pytest.mark.parametrize("sdk", SDKS)
def test_an_app_with_another_key_is_told_on_both_sides(sdk: Sdk, tmp_path: Path) -> None:
    with (
        (pair := Misconfigured(sdk, tmp_path, INNGEST_DEV="0", INNGEST_SIGNING_KEY=WRONG_KEY)).app as app,
        pair.server,
    ):
        complaint = pair.complaint()
        _, _, answer = request("PUT", app.url)

    assert "sync.failed" in complaint
    assert "unauthorized" in complaint
    assert "INNGEST_SIGNING_KEY" in complaint
    assert b"Authentication failed" in answer or b"signing key is invalid" in answer


@pytest.mark.parametrize("sdk", SDKS)
def test_an_app_in_dev_mode_is_told_that_the_server_is_not(sdk: Sdk, tmp_path: Path) -> None:
    with (pair := Misconfigured(sdk, tmp_path, INNGEST_DEV="1")).app, pair.server:
        complaint = pair.complaint()

    assert "sync.failed" in complaint
    assert "INNGEST_DEV=0" in complaint


@pytest.mark.parametrize("sdk", SDKS)
def test_a_key_changed_after_the_sync_is_the_error_of_the_run(sdk: Sdk, tmp_path: Path) -> None:
    """The app comes back with another key: its 401 is a failed try that says which keys to compare."""
    with world(tmp_path, sdk, signed=True) as made:
        app, port = made.app, made.app.port
        app.stop()
        env = {**KEYS, "INNGEST_SIGNING_KEY": WRONG_KEY}
        with App(sdk, tmp_path / "again", server_url=made.server.url, env=env, port=port):
            (run,) = made.api.wait_runs(made.api.send("interop/child-fails"))

    assert run["status"] == "Failed"
    assert run["output"]["name"] == "signature_rejected"
    assert "INNGEST_SIGNING_KEY" in run["output"]["message"]


@pytest.mark.parametrize("sdk", SDKS)
def test_an_app_that_is_down_does_not_stop_the_run(sdk: Sdk, tmp_path: Path) -> None:
    """The call is tried again, and once the app is back with its key, the run completes."""
    with world(tmp_path, sdk, signed=True) as made:
        app = made.app
        app.stop()
        event_id = made.api.send("interop/sequential", {"start": 1})
        (run,) = made.api.runs_of_event(event_id)

        def was_tried() -> bool:
            return any(job["attempt"] > 0 for job in made.api.call("GET", f"/v1/runs/{run['run_id']}/jobs"))

        wait_for(was_tried, "a call that met the closed port")
        app.start()
        run = made.api.wait_ended(run["run_id"])

    assert (run["status"], run["output"]) == ("Completed", {"total": 16})
