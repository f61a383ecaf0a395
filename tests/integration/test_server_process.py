"""What a server process promises whoever runs it: durability, recovery, clear refusals, a clean end.

The disk is made slow or broken by a library that is loaded into the server: see `tests/support/shim.py`.
"""

import asyncio
import http.client
import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import request
from tests.support.processes import Process, free_port, wait_for
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
from tests.support.server import COMMAND, ServerProcess
from tests.support.shim import Shim

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SYNC_DELAY_MS = 300
OUTAGE_S = 1.2
STOP_S = 8.0
"""A stop takes no longer than this when what is under way ends within a second or two."""


# ---- a disk that is slow or broken --------------------------------------------------------------


def test_no_200_and_no_call_leaves_before_the_sync_of_its_transaction_returned(
    tmp_path: Path, make_shim: Callable[..., Shim], make_app: Callable[..., App]
) -> None:
    # SQLite shows a transaction to readers only after the sync of its log has returned.
    found_by_the_app: list[int] = []

    def look(memos: dict[str, Any]) -> Answer:
        run_id = app.here.call.run_id
        found_by_the_app.append(len(rows(server, "SELECT 1 FROM items WHERE run_id = ?", run_id)))
        return 200, "done"

    disk = make_shim(sync_delay_ms=SYNC_DELAY_MS)
    app = make_app(look=look)
    server = ServerProcess(tmp_path / "data", "dev", "--no-poll", env=disk.env)
    with server:
        app.register_at(server)

        def send(number: int) -> tuple[int, int]:
            time.sleep(number * 0.037)  # At different moments of the syncs of others.
            began_ns = time.monotonic_ns()
            server.api.send("test/look", {"number": number})
            return began_ns, time.monotonic_ns()

        with ThreadPoolExecutor(12) as threads:
            answered = list(threads.map(send, range(24)))
        wait_for(lambda: len(found_by_the_app) == 24, "all calls")
        syncs = disk.syncs()

    for began_ns, ended_ns in answered:
        assert any(sync.began_ns > began_ns and sync.ended_ns < ended_ns for sync in syncs)
    assert found_by_the_app == [1] * 24


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("sync EIO", "I/O error"),
        ("sync ENOSPC", "I/O error"),  # SQLite hides the reason of a failed sync.
        ("write ENOSPC", "disk is full"),
        ("write EIO", "I/O error"),
    ],
)
def test_a_failing_disk_stops_acknowledging_and_recovers_by_itself(
    tmp_path: Path, make_shim: Callable[..., Shim], make_app: Callable[..., App], what: str, told: str
) -> None:
    def slow(memos: dict[str, Any]) -> Answer:
        if step_hash("slow") in memos:
            return 200, "done"
        time.sleep(OUTAGE_S / 2)
        return ran("slow", 1)

    disk = make_shim()
    app = make_app(noop=done, slow=slow)
    with ServerProcess(tmp_path / "data", "dev", "--no-poll", env=disk.env) as server:
        app.register_at(server)
        accepted = [server.api.send("test/noop") for _ in range(5)]
        accepted += [server.api.send("test/slow")]
        wait_for(lambda: len(app.calls) == 6, "all apps are called")

        disk.fail(what)
        failed_at_s = time.monotonic()
        refused = [{"name": "test/noop", "data": {"number": number}} for number in range(3)]
        headers = [seed(number) for number in range(3)]
        for event, header in zip(refused, headers, strict=True):
            status, answered, body = request("POST", f"{server.url}/e/test", event, headers=header)
            assert status == 503, body
            assert int(answered["retry-after"]) >= 1
            assert json.loads(body)["status"] == 503
            assert json.loads(body)["ids"] == []
        while time.monotonic() < failed_at_s + OUTAGE_S:
            status, _, body = request("GET", f"{server.url}/health")
            assert status == 503, "it says to be well while the disk fails"
            assert told in json.loads(body)["message"], body
            time.sleep(0.02)
        assert server.is_running

        disk.heal()
        wait_for(server.api.is_healthy, "the server is healthy again", timeout_s=10)
        for event, header in zip(refused, headers, strict=True):
            status, _, body = request("POST", f"{server.url}/e/test", event, headers=header)
            assert status == 200, body
            accepted += json.loads(body)["ids"]
        for event_id in accepted:
            assert wait_ended(server, event_id) == ("Completed", "done")
        answered = [call for call in app.calls if call.function == "slow" and not call.memos]
        assert len(answered) == 1, "an answer that came while the disk failed was thrown away"
    assert told in server.log_text()
    assert "engine.recovered" in server.log_text()
    assert server.log_text().count("\n") < 60, "a failing disk fills the log"


