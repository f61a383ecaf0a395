"""Virtual time: a month of real calls to a real app within seconds, and in the order of real time."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import ApiError, request
from tests.support.processes import Process, wait_for
from tests.support.scripted import Answer, App, done, ran, rows, slept, step_hash, wait_ended
from tests.support.server import COMMAND, ServerProcess

DAY_MS = 24 * 3_600_000
SCALED_DAY_MS = 100
DAYS = 30
FAILING_DAYS = (5, 12)
UPGRADE_DAY = 10


def waited(step: str, event: str, timeout: str) -> Answer:
    op = {"op": "WaitForEvent", "id": step_hash(step), "name": event, "displayName": step}
    return 206, [{**op, "opts": {"event": event, "timeout": timeout}}]


def failed(step: str) -> Answer:
    error = {"name": "Error", "message": "not today", "stack": ""}
    return 206, [{"op": "StepError", "id": step_hash(step), "name": step, "error": error}]


class Month:
    """A program of a month whose days may be shorter: three functions that meet in one event."""

    def __init__(self, make_app: Callable[..., App], server: ServerProcess, day_ms: int) -> None:
        self.day_ms = day_ms
        self._server = server
        self._tries = Counter[int]()
        self._lock = threading.Lock()
        app = make_app(onboarding=self.onboarding, reminder=self.reminder, nagger=self.nagger)
        app.register_at(server)

    def days(self, count: float) -> str:
        return f"{int(count * self.day_ms)}ms"

    def onboarding(self, memos: dict[str, Any]) -> Answer:
        """A mail a day; two of them fail at first, and one of them is an upgrade. Nobody confirms."""
        for day in range(DAYS):
            if step_hash(f"mail-{day}") not in memos:
                return self._mail(day)
            if step_hash(f"day-{day}") not in memos:
                return slept(f"day-{day}", self.days(1))
        if step_hash("confirmed") not in memos:
            return waited("confirmed", "test/confirmed", self.days(2))
        return 200, "done"

    def _mail(self, day: int) -> Answer:
        with self._lock:
            self._tries[day] += 1
            if day in FAILING_DAYS and self._tries[day] == 1:
                return failed(f"mail-{day}")
        if day == UPGRADE_DAY:
            self._server.api.send("test/upgraded", id="the-upgrade")
        return ran(f"mail-{day}", day)

    def reminder(self, memos: dict[str, Any]) -> Answer:
        if step_hash("upgrade") not in memos:
            return waited("upgrade", "test/upgraded", self.days(90))
        if step_hash("later") not in memos:
            return slept("later", self.days(1))
        return 200, "upgraded" if memos[step_hash("upgrade")] is not None else "never"

    def nagger(self, memos: dict[str, Any]) -> Answer:
        if step_hash("upgrade") not in memos:
            return waited("upgrade", "test/upgraded", self.days(4))
        return 200, "upgraded" if memos[step_hash("upgrade")] is not None else "not yet"

    def begin(self) -> list[str]:
        """Start all three; the ids of their events."""
        return self._server.api.send_all(
            [{"name": f"test/{name}"} for name in ("reminder", "nagger", "onboarding")]
        )


OUTCOMES = [("Completed", "upgraded"), ("Completed", "not yet"), ("Completed", "done")]


def journals(server: ServerProcess) -> dict[str, list[tuple[str, str]]]:
    """What happened to the run of each function, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    sql = (
        "SELECT r.event_name, j.kind, j.step_id FROM journal j JOIN runs r USING (run_id) "
        "ORDER BY r.event_name, j.n"
    )
    for name, kind, step_id in rows(server, sql):
        found.setdefault(name, []).append((kind, step_id))
    return found


def events(server: ServerProcess) -> list[str]:
    return [name for (name,) in rows(server, "SELECT name FROM events ORDER BY internal_id")]


def clock(server: ServerProcess, *words: str) -> dict[str, Any]:
    """`inngest clock` with these words, and what it printed as JSON.

    Raises:
        AssertionError: it failed.
    """
    log = server.database.parent / f"clock-{time.monotonic_ns()}.log"
    process = Process([COMMAND, "clock", *words, "--server", server.url, "--json"], log=log).start()
    wait_for(lambda: not process.is_running, "the clock answers", timeout_s=60)
    assert process.stop() == 0, process.log_text()
    return json.loads(process.log_text())


