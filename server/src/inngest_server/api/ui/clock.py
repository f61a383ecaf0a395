"""The clock of a server for development: `/api/ui/v1/clock`. Source: issue "Virtual time", ui.md C.3.10."""

import asyncio
from contextlib import suppress
from typing import Any

from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.router import Reply, Request
from inngest_server.api.ui.answers import answered, settings_of
from inngest_server.engine.engine import Engine
from inngest_server.engine.time_travel import (
    HORIZON_MS,
    LATEST_MS,
    Goal,
    Journey,
    TimeTravel,
    TravellingError,
)
from inngest_server.engine.timers import Timer
from inngest_server.wire.durations import InvalidDurationError, parse_duration_ms
from inngest_server.wire.times import InvalidTimeError, format_rfc3339, parse_rfc3339_ms

COMMANDS = ("advance", "to", "until", "mode", "stop")
KEYS = frozenset((*COMMANDS, "within"))
WAIT_S_MAX = 25
"""Longer than this no proxy on the way must have patience; whoever wants more asks again."""


async def show_clock(request: Request) -> Reply:
    """Where the clock stands. `?wait=<seconds>` answers once no journey is under way, or after that time."""
    travel = _travel_of(request)
    wait_s = request.query().get("wait", "0")
    if not (wait_s.isascii() and wait_s.isdigit() and len(wait_s) < 3 and int(wait_s) <= WAIT_S_MAX):
        raise _invalid(f"wait must be a whole number of seconds, at most {WAIT_S_MAX}, got {wait_s[:20]!r}")
    if travel.journey is not None and int(wait_s):
        with suppress(TimeoutError):
            async with asyncio.timeout(int(wait_s)):
                await travel.journey.done.wait()
    return answered(_shown(travel, request.context.engine))


async def move_clock(request: Request) -> Reply:
    """One command: 202 when a journey began, which goes on after the answer; 200 for all others."""
    travel, engine = _travel_of(request), request.context.engine
    body = await settings_of(request, KEYS)
    given = [name for name in COMMANDS if name in body]
    if len(given) != 1 or ("within" in body and body.get("until") != "idle"):
        raise _invalid("give one of advance, to, until, mode and stop; `within` only with `until: idle`")
    (command,) = given
    value = body[command]
    try:
        if command == "mode":
            await _set_mode(travel, value)
        elif command == "stop":
            travel.stop()
        else:
            goal, to_ms = _goal(command, value, body.get("within"), engine.now_ms())
            travel.begin(goal, to_ms)
            return answered(_shown(travel, engine), 202)
    except TravellingError as error:
        hint = "GET /api/ui/v1/clock?wait=25 answers when it is there, `inngest clock stop` stops it"
        raise RequestRejectedError(409, str(error), code=error.code, hint=hint) from error
    return answered(_shown(travel, engine))


def _travel_of(request: Request) -> TimeTravel:
    travel = request.context.travel
    if travel is None:
        raise RequestRejectedError(
            404,
            "a server for production follows the host's clock",
            code="clock_is_real",
            hint="the clock of `inngest dev` can be moved",
        )
    return travel


async def _set_mode(travel: TimeTravel, mode: object) -> None:
    if mode == "paused":
        await travel.pause()
    elif mode == "real":
        await travel.go_on()
    else:
        raise _invalid(f"mode is paused or real, got {mode!r:.60}")


def _goal(command: str, value: object, within: object, now_ms: int) -> tuple[Goal, int]:
    """What a journey is to reach, and the moment that it does not pass."""
    if command == "until":
        if value not in (Goal.IDLE.value, Goal.NEXT_TIMER.value):
            raise _invalid(f"until is idle or next-timer, got {value!r:.60}")
        far_ms = HORIZON_MS if within is None else _duration_ms("within", within)
        to_ms = LATEST_MS if value == Goal.NEXT_TIMER.value else now_ms + far_ms
        return Goal(str(value)), min(to_ms, LATEST_MS)
    to_ms = now_ms + _duration_ms(command, value) if command == "advance" else _moment_ms(value)
    if to_ms < now_ms:
        raise _invalid(f"it is {format_rfc3339(now_ms)} here, and time never goes back")
    if to_ms > LATEST_MS:
        raise _invalid(f"the clock goes as far as {format_rfc3339(LATEST_MS)}")
    return Goal.MOMENT, to_ms


def _duration_ms(name: str, value: object) -> int:
    try:
        duration_ms = parse_duration_ms(value if isinstance(value, str) else str(value))
    except InvalidDurationError as error:
        raise _invalid(f"{name}: {error}") from error
    if duration_ms < 0:
        raise _invalid(f"{name} must not be negative: time never goes back")
    return duration_ms


def _moment_ms(value: object) -> int:
    try:
        return parse_rfc3339_ms(value if isinstance(value, str) else str(value))
    except InvalidTimeError as error:
        raise _invalid(f"to: {error}") from error


def _invalid(message: str) -> RequestRejectedError:
    return RequestRejectedError(400, message, code="invalid_parameter")


def _shown(travel: TimeTravel, engine: Engine) -> dict[str, Any]:
    clock, timer, journey = travel.clock, travel.next_timer(), travel.journey
    mode = "paused" if clock.is_stopped else "real"
    return {
        "mode": "moving" if travel.is_moving else mode,
        "now": format_rfc3339(engine.now_ms()),
        "host_now": format_rfc3339(clock.host_ms()),
        "offset_ms": clock.offset_ms,
        "next_timer": None if timer is None else _shown_timer(timer, engine),
        "moving": _shown_journey(journey) if journey is not None and travel.is_moving else None,
        "last": _shown_journey(journey) if journey is not None and not travel.is_moving else None,
        "quiet": travel.is_quiet,
    }


def _shown_timer(timer: Timer, engine: Engine) -> dict[str, Any]:
    run, cron = engine.live.find_run(timer.owner), engine.live.crons.get(timer.key)
    row = run.row if run is not None else cron
    function = engine.functions.find(row.function_id) if row is not None else None
    return {
        "at": format_rfc3339(timer.due_ms),
        "kind": timer.kind,
        "run_id": timer.owner or None,
        "function": function.row.slug if function is not None else None,
    }


def _shown_journey(journey: Journey) -> dict[str, Any]:
    return {
        "goal": journey.goal.value,
        "from": format_rfc3339(journey.from_ms),
        "to": format_rfc3339(journey.to_ms) if journey.goal is Goal.MOMENT else None,
        "stops": journey.stops.total(),
        "stops_by_kind": dict(sorted(journey.stops.items())),
        "ended": journey.ended.value if journey.ended is not None else None,
        "detail": journey.detail,
    }
