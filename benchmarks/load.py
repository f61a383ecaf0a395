"""The system under test as scenarios see it: send events, wait for the runs to end, read the app's records.

Times are nanoseconds of `time.time_ns()`, in the driver as in the app.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmarks.processes import BenchmarkError, Child, OwnServer, cpu_s

Event = dict[str, Any]
Counters = dict[str, int]

EVENTS_PER_POST = 100
SENDERS = 4  # POSTs under way at once, where a scenario wants throughput.
SAMPLED_EVENTS = 20  # How many events of a scenario are looked up until their runs are completed.
STALL_TIMEOUT_S = 60.0  # A scenario in which nothing moves for so long has failed.
START_TIMEOUT_S = 30.0
STATS_WAIT_S = 5.0
POLL_S = 0.005
SETTLE_S = 0.5


@dataclass
class Bench:
    """The system under test, as a scenario sees it."""

    http: aiohttp.ClientSession
    server_url: str
    app_url: str
    server: OwnServer | None
    app: Child
    scale: float
    padding: str
    event_ids: list[str] = field(default_factory=list[str])

    def scaled(self, count: int) -> int:
        """A number of runs or events, as large as this invocation wants it."""
        return max(1, round(count * self.scale))

    def event(self, name: str, **data: Any) -> Event:
        """One event, stamped with the moment it is made."""
        stamped = {"sent_at_ns": time.time_ns(), "padding": self.padding, **data}
        return {"name": f"bench/{name}", "data": stamped}

    async def post(self, events: list[Event]) -> float:
        """Send events and return after how many milliseconds they were acknowledged."""
        started_ns = time.perf_counter_ns()
        async with self.http.post(f"{self.server_url}/e/bench", json=events) as response:
            answer = await response.json(content_type=None)
            if response.status != 200:
                raise BenchmarkError(f"the event API answered {response.status}: {answer}")
        self.event_ids.extend(answer["ids"])
        return (time.perf_counter_ns() - started_ns) / 1e6

    async def post_many(
        self, name: str, count: int, data: Callable[[int], dict[str, Any]] = lambda number: {}
    ) -> list[float]:
        """Send `count` events in batches, several at once, and return each POST's milliseconds.

        `data` makes what the data of each says besides, by its number.
        """
        batches = [
            range(start, min(start + EVENTS_PER_POST, count)) for start in range(0, count, EVENTS_PER_POST)
        ]
        batches.reverse()
        times: list[float] = []

        async def send() -> None:
            while batches:
                numbers = batches.pop()
                times.append(await self.post([self.event(name, **data(number)) for number in numbers]))

        async with asyncio.TaskGroup() as senders:
            for _ in range(SENDERS):
                senders.create_task(send())
        return times

    async def reset(self) -> None:
        """Forget what earlier scenarios did."""
        self.event_ids.clear()
        async with self.http.post(f"{self.app_url}/reset") as response:
            response.raise_for_status()

    def check_alive(self) -> None:
        """Raise when one of our processes has ended."""
        if self.server is not None:
            self.server.child.check_alive()
        self.app.check_alive()

    async def counters(self) -> Counters:
        """The app's counters of this moment."""
        async with self.http.get(f"{self.app_url}/stats") as response:
            return await response.json()

    async def wait_counter(self, name: str, count: int) -> Counters:
        """Wait until a counter of the app has reached a number; all counters of that moment."""
        seen, progress_at = -1, time.monotonic()
        while (counters := await self.counters())[name] < count:
            self.check_alive()
            if counters[name] > seen:
                seen, progress_at = counters[name], time.monotonic()
            elif time.monotonic() - progress_at > STALL_TIMEOUT_S:
                raise BenchmarkError(f"the app's {name} stay at {seen} of {count}")
            await asyncio.sleep(POLL_S)
        return counters

    async def held_times(self) -> list[int]:
        """When each call that the app held arrived, since the last reset."""
        async with self.http.get(f"{self.app_url}/stats/held") as response:
            return await response.json()

    async def settle(self) -> None:
        """Wait until our server has nothing more to do: it uses next to no processor time."""
        if self.server is None:
            return
        while True:
            before_s = cpu_s(self.server.pid)
            await asyncio.sleep(SETTLE_S)
            if cpu_s(self.server.pid) - before_s <= SETTLE_S / 10:
                return
            self.check_alive()

    @property
    def server_pid(self) -> int | None:
        return self.server.pid if self.server is not None else None

    async def release(self) -> None:
        """Let the app answer the calls that it holds, and hold no more."""
        async with self.http.post(f"{self.app_url}/release") as response:
            response.raise_for_status()

    async def restart_server(self, *, crash: bool) -> float:
        """End our server and start it again; seconds from its start until `/health` says 200."""
        if self.server is None:
            raise BenchmarkError("this scenario restarts the server, so it needs one that it started itself")
        self.server.restart(crash=crash)
        started = time.monotonic()
        await wait_answers(self.http, f"{self.server_url}/health", self.server.child)
        return time.monotonic() - started

    async def wait_ended(self, runs: int) -> Counters:
        """Wait until so many runs have had their final answer; the app's counters of that moment."""
        ended, progress_at = -1, time.monotonic()
        while True:
            query = {"finals": str(runs), "wait_s": str(STATS_WAIT_S)}
            async with self.http.get(f"{self.app_url}/stats", params=query) as response:
                counters: Counters = await response.json()
            if counters["finals"] >= runs:
                return counters
            self.check_alive()
            if counters["finals"] > ended:
                ended, progress_at = counters["finals"], time.monotonic()
            elif time.monotonic() - progress_at > STALL_TIMEOUT_S:
                raise BenchmarkError(
                    f"only {ended} of {runs} runs ended, none in the last {STALL_TIMEOUT_S:.0f} s"
                )

    async def wait_completed(self) -> None:
        """Wait until the server says `Completed` for the runs of a sample of the events."""
        step = max(1, len(self.event_ids) // SAMPLED_EVENTS)
        deadline = time.monotonic() + STALL_TIMEOUT_S
        for event_id in self.event_ids[::step]:
            while True:
                async with self.http.get(f"{self.server_url}/v1/events/{event_id}/runs") as response:
                    answer = await response.json(content_type=None)
                statuses = [run["status"] for run in answer.get("data") or []]
                if statuses and all(status == "Completed" for status in statuses):
                    break
                if time.monotonic() > deadline:
                    raise BenchmarkError(
                        f"the runs of event {event_id} are {statuses or 'unknown'}, not Completed"
                    )
                await asyncio.sleep(0.02)

    async def run_times(self) -> list[dict[str, Any]]:
        """The time line of each run since the last reset."""
        async with self.http.get(f"{self.app_url}/stats/runs") as response:
            runs: dict[str, dict[str, Any]] = await response.json()
        return list(runs.values())


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of all values lie, by the nearest rank."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else float("nan")


def first_request_ms(runs: Sequence[dict[str, Any]]) -> list[float]:
    """From the moment an event was sent to the first request of its run."""
    return [(run["arrived_at_ns"][0] - run["sent_at_ns"]) / 1e6 for run in runs]


def next_step_ms(runs: Sequence[dict[str, Any]]) -> list[float]:
    """From the answer that reported a step to the arrival of the run's next request."""
    return [
        (arrived - answered) / 1e6
        for run in runs
        for answered, arrived in zip(run["answered_at_ns"], run["arrived_at_ns"][1:], strict=False)
    ]


async def wait_answers(http: aiohttp.ClientSession, url: str, child: Child | None) -> None:
    """Wait until a GET is answered with 200."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            async with http.get(url) as response:
                if response.status == 200:
                    return
                problem = f"status {response.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            problem = repr(error)
        if child is not None:
            child.check_alive()
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{url} did not answer within {START_TIMEOUT_S:.0f} s: {problem}")
        await asyncio.sleep(0.05)
