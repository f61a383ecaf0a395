"""Kills a server under load, again and again, and audits what is left when all its runs have ended.

    .venv/bin/python -m tests.integration.crash_loop --kills 200

A client sends events as SDKs do: each request with an id seed or with event ids, and again until it is
answered with 200; now and then once more after that, as if the answer had been lost. The server is killed
with SIGKILL at random moments with many calls in flight, now and then while it is still starting or already
stopping, and is started again on the same directory. Its runs have steps one after the other, in parallel and
in checkpoints, sleep, wait for events, invoke each other, are cancelled by events and started by a cron;
their functions have every rule of flow control. Meanwhile one function is paused and resumed, and runs of
another one are cancelled in bulk. `audit.py` compares the records. Its exit code is 1 when they differ, and
the directory with all of them is kept.
"""

import argparse
import asyncio
import base64
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import orjson

from tests.integration.audit import Acknowledged, Findings, audit, connect
from tests.integration.flow_audit import CLOCK_MS, Asked, Pause
from tests.integration.sigkill_app import (
    APP_ID,
    APPROVED,
    CANCELLED,
    NUMBERS_PER_ORDER,
    RETURNING,
    SENT,
    SERVE_PATH,
)
from tests.support.processes import REPOSITORY, Process, free_port
from tests.support.server import ServerProcess
from tests.support.shim import compile_shim

START_TIMEOUT_S = 30.0
SETTLE_TIMEOUT_S = 60.0
PROBLEMS_SHOWN = 20
POLL_S = 0.02

SENDERS = 8
EVENTS_PER_POST_MAX = 20
UNFINISHED_MAX = 400
"""Events whose run has not returned, so that the load fits the machine; many have a call in flight."""
ANSWER_DELAY_MS = 100
RESEND_DELAY_S = 0.05
SENT_TWICE = 0.05
WITH_IDS = 0.25
APPROVED_SHARE = 0.7
"""Of the runs that wait; the others wait in vain."""
OLDER_MS = 400
"""By how much at most an event that is debounced is older than its request: some come out of order."""
SPARED_MS = 1_000
"""Age of the youngest runs, at most, that a bulk cancellation does not mean."""
PAUSED_S = (0.2, 0.8)
ACTIVE_S = (0.3, 1.2)
PAUSED_WITH_CANCEL = 0.3
KILLED_WHILE_STARTING = 0.1
KILLED_WHILE_STOPPING = 0.15
WRITE_DELAY_US = 300
"""For each page that the server writes: most kills then come in the middle of a transaction."""
LOAD_S = (0.3, 1.8)
"""Between the first call after a start and the kill."""


RULES_MET = (
    *("batches_of_several", "debounced_away", "throttled", "dropped_rated", "dropped_ordered"),
    *("skipped_for_singleton", "replaced", "overtaken", "timed_out", "skipped_for_pause"),
    *("cancelled_for_pause", "cancelled_by_jobs", "heavy_full", "limited_full", "shared_full"),
)
"""Figures of the audit: events, runs, pairs of runs or calls for which a rule made a difference, and of
limits how often they were seen full."""


class CrashLoopError(Exception):
    """The loop cannot go on; the message says which part failed and where its log is."""


@dataclass(slots=True)
class Post:
    """A request of the client: the same each time that it is sent."""

    body: bytes
    headers: dict[str, str]
    events: list[dict[str, Any]]


