"""A machine that fails under a running server: what its user sees, that nothing acknowledged is lost, and
that the server goes on by itself once the fault is gone.

Faults of single writes and syncs, and a locked database, are in `test_server_process.py`; bytes that changed
on the disk in `test_damage.py`; being killed under load in `test_sigkill.py`.
"""

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import ApiError, request
from tests.support.processes import Process, wait_for
from tests.support.scripted import (
    Answer,
    App,
    done,
    ran,
    rows,
    run_to_its_end,
    seed,
    slept,
    step_hash,
    wait_ended,
)
from tests.support.server import ServerProcess
from tests.support.shim import Shim

pytestmark = [pytest.mark.integration, pytest.mark.slow]

HOUR_MS = 3_600_000
LARGE = {"text": "x" * 200_000}


def post(server: ServerProcess, event: dict[str, Any], number: int) -> tuple[int, dict[str, str], Any]:
    """Status, headers and decoded body of a request that may be repeated."""
    status, headers, body = request("POST", f"{server.url}/e/test", event, headers=seed(number))
    return status, headers, json.loads(body)


def health(server: ServerProcess) -> tuple[int, str]:
    status, _, body = request("GET", f"{server.url}/health")
    return status, json.loads(body)["message"]


def refuses(server: ServerProcess) -> str:
    """Wait until the server says that it cannot work; why."""
    return wait_for(lambda: found[1] if (found := health(server))[0] == 503 else None, "it says to be unwell")


def recovers(server: ServerProcess) -> None:
    wait_for(server.api.is_healthy, "the server is healthy again", timeout_s=15)


def sleeper(duration: str) -> Callable[[dict[str, Any]], Answer]:
    """A function that sleeps once."""

    def function(memos: dict[str, Any]) -> Answer:
        return (200, "woke") if step_hash("nap") in memos else slept("nap", duration)

    return function


def is_asleep(server: ServerProcess) -> bool:
    return bool(rows(server, "SELECT 1 FROM waits WHERE kind = 'sleep'"))


# ---- the disk -----------------------------------------------------------------------------------


def test_a_full_disk_takes_a_part_of_a_write_and_nothing_of_an_event(
    tmp_path: Path, make_shim: Callable[..., Shim], make_app: Callable[..., App]
) -> None:
    disk = make_shim()
    app = make_app(noop=done, nap=sleeper("1s"))
    with ServerProcess(tmp_path / "data", "dev", "--no-poll", env=disk.env) as server:
        app.register_at(server)
        accepted = [server.api.send("test/noop"), server.api.send("test/nap")]
        wait_for(lambda: is_asleep(server), "a run sleeps")
        used = server.database.with_name("main.db-wal").stat().st_size

        disk.fail(f"size {used + 100_000}")
        status, headers, body = post(server, {"name": "test/noop", "data": LARGE}, 1)
        assert (status, body["ids"]) == (503, [])
        assert int(headers["retry-after"]) >= 1
        assert "disk is full" in body["error"]
        assert "disk is full" in server.log_text()
        time.sleep(1.0)  # The sleep is over while there is no room, or hardly any.
        assert server.is_running

        disk.heal()
        recovers(server)
        status, _, body = post(server, {"name": "test/noop", "data": LARGE}, 1)
        assert status == 200, body
        for event_id in [*accepted, *body["ids"]]:
            wait_ended(server, event_id)


