"""Virtual time with the official Python SDK, which sends sleeps and retry times as dates of its own clock."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.interop.harness import OURS, PYTHON, App, Sdk, require
from tests.support.api import request
from tests.support.processes import wait_for
from tests.support.scripted import rows
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("interop-clock")]

ONBOARDING = PYTHON._replace(
    name="onboarding", app_id="onboarding-py", argv=(".venv/bin/python", "onboarding.py")
)
OURS_ONBOARDING = OURS._replace(app_id="onboarding-py", argv=(OURS.argv[0], "onboarding.py"))
DAY_S = 24 * 3600
SCALED_DAY_S = 0.2
CLOCK = "/api/ui/v1/clock"


class Lived(NamedTuple):
    """What a month was like."""

    outputs: dict[str, Any]
    journals: dict[str, list[tuple[str, str]]]
    """Kind and step of each entry, by function."""
    executions: list[tuple[str, int]]
    """Steps and attempts of the longest run, in the order in which the app executed them."""
    ends: list[str]
    """Functions in the order in which their runs ended."""
    took_ms: int
    """Domain time from the first run's beginning to the last one's end."""


def live(sdk: Sdk, directory: Path, day_s: float, *flags: str) -> Lived:
    """Run the program on a server of its own; with a virtual clock, as fast as it can be moved."""
    with ServerProcess(directory / "server", "dev", "--retry-interval", "1", "--no-poll", *flags) as server:
        app = App(sdk, directory, server_url=server.url, env={"DAY_S": str(day_s)})
        with app:
            assert app.sync()[0] == 200
            event_id = server.api.send("interop/signed-up")
            if flags:
                server.api.call("POST", CLOCK, {"until": "idle", "within": "60d"})
                wait_for(
                    lambda: not server.api.call("GET", f"{CLOCK}?wait=5")["moving"], "the end", timeout_s=60
                )
            server.api.wait_runs(event_id, count=3, timeout_s=60)
            return Lived(
                outputs_of(server),
                journals_of(server),
                [one for one in executions_of(app) if one[0].startswith("mail-")],
                list(outputs_of(server)),
                took_of(server),
            )


def outputs_of(server: ServerProcess) -> dict[str, Any]:
    """By function, in the order in which the runs ended."""
    sql = "SELECT f.slug, r.output FROM runs r JOIN functions f USING (function_id) ORDER BY r.ended_at_ms"
    return {slug: json.loads(output) for slug, output in rows(server, sql)}


def journals_of(server: ServerProcess) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    sql = (
        "SELECT f.slug, j.kind, j.step_id FROM journal j JOIN runs r USING (run_id) "
        "JOIN functions f USING (function_id) ORDER BY f.slug, j.n"
    )
    for slug, kind, step_id in rows(server, sql):
        found.setdefault(slug, []).append((kind, step_id))
    return found


def executions_of(app: App) -> list[tuple[str, int]]:
    return [(line["step"], line["attempt"]) for line in app.lines()]


def took_of(server: ServerProcess) -> int:
    ((took_ms,),) = rows(server, "SELECT MAX(ended_at_ms) - MIN(created_at_ms) FROM runs")
    return took_ms


@pytest.mark.parametrize("sdk", [ONBOARDING, OURS_ONBOARDING], ids=["official", "ours"])
def test_a_month_of_the_python_sdk_runs_through_in_the_order_of_real_time(sdk: Sdk, tmp_path: Path) -> None:
    """Ours sends sleeps as durations; the runs are the same."""
    require(sdk)
    real = live(sdk, tmp_path / "real", SCALED_DAY_S)
    virtual = live(sdk, tmp_path / "virtual", DAY_S, "--clock", "virtual")

    assert virtual._replace(took_ms=0) == real._replace(took_ms=0)
    assert virtual.ends == [f"onboarding-py-{name}" for name in ("nagger", "reminder", "onboarding")]
    assert virtual.outputs == {
        "onboarding-py-onboarding": {"mails": 30, "confirmed": False},
        "onboarding-py-reminder": "upgraded",
        "onboarding-py-nagger": "not yet",
    }
    # Thirty days, ten of waiting, half of one until the second try; dates are a little earlier than "now".
    assert virtual.took_ms == pytest.approx(40.5 * DAY_S * 1000, abs=60_000)


def test_the_sdk_s_sleeps_are_dates_so_an_absolute_clock_ends_them_at_once(tmp_path: Path) -> None:
    """What `--clock-absolute` is: the app's clock is then thought to be ahead, too, and is not."""
    require(PYTHON)
    flags = ("--clock", "virtual", "--clock-absolute", "--no-poll")
    with ServerProcess(tmp_path / "server", "dev", *flags) as server:
        app = App(ONBOARDING, tmp_path, server_url=server.url, env={"DAY_S": str(DAY_S)})
        with app:
            assert app.sync()[0] == 200
            server.api.call("POST", CLOCK, {"advance": "100d"})
            wait_for(lambda: not server.api.call("GET", f"{CLOCK}?wait=5")["moving"], "the end")
            server.api.send("interop/signed-up")

            wait_for(lambda: ("mail-4", 0) in executions_of(app), "four sleeps without a command")
            status, _, body = request("GET", f"{server.url}{CLOCK}")
            assert (status, json.loads(body)["mode"]) == (200, "paused")
