"""The command `clock`: shows and moves the time of a server for development."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from inngest_server.cli.client import DONE, NOT_DONE, Client, client_of
from inngest_server.cli.config import Config
from inngest_server.cli.config_file import ConfigError
from inngest_server.wire.durations import InvalidDurationError, format_go_duration, parse_duration_ms
from inngest_server.wire.times import InvalidTimeError, parse_rfc3339_ms

PATH = "/clock"
MINUTE_MS = 60_000
PROGRESS_S = 1
"""Between two looks at a clock that moves."""
WORDS = "+DURATION, to TIME, next, until-idle, pause, real and stop"
ENDS = {
    "reached": "reached",
    "idle": "nothing waits for time any more, but for crons",
    "stopped": "stopped",
    "horizon": "something still waits beyond this; give `until-idle` a longer duration",
    "too-many-stops": "stopped after very many moments; go on with the same command",
    "failed": "failed",
}


def clock(config: Config, words: Sequence[str]) -> int:
    """Do what the words say and show the clock; the exit status is 1 when it did not come to where it should.

    Raises:
        ConfigError: the words are no command.
        ServerRefusedError: it did not do it.
    """
    body = body_of(words)
    has_moved = body is not None and "mode" not in body
    client = client_of(config)
    shown = client.call("GET" if body is None else "POST", PATH, body)
    if body == {"stop": True} and shown["moving"] is None:
        has_moved = False  # The last move ended by itself, perhaps long ago.
    if body is not None:
        shown = _wait(client, shown, is_told=not config.switch("json"))
    if config.switch("json"):
        print(json.dumps(shown))
    else:
        print("\n".join(lines_of(shown, has_moved=has_moved)))
    if not has_moved or shown["last"] is None or "stop" in (body or {}):
        return DONE
    return DONE if shown["last"]["ended"] in ("reached", "idle") else NOT_DONE


def body_of(words: Sequence[str]) -> dict[str, str | bool] | None:
    """The request that the words after `inngest clock` stand for; None to only show the clock.

    Raises:
        ConfigError: they stand for none.
    """
    match list(words):
        case []:
            return None
        case [duration] if duration.startswith("+"):
            return {"advance": _duration(duration[1:])}
        case ["to", moment]:
            try:
                parse_rfc3339_ms(moment)
            except InvalidTimeError as error:
                raise ConfigError(str(error)) from error
            return {"to": moment}
        case ["next"]:
            return {"until": "next-timer"}
        case ["until-idle"]:
            return {"until": "idle"}
        case ["until-idle", within]:
            return {"until": "idle", "within": _duration(within)}
        case ["pause"]:
            return {"mode": "paused"}
        case ["real"]:
            return {"mode": "real"}
        case ["stop"]:
            return {"stop": True}
        case ["to"]:
            raise ConfigError("`inngest clock to` takes a time, such as 2026-12-24T18:00:00Z")
        case [duration] if _is_duration(duration):
            if duration.startswith("-"):
                raise ConfigError("time never goes back; to begin anew, begin with another --sqlite-dir")
            raise ConfigError(f"a duration has a plus before it: inngest clock +{duration}")
        case _:
            raise ConfigError(f"{' '.join(words)!r} is no command of the clock; there are {WORDS}")


def _is_duration(text: str) -> bool:
    try:
        return bool(parse_duration_ms(text))
    except InvalidDurationError:
        return False


def _duration(text: str) -> str:
    try:
        parse_duration_ms(text)
    except InvalidDurationError as error:
        raise ConfigError(str(error)) from error
    return text


def _wait(client: Client, shown: dict[str, Any], *, is_told: bool) -> dict[str, Any]:
    """The clock once no move is under way; who interrupts this stops the move.

    Raises:
        ServerRefusedError: the server does not answer any more.
    """
    try:
        while shown["moving"] is not None:
            shown = client.call("GET", f"{PATH}?wait={PROGRESS_S}")
            if is_told and shown["moving"] is not None:
                print(_progress(shown), file=sys.stderr)
    except KeyboardInterrupt:
        client.call("POST", PATH, {"stop": True})
        return _wait(client, client.call("GET", PATH), is_told=is_told)
    return shown


def _progress(shown: dict[str, Any]) -> str:
    waits = "" if shown["quiet"] else "; waits for calls or decisions that are under way"
    return f"{shown['now']}  {_stops(shown['moving'])}{waits}"


def _stops(journey: dict[str, Any]) -> str:
    """How many moments a move has met, and what was due at them."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in journey["stops_by_kind"].items())
    return f"{journey['stops']} stop{'' if journey['stops'] == 1 else 's'}" + (f" ({kinds})" if kinds else "")


def lines_of(shown: dict[str, Any], *, has_moved: bool) -> list[str]:
    """What people read of the server's answer; `has_moved` says that its last move is of interest."""
    ahead_ms = shown["offset_ms"]
    # While it moves the host goes on by some milliseconds, which say nothing to anybody.
    away_ms = abs(ahead_ms) if abs(ahead_ms) < MINUTE_MS else round(abs(ahead_ms), -3)
    away = f"{format_go_duration(away_ms)} {'ahead of' if ahead_ms > 0 else 'behind'} the host"
    lines = [f"{shown['now']}  {shown['mode']}, {away if ahead_ms else 'as the host'}"]
    timer, last = shown["next_timer"], shown["last"]
    if timer is None:
        lines.append("next      nothing waits for time")
    else:
        whose = " ".join(part for part in (timer["function"], timer["run_id"]) if part)
        lines.append(f"next      {timer['at']}  {timer['kind']} {whose}".rstrip())
    if not shown["quiet"]:
        lines.append("now       calls or decisions are under way")
    if (moving := shown["moving"]) is not None:
        lines.append(f"moving    {_stops(moving)} since {moving['from']}, to {moving['to']} at most")
    if has_moved and last is not None:
        detail = f": {last['detail']}" if last["detail"] else ""
        lines.append(f"moved     {_stops(last)}; {ENDS[last['ended']]}{detail}")
    return lines