@pytest.mark.parametrize(("what", "told"), [("open EROFS", "Read-only file system")])
def test_a_file_system_that_becomes_read_only_is_named_and_waited_for(
    tmp_path: Path, make_shim: Callable[..., Shim], make_app: Callable[..., App], what: str, told: str
) -> None:
    disk = make_shim()
    app = make_app(noop=done)
    with ServerProcess(tmp_path / "data", "dev", "--no-poll", env=disk.env) as server:
        app.register_at(server)
        accepted = server.api.send("test/noop")
        wait_ended(server, accepted)

        disk.fail(what)
        assert post(server, {"name": "test/noop", "data": {}}, 1)[0] == 503
        wait_for(lambda: told in health(server)[1], "the reason is told")
        assert told in server.log_text()

        disk.heal()
        recovers(server)
        status, _, body = post(server, {"name": "test/noop", "data": {}}, 1)
        assert status == 200
        wait_ended(server, body["ids"][0])
        assert server.api.run(rows(server, "SELECT run_id FROM runs")[0][0])["status"] == "Completed"


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("open EACCES", "Permission denied"),
        ("open EROFS", "Read-only file system"),
        ("read EIO", "I/O error"),
        ("sync EIO", "I/O error"),
    ],
)
def test_a_server_that_cannot_use_its_disk_does_not_start_and_says_why(
    tmp_path: Path, make_shim: Callable[..., Shim], what: str, told: str
) -> None:
    disk = make_shim()
    server = ServerProcess(tmp_path / "data", "dev", env=disk.env)
    with server:
        server.api.send("test/noop")
        assert server.stop() == 0
    disk.fail(what)
    options = ("--port", str(server.port), "--sqlite-dir", tmp_path / "data")
    code, said = run_to_its_end(tmp_path / "second.log", *options, env=disk.env)
    assert code == 1
    assert told in said
    assert "Traceback" not in said


def test_a_disk_that_cannot_be_read_is_not_taken_for_an_empty_one(
    tmp_path: Path, make_shim: Callable[..., Shim], make_app: Callable[..., App]
) -> None:
    disk = make_shim()
    app = make_app(nap=sleeper("1s"))
    with ServerProcess(tmp_path / "data", "dev", "--no-poll", env=disk.env) as server:
        app.register_at(server)
        event_id = server.api.send("test/nap", LARGE)
        wait_for(lambda: is_asleep(server), "the run sleeps")

        disk.fail("read EIO")
        with pytest.raises(ApiError) as refused:
            server.api.call("GET", f"/v1/events/{event_id}")
        assert refused.value.status == 503
        time.sleep(1.2)
        assert server.is_running

        disk.heal()
        recovers(server)
        assert wait_ended(server, event_id) == ("Completed", "woke")
        assert server.api.call("GET", f"/v1/events/{event_id}")["data"] == LARGE


# ---- the files ----------------------------------------------------------------------------------


def test_a_deleted_database_is_noticed_before_anything_more_is_acknowledged(
    tmp_path: Path, make_app: Callable[..., App]
) -> None:
    app = make_app(noop=done)
    with ServerProcess(tmp_path / "data", "dev", "--no-poll") as server:
        app.register_at(server)
        accepted = server.api.send("test/noop")
        wait_ended(server, accepted)
        kept = server.database.with_suffix(".kept")
        server.database.rename(kept)

        status, _, body = post(server, {"name": "test/noop", "data": {}}, 1)
        assert status == 503
        assert "deleted or replaced" in body["error"]
        wait_for(lambda: "put it back, or restart the server" in health(server)[1], "what to do is told")
        assert not server.database.exists(), "an empty database was put in its place"

        kept.rename(server.database)
        recovers(server)
        status, _, body = post(server, {"name": "test/noop", "data": {}}, 1)
        assert status == 200
        for event_id in [accepted, *body["ids"]]:
            wait_ended(server, event_id)


def test_a_database_that_was_replaced_is_not_mixed_with_what_is_in_memory(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "dev", "--no-poll") as server:
        server.api.send("test/first")
        backup = tmp_path / "backup.db"
        with contextlib.closing(sqlite3.connect(server.database)) as source:
            source.execute("VACUUM INTO ?", (str(backup),))
        backup.replace(server.database)

        assert post(server, {"name": "test/second", "data": {}}, 1)[0] == 503
        assert "deleted or replaced" in refuses(server)

        assert server.stop() == 0
        server.start()
        assert [event["name"] for event in server.api.call("GET", "/v1/events")] == ["test/first"]


