"""The clock's API and its journeys, on a server in this process whose app answers by itself."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from inngest_server.engine import time_travel
from inngest_server.engine.facts import Ping
from inngest_server.engine.options import EngineOptions
from inngest_server.execution.driver import Call
from inngest_server.runs.facts import Answer, Answered, CallFailed, Reported, Returned
from inngest_server.runs.records import JournalRow
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import Batch, CommitResult, Outcome
from inngest_server.wire.times import format_rfc3339, parse_rfc3339_ms
from inngest_server.wire.ulid import timestamp_ms
from tests.builders import T0_MS
from tests.unit.api.harness import InProcess, Response, dev, read_ops, start
from tests.unit.apps.bodies import make_function

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
PATH = "/api/ui/v1/clock"

ERROR = b'{"name":"Error","message":"no"}'

Program = Callable[[Call], Answer]


def served(name: str, *, event: str = "", cron: str = "", **options: object) -> dict[str, object]:
    """A function `shop-<name>` with one trigger."""
    trigger = {"event": event} if event else {"cron": cron}
    return make_function(id=f"shop-{name}", name=name, triggers=[trigger], **options)


def ops(*ops: object) -> Answer:
    return Reported(read_ops(*ops), 2, no_retry=False, retry_after_ms=None)


def sleeping(step: str, until: str) -> Answer:
    return ops({"op": "Sleep", "id": step, "name": until, "opts": {"duration": until}})


def steps_of(call: Call) -> set[str]:
    """Ids of the steps that have a memo."""
    return set(call.run.loaded.memos)


class AutoApp:
    """A driver whose app answers each call at once, and notes when in domain time it was called."""

    def __init__(self, server: InProcess, program: Program) -> None:
        self._server = server
        self._program = program
        self.calls: list[tuple[int, str]] = []
        """Milliseconds after the beginning, and the function's slug."""
        self.is_silent = False
        self._called = asyncio.Event()

    async def was_called(self, times: int) -> None:
        async with asyncio.timeout(10):
            while len(self.calls) < times:
                self._called.clear()
                await self._called.wait()

    def send(self, call: Call) -> None:
        function = self._server.engine.functions.get(call.function_id)
        self.calls.append((self._server.engine.now_ms() - T0_MS, function.row.slug))
        self._called.set()
        if not self.is_silent:
            asyncio.get_running_loop().call_soon(self._answer, call)

    def _answer(self, call: Call) -> None:
        item = call.item
        answered = Answered(item.run_id, item.item_id, item.generation, self._program(call))
        self._server.engine.tell(answered)

    def is_sending(self, item_id: str, generation: int) -> bool:
        return False

    def recall(self) -> None: ...


@asynccontextmanager
async def world(
    program: Program,
    *functions: object,
    storage: MemoryStorage | None = None,
    options: EngineOptions | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[InProcess, AutoApp]]:
    server = InProcess(dev(**settings), storage=storage, options=options)
    app = AutoApp(server, program)
    server.engine.driver = app
    async with server:
        if functions:
            await server.register(*functions)
        yield server, app


async def move(server: InProcess, **body: object) -> dict[str, Any]:
    """Give a command and wait until the clock stands or runs where it should."""
    answer = await server.post(PATH, body)
    assert answer.status in (200, 202), answer.body
    return await settled(server)


async def settled(server: InProcess) -> dict[str, Any]:
    answer = await server.get(f"{PATH}?wait=5")
    assert answer.json()["moving"] is None, answer.body
    return answer.json()


async def runs_of(server: InProcess, event_ids: Sequence[str]) -> list[dict[str, Any]]:
    return [await server.run_of(event_id) for event_id in event_ids]


def naps(*durations: str) -> Program:
    """Sleeps one after the other."""

    def program(call: Call) -> Answer:
        done = len(steps_of(call))
        return sleeping(f"nap-{done}", durations[done]) if done < len(durations) else Returned(b'"done"')

    return program


async def test_a_jump_goes_from_timer_to_timer_and_runs_go_on_at_their_moments() -> None:
    async with world(naps("1d", "2d", "12h"), served("nap", event="nap")) as (server, app):
        ids = await server.send({"name": "nap"})
        shown = await move(server, advance="10d")

        moments_ms = (0, DAY_MS, 3 * DAY_MS, 3 * DAY_MS + 12 * HOUR_MS)
        assert app.calls == [(at_ms, "shop-nap") for at_ms in moments_ms]
        assert (await runs_of(server, ids))[0]["status"] == "Completed"
        assert shown["last"]["stops_by_kind"] == {"wait": 3}
        assert (shown["mode"], shown["offset_ms"], shown["last"]["ended"]) == ("real", 10 * DAY_MS, "reached")