def test_a_database_locked_by_another_process_stops_acknowledging_until_it_is_free(
    tmp_path: Path, make_app: Callable[..., App]
) -> None:
    app = make_app(noop=done)
    with ServerProcess(tmp_path / "data", "dev", "--no-poll") as server:
        app.register_at(server)
        accepted = [server.api.send("test/noop")]
        wait_ended(server, accepted[0])
        intruder = sqlite3.connect(server.database, isolation_level=None, timeout=5)
        intruder.execute("BEGIN EXCLUSIVE")

        event, header = {"name": "test/noop", "data": {}}, seed(1)
        status, answered, body = request("POST", f"{server.url}/e/test", event, headers=header)
        assert status == 503, body
        assert int(answered["retry-after"]) >= 1
        status, _, body = request("GET", f"{server.url}/health")
        assert status == 503
        assert "database is locked" in json.loads(body)["message"]

        intruder.execute("ROLLBACK")
        intruder.close()
        wait_for(server.api.is_healthy, "the server is healthy again", timeout_s=15)
        status, _, body = request("POST", f"{server.url}/e/test", event, headers=header)
        assert status == 200, body
        for event_id in [*accepted, *json.loads(body)["ids"]]:
            assert wait_ended(server, event_id) == ("Completed", "done")


def test_a_database_that_is_locked_at_the_start_is_said_in_one_sentence(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", "dev")
    with server:
        assert server.stop() == 0
    intruder = sqlite3.connect(server.database, isolation_level=None)
    intruder.execute("BEGIN EXCLUSIVE")
    options = ("--port", str(server.port), "--sqlite-dir", tmp_path / "data")
    code, said = run_to_its_end(tmp_path / "second.log", *options)
    intruder.close()
    assert code == 1
    assert "database is locked" in said
    assert "Traceback" not in said


# ---- starting -----------------------------------------------------------------------------------


def test_a_second_server_on_the_same_directory_says_who_holds_it(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "dev") as server:
        options = ("--port", str(free_port()), "--sqlite-dir", tmp_path / "data")
        code, said = run_to_its_end(tmp_path / "second.log", *options)

        assert code == 1
        assert f":{server.port} with process id {server.pid}" in said
        assert "--sqlite-dir" in said
        assert said.index("server.storage_failed") < said.index("server.stopped")
        assert "Traceback" not in said
        assert server.api.is_healthy()


def test_a_port_in_use_is_said_in_one_sentence(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "dev") as server:
        options = ("--port", str(server.port), "--sqlite-dir", tmp_path / "other")
        code, said = run_to_its_end(tmp_path / "second.log", *options)

        assert code == 1
        assert said.count("\n") == 1
        assert f"cannot listen on 127.0.0.1:{server.port}" in said
        assert "--port" in said
        assert not (tmp_path / "other").exists()


def test_of_two_servers_started_together_on_one_port_one_ends_with_a_sentence(tmp_path: Path) -> None:
    port = str(free_port())
    both = [
        Process(
            [COMMAND, "dev", "--port", port, "--sqlite-dir", tmp_path / name], log=tmp_path / f"{name}.log"
        )
        for name in ("one", "two")
    ]
    with both[0], both[1]:
        wait_for(lambda: not (both[0].is_running and both[1].is_running), "one of them ends")
        loser = both[0] if both[1].is_running else both[1]
        assert loser.stop() == 1
        assert "cannot listen" in loser.log_text()
        assert "Traceback" not in loser.log_text()


def test_in_memory_starts_empty_and_leaves_nothing(tmp_path: Path, make_app: Callable[..., App]) -> None:
    app = make_app(noop=done)
    server = ServerProcess(tmp_path / "data", "dev", "--in-memory", "--no-poll")
    with server:
        app.register_at(server)
        server.api.send("test/noop")
        wait_for(lambda: app.calls, "a call")
        assert len(server.api.call("GET", "/dev")["functions"]) == 1
        assert server.stop() == 0
        server.start()
        assert server.api.call("GET", "/dev")["functions"] == []
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["server.log"]


def test_an_app_that_cannot_be_reached_is_said_once_and_the_server_goes_on(tmp_path: Path) -> None:
    options = ("--sdk-url", "http://127.0.0.1:9/api/inngest", "--poll-interval", "1")
    with ServerProcess(tmp_path / "data", "dev", *options) as server:
        wait_for(lambda: "unreachable" in server.log_text(), "the log to say that the app is unreachable")
        server.api.send("test/anything")
        time.sleep(2.5)  # Two more polls, which say nothing new.
        (line,) = [line for line in server.log_text().splitlines() if "unreachable" in line]
        assert "connection refused" in line.lower()
        assert "localhost:9" in line
        assert server.api.is_healthy()


# ---- stopping -----------------------------------------------------------------------------------


def test_a_sleeping_run_wakes_after_a_restart(tmp_path: Path, make_app: Callable[..., App]) -> None:
    def nap(memos: dict[str, Any]) -> Answer:
        if step_hash("first") not in memos:
            return ran("first", "a")
        if step_hash("nap") not in memos:
            return slept("nap", "2s")
        return 200, memos[step_hash("first")]["data"]

    app = make_app(nap=nap)
    server = ServerProcess(tmp_path / "data", "dev", "--no-poll")
    with server:
        app.register_at(server)
        event_id = server.api.send("test/nap")
        wait_for(lambda: rows(server, "SELECT 1 FROM waits WHERE kind = 'sleep'"), "the run sleeps")
        began_s = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began_s < STOP_S
        calls_before = len(app.calls)

        server.start()
        assert wait_ended(server, event_id) == ("Completed", "a")
        assert [call.function for call in app.calls[calls_before:]] == ["nap"]
        ((woke_after_ms,),) = rows(
            server,
            "SELECT max(at_ms) FILTER (WHERE kind = 'memo') - min(at_ms) FILTER (WHERE kind = 'opened') "
            "FROM journal WHERE step_id = ?",
            step_hash("nap"),
        )
        assert 2000 <= woke_after_ms < 12_000


@pytest.mark.parametrize("delay_ms", [0, SYNC_DELAY_MS])
def test_sigterm_waits_for_the_answers_of_calls_and_records_them(
    tmp_path: Path, make_shim: Callable[..., Shim], make_app: Callable[..., App], delay_ms: int
) -> None:
    def slow(memos: dict[str, Any]) -> Answer:
        if step_hash("slow") in memos:
            return 200, memos[step_hash("slow")]["data"]
        # With a slow disk the later ones are answered while the answer of the first is being stored.
        time.sleep(1.2 + 0.1 * len(app.calls))
        return ran("slow", "kept")

    app = make_app(slow=slow)
    server = ServerProcess(tmp_path / "data", "dev", "--no-poll", env=make_shim(sync_delay_ms=delay_ms).env)
    with server:
        app.register_at(server)
        event_ids = server.api.send_all([{"name": "test/slow"}] * 3)
        wait_for(lambda: len(app.calls) == 3, "all calls are under way")
        began_s = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began_s < STOP_S
        memos = rows(server, "SELECT payload FROM journal WHERE kind = 'memo'")
        assert memos == [(b'{"data":"kept"}',)] * 3
        assert len(app.calls) == 3, "a call was started after SIGTERM"

        server.start()
        for event_id in event_ids:
            assert wait_ended(server, event_id) == ("Completed", "kept")
        executed = [call for call in app.calls if step_hash("slow") not in call.memos]
        assert len(executed) == 3


def test_a_second_signal_ends_the_server_without_waiting_for_a_hanging_app(
    tmp_path: Path, make_app: Callable[..., App]
) -> None:
    def hanging(memos: dict[str, Any]) -> Answer:
        time.sleep(30 if len(app.calls) == 1 else 0)
        return 200, "done"

    app = make_app(hanging=hanging)
    server = ServerProcess(tmp_path / "data", "dev", "--no-poll")
    with server:
        app.register_at(server)
        event_id = server.api.send("test/hanging")
        wait_for(lambda: app.calls, "the call is under way")
        os.kill(server.pid, signal.SIGINT)
        wait_for(lambda: "server.stopping" in server.log_text(), "it says what it waits for")
        began_s = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began_s < 2.0

        server.start()
        assert wait_ended(server, event_id) == ("Completed", "done")


def test_sigterm_ends_a_server_whose_runs_would_go_on_for_long(
    tmp_path: Path, make_app: Callable[..., App]
) -> None:
    def long(memos: dict[str, Any]) -> Answer:
        time.sleep(0.1)
        return ran(f"step {len(memos)}", len(memos)) if len(memos) < 100 else (200, len(memos))

    app = make_app(long=long)
    server = ServerProcess(tmp_path / "data", "dev", "--no-poll")
    with server:
        app.register_at(server)
        server.api.send("test/long")
        wait_for(lambda: len(app.calls) >= 3, "the run is under way")
        began_s = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began_s < 3.0
        server.start()
        at_restart = len(app.calls)
        wait_for(lambda: len(app.calls) > at_restart + 3, "the run goes on")
        steps = [len(call.memos) for call in app.calls]
        assert len(set(steps)) == len(steps), "a step was executed twice though nothing crashed"


# ---- nonsense -----------------------------------------------------------------------------------


def exchange(server: ServerProcess, sent: bytes, *, more: Callable[[], bytes] | None = None) -> int:
    """Send bytes as they are; the status of the answer, or 0 if the server only closed the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as connection:
        try:
            connection.sendall(sent)
            while more is not None and (part := more()):
                connection.sendall(part)
        except OSError:
            pass  # Closed by the server; what it said before may still be there.
        response = http.client.HTTPResponse(connection)
        try:
            response.begin()
        except (OSError, http.client.HTTPException):
            return 0
        return response.status


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


NONSENSE: dict[str, bytes] = {
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
    "an unknown method": b"BREW /e/test HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "GET where POST is wanted": b"GET /e/test HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "DELETE of everything": b"DELETE / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\n\r\n",
    "a path of bytes": b"GET /e/\xff\xfe%ff%zz%00 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "an event key of bytes": post("/e/%ff%fe", b"{}"),
    "a run id of nonsense": b"GET /v1/runs/%00%ff'; HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "an event id of nonsense": b"GET /v1/events/..%2f..%2fetc/runs HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "a limit of nonsense": b"GET /v1/events?limit=%F0&cursor=%00 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "a header of bytes": b"GET /health HTTP/1.1\r\nhost: localhost\r\nx-a: \xff\xfe\r\n\r\n",
    "an origin of nonsense": b"GET /dev HTTP/1.1\r\nhost: localhost\r\norigin: http://[::::\r\n\r\n",
    "an authorization of bytes": b"GET /dev HTTP/1.1\r\nhost: localhost\r\nauthorization: \xff\r\n\r\n",
    "a header of 1 MiB": b"GET /health HTTP/1.1\r\nhost: localhost\r\nx-a: " + b"a" * 2**20 + b"\r\n\r\n",
    "20,000 headers": b"GET /health HTTP/1.1\r\n" + b"x-a: a\r\n" * 20_000 + b"\r\n",
    "a negative length": b"POST /e/test HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\n",
    "two lengths": b"POST /e/test HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "a bad chunk": b"POST /e/test HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "no JSON": post("/e/test", b"{name: no}"),
    "half of JSON": post("/e/test", b'[{"name":"a"},{"na'),
    "bytes that are not UTF-8": post("/e/test", b'{"name":"\xff\xfe"}'),
    "a lone surrogate": post("/e/test", b'{"name":"a","data":{"x":"\\ud800"}}'),
    "a NUL in a name": post("/e/test", b'{"name":"a\\u0000b"}'),
    "NaN": post("/e/test", b'{"name":"a","data":{"x":NaN}}'),
    "a number of 100,000 digits": post("/e/test", b'{"name":"a","data":{"x":' + b"9" * 100_000 + b"}}"),
    "deep arrays": post("/e/test", b"[" * 200_000),
    "deep objects": post("/e/test", b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    "deep data": post("/e/test", b'{"name":"a","data":' + b'{"a":' * 2000 + b"1" + b"}" * 2001),
    "a text": post("/e/test", b'"hello"'),
    "null": post("/e/test", b"null"),
    "an array of nonsense": post("/e/test", b"[1,null,[],{}]"),
    "a registration that is none": post("/fn/register", b"[]"),
    "a registration of nonsense": post("/fn/register", b'{"appName":{},"url":7,"functions":{"a":[]}}'),
    "a registration of bytes": post("/fn/register", b"\xff" * 100),
    "a registration that is deep": post("/fn/register", b'{"functions":' * 50_000),
    "an invocation of nonsense": post("/invoke/%ff", b'{"data":[]}'),
    "a seed of nonsense": post("/e/test", b'{"name":"a"}', "x-inngest-event-id-seed: 99999999999999999,x"),
    "a body with a broken encoding": post("/e/test", b"\x1f\x8b\x00\x00nonsense", "content-encoding: gzip"),
}


@pytest.fixture(scope="module")
def robust_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("nonsense") / "data", "dev") as server:
        yield server


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_gets_an_answer_of_its_own_and_harms_nobody(robust_server: ServerProcess, what: str) -> None:
    said_before = len(robust_server.log_text())

    status = exchange(robust_server, NONSENSE[what])

    assert status < 500, robust_server.log_text()[said_before:]
    assert robust_server.api.is_healthy()
    assert '"error"' not in robust_server.log_text()[said_before:]


def test_a_body_of_70_mib_is_refused(robust_server: ServerProcess) -> None:
    parts = iter([b"a" * 2**20] * 70)
    head = post("/e/test", b"").replace(b"content-length: 0", b"content-length: %d" % (70 * 2**20))
    assert exchange(robust_server, head, more=lambda: next(parts, b"")) in (413, 0)
    assert robust_server.api.is_healthy()


def test_a_body_of_70_mib_without_a_length_is_refused(robust_server: ServerProcess) -> None:
    parts = iter([b"100000\r\n" + b"a" * 2**20 + b"\r\n"] * 70 + [b"0\r\n\r\n"])
    head = b"POST /e/test HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    assert exchange(robust_server, head, more=lambda: next(parts, b"")) in (413, 0)
    assert robust_server.api.is_healthy()


@pytest.mark.parametrize("part", [b"x-a: " + b"a" * 2**16 + b"\r\n", b"a" * 2**16], ids=["many", "one"])
def test_headers_that_do_not_end_are_refused_before_they_fill_the_memory(
    robust_server: ServerProcess, part: bytes
) -> None:
    parts = iter([part] * 1000)
    head = b"GET /health HTTP/1.1\r\nhost: localhost\r\nx-b: "
    began_s = time.monotonic()
    assert exchange(robust_server, head, more=lambda: next(parts, b"")) in (431, 0)
    assert time.monotonic() - began_s < 2.0
    assert next(parts, None) is not None, "all of it was read"
    assert robust_server.api.is_healthy()


async def test_clients_that_send_nothing_keep_nobody_out(robust_server: ServerProcess) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", robust_server.port) for _ in range(200)]
    for _, writer in idle[::2]:
        writer.write(b"POST /e/test HTTP/1.1\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()
    assert await asyncio.to_thread(robust_server.api.is_healthy)
    assert await asyncio.to_thread(robust_server.api.send, "test/anything")
    for _, writer in idle:
        writer.close()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