def test_a_deleted_log_is_noticed_and_its_content_is_kept(
    tmp_path: Path, make_app: Callable[..., App]
) -> None:
    app = make_app(noop=done)
    with ServerProcess(tmp_path / "data", "dev", "--no-poll") as server:
        app.register_at(server)
        accepted = [server.api.send("test/noop") for _ in range(3)]
        server.database.with_name("main.db-wal").unlink()

        wait_for(lambda: post(server, {"name": "test/noop", "data": {}}, 1)[0] == 200, "it goes on")
        accepted += server.api.send_all([{"name": "test/noop"}])
        server.kill()
        server.start()
        for event_id in accepted:
            wait_ended(server, event_id)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda path: os.truncate(path, path.stat().st_size // 2), "damaged"),
        (lambda path: os.truncate(path, 50), "damaged"),
        (lambda path: set_version(path, 99), "schema version 99"),
    ],
    ids=["half of the file", "50 bytes of the file", "a newer version"],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(
    tmp_path: Path, spoil: Callable[[Path], None], told: str
) -> None:
    server = ServerProcess(tmp_path / "data", "dev", "--no-poll")
    with server:
        for _ in range(20):
            server.api.send("test/a", LARGE)
        assert server.stop() == 0
    spoil(server.database)
    code, said = run_to_its_end(
        tmp_path / "second.log", "--port", str(server.port), "--sqlite-dir", tmp_path / "data"
    )
    assert code == 1
    assert told in said
    assert "Traceback" not in said
    assert len(said.splitlines()[-1]) < 400


def set_version(path: Path, version: int) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


# ---- the clock ----------------------------------------------------------------------------------


def test_when_the_clock_jumps_forward_what_became_due_starts_at_once(
    tmp_path: Path, make_shim: Callable[..., Shim], make_app: Callable[..., App]
) -> None:
    machine = make_shim()
    app = make_app(nap=sleeper("2h"), long=sleeper("9h"))
    with ServerProcess(tmp_path / "data", "dev", "--no-poll", env=machine.env) as server:
        app.register_at(server, crons={"tick": "0 * * * *"})
        woken, asleep = server.api.send("test/nap"), server.api.send("test/long")
        wait_for(lambda: len(rows(server, "SELECT 1 FROM waits WHERE kind = 'sleep'")) == 2, "both sleep")

        machine.set_clock(6 * HOUR_MS)

        # Without traffic: only the jump itself can have woken the server.
        assert wait_ended(server, woken) == ("Completed", "woke")
        wait_for(lambda: rows(server, "SELECT 1 FROM runs WHERE cron IS NOT NULL"), "the cron fires")
        assert "clock.stepped" in server.log_text()
        assert len(rows(server, "SELECT 1 FROM runs WHERE ended_at_ms IS NULL")) == 1
        assert server.api.runs_of_event(asleep)[0]["status"] == "Running"
        assert server.api.is_healthy()


def test_when_the_clock_jumps_back_nothing_is_early_nothing_is_lost_and_it_is_said(
    tmp_path: Path, make_shim: Callable[..., Shim], make_app: Callable[..., App]
) -> None:
    machine = make_shim()
    app = make_app(noop=done, nap=sleeper("2s"))
    server = ServerProcess(tmp_path / "data", "dev", "--no-poll", env=machine.env)
    with server:
        app.register_at(server, crons={"tick": "0 * * * *"})
        before = server.api.send("test/nap")
        wait_for(lambda: is_asleep(server), "the run sleeps")

        machine.set_clock(-6 * HOUR_MS)

        wait_for(lambda: "clock.behind" in server.log_text(), "it is said", timeout_s=5)
        assert wait_ended(server, server.api.send("test/noop")) == ("Completed", "done")
        assert server.stop() == 0
        server.start()  # On a clock that is behind what is stored.
        after = server.api.send("test/nap")
        assert wait_ended(server, server.api.send("test/noop")) == ("Completed", "done")
        time.sleep(2.5)
        assert len(rows(server, "SELECT 1 FROM waits WHERE kind = 'sleep'")) == 2, "a timer was early"

        machine.set_clock(HOUR_MS)
        for event_id in (before, after):
            assert wait_ended(server, event_id) == ("Completed", "woke")
        wait_for(lambda: rows(server, "SELECT 1 FROM runs WHERE cron IS NOT NULL"), "the cron fires")


