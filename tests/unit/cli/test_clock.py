"""The command `clock`: which request its words are, and what people read of the answer."""

from typing import Any

import pytest

from inngest_server.cli.arguments import parse
from inngest_server.cli.clock import body_of, lines_of
from inngest_server.cli.config_file import ConfigError
from inngest_server.cli.main import main
from tests.unit.cli.test_pausing import Parrot, parrot

__all__ = ["parrot"]

SHOWN: dict[str, Any] = {
    "mode": "real",
    "now": "2026-11-24T09:00:07Z",
    "host_now": "2026-11-21T09:00:07Z",
    "offset_ms": 3 * 24 * 3_600_000,
    "next_timer": {
        "at": "2026-11-25T09:00:00Z",
        "kind": "wait",
        "run_id": "01M7XS5GC7C2WA6QS9CXPKBSBG",
        "function": "shop-nap",
    },
    "moving": None,
    "last": {
        "stops": 5,
        "stops_by_kind": {"cron": 3, "wait": 2},
        "ended": "reached",
        "detail": "",
    },
    "quiet": True,
}


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ("", None),
        ("+3d", {"advance": "3d"}),
        ("+1h30m", {"advance": "1h30m"}),
        ("to 2026-12-24T18:00:00Z", {"to": "2026-12-24T18:00:00Z"}),
        ("next", {"until": "next-timer"}),
        ("until-idle", {"until": "idle"}),
        ("until-idle 90d", {"until": "idle", "within": "90d"}),
        ("pause", {"mode": "paused"}),
        ("real", {"mode": "real"}),
        ("stop", {"stop": True}),
    ],
)
def test_words_are_one_command(line: str, body: object) -> None:
    assert body_of(parse(["clock", *line.split()]).operands) == body


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("3d", r"a duration has a plus before it: inngest clock \+3d"),
        ("-3d", "time never goes back"),
        ("+soon", "'soon' is not valid here"),
        ("+", "is not valid here"),
        ("to", "`inngest clock to` takes a time"),
        ("to tomorrow", "'tomorrow' is not an RFC 3339 time"),
        ("until-idle later", "'later' is not valid here"),
        ("pause now", "'pause now' is no command of the clock"),
    ],
)
def test_other_words_are_refused_with_what_there_is(line: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        body_of(parse(["clock", *line.split()]).operands)


def test_people_read_where_the_clock_is_what_comes_next_and_what_the_move_met() -> None:
    assert lines_of(SHOWN, has_moved=True) == [
        "2026-11-24T09:00:07Z  real, 72h0m0s ahead of the host",
        "next      2026-11-25T09:00:00Z  wait shop-nap 01M7XS5GC7C2WA6QS9CXPKBSBG",
        "moved     5 stops (3 cron, 2 wait); reached",
    ]


def test_a_clock_that_was_never_moved_has_no_last_move() -> None:
    shown = {**SHOWN, "offset_ms": 0, "next_timer": None, "last": None, "quiet": False}

    assert lines_of(shown, has_moved=False) == [
        "2026-11-24T09:00:07Z  real, as the host",
        "next      nothing waits for time",
        "now       calls or decisions are under way",
    ]


def test_a_move_that_failed_says_why() -> None:
    last = {"stops": 0, "stops_by_kind": {}, "ended": "failed", "detail": "disk full"}

    assert lines_of({**SHOWN, "last": last}, has_moved=True)[-1] == "moved     0 stops; failed: disk full"


def test_the_distance_is_told_in_seconds_once_it_is_large() -> None:
    last = {**SHOWN["last"], "stops": 1, "stops_by_kind": {"cron": 1}}
    shown = {**SHOWN, "offset_ms": SHOWN["offset_ms"] - 27, "last": last}

    first, _, moved = lines_of(shown, has_moved=True)

    assert first == "2026-11-24T09:00:07Z  real, 72h0m0s ahead of the host"
    assert moved == "moved     1 stop (1 cron); reached"


def test_a_move_that_is_under_way_shows_how_far_it_is() -> None:
    moving = {"from": "2026-11-21T09:00:00Z", "to": "2026-11-24T09:00:00Z", "stops": 1, "stops_by_kind": {}}
    shown = {**SHOWN, "moving": moving, "last": None}

    said = "moving    1 stop since 2026-11-21T09:00:00Z, to 2026-11-24T09:00:00Z at most"
    assert lines_of(shown, has_moved=True)[-1] == said


@pytest.mark.parametrize(
    ("line", "ended", "status"),
    [
        ("+3d", "reached", 0),
        ("until-idle", "idle", 0),
        ("until-idle", "horizon", 1),
        ("+3d", "stopped", 1),
        ("+3d", "failed", 1),
        ("stop", "stopped", 0),
        ("pause", "stopped", 0),
    ],
)
def test_the_status_says_whether_the_clock_came_to_where_it_should(
    parrot: Parrot, line: str, ended: str, status: int
) -> None:
    parrot.says({**SHOWN, "last": {**SHOWN["last"], "ended": ended}})
    assert main(["clock", *line.split(), "--server", parrot.url]) == status
