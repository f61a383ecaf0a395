"""A small client of the server's HTTP API: what a user of REST v1 would write."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.processes import wait_for

ENDED = frozenset({"Completed", "Failed", "Cancelled", "Skipped"})
TIMEOUT_S = 30.0
POLL_S = 0.05

JSON = Any
Event = dict[str, Any]


class ApiError(Exception):
    """The server answered with an error status."""

    def __init__(self, status: int, body: JSON, what: str) -> None:
        super().__init__(f"{what}: HTTP {status} {body}")
        self.status = status
        self.body = body


def request(
    method: str, url: str, body: JSON = None, *, headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers with lower-case names, and body, whatever the status is."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"content-type": "application/json", **(headers or {})}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data=data, method=method, headers=sent), timeout=TIMEOUT_S
        ) as response:
            return response.status, _lower(response.headers), response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _lower(error.headers), error.read()


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class Api:
    """One server, as its user sees it."""

    def __init__(self, url: str, *, signing_key: str | None = None, event_key: str = "test") -> None:
        self.url = url
        self._event_key = event_key
        self._headers = {} if signing_key is None else {"authorization": f"Bearer {signing_key}"}
        self._slugs: dict[str, str] = {}

    def call(self, method: str, path: str, body: JSON = None) -> JSON:
        """The decoded answer; `data` of it where it has the envelope of REST v1.

        Raises:
            ApiError: the status is not 2xx.
        """
        status, _, raw = request(method, self.url + path, body, headers=self._headers)
        try:
            answer = json.loads(raw) if raw.strip() else None
        except ValueError:
            answer = raw.decode(errors="replace")
        if not 200 <= status < 300:
            raise ApiError(status, answer, f"{method} {path}")
        return answer["data"] if isinstance(answer, dict) and "metadata" in answer else answer

    def is_healthy(self) -> bool:
        try:
            self.call("GET", "/health")
        except (OSError, ApiError):
            return False
        return True

    # Events.

    def send(self, name: str, data: JSON = None, **fields: Any) -> str:
        """Send one event; its internal id."""
        return self.send_all([{"name": name, "data": data or {}, **fields}])[0]

    def send_all(self, events: Sequence[Event]) -> list[str]:
        return self.call("POST", f"/e/{self._event_key}", list(events))["ids"]

    # Runs.

    def run(self, run_id: str) -> dict[str, Any]:
        return self.call("GET", f"/v1/runs/{run_id}")

    def find_run(self, run_id: str) -> dict[str, Any] | None:
        try:
            return self.run(run_id)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def runs_of_event(self, event_id: str) -> list[dict[str, Any]]:
        return self.call("GET", f"/v1/events/{event_id}/runs")

    def cancel(self, run_id: str) -> None:
        self.call("DELETE", f"/v1/runs/{run_id}")

    def signal(self, name: str, data: JSON = None) -> str | None:
        """Send a signal; the run that got it, or None when nobody waits for it."""
        try:
            return self.call("POST", "/v1/signals", {"signal": name, "data": data})["run_id"]
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def wait_ended(self, run_id: str, *, timeout_s: float = 30.0) -> dict[str, Any]:
        """The run once it has ended."""

        def ended() -> dict[str, Any] | None:
            run = self.find_run(run_id)
            return run if run is not None and run["status"] in ENDED else None

        return wait_for(ended, f"the end of run {run_id}", timeout_s=timeout_s, interval_s=POLL_S)

    def wait_runs(self, event_id: str, *, count: int = 1, timeout_s: float = 30.0) -> list[dict[str, Any]]:
        """The runs of an event once there are so many of them and all have ended."""
        deadline_s = time.monotonic() + timeout_s
        runs = wait_for(
            lambda: found if len(found := self.runs_of_event(event_id)) >= count else None,
            f"{count} runs of event {event_id}",
            timeout_s=timeout_s,
            interval_s=POLL_S,
        )
        return [
            self.wait_ended(run["run_id"], timeout_s=max(1.0, deadline_s - time.monotonic())) for run in runs
        ]

    # Apps.

    def functions(self, app: str) -> dict[str, str]:
        """Composite id to internal id of the functions of an app."""
        return {
            function["id"]: function["internal_id"]
            for function in self.call("GET", f"/v1/apps/{app}/functions")
        }