async def lived(seed: int, ways: Callable[[random.Random], Sequence[str]]) -> list[tuple[int, str]]:
    """The calls of ten days in which the same runs of three functions sleep and fail at random."""
    plan = random.Random(seed)
    naps_ms = {f"f{number}": [plan.randrange(1, 3 * DAY_MS) for _ in range(6)] for number in range(3)}
    failing = {(name, plan.randrange(6)) for name in naps_ms}
    tries = Counter[str]()

    def program(call: Call) -> Answer:
        name, done = call.run.row.event_name, len(steps_of(call))
        tries[f"{call.run.id}.{done}"] += 1
        if (name, done) in failing and tries[f"{call.run.id}.{done}"] == 1:
            return CallFailed(ERROR, "function_error", retriable=True, retry_after_ms=None)
        return naps(*[f"{nap_ms}ms" for nap_ms in naps_ms[name]])(call)

    functions = [served(name, event=name) for name in naps_ms]
    cron = served("daily", cron="17 4 * * *")
    async with world(program_or_done(program), *functions, cron, clock="virtual") as (server, app):
        for name in (*naps_ms, *naps_ms):
            await server.send({"name": name})
        for duration in ways(random.Random(seed + 1)):
            await move(server, advance=duration)
        shown = await move(server, to=format_rfc3339(T0_MS + 10 * DAY_MS))
        assert shown["last"]["ended"] == "reached"
        return app.calls


def program_or_done(program: Program) -> Program:
    """Runs of crons have no steps."""
    return lambda call: program(call) if call.run.row.cron is None else Returned(b"1")


@pytest.mark.parametrize("seed", range(10))
async def test_however_the_way_is_cut_the_same_calls_come_at_the_same_moments(seed: int) -> None:
    def in_one(_: random.Random) -> Sequence[str]:
        return ()

    def in_pieces(chance: random.Random) -> Sequence[str]:
        return [f"{chance.randrange(6 * HOUR_MS)}ms" for _ in range(40)]

    calls = await lived(seed, in_one)

    assert await lived(seed, in_pieces) == calls
    assert len(calls) > 30
    assert sorted(calls, key=lambda call: call[0]) == calls


async def test_a_jump_stops_at_its_target_before_what_is_due_later() -> None:
    async with world(naps("2d"), served("nap", event="nap")) as (server, app):
        await server.send({"name": "nap"})
        shown = await move(server, to=format_rfc3339(T0_MS + DAY_MS))

        assert app.calls == [(0, "shop-nap")]
        assert parse_rfc3339_ms(shown["now"]) == T0_MS + DAY_MS
        assert shown["next_timer"]["at"] == format_rfc3339(T0_MS + 2 * DAY_MS)
        assert (shown["next_timer"]["kind"], shown["next_timer"]["function"]) == ("wait", "shop-nap")


async def test_the_next_timer_is_one_stop() -> None:
    async with world(naps("1d", "1d"), served("nap", event="nap")) as (server, app):
        await server.send({"name": "nap"})
        shown = await move(server, until="next-timer")

        assert app.calls[1:] == [(DAY_MS, "shop-nap")]
        assert (shown["last"]["stops"], shown["offset_ms"]) == (1, DAY_MS)


async def test_a_failed_step_is_tried_again_through_all_its_delays() -> None:
    def failing(call: Call) -> Answer:
        return CallFailed(ERROR, "function_error", retriable=True, retry_after_ms=None)

    function = served("fail", event="fail")
    async with world(failing, function) as (server, app):
        (event_id,) = await server.send({"name": "fail"})
        shown = await move(server, until="idle")

        assert (await server.run_of(event_id))["status"] == "Failed"
        assert len(app.calls) >= 2
        assert shown["last"]["ended"] == "idle"
        assert shown["last"]["stops_by_kind"] == {"item": len(app.calls) - 1}