class Client:
    """Sends events from several places at once, each request until it is acknowledged."""

    def __init__(self, url: str, chance: random.Random, progress: "Progress") -> None:
        self.acknowledged: list[Acknowledged] = []
        self.events_sent = 0
        self.runs_expected = 0
        """Runs whose end the app will report: those that no rule is against."""
        self.resends = 0
        self.repeats = 0
        self.unexpected: list[str] = []
        self._url = url
        self._chance = chance
        self._progress = progress

    async def send_until(self, stop: asyncio.Event) -> None:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(self._send_posts(session, stop))

    async def _send_posts(self, session: aiohttp.ClientSession, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if self.runs_expected - self._progress.ended >= UNFINISHED_MAX:
                await asyncio.sleep(POLL_S)
                continue
            post = self._make_post()
            ids = await self._send(session, post)
            if follow_ups := self._follow_ups(post):
                await self._send(session, self._post_of(follow_ups))
            if self._chance.random() < SENT_TWICE:
                self.repeats += 1
                again = await self._deliver(session, post)
                if "x-inngest-event-id-seed" in post.headers and again != ids:
                    self.unexpected.append(f"a repeated request was answered with {again}, before with {ids}")

    async def _send(self, session: aiohttp.ClientSession, post: Post) -> list[str]:
        """Deliver a request and note what was acknowledged; the internal ids."""
        self.events_sent += len(post.events)
        ids = await self._deliver(session, post)
        for event, internal_id in zip(post.events, ids, strict=True):
            event_id = event.get("id", internal_id)
            number = event["data"]["number"]
            self.acknowledged.append(Acknowledged(internal_id, event_id, event["name"], number))
        return ids

    def _make_post(self) -> Post:
        count = self._chance.randint(1, EVENTS_PER_POST_MAX)
        functions = [self._chance.choice(SENT) for _ in range(count)]
        events = [self._make_event(function, self.events_sent + n) for n, function in enumerate(functions)]
        self.runs_expected += sum(function in RETURNING for function in functions)
        return self._post_of(events)

    def _make_event(self, function: str, number: int) -> dict[str, Any]:
        data = {"number": number, "order": number // NUMBERS_PER_ORDER}
        event: dict[str, Any] = {"name": f"{APP_ID}/{function}", "data": data}
        if function == "debounced":
            event["ts"] = epoch_ms() - self._chance.randint(0, OLDER_MS)
        return event

    def _follow_ups(self, post: Post) -> list[dict[str, Any]]:
        """What runs wait for, and what cancels them: sent once the events that start them are taken."""
        found: list[dict[str, Any]] = []
        for event in post.events:
            if event["name"] == f"{APP_ID}/cancelled":
                found.append({"name": CANCELLED, "data": dict(event["data"])})
            elif event["name"] == f"{APP_ID}/waiting" and self._chance.random() < APPROVED_SHARE:
                found.append({"name": APPROVED, "data": dict(event["data"])})
        return found

    def _post_of(self, events: list[dict[str, Any]]) -> Post:
        headers = {"content-type": "application/json"}
        if self._chance.random() < WITH_IDS:
            for event in events:
                event["id"] = f"{event['name']}-{event['data']['number']}"
        else:
            seed = base64.b64encode(self._chance.randbytes(10)).decode()
            headers["x-inngest-event-id-seed"] = f"{time.time_ns() // 1_000_000},{seed}"
        return Post(orjson.dumps(events), headers, events)

    async def _deliver(self, session: aiohttp.ClientSession, post: Post) -> list[str]:
        while True:
            try:
                async with session.post(
                    f"{self._url}/e/test", data=post.body, headers=post.headers
                ) as response:
                    answer = await response.read()
                    if response.status == 200:
                        return orjson.loads(answer)["ids"]
                    if response.status != 503:
                        self.unexpected.append(
                            f"an event was answered with {response.status}: {answer[:200]!r}"
                        )
            except (aiohttp.ClientError, OSError):
                pass  # Killed or not listening yet; what an SDK does then is to send again.
            self.resends += 1
            await asyncio.sleep(RESEND_DELAY_S)


class Operator:
    """Pauses and resumes a function, and cancels runs of another one in bulk; asks until it is answered."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self.asked = Asked()
        self.unexpected: list[str] = []
        self._url = url
        self._chance = chance

    async def work_until(self, stop: asyncio.Event) -> None:
        async with aiohttp.ClientSession() as session:
            while not stop.is_set():
                await self._pause(session)
                await self._cancel(session, epoch_ms() - self._chance.randint(0, SPARED_MS))
                await asyncio.sleep(self._chance.uniform(*ACTIVE_S))

    async def cancel_rest(self) -> None:
        """All runs that are there."""
        async with aiohttp.ClientSession() as session:
            await self._cancel(session, epoch_ms() + CLOCK_MS)

    async def _pause(self, session: aiohttp.ClientSession) -> None:
        cancels = self._chance.random() < PAUSED_WITH_CANCEL
        path = f"/api/ui/v1/functions/{APP_ID}-pausable"
        asked_ms = epoch_ms()
        await self._ask(session, f"{path}/pause", {"in_flight": "cancel" if cancels else "hold"})
        paused_ms = epoch_ms()
        await asyncio.sleep(self._chance.uniform(*PAUSED_S))
        resume_asked_ms = epoch_ms()
        await self._ask(session, f"{path}/resume", {})
        self.asked.pauses.append(Pause(asked_ms, paused_ms, resume_asked_ms, epoch_ms(), cancels))

    async def _cancel(self, session: aiohttp.ClientSession, before_ms: int) -> None:
        name = f"cancellation {len(self.asked.cancellations)}"
        before = datetime.fromtimestamp(before_ms / 1000, UTC).isoformat(timespec="milliseconds")
        body = {"app_id": APP_ID, "function_id": "doomed", "started_before": before, "name": name}
        await self._ask(session, "/v1/cancellations", body)
        self.asked.cancellations[name] = before_ms

    async def _ask(self, session: aiohttp.ClientSession, path: str, body: dict[str, str]) -> None:
        while True:
            try:
                async with session.post(self._url + path, json=body) as response:
                    answer = await response.read()
                    if response.status == 200:
                        return
                    # 409: what a pause cancels is not cancelled yet.
                    if response.status not in (409, 503):
                        self.unexpected.append(
                            f"{path} was answered with {response.status}: {answer[:200]!r}"
                        )
            except (aiohttp.ClientError, OSError):
                pass
            await asyncio.sleep(RESEND_DELAY_S)


class Progress:
    """Follows the witness file."""

    def __init__(self, witness: Path) -> None:
        self._witness = witness
        self._offset = 0
        self._ended: set[str] = set()
        self.last_at_ns = 0

    @property
    def ended(self) -> int:
        """Runs of which the app has reported that they return."""
        return len(self._ended)

    def read(self) -> list[dict[str, Any]]:
        """The lines since the last time."""
        if not self._witness.exists():
            return []
        with self._witness.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        self._offset += len(text)
        lines = [orjson.loads(line) for line in text.splitlines()]
        for line in lines:
            self.last_at_ns = line["at_ns"]
            if line["op"] == "End" and line["function"] in RETURNING:
                self._ended.add(line["run_id"])
        return lines

    async def follow(self) -> None:
        while True:
            self.read()
            await asyncio.sleep(POLL_S)


@dataclass(slots=True)
class Result:
    """What happened, for people and for the test."""

    findings: Findings
    kills: int = 0
    acknowledged: int = 0
    resends: int = 0
    repeats: int = 0
    in_flight: list[int] = field(default_factory=list)
    """Calls without an answer, at each kill."""
    first_call_s: list[float] = field(default_factory=list)
    """From each start of the server's process to its first call."""
    settled_s: float = 0.0
    elapsed_s: float = 0.0
    pauses: int = 0
    cancellations: int = 0

    def __str__(self) -> str:
        figures = self.findings.figures
        retried = {name: count for name, count in figures.items() if name.startswith("failed_tries")}
        in_flight, first_call_s = self.in_flight or [0], self.first_call_s or [0.0]
        return "\n".join(
            (
                f"{self.kills} kills in {self.elapsed_s:.1f} s, settled after {self.settled_s:.1f} s",
                f"events: {figures['events']} stored, {self.acknowledged} acknowledged; "
                f"requests sent again: {self.resends} until acknowledged, {self.repeats} after that",
                f"runs: {figures['runs']}; calls: {figures['calls']}; steps executed more than once: "
                f"{figures['steps_executed_again']}; tries that the app lost: {retried or 'none'}",
                f"calls in flight at a kill: median {median(in_flight):.0f}, most {max(in_flight)}",
                f"from start of the process to first call: median {median(first_call_s):.2f} s, "
                f"longest {max(first_call_s):.2f} s",
                f"pauses: {self.pauses}, bulk cancellations: {self.cancellations}; rules that were met: "
                + ", ".join(f"{name} {figures[name]}" for name in RULES_MET),
                f"problems: {self.findings.problem_count}",
                *(f"  {problem}" for problem in self.findings.problems[:PROBLEMS_SHOWN]),
            )
        )


class CrashLoop:
    """One server on one directory, an app and a client, and whoever kills the server."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.witness = directory / "witness.jsonl"
        self.result = Result(Findings())
        self._chance = random.Random(seed)
        self._data = directory / "data"
        app_port = free_port()
        self._app_url = f"http://127.0.0.1:{app_port}{SERVE_PATH}"
        options = ("--sdk-url", self._app_url, "--retry-interval", "1")
        shim = compile_shim(directory)
        slow = {"LD_PRELOAD": str(shim), "SHIM_WRITE_DELAY_US": str(WRITE_DELAY_US)} if shim else {}
        self._server = ServerProcess(self._data, "dev", *options, env=slow)
        self._started_at_ns = 0
        self._app = Process(
            [sys.executable, "-m", "tests.integration.sigkill_app"],
            log=directory / "app.log",
            cwd=REPOSITORY,
            env={
                "PORT": str(app_port),
                "SERVER_URL": self._server.url,
                "SIGKILL_LOG": str(self.witness),
                "ANSWER_DELAY_MS": str(ANSWER_DELAY_MS),
            },
        )
        self._progress = Progress(self.witness)
        self._client = Client(self._server.url, random.Random(seed + 1), self._progress)
        self._operator = Operator(self._server.url, random.Random(seed + 2))

    @property
    def acknowledged(self) -> list[Acknowledged]:
        return self._client.acknowledged

    @property
    def asked(self) -> Asked:
        return self._operator.asked

    async def run(self, kills: int, *, last_load_s: float = LOAD_S[0]) -> Result:
        """Kill so many times, go on for `last_load_s`, settle, stop and audit."""
        began_s = time.monotonic()
        try:
            self._app.start()
            self._start()
            await self._register()
            await self._kill_under_load(kills, last_load_s)
            await self._operator.cancel_rest()
            await self._register("?without=scheduled")  # Or there would always be an unfinished run.
            await self._settle()
            if (code := self._server.stop()) != 0:
                raise CrashLoopError(f"the server ended with {code} after SIGTERM; see {self._server.log}")
        finally:
            for process in (self._server, self._app):
                if process.is_running:
                    process.kill()
        await asyncio.to_thread(self._audit)
        self.result.elapsed_s = time.monotonic() - began_s
        return self.result

    def _start(self) -> None:
        self._started_at_ns = time.time_ns()
        Process.start(self._server)  # The server's own `start` would hold up the client until it listens.

    async def _register(self, query: str = "") -> None:
        """Until the app's functions are known; events sent before would start nothing."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < deadline_s:
                try:
                    async with session.put(self._app_url + query) as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(POLL_S)
        raise CrashLoopError(
            f"the app could not register within {START_TIMEOUT_S:.0f} s; see {self.directory}"
        )

    async def _kill_under_load(self, kills: int, last_load_s: float) -> None:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            following = group.create_task(self._progress.follow())
            sending = group.create_task(self._client.send_until(stop))
            operating = group.create_task(self._operator.work_until(stop))
            await self._first_call()
            while self.result.kills < kills:
                await asyncio.sleep(self._chance.uniform(*LOAD_S))
                await self._kill_and_start()
            await asyncio.sleep(last_load_s)
            stop.set()
            await sending
            await operating
            following.cancel()

    async def _kill_and_start(self) -> None:
        if self._chance.random() < KILLED_WHILE_STOPPING:
            os.kill(self._server.pid, signal.SIGTERM)
            await asyncio.sleep(self._chance.uniform(0.0, 0.4))
        self._server.kill()
        self.result.kills += 1
        self.result.in_flight.append(calls_in_flight(self._data))
        self._start()
        if self._chance.random() < KILLED_WHILE_STARTING:
            await asyncio.sleep(self._chance.uniform(0.0, 1.5))
            self._server.kill()
            self.result.kills += 1
            self._start()
        self.result.first_call_s.append(await self._first_call())

    async def _first_call(self) -> float:
        """Wait for the app to be called by the running server; the time since its process was started."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while self._progress.last_at_ns <= self._started_at_ns:
            if not self._server.is_running:
                raise CrashLoopError(f"the server ended by itself; see {self._server.log}")
            if time.monotonic() > deadline_s:
                raise CrashLoopError(
                    f"no call within {START_TIMEOUT_S:.0f} s of a start; see {self._server.log}"
                )
            await asyncio.sleep(POLL_S / 10)
        return (self._progress.last_at_ns - self._started_at_ns) / 1e9

    async def _settle(self) -> None:
        """Until nothing has a reason to wake."""
        began_s = time.monotonic()
        connection = connect(self._data)
        try:
            while unfinished := count_unfinished(connection):
                if time.monotonic() - began_s > SETTLE_TIMEOUT_S:
                    self.result.findings.add(
                        [f"{unfinished} runs, windows and jobs did not end within {SETTLE_TIMEOUT_S:.0f} s"]
                    )
                    return
                await asyncio.sleep(POLL_S * 5)
        finally:
            connection.close()
            self.result.settled_s = time.monotonic() - began_s

    def _audit(self) -> None:
        result, client = self.result, self._client
        before = result.findings
        result.findings = audit(
            self._data, self.witness, client.acknowledged, self.asked, answer_delay_ms=ANSWER_DELAY_MS
        )
        if "storage.log_damaged" in self._server.log_text():
            result.findings.add(["the server took the log of a killed one for damaged"])
        result.findings.add([*before.problems, *client.unexpected, *self._operator.unexpected])
        if client.events_sent != len(client.acknowledged):
            result.findings.add(
                [f"{client.events_sent} events were sent, {len(client.acknowledged)} acknowledged"]
            )
        result.acknowledged = len(client.acknowledged)
        result.resends, result.repeats = client.resends, client.repeats
        result.pauses, result.cancellations = len(self.asked.pauses), len(self.asked.cancellations)


def calls_in_flight(data: Path) -> int:
    """Items whose answer is not recorded, as a server that is not running left them."""
    connection = connect(data)
    try:
        (count,) = connection.execute("SELECT count(*) FROM items WHERE state = 'sent'").fetchone()
    except sqlite3.Error as error:
        raise CrashLoopError(f"the database of a killed server cannot be read: {error}") from error
    finally:
        connection.close()
    return count


def count_unfinished(connection: sqlite3.Connection) -> int:
    """Rows of what has still to end."""
    (count,) = connection.execute(UNFINISHED).fetchone()
    return count


UNFINISHED = """SELECT (SELECT count(*) FROM runs WHERE ended_at_ms IS NULL)
    + (SELECT count(*) FROM windows) + (SELECT count(*) FROM meters) + (SELECT count(*) FROM messages)
    + (SELECT count(*) FROM jobs WHERE status = 'running')"""


def epoch_ms() -> int:
    return time.time_ns() // 1_000_000


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--keep", action="store_true", help="keep the directory though all is well")
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="inngest-crash-loop-"))
    print(f"seed {given.seed}, {given.kills} kills, files in {directory}", flush=True)
    result = asyncio.run(CrashLoop(directory, given.seed).run(given.kills))
    print(result)
    if result.findings.problem_count:
        return 1
    if not given.keep:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
