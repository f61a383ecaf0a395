"""SDKs that answer the signed PUT of a `start` server with their functions. Source: protocol 2.8.

The apps are given an address at which no server is: what arrives has come in the answer.
"""

from pathlib import Path

import pytest

from tests.interop.harness import EVENT_KEY, KEYS, OURS, PYTHON, SIGNING_KEY, TYPESCRIPT, App, Sdk, require
from tests.support.processes import free_port, wait_for
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("interop-in-band")]

OTHER_KEY = "signkey-test-ffffffffffffffffffffffffffffffff"
SDKS = [
    pytest.param(PYTHON, id="python"),
    pytest.param(OURS, id="ours"),
    pytest.param(TYPESCRIPT, id="typescript"),
]


def server_for(app: App, directory: Path, *, port: int | None = None) -> ServerProcess:
    return ServerProcess(
        directory / "server",
        "start",
        "--sdk-url",
        app.url,
        port=port,
        signing_key=SIGNING_KEY,
        event_key=EVENT_KEY,
    )


def line_of(server: ServerProcess, event: str) -> str:
    return wait_for(
        lambda: next((line for line in server.log_text().splitlines() if event in line), None),
        f"{event} in the server's log",
    )


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({}, id="key"),
        pytest.param(
            {"INNGEST_SIGNING_KEY": OTHER_KEY, "INNGEST_SIGNING_KEY_FALLBACK": SIGNING_KEY}, id="fallback"
        ),
    ],
)
def test_the_functions_of_the_answer_are_registered_and_run(
    sdk: Sdk, keys: dict[str, str], tmp_path: Path
) -> None:
    require(sdk)
    nowhere = f"http://127.0.0.1:{free_port()}"
    with (
        App(sdk, tmp_path, server_url=nowhere, env={**KEYS, **keys}) as app,
        server_for(app, tmp_path) as server,
    ):
        line_of(server, "sync.done")
        assert f"{sdk.app_id}-noop" in server.api.functions(sdk.app_id)
        (run,) = server.api.wait_runs(server.api.send("interop/noop"))

    assert run["status"] == "Completed"


@pytest.mark.parametrize("sdk", SDKS[1:])
def test_an_app_that_may_not_answer_calls_back(sdk: Sdk, tmp_path: Path) -> None:
    require(sdk)
    port = free_port()
    env = {**KEYS, "INNGEST_ALLOW_IN_BAND_SYNC": "false"}
    with (
        App(sdk, tmp_path, server_url=f"http://127.0.0.1:{port}", env=env) as app,
        server_for(app, tmp_path, port=port) as server,
    ):
        line_of(server, "sync.done")
        assert server.api.functions(sdk.app_id)
        assert "sync.failed" not in server.log_text()