# ---- what the system grants ---------------------------------------------------------------------


@contextlib.contextmanager
def limited(pid: int, kind: int, limit: int) -> Iterator[None]:
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, kind, before)


def test_without_file_descriptors_calls_are_tried_again_and_nothing_is_lost(
    tmp_path: Path, make_app: Callable[..., App]
) -> None:
    app = make_app(noop=done)
    with ServerProcess(tmp_path / "data", "dev", "--no-poll", "--retry-interval", "1") as server:
        app.register_at(server)
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        client.request("GET", "/health")
        assert client.getresponse().read()
        open_now = len(os.listdir(f"/proc/{server.pid}/fd"))
        with limited(server.pid, resource.RLIMIT_NOFILE, open_now), contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(client))
            for _ in range(20):  # Who comes now gets no connection.
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.request("POST", "/e/test", json.dumps([{"name": "test/noop"}] * 5))
            answer = client.getresponse()
            assert answer.status == 200
            accepted: list[str] = json.loads(answer.read())["ids"]
            wait_for(lambda: '"code":"unreachable"' in server.log_text(), "a call fails")
            assert server.is_running
        recovers(server)
        for event_id in accepted:
            assert wait_ended(server, event_id) == ("Completed", "done")


def test_without_memory_for_a_request_others_are_served(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "dev", "--no-poll") as server:
        status = Path(f"/proc/{server.pid}/status").read_text()
        used = int(status.partition("VmSize:")[2].split()[0]) * 1024
        with limited(server.pid, resource.RLIMIT_AS, used + 24 * 2**20):
            with contextlib.suppress(OSError):
                refused, _, body = request("POST", f"{server.url}/e/test", {"name": "a", "data": "x" * 2**26})
                assert refused in (413, 500, 503), body
            assert server.is_running
            wait_for(server.api.is_healthy, "others are served")
            assert server.api.send("test/small")
        assert server.api.send("test/small")
        assert len(server.api.call("GET", "/v1/events")) == 2


# ---- being stopped ------------------------------------------------------------------------------


def test_a_server_that_was_frozen_goes_on(tmp_path: Path, make_app: Callable[..., App]) -> None:
    def slow(memos: dict[str, Any]) -> Answer:
        time.sleep(0.3)
        return (200, "done") if step_hash("a") in memos else ran("a", 1)

    app = make_app(slow=slow, nap=sleeper("1s"))
    with ServerProcess(tmp_path / "data", "dev", "--no-poll") as server:
        app.register_at(server)
        accepted = server.api.send_all([{"name": "test/slow"}] * 5 + [{"name": "test/nap"}])
        wait_for(lambda: is_asleep(server), "a run sleeps")
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with ThreadPoolExecutor(1) as threads:
                late = threads.submit(server.api.send, "test/slow")
                time.sleep(3.0)  # Longer than the sleep, the app's answers and the client's patience.
                os.kill(server.pid, signal.SIGCONT)
                accepted.append(late.result(10))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, signal.SIGCONT)
        for event_id in accepted:
            assert wait_ended(server, event_id)[0] == "Completed"
        assert max(app.calls.count(call) for call in app.calls) == 1, "a call was repeated without need"