async def test_crons_fire_at_each_of_their_moments_on_the_way() -> None:
    cron = served("daily", cron="0 9 * * *")
    async with world(lambda call: Returned(b"1"), cron) as (server, app):
        await move(server, advance="3d")

        nine_ms = [at_ms + T0_MS - 9 * HOUR_MS for at_ms, _ in app.calls]
        assert len(nine_ms) == 3
        assert [ms % DAY_MS for ms in nine_ms] == [0, 0, 0]


async def test_a_world_with_nothing_but_crons_is_idle() -> None:
    functions = (served("daily", cron="0 9 * * *"), served("nap", event="nap"))

    def program(call: Call) -> Answer:
        return naps("60h")(call) if call.run.row.event_name == "nap" else Returned(b"1")

    async with world(program, *functions) as (server, app):
        await server.send({"name": "nap"})
        shown = await move(server, until="idle")

        assert shown["last"]["ended"] == "idle"
        assert app.calls[-1] == (60 * HOUR_MS, "shop-nap")
        assert shown["next_timer"]["kind"] == "cron"
        assert (await move(server, until="idle"))["last"]["stops"] == 0


async def test_until_idle_does_not_go_on_to_the_end_of_a_pause() -> None:
    """It would cancel the runs that the pause holds."""
    async with world(naps("1h"), served("nap", event="nap")) as (server, _):
        event_ids = await server.send({"name": "nap"})
        await server.request("POST", "/api/ui/v1/functions/shop-nap/pause", b"{}")
        shown = await move(server, until="idle")

        assert (shown["last"]["ended"], shown["next_timer"]["kind"]) == ("idle", "pause")
        assert [run["status"] for run in await runs_of(server, event_ids)] == ["Running"]


async def test_until_idle_has_a_bound() -> None:
    async with world(naps("30d"), served("nap", event="nap")) as (server, _):
        await server.send({"name": "nap"})
        shown = await move(server, until="idle", within="7d")

        assert (shown["last"]["ended"], shown["offset_ms"]) == ("horizon", 7 * DAY_MS)


async def test_until_idle_has_a_bound_of_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_travel, "STOPS_MAX", 5)
    endless = naps(*["1h"] * 100)
    async with world(endless, served("nap", event="nap")) as (server, _):
        await server.send({"name": "nap"})
        shown = await move(server, until="idle")

        assert (shown["last"]["ended"], shown["last"]["stops"]) == ("too-many-stops", 5)


async def test_a_paused_clock_starts_no_sleep_s_end_however_long_the_host_goes_on() -> None:
    async with world(naps("1h"), served("nap", event="nap")) as (server, app):
        await move(server, mode="paused")
        await server.send({"name": "nap"})
        await server.engine.ask(Ping())
        server.clock.ms += DAY_MS
        await server.engine.ask(Ping())
        shown = (await server.get(PATH)).json()

        assert app.calls == [(0, "shop-nap")]
        assert (shown["mode"], shown["now"]) == ("paused", format_rfc3339(T0_MS))
        assert shown["offset_ms"] == -DAY_MS

        shown = await move(server, mode="real")
        assert (shown["mode"], shown["now"]) == ("real", format_rfc3339(T0_MS))
        assert (await move(server, until="idle"))["now"] == format_rfc3339(T0_MS + HOUR_MS)


async def test_a_paused_clock_stays_paused_after_a_jump() -> None:
    async with world(naps("1h"), clock="virtual") as (server, _):
        assert (await server.get(PATH)).json()["mode"] == "paused"
        shown = await move(server, advance="1d")

        assert (shown["mode"], shown["now"]) == ("paused", format_rfc3339(T0_MS + DAY_MS))


# Instants of apps.


@pytest.mark.parametrize(("absolute", "wakes_ms"), [(False, 11 * DAY_MS), (True, 10 * DAY_MS)])
async def test_a_sleep_until_a_date_is_moved_as_time_was(absolute: bool, wakes_ms: int) -> None:
    def program(call: Call) -> Answer:
        if steps_of(call):
            return Returned(b"1")
        return sleeping("nap", format_rfc3339(T0_MS + DAY_MS))  # A day from now, on the app's clock.

    function = served("nap", event="nap")
    async with world(program, function, clock_absolute=absolute) as (server, app):
        await move(server, advance="10d")
        await server.send({"name": "nap"})
        await move(server, until="idle")

        assert app.calls == [(10 * DAY_MS, "shop-nap"), (wakes_ms, "shop-nap")]


