"""GraphQL of a real server process: the operations of the reference interface, one after the other."""

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import wait_for
from tests.support.server import ServerProcess
from tests.unit.api.graphql.operations import EVER, OPERATIONS, RUNS

pytestmark = [pytest.mark.integration]

CHARGE, WAIT = "a" * 40, "b" * 40


class App:
    """One function: a step, a wait for `shop/paid`, and the end. It announces itself when it is asked to."""

    def __init__(self) -> None:
        app = self
        self.server_url = ""

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._take()
                host, _, port = app.server_url.removeprefix("http://").partition(":")
                connection = http.client.HTTPConnection(host, int(port), timeout=30)
                headers = {"content-type": "application/json"}
                connection.request("POST", "/fn/register", json.dumps(app.registration()), headers)
                status = connection.getresponse().status
                connection.close()
                self._answer(200 if status == 200 else 500, {"message": "Successfully registered"})

            def do_POST(self) -> None:
                self._answer(*app.answer(self._take()))

            def _take(self) -> dict[str, Any]:
                return json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")

            def _answer(self, status: int, answer: Any) -> None:
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
        self.url = f"http://localhost:{self.http.server_port}/api/inngest"

    def answer(self, request: dict[str, Any]) -> tuple[int, Any]:
        if WAIT in request["steps"]:
            return 200, {"z": 1, "a": 2}
        if CHARGE in request["steps"]:
            options = {"event": "shop/paid", "timeout": "1h"}
            return 206, [{"op": "WaitForEvent", "id": WAIT, "displayName": "paid", "opts": options}]
        return 206, [{"op": "StepRun", "id": CHARGE, "displayName": "charge", "data": {"id": "ch-1"}}]

    def registration(self) -> dict[str, Any]:
        runtime = {"type": "http", "url": f"{self.url}?fnId=shop-order&stepId=step"}
        order = {
            "id": "shop-order",
            "name": "Order",
            "triggers": [{"event": "shop/order"}],
            "steps": {"step": {"id": "step", "name": "step", "runtime": runtime}},
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


def test_an_app_is_added_and_its_runs_are_followed_and_changed(tmp_path: Path, app: App) -> None:
    with ServerProcess(tmp_path, "dev", "--no-poll") as server:
        app.server_url = server.url

        def ask(operation: str, **variables: Any) -> Any:
            body = {"query": OPERATIONS[operation], "operationName": operation, "variables": variables}
            answer = server.api.call("POST", "/v0/gql", body)
            assert "errors" not in answer, answer
            return answer["data"]

        def runs(**variables: Any) -> list[dict[str, Any]]:
            edges = ask("GetRuns", **{**RUNS, **variables})["runs"]["edges"]
            return [edge["node"] for edge in edges]

        # The app.
        assert ask("CreateApp", input={"url": app.url.removeprefix("http://")})["createApp"]["url"] == app.url
        [shown] = wait_for(
            lambda: [one for one in ask("GetApps")["apps"] if one["connected"]] or None,
            "the app to announce itself",
        )
        assert (shown["name"], shown["functionCount"], shown["error"]) == ("shop", 1, None)
        assert ask("GetFunctions")["functions"][0]["slug"] == "shop-order"
        assert ask("GetFunction", functionSlug="shop-order")["functionBySlug"]["app"]["name"] == "shop"

        # A run that waits.
        event_id = server.api.send("shop/order", {"total": 7}, id="order-1")
        [run] = runs()
        spans = wait_for(
            lambda: (
                [
                    span
                    for span in ask("GetRun", runID=run["id"])["run"]["trace"]["childrenSpans"]
                    if span["status"] == "WAITING"
                ]
                or None
            ),
            "the run to wait",
        )
        assert spans[0]["stepInfo"]["eventName"] == "shop/paid"
        assert (run["endedAt"], ask("CountRuns", **RUNS)["runs"]["totalCount"]) == (None, 1)

        # Its end.
        server.api.send("shop/paid", {"by": "card"})
        wait_for(lambda: runs(status=["COMPLETED"]) or None, "the run to end")
        root = ask("GetRunTrace", runID=run["id"])["runTrace"]
        assert [span["name"] for span in root["childrenSpans"]] == ["charge", "paid", "Finalization"]
        result = ask("GetTraceResult", traceID=root["outputID"])["runTraceSpanOutputByID"]
        assert result == {"input": None, "data": '{"z":1,"a":2}', "error": None}
        charge = ask("GetTraceResult", traceID=root["childrenSpans"][0]["outputID"])
        assert charge["runTraceSpanOutputByID"]["data"] == '{"id":"ch-1"}'
        assert ask("GetTrigger", runID=run["id"])["runTrigger"]["IDs"] == [event_id]

        # Its event.
        events = ask("GetEventsV2", startTime=EVER)["eventsV2"]
        assert [edge["node"]["name"] for edge in events["edges"]] == ["shop/paid", "shop/order"]
        assert json.loads(ask("GetEventV2Payload", eventID=event_id)["eventV2"]["raw"])["data"] == {
            "total": 7
        }
        assert ask("GetEventV2Runs", eventID=event_id)["eventV2"]["runs"][0]["id"] == run["id"]

        # Search.
        assert [one["id"] for one in runs(celQuery="event.data.total == 7\noutput.z == 1")] == [run["id"]]
        assert runs(celQuery="event.data.total > 7") == []

        # Once more, cancelled, and invoked.
        again = ask("Rerun", runID=run["id"])["rerun"]
        assert ask("CancelRun", runID=again)["cancelRun"] == {"id": again}
        assert ask("InvokeFunction", functionSlug="shop-order", data={"total": 8})["invokeFunction"] is True
        by_id = {one["id"]: one["status"] for one in runs()}
        assert (len(by_id), by_id[again], by_id[run["id"]]) == (3, "CANCELLED", "COMPLETED")

        # After a restart everything is as it was.
        server.stop()
        server.start()
        assert ask("GetRunTrace", runID=run["id"])["runTrace"] == root
        assert ask("DeleteApp", id=shown["id"])["deleteApp"] == shown["id"]
        assert ask("GetApps")["apps"] == []


def test_no_ui_turns_graphql_off(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "dev", "--no-ui") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("POST", "/v0/gql", b'{"query":"{ apps { name } }"}')
        answer = connection.getresponse()

        assert answer.status == 404
        assert json.loads(answer.read())["code"] == "graphql_off"
        connection.close()
