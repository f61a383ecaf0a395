"""Moves a virtual clock from timer to timer, and waits at each until the world is quiet.

A *journey* stops the clock, sets it to the moment of the next timer, lets the engine do what is due then, and
goes on when nothing happens any more without time: no fact waits, all is durable, no call is out. So whatever
an app does between two timers takes no domain time, however long it takes the host. Afterwards the clock
runs, or stands still, as it did before.

Where the clock stands is kept by each command and at both ends of a journey. A server that ends within a
journey goes on from the last moment at which something was stored.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from inngest_server.clock import Clock, VirtualClock
from inngest_server.engine.engine import Engine
from inngest_server.engine.facts import ClockKept, Ping
from inngest_server.engine.options import EngineUnavailableError
from inngest_server.engine.timers import Timer
from inngest_server.events.event import TS_MAX_MS
from inngest_server.events.records import MarkRow
from inngest_server.storage.protocol import Storage, StorageError
from inngest_server.wire import json
from inngest_server.wire.durations import format_go_duration

log = structlog.get_logger("inngest.clock")

LATEST_MS = TS_MAX_MS
"""No journey goes further: an event could not say when it was sent."""
HORIZON_MS = 366 * 24 * 3_600_000
"""How far `until idle` goes if not told otherwise: over the longest timeout that a step has by default."""
NO_REASON = frozenset({"cron", "pause"})
"""Kinds of timers that are no reason to go on until idle: crons never end, pauses cancel what they hold."""
STOPS_MAX = 100_000
"""Of a journey that has no moment as its goal."""
LOOK_AGAIN_S = 0.25
"""A slow look at the world, should nobody have said that it became quiet."""
AHEAD_MS = 60_000
"""By how much domain time may be ahead of the host's in a server for production."""
MARK_KEY = "clock"
NEVER_MS = 253_402_300_799_999
"""The end of the year 9999."""


class Goal(StrEnum):
    MOMENT = "moment"
    NEXT_TIMER = "next-timer"
    IDLE = "idle"


class Ended(StrEnum):
    """Why a journey is over."""

    REACHED = "reached"
    IDLE = "idle"
    """Nothing is left that waits for time, but for crons and the deadlines of pauses."""
    STOPPED = "stopped"
    HORIZON = "horizon"
    TOO_MANY_STOPS = "too-many-stops"
    FAILED = "failed"


class TravellingError(Exception):
    """A journey is under way, and the clock takes no other command meanwhile."""

    code = "clock_moving"


class ClockAheadError(StorageError):
    """The clock of this database was moved, and a server for production does not move its own."""

    code = "clock_ahead"


@dataclass(slots=True, eq=False)
class Journey:
    """A move of the clock, from its request to its end."""

    goal: Goal
    from_ms: int
    to_ms: int
    """The moment to reach, or the one beyond which the other goals are not looked for."""
    stops: Counter[str] = field(default_factory=Counter[str])
    """Moments at which the clock stood, by the kind of the timer that was first."""
    ended: Ended | None = None
    detail: str = ""
    wants_stop: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)