@pytest.mark.parametrize("op", ["WaitForEvent", "WaitForSignal", "InvokeFunction"])
async def test_a_date_as_a_timeout_is_moved_as_time_was(op: str) -> None:
    def program(call: Call) -> Answer:
        if call.run.row.event_name != "nap":
            return sleeping("child", "300d")
        if steps_of(call):
            return Returned(b"1")
        opts = {"event": "never", "signal": "never", "function_id": "shop-other", "payload": {}}
        timeout = format_rfc3339(T0_MS + DAY_MS)
        return ops({"op": op, "id": "wait", "name": "never", "opts": {**opts, "timeout": timeout}})

    functions = (served("nap", event="nap"), served("other", event="other"))
    async with world(program, *functions) as (server, app):
        await move(server, advance="10d")
        await server.send({"name": "nap"})
        await move(server, advance="2d")

        assert [at_ms for at_ms, slug in app.calls if slug == "shop-nap"][1:] == [11 * DAY_MS]


async def test_a_date_as_the_timeout_of_cancel_on_is_moved_as_time_was() -> None:
    cancel = [{"event": "stop", "timeout": format_rfc3339(T0_MS + 2 * DAY_MS)}]
    async with world(naps("30d"), served("nap", event="nap", cancel=cancel)) as (server, _):
        await move(server, advance="10d")
        (first,) = await server.send({"name": "nap"})
        await move(server, advance="1d")
        await server.send({"name": "stop"})
        (second,) = await server.send({"name": "nap"})
        await move(server, advance="3d")
        await server.send({"name": "stop"})

        statuses = [(await server.run_of(event_id))["status"] for event_id in (first, second)]
        assert statuses == ["Cancelled", "Running"]


async def test_an_event_s_own_time_is_moved_and_the_default_is_the_time_here() -> None:
    async with world(naps()) as (server, _):
        await move(server, advance="10d")
        given, default = await server.send({"name": "a", "ts": T0_MS - HOUR_MS}, {"name": "b"})
        shown = [(await server.get(f"/v1/events/{one}")).data["ts"] for one in (given, default)]

        assert shown == [T0_MS + 10 * DAY_MS - HOUR_MS, T0_MS + 10 * DAY_MS]


async def test_ids_carry_the_time_here_and_a_repeated_request_repeats_them() -> None:
    header = {"x-inngest-event-id-seed": f"{T0_MS},AAAAAAAAAAAAAA=="}
    async with world(naps(), clock="virtual") as (server, _):
        await move(server, advance="10d")
        (fresh,) = await server.send({"name": "a"})
        (seeded,) = await server.send({"name": "a"}, **header)
        server.clock.ms += 700
        (again,) = await server.send({"name": "a"}, **header)

        assert timestamp_ms(fresh) == timestamp_ms(seeded) == T0_MS + 10 * DAY_MS
        assert again == seeded


# Commands.


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"advance": "1d", "to": "2030-01-01T00:00:00Z"},
        {"advance": "soon"},
        {"advance": "-1d"},
        {"advance": 5},
        {"advance": "200000d"},
        {"to": "tomorrow"},
        {"to": "2001-01-01T00:00:00Z"},
        {"until": "friday"},
        {"until": "next-timer", "within": "1d"},
        {"mode": "x60"},
        {"speed": 60},
        [],
    ],
)
async def test_what_is_no_command_is_refused_and_moves_nothing(body: object) -> None:
    async with world(naps()) as (server, _):
        answer = await server.post(PATH, body)

        assert (answer.status, answer.json()["code"]) == (400, "invalid_parameter")
        assert (await server.get(PATH)).json()["offset_ms"] == 0


async def test_one_journey_at_a_time_and_it_can_be_stopped() -> None:
    async with world(naps("1d"), served("nap", event="nap")) as (server, app):
        app.is_silent = True
        await server.send({"name": "nap"})
        begun = await server.post(PATH, {"advance": "2d"})
        others = ({"advance": "1d"}, {"mode": "paused"}, {"mode": "real"})
        refused: list[Response] = [await server.post(PATH, body) for body in others]
        during = (await server.get(PATH)).json()
        stopped = await move(server, stop=True)

        assert begun.status == 202
        assert [(one.status, one.json()["code"]) for one in refused] == [(409, "clock_moving")] * 3
        assert (during["mode"], during["quiet"], during["now"]) == ("moving", False, format_rfc3339(T0_MS))
        assert (stopped["mode"], stopped["last"]["ended"]) == ("real", "stopped")