def test_a_server_that_is_stopped_under_load_loses_nothing_that_it_acknowledged(
    tmp_path: Path, make_app: Callable[..., App]
) -> None:
    def slow(memos: dict[str, Any]) -> Answer:
        time.sleep(0.05)
        return (200, "done") if step_hash("a") in memos else ran("a", 1)

    app = make_app(slow=slow)
    server = ServerProcess(tmp_path / "data", "dev", "--no-poll")
    accepted: list[str] = []
    is_over = threading.Event()

    def send_for_ever() -> None:
        while not is_over.is_set():
            with contextlib.suppress(OSError, ApiError):
                accepted.extend(server.api.send_all([{"name": "test/slow"}] * 3))

    with server:
        app.register_at(server)
        with ThreadPoolExecutor(4) as threads:
            for _ in range(4):
                threads.submit(send_for_ever)
            for _ in range(2):
                sent = len(accepted)
                wait_for(lambda sent=sent: len(accepted) > sent + 60, "load")
                assert server.stop() == 0
                assert "storage.checked_after_unclean_stop" not in server.log_text()
                server.start()
            is_over.set()
        for event_id in accepted:
            assert wait_ended(server, event_id, timeout_s=60) == ("Completed", "done")
        steps = [call.run_id for call in app.calls if not call.memos]
        assert len(set(steps)) == len(steps), "a step was executed twice though the server stopped cleanly"


# ---- being killed where it hurts ----------------------------------------------------------------


def test_a_server_that_is_killed_while_it_makes_its_database_starts_the_next_time(
    tmp_path: Path, make_shim: Callable[..., Shim]
) -> None:
    machine = make_shim(write_delay_us=20_000)  # About a second for the first schema.
    for number in range(5):
        data = tmp_path / f"data{number}"
        killed = ServerProcess(data, "dev", "--no-poll", env=machine.env)
        Process.start(killed)
        wait_for(killed.database.exists, "the file is there", interval_s=0.001)
        time.sleep(number * 0.2)
        killed.kill()
        with ServerProcess(data, "dev", "--no-poll") as server:
            assert server.api.send("test/a")
            assert rows(server, "PRAGMA integrity_check") == [("ok",)]


def test_a_server_that_is_killed_while_it_prunes_forgets_whole_runs(
    tmp_path: Path, make_shim: Callable[..., Shim], make_app: Callable[..., App]
) -> None:
    machine = make_shim(write_delay_us=500)
    data, runs = tmp_path / "data", 400
    app = make_app(steps=lambda memos: (200, "done") if step_hash("a") in memos else ran("a", 1))
    with ServerProcess(data, "dev", "--no-poll") as server:
        app.register_at(server)
        server.api.send_all([{"name": "test/steps"}] * runs)
        ended = "SELECT count(*) FROM runs WHERE ended_at_ms IS NOT NULL"
        wait_for(lambda: rows(server, ended) == [(runs,)], "all runs end")
    machine.set_clock(3 * 24 * HOUR_MS)
    server = ServerProcess(data, "dev", "--no-poll", "--retention", "1d", env=machine.env)
    left: list[int] = []
    for number in range(6):
        Process.start(server)
        starts = server.log_text().count("server.storage")
        wait_for(lambda n=starts: server.log_text().count("server.storage") > n, "it is loaded")
        time.sleep(0.04 * number)
        server.kill()
        left += rows(server, "SELECT count(*) FROM runs")[0]
        halves = "SELECT count(*) FROM journal WHERE run_id NOT IN (SELECT run_id FROM runs)"
        assert rows(server, halves) == [(0,)]
    assert any(0 < count < runs for count in left), f"no kill came in the middle: {left}"
    with server.start():
        wait_for(lambda: rows(server, "SELECT count(*) FROM events") == [(0,)], "all is forgotten")
        assert rows(server, "SELECT count(*) FROM runs") == [(0,)]
        assert rows(server, "PRAGMA integrity_check") == [("ok",)]