class TimeTravel:
    """The commands of a virtual clock, and the loop that makes its journeys one at a time.

    `calls_under_way` says how many calls to apps have not been answered.
    """

    def __init__(self, engine: Engine, clock: VirtualClock, calls_under_way: Callable[[], int]) -> None:
        self.clock = clock
        self._engine = engine
        self._calls_under_way = calls_under_way
        self.journey: Journey | None = None
        """The one under way, or else the last."""
        self._asked = asyncio.Event()
        self._rested = asyncio.Event()
        engine.on_rest = self._rested.set

    # What others may know and command.

    @property
    def is_quiet(self) -> bool:
        """Whether nothing happens until time passes or somebody sends something."""
        return self._engine.is_resting and not self._calls_under_way()

    @property
    def is_moving(self) -> bool:
        return self.journey is not None and self.journey.ended is None

    def next_timer(self) -> Timer | None:
        return self._engine.live.timers.soonest()

    async def pause(self) -> None:
        """Stop the clock.

        Raises:
            TravellingError: a journey is under way.
            EngineUnavailableError: it stands still, but after a restart might not.
        """
        self._check()
        self.clock.stop()
        await self._keep()

    async def go_on(self) -> None:
        """Let the clock run, one second per second, from where it stands.

        Raises:
            TravellingError, EngineUnavailableError: as `pause`.
        """
        self._check()
        self.clock.run()
        await self._keep()

    def begin(self, goal: Goal, to_ms: int) -> Journey:
        """Begin a journey; `run` makes it.

        Raises:
            TravellingError: another one is under way.
        """
        self._check()
        self.journey = Journey(goal, self._engine.now_ms(), to_ms)
        self._asked.set()
        return self.journey

    def stop(self) -> None:
        """End the journey that is under way, if any, where it is; `Journey.done` says when it has ended."""
        if self.journey is not None:
            self.journey.wants_stop = True
            self._rested.set()

    def _check(self) -> None:
        if self.is_moving:
            raise TravellingError("the clock is moving already; wait until it is there, or stop it")

    # The journeys.

    async def run(self) -> None:
        """Make the journeys that are asked for, until cancelled."""
        if self.clock.is_stopped:
            await self._keep_if_possible()
        while True:
            await self._asked.wait()
            self._asked.clear()
            if self.journey is not None and self.journey.ended is None:
                await self._make(self.journey)

    async def _make(self, journey: Journey) -> None:
        was_running = not self.clock.is_stopped
        self.clock.stop()
        try:
            await self._keep()
            ended = await self._travel(journey)
        except EngineUnavailableError as error:
            ended, journey.detail = Ended.FAILED, str(error)
        except Exception as error:  # Our own mistake; the clock must take the next command.
            log.error("clock.journey_failed", exc_info=error)
            ended, journey.detail = Ended.FAILED, f"internal error: {type(error).__name__}: {error}"
        if was_running:
            self.clock.run()
        await self._keep_if_possible()
        journey.ended = ended
        journey.done.set()
        log.info(
            "clock.moved",
            by=format_go_duration(self._engine.now_ms() - journey.from_ms),
            stops=journey.stops.total(),
            ended=ended.value,
        )

    async def _travel(self, journey: Journey) -> Ended:
        while True:
            await self._until_quiet(journey)
            if journey.wants_stop:
                return Ended.STOPPED
            timer = self.next_timer()
            ended = self._is_there(journey, timer)
            if ended is not None:
                return ended
            if timer is None or timer.due_ms > journey.to_ms:
                self._set(journey.to_ms)
                await self._until_quiet(journey)
                return Ended.REACHED if journey.goal is Goal.MOMENT else Ended.HORIZON
            journey.stops[timer.kind] += 1
            self._set(timer.due_ms)

    def _is_there(self, journey: Journey, timer: Timer | None) -> Ended | None:
        """How a journey ends before it sets the clock to the next timer; None if it goes on."""
        if journey.goal is Goal.MOMENT:
            return None
        if timer is None:
            return Ended.IDLE
        if journey.goal is Goal.NEXT_TIMER:
            return Ended.REACHED if journey.stops else None
        if timer.kind in NO_REASON and not self._engine.live.timers.has_any(but=NO_REASON):
            return Ended.IDLE
        return Ended.TOO_MANY_STOPS if journey.stops.total() >= STOPS_MAX else None

    def _set(self, at_ms: int) -> None:
        self.clock.move_to(at_ms)
        self._engine.tell(Ping())  # It waits for facts, and not for a clock that stands still.

    async def _until_quiet(self, journey: Journey) -> None:
        """Wait until the world is quiet, or the journey is to end.

        Raises:
            EngineUnavailableError: storage failed.
        """
        while not (self.is_quiet or journey.wants_stop):
            if self._engine.failure is not None:
                raise EngineUnavailableError(f"the server cannot store anything now: {self._engine.failure}")
            self._rested.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._rested.wait()

    # What a restart finds.

    async def _keep(self) -> None:
        """Store where the clock stands; this wakes the engine too, which may have slept by the old time.

        Raises:
            EngineUnavailableError: it is not stored.
        """
        clock = self.clock
        stopped_at_ms = clock.now_ms() if clock.is_stopped else None
        value = json.dumps({"offset_ms": clock.offset_ms, "stopped_at_ms": stopped_at_ms}).decode()
        await self._engine.ask(ClockKept(MarkRow(MARK_KEY, 0, value, NEVER_MS)))

    async def _keep_if_possible(self) -> None:
        try:
            await self._keep()
        except EngineUnavailableError as error:
            log.warning("clock.not_kept", detail=str(error))


async def restore(storage: Storage, clock: Clock, *, starts_stopped: bool = False) -> None:
    """Set a virtual clock to where the database's stood; call before the engine starts.

    A clock that stood still goes on from there.

    Raises:
        ClockAheadError: the clock is not virtual, and the database's was moved ahead of it.
        StorageError: it cannot be read.
    """
    await storage.open()
    rows = await storage.get(MarkRow, [MARK_KEY])
    latest_ms = await storage.domain_time_ms()
    if not isinstance(clock, VirtualClock):
        ahead_ms = latest_ms - clock.now_ms()
        if rows and ahead_ms > AHEAD_MS:
            raise ClockAheadError(
                f"the time of this database is {format_go_duration(ahead_ms)} ahead, because it was moved in "
                "`inngest dev`; `inngest start` follows the host's clock: give it another --sqlite-dir"
            )
        return
    if rows:
        kept = json.parse_kept(rows[0].value.encode())
        offset_ms, stopped_at_ms = kept["offset_ms"], kept["stopped_at_ms"]
        if stopped_at_ms is not None:
            offset_ms = max(stopped_at_ms, latest_ms) - clock.host_ms()
        clock.restore(offset_ms)
    if starts_stopped:
        clock.stop()
    if starts_stopped or clock.offset_ms:
        log.warning(
            "clock.virtual",
            detail="time stands still until `inngest clock` moves it" if starts_stopped else "time was moved",
            ahead=format_go_duration(clock.offset_ms),
        )
