"""An app whose functions are plain Python, for tests of the server process; and reading the server's disk."""

import base64
import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.support.api import request
from tests.support.processes import Process, wait_for
from tests.support.server import COMMAND, ServerProcess


class Called(NamedTuple):
    """A call that the app received."""

    function: str
    run_id: str
    step: str
    memos: dict[str, Any]


Answer = tuple[int, Any]


def step_hash(step: str) -> str:
    return sha1(step.encode()).hexdigest()


def ran(step: str, data: object) -> Answer:
    return 206, [{"op": "StepRun", "id": step_hash(step), "name": step, "data": data}]


def slept(step: str, duration: str) -> Answer:
    return 206, [{"op": "Sleep", "id": step_hash(step), "name": duration, "opts": {"duration": duration}}]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    """Or a burst of calls would be refused, and tried again much later."""


class App:
    """An app whose functions are plain Python: the memos in, the answer out."""

    def __init__(self, **functions: Callable[[dict[str, Any]], Answer]) -> None:
        self.name = "scripted"
        self.functions = functions
        self.calls: list[Called] = []
        self.here = threading.local()
        """`here.call` is the call that this thread answers."""
        app = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                call = json.loads(self.rfile.read(int(self.headers["content-length"])))
                fields = parse_qs(urlsplit(self.path).query)
                function = fields["fnId"][0].removeprefix(f"{app.name}-")
                app.here.call = Called(function, call["ctx"]["run_id"], fields["stepId"][0], call["steps"])
                app.calls.append(app.here.call)
                self._answer(*app.functions[function](call["steps"]))

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self._answer(200, {"message": "ok", "modified": True})

            def _answer(self, status: int, value: object) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.send_header("x-inngest-sdk", "scripted:v1")
                self.send_header("x-inngest-req-version", "2")
                with contextlib.suppress(ConnectionError):  # The server may be gone.
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/api/inngest"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def register_at(self, server: ServerProcess, *, crons: Mapping[str, str] | None = None) -> None:
        """Announce the functions, each on the event of its name; and `crons`, which do nothing."""
        schedules = dict(crons or {})
        self.functions.update(dict.fromkeys(schedules, done))

        def config(name: str) -> dict[str, Any]:
            runtime = {"type": "http", "url": f"{self.url}?fnId={self.name}-{name}&stepId=step"}
            step = {"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": 2}}
            return {
                "id": f"{self.name}-{name}",
                "name": name,
                "triggers": [{"cron": schedules[name]} if name in schedules else {"event": f"test/{name}"}],
                "steps": {"step": step},
            }

        registration = {
            "url": self.url,
            "deployType": "ping",
            "framework": "none",
            "appName": self.name,
            "sdk": "scripted:v1",
            "v": "0.1",
            "functions": [config(name) for name in self.functions],
        }
        status, _, body = request("POST", f"{server.url}/fn/register", registration)
        assert status == 200, body


def done(memos: dict[str, Any]) -> Answer:
    """A function without steps."""
    return 200, "done"


def rows(server: ServerProcess, sql: str, *values: object) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{server.database}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


def wait_ended(server: ServerProcess, event_id: str, timeout_s: float = 20.0) -> tuple[str, Any]:
    """Status and output of the event's only run, once it has ended."""

    def ended() -> tuple[str, Any] | None:
        found = rows(server, "SELECT status, output, ended_at_ms FROM runs WHERE event_id = ?", event_id)
        assert len(found) <= 1
        return (found[0][0], json.loads(found[0][1])) if found and found[0][2] is not None else None

    return wait_for(ended, f"the end of the run of {event_id}", timeout_s=timeout_s)


def seed(number: int) -> dict[str, str]:
    """The header with which a client can repeat a request."""
    entropy = base64.b64encode(number.to_bytes(10, "big")).decode()
    return {"x-inngest-event-id-seed": f"{time.time_ns() // 1_000_000},{entropy}"}


def run_to_its_end(log: Path, *options: str | Path, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Exit code and output of a server that is expected to refuse."""
    process = Process([COMMAND, "dev", *options], log=log, env=env).start()
    wait_for(lambda: not process.is_running, "the server ends by itself")
    return process.stop(), process.log_text()