def moment_of(server: ServerProcess, event_id: str, column: str) -> int:
    ((at_ms,),) = rows(server, f"SELECT {column} FROM runs WHERE event_id = ?", event_id)
    return at_ms


def test_a_month_runs_through_in_seconds_in_the_order_of_real_time(
    make_app: Callable[..., App], tmp_path: Path
) -> None:
    flags = ("--retry-interval", "1", "--no-poll")
    with ServerProcess(tmp_path / "real", "dev", *flags) as server:
        ids = Month(make_app, server, SCALED_DAY_MS).begin()
        assert [wait_ended(server, event_id, timeout_s=60) for event_id in ids] == OUTCOMES
        real = journals(server), events(server)

    with ServerProcess(tmp_path / "virtual", "dev", "--clock", "virtual", *flags) as server:
        ids = Month(make_app, server, DAY_MS).begin()
        shown = clock(server, "until-idle", "60d")

        assert [wait_ended(server, event_id) for event_id in ids] == OUTCOMES
        assert (journals(server), events(server)) == real
        took_ms = moment_of(server, ids[2], "ended_at_ms") - moment_of(server, ids[2], "created_at_ms")
        assert (DAYS + 2) * DAY_MS <= took_ms <= (DAYS + 2) * DAY_MS + 10_000
        assert shown["last"]["ended"] == "idle"
        assert shown["quiet"]
        assert shown["next_timer"] is None


def test_time_that_was_moved_is_moved_after_a_crash_and_never_goes_back(
    make_app: Callable[..., App], tmp_path: Path
) -> None:
    server = ServerProcess(tmp_path, "dev", "--no-poll")
    with server:
        before = clock(server)
        moved = clock(server, "+40d")
        server.kill()
    server.start()
    with server:
        after = clock(server)

    assert before["offset_ms"] == 0
    assert moved["mode"] == after["mode"] == "real"
    # Time stood still while it was moved.
    assert 40 * DAY_MS - 20_000 < moved["offset_ms"] <= 40 * DAY_MS
    assert after["offset_ms"] == moved["offset_ms"]
    assert after["now"] > moved["now"]


def test_a_server_for_production_refuses_a_clock_and_a_database_whose_clock_was_moved(
    tmp_path: Path,
) -> None:
    with ServerProcess(tmp_path, "dev", "--no-poll") as server:
        clock(server, "+1d")
    log = tmp_path / "start.log"
    start = Process([COMMAND, "start", "--insecure", "--sqlite-dir", tmp_path], log=log).start()
    wait_for(lambda: not start.is_running, "the server ends by itself")
    assert start.stop() == 1
    assert "ahead, because it was moved in `inngest dev`" in start.log_text()

    with ServerProcess(tmp_path / "other", "start", "--insecure") as server:
        for method, body in (("GET", None), ("POST", {"advance": "1d"})):
            with pytest.raises(ApiError) as refused:
                server.api.call(method, "/api/ui/v1/clock", body)
            assert (refused.value.status, refused.value.body["code"]) == (404, "clock_is_real")

    refused = Process([COMMAND, "start", "--clock", "virtual"], log=tmp_path / "flag.log").start()
    wait_for(lambda: not refused.is_running, "the command ends")
    assert refused.stop() == 2
    assert "--clock is a flag of `inngest dev` only" in refused.log_text()


def test_a_second_move_is_refused_and_the_first_can_be_stopped(
    make_app: Callable[..., App], tmp_path: Path
) -> None:
    held, reached = threading.Event(), threading.Event()

    def slow(memos: dict[str, Any]) -> Answer:
        reached.set()
        held.wait(20)
        return done(memos)

    with ServerProcess(tmp_path, "dev", "--no-poll") as server:
        make_app(slow=slow).register_at(server)
        server.api.send("test/slow")
        reached.wait(20)

        def move(body: dict[str, Any]) -> tuple[int, Any]:
            status, _, raw = request("POST", f"{server.url}/api/ui/v1/clock", body)
            return status, json.loads(raw)

        assert move({"advance": "2d"})[0] == 202
        again = move({"mode": "paused"})
        stopped = move({"stop": True})
        wait_for(lambda: clock(server)["last"], "the move ends")
        held.set()

        assert (again[0], again[1]["code"]) == (409, "clock_moving")
        assert stopped[0] == 200
        shown = clock(server)
        assert shown["last"]["ended"] == "stopped"
        assert shown["offset_ms"] < DAY_MS