async def test_a_server_for_production_has_no_such_clock() -> None:
    async with InProcess(start()) as server:
        for answer in (await server.get(PATH), await server.post(PATH, {"advance": "1d"})):
            assert (answer.status, answer.json()["code"]) == (404, "clock_is_real")


@pytest.mark.parametrize("wait", ["soon", "-1", "26", "1.5", "000000000999"])
async def test_nobody_waits_longer_than_a_proxy_would(wait: str) -> None:
    async with world(naps()) as (server, _):
        assert (await server.get(f"{PATH}?wait={wait}")).status == 400


# Failures and restarts.


class Stubborn(MemoryStorage):
    """Does not store anything while `is_full`."""

    is_full = False

    def __init__(self) -> None:
        super().__init__(shard_count=16)
        self.taken_again = asyncio.Event()

    async def commit(self, batch: Batch) -> CommitResult:
        if self.is_full:
            self.taken_again.clear()
            return CommitResult(Outcome.FAILED, frozenset(), "disk full")
        self.taken_again.set()  # For a batch of a loop that has loaded everything again.
        return await super().commit(batch)


async def test_a_journey_fails_with_the_storage_and_the_clock_takes_the_next_command() -> None:
    storage = Stubborn()
    async with world(naps("1d"), served("nap", event="nap"), storage=storage) as (server, app):
        await server.send({"name": "nap"})
        storage.is_full = True
        failed = await move(server, advance="2d")
        storage.is_full = False
        await storage.taken_again.wait()
        reached = await move(server, until="idle")

        assert failed["last"]["ended"] == "failed"
        assert "disk full" in failed["last"]["detail"]
        assert reached["last"]["ended"] == "idle"
        assert app.calls[-1] == (DAY_MS, "shop-nap")


class Slow(MemoryStorage):
    """Reads journals while others have their turn."""

    async def journals(self, run_ids: Sequence[str]) -> dict[str, list[JournalRow]]:
        for _ in range(50):
            await asyncio.sleep(0)
        return await super().journals(run_ids)


async def test_no_time_passes_while_a_run_is_read_from_the_disk() -> None:
    forgetful = EngineOptions(idle_contents_max=0)
    functions = (served("day", event="day"), served("more", event="more"))

    def program(call: Call) -> Answer:
        return naps("1d")(call) if call.run.row.event_name == "day" else naps("25h")(call)

    async with world(program, *functions, storage=Slow(shard_count=16), options=forgetful) as (server, app):
        await server.send({"name": "day"}, {"name": "more"})
        await move(server, advance="10d")

        assert app.calls[2:] == [(DAY_MS, "shop-day"), (25 * HOUR_MS, "shop-more")]


async def test_a_restart_finds_the_clock_where_it_was() -> None:
    storage = MemoryStorage(shard_count=16)
    async with world(naps(), storage=storage) as (server, _):
        await move(server, advance="10d")
    async with world(naps(), storage=storage) as (server, _):
        shown = (await server.get(PATH)).json()

        assert (shown["mode"], shown["offset_ms"]) == ("real", 10 * DAY_MS)


async def test_a_clock_that_stood_still_goes_on_from_there_after_a_restart() -> None:
    storage = MemoryStorage(shard_count=16)
    async with world(naps(), storage=storage, clock="virtual") as (server, _):
        await move(server, advance="10d")
    again = InProcess(dev(), storage=storage, now_ms=T0_MS + DAY_MS)
    async with again:
        shown = (await again.get(PATH)).json()

        assert (shown["mode"], shown["offset_ms"]) == ("real", 9 * DAY_MS)


async def test_a_crash_within_a_journey_loses_no_time_that_was_lived() -> None:
    storage = MemoryStorage(shard_count=16)
    program = naps("1d", "1d", "1d")
    async with world(program, served("nap", event="nap"), storage=storage) as (server, app):
        await server.send({"name": "nap"})

        def silent_from_the_second_day(call: Call) -> Answer:
            app.is_silent = len(steps_of(call)) == 1
            return program(call)

        app._program = silent_from_the_second_day
        assert (await server.post(PATH, {"advance": "10d"})).status == 202
        await app.was_called(3)
    async with world(program, storage=storage) as (server, app):
        shown = (await server.get(PATH)).json()
        assert shown["offset_ms"] == 2 * DAY_MS

        await move(server, until="idle")
        assert app.calls[-1] == (3 * DAY_MS, "shop-nap")
