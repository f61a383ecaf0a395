"""The REST API of a real server process, with an app that answers by hand, over real sockets."""

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api, ApiError
from tests.support.processes import wait_for
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.integration]

SIGNING_KEY = "signkey-test-a1b2c3d4e5f60718293a4b5c6d7e8f900112233445566778899aabbccddeeff0"
EVENT_KEY = "event-key-1"
CHARGE, PAID = "a" * 40, "b" * 40


class App:
    """Two steps: `charge` is stored by a checkpoint in the first request, then a signal is waited for."""

    def __init__(self) -> None:
        self.server_api: Api | None = None
        self.seen: list[dict[str, Any]] = []
        self.fetched: dict[str, Any] = {}
        app = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, answer = app.answer(body)
                raw = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("x-inngest-sdk", "inngest-js:v4.24.0")
                self.send_header("x-inngest-req-version", "2")
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/api/inngest"

    def answer(self, request: dict[str, Any]) -> tuple[int, Any]:
        self.seen.append(request)
        if PAID in request["steps"]:
            return 200, {"charged": request["steps"][CHARGE], "signal": request["steps"][PAID]}
        try:
            self._checkpoint(request["ctx"])
        except ApiError as error:  # The run was cancelled meanwhile.
            return 400, {"name": "StaleDispatchError", "message": str(error)}
        options = {"signal": "paid-1", "timeout": "1h"}
        return 206, [{"op": "WaitForSignal", "id": PAID, "opts": options, "displayName": "paid"}]

    def _checkpoint(self, context: dict[str, Any]) -> None:
        """What TypeScript 4 does by default, and what any SDK does with a large run."""
        assert self.server_api is not None
        call, run_id = self.server_api.call, context["run_id"]
        body = {
            "run_id": run_id,
            "fn_id": context["fn_id"],
            "qi_id": context["qi_id"],
            "generation_id": context["generation_id"],
            "steps": [{"op": "StepRun", "id": CHARGE, "data": {"id": "ch-1"}, "displayName": "charge"}],
        }
        assert call("POST", f"/v1/checkpoint/{run_id}/async", body) is None
        self.fetched = {what: call("GET", f"/v0/runs/{run_id}/{what}") for what in ("actions", "batch")}

    def functions(self) -> dict[str, Any]:
        runtime = {"type": "http", "url": f"{self.url}?fnId=shop-order&stepId=step"}
        step = {"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": 0}}
        order = {
            "id": "shop-order",
            "name": "Order",
            "triggers": [{"event": "shop/order"}],
            "steps": {"step": step},
        }
        return {
            "appName": "shop",
            "url": self.url,
            "deployType": "ping",
            "framework": "nodejs",
            "sdk": "js:v4.24.0",
            "v": "0.1",
            "functions": [order],
        }


@pytest.fixture
def app() -> Iterator[App]:
    app = App()
    thread = threading.Thread(target=app.http.serve_forever)
    thread.start()
    yield app
    app.http.shutdown()
    thread.join()
    app.http.server_close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """With keys, so that everything goes by the bearer."""
    with ServerProcess(tmp_path, "start", signing_key=SIGNING_KEY, event_key=EVENT_KEY) as server:
        yield server


def status_of(api: Api, method: str, path: str) -> int:
    try:
        api.call(method, path)
    except ApiError as error:
        return error.status
    return 200


def test_a_run_is_followed_from_its_event_to_its_end_and_after_a_restart(
    server: ServerProcess, app: App
) -> None:
    api = app.server_api = server.api
    api.call("POST", "/fn/register", app.functions())
    assert set(api.functions("shop")) == {"shop-order"}

    event_id = api.send("shop/order", {"total": 7}, id="order-1")
    [run] = api.runs_of_event(event_id)
    run_id = run["run_id"]
    assert run["status"] in ("Scheduled", "Running")

    resumed = wait_for(lambda: api.signal("paid-1", {"by": "card"}), "the run to wait for its signal")
    ended = api.wait_ended(run_id)

    assert resumed == run_id
    assert app.fetched["actions"] == {CHARGE: {"data": {"id": "ch-1"}}}
    assert app.fetched["batch"] == [app.seen[0]["event"]]
    assert (ended["status"], ended["output"]) == (
        "Completed",
        {
            "charged": {"data": {"id": "ch-1"}},
            "signal": {"data": {"signal": "paid-1", "data": {"by": "card"}}},
        },
    )
    assert len(app.seen) == 2
    assert status_of(api, "DELETE", f"/v1/runs/{run_id}") == 409
    assert status_of(api, "GET", f"/v0/runs/{run_id}/actions") == 410
    assert api.call("GET", f"/v1/runs/{run_id}/jobs") == []

    events = api.call("GET", "/v1/events")
    finished = events[0]
    assert [event["name"] for event in events] == ["inngest/function.finished", "shop/order"]
    assert finished["data"]["result"] == ended["output"]
    assert finished["data"]["event"] == app.seen[0]["event"]

    server.stop()
    server.start()

    assert api.run(run_id) == ended
    assert api.call("GET", "/v1/events") == events
    assert api.call("GET", f"/v1/events?cursor={finished['internal_id']}&limit=1") == events[1:]


def test_a_waiting_run_is_cancelled_after_a_restart(server: ServerProcess, app: App) -> None:
    api = app.server_api = server.api
    api.call("POST", "/fn/register", app.functions())
    [run] = api.runs_of_event(api.send("shop/order"))
    path = f"/v1/runs/{run['run_id']}"
    wait_for(lambda: api.call("GET", f"{path}/jobs") == [], "the run to wait for its signal")

    server.stop()
    server.start()
    api.cancel(run["run_id"])

    assert api.run(run["run_id"])["status"] == "Cancelled"
    assert api.signal("paid-1") is None
    assert status_of(api, "DELETE", path) == 409
    assert status_of(api, "DELETE", path.replace("/v1/", "/v0/")) == 409


def test_a_v0_cancel_leaves_the_connection_usable(server: ServerProcess, app: App) -> None:
    """Its 204 has no body and no length; what follows on the connection must still be read rightly."""
    api = app.server_api = server.api
    api.call("POST", "/fn/register", app.functions())
    [run] = api.runs_of_event(api.send("shop/order"))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    headers = {"authorization": f"Bearer {SIGNING_KEY}"}
    for expected in (204, 409, 409):
        connection.request("DELETE", f"/v0/runs/{run['run_id']}", headers=headers)
        with connection.getresponse() as answer:
            assert (answer.status, answer.read() == b"") == (expected, expected == 204)
    connection.close()


ODD_IDS = [
    "x",
    "%00",
    "0" * 25 + "%00",
    "%FF%FE",
    "%F0%9F%A6%80" * 26,
    "U" * 26,
    "8" + "Z" * 25,
    "A" * 20_000,
    "%2e%2e%2fetc",
    "a%2Fb",
    "'--",
]


@pytest.mark.parametrize(
    "path", ["/v1/runs/{}", "/v0/runs/{}/actions", "/v1/events/{}", "/v1/events/{}/runs"]
)
def test_odd_ids_are_refused_and_the_server_goes_on(server: ServerProcess, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    for text in ODD_IDS:
        for bearer, expected in (("undefined", 401), (SIGNING_KEY, 400)):
            connection.request("GET", path.format(text), headers={"authorization": f"Bearer {bearer}"})
            with connection.getresponse() as answer:
                assert (answer.status, json.loads(answer.read())["status"]) == (expected, expected), text[:40]
                assert answer.headers["x-inngest-server-kind"] == "cloud"
    connection.close()
    assert server.api.is_healthy()
