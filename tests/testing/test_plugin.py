"""The plugin in sessions of pytest: what it gives, what it shows, and that it leaves other projects alone."""

import tomllib
from pathlib import Path

import pytest

from tests.testing.sessions import PLUGIN, ROOT, run_pytest

APP = """
from tests.testing.apps import App

def order(event, steps):
    paid = steps.run("charge", lambda: event["data"]["amount"])
    steps.sleep("cool off", "3d")
    return paid

app = App(order=order)
"""


def write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / f"{name}.py").write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return directory


def test_pytest_finds_the_plugin_of_an_installed_server() -> None:
    project = tomllib.loads((ROOT / "server" / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"inngest": PLUGIN}


def test_a_test_that_fails_shows_what_its_runs_did(tmp_path: Path) -> None:
    write(
        tmp_path,
        shop=APP,
        test_shop="""
from shop import app

def test_order(inngest_world):
    inngest_world.serve(app.asgi)
    run = inngest_world.send("order", {"amount": 5}).run
    assert run.status == "Completed"
""",
    )
    shown = run_pytest(tmp_path)
    assert shown.returncode == 1, shown.stdout
    section = shown.stdout.partition("Inngest world")[2].splitlines()
    assert "1 run; the world's time is" in section[1]
    assert any(line.startswith("shop-order, run 01") and line.endswith("on order") for line in section)
    assert any(line.split()[:2] == ["charge", "COMPLETED"] for line in section)
    assert any(line.split()[:3] == ["cool", "off", "WAITING"] for line in section)


def test_worlds_are_one_for_each_test_and_leave_nothing_behind(tmp_path: Path) -> None:
    write(
        tmp_path,
        shop=APP,
        test_shop="""
import os
import pytest
from shop import app

@pytest.mark.parametrize("number", range(20))
def test_order(inngest_world, number):
    assert os.environ["INNGEST_DEV"] == inngest_world.url
    assert inngest_world.runs() == []
    inngest_world.serve(app.wsgi if number % 2 else app.asgi)
    run = inngest_world.send("order", {"amount": number}).run
    inngest_world.advance(days=3)
    assert run.output == number

def test_outside():
    assert "INNGEST_DEV" not in os.environ
""",
    )
    shown = run_pytest(tmp_path, "-W", "error::pytest.PytestUnraisableExceptionWarning")
    assert shown.returncode == 0, shown.stdout
    assert "21 passed" in shown.stdout


def test_processes_of_a_session_do_not_meet(tmp_path: Path) -> None:
    write(
        tmp_path,
        shop=APP,
        test_shop="""
import pytest
from shop import app

@pytest.mark.parametrize("number", range(10))
def test_order(inngest_world, number):
    inngest_world.serve(app.asgi)
    sent = inngest_world.send("order", {"amount": number})
    inngest_world.advance(days=3)
    assert [run.output for run in inngest_world.runs()] == [sent.run.output] == [number]
""",
    )
    shown = run_pytest(tmp_path, "-p", "xdist", "-n", "2")
    assert shown.returncode == 0, shown.stdout
    assert "10 passed" in shown.stdout


def test_tests_that_are_coroutines_have_a_world_of_their_own(tmp_path: Path) -> None:
    write(
        tmp_path,
        shop=APP,
        test_shop="""
import pytest
from shop import app

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_order(inngest_async_world):
    await inngest_async_world.serve(app.asgi)
    run = (await inngest_async_world.send("order", {"amount": 5})).run
    await inngest_async_world.advance(days=3)
    assert run.output == 5
""",
    )
    shown = run_pytest(tmp_path, "-p", "anyio")
    assert shown.returncode == 0, shown.stdout


def test_the_marker_has_the_options_of_a_world(tmp_path: Path) -> None:
    write(
        tmp_path,
        shop=APP,
        test_shop="""
from datetime import UTC, datetime, timedelta
import pytest

pytestmark = pytest.mark.inngest(start=datetime(2030, 1, 1, tzinfo=UTC), retry_interval=timedelta(seconds=1))

@pytest.mark.inngest(start=datetime(2031, 1, 1, tzinfo=UTC))
def test_start(inngest_world):
    assert inngest_world.clock.now == datetime(2031, 1, 1, tzinfo=UTC)

def test_of_module(inngest_world):
    assert inngest_world.clock.now == datetime(2030, 1, 1, tzinfo=UTC)
""",
    )
    shown = run_pytest(tmp_path, "--strict-markers")
    assert shown.returncode == 0, shown.stdout


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("inngest(5)", "takes options by name"),
        ("inngest(begin=5)", "begin"),
        ("inngest(start=__import__('datetime').datetime(2030, 1, 1))", "has no time zone"),
    ],
)
def test_a_wrong_marker_is_an_error(tmp_path: Path, marker: str, said: str) -> None:
    write(
        tmp_path,
        test_it=f"""
import pytest

@pytest.mark.{marker}
def test_it(inngest_world): ...
""",
    )
    shown = run_pytest(tmp_path)
    assert shown.returncode == 1
    assert said in shown.stdout


def test_clients_that_are_made_by_imports_reach_the_worlds(tmp_path: Path) -> None:
    write(
        tmp_path,
        client="""
import os
ADDRESS = os.environ["INNGEST_DEV"]
assert "INNGEST_BASE_URL" not in os.environ
""",
        test_it="""
from client import ADDRESS

def test_it(inngest_world):
    assert inngest_world.url == ADDRESS
""",
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\ninngest = true\n")
    shown = run_pytest(tmp_path, env={"INNGEST_BASE_URL": "http://elsewhere"})
    assert shown.returncode == 0, shown.stdout


def test_projects_that_do_not_use_it_pay_next_to_nothing(tmp_path: Path) -> None:
    write(
        tmp_path,
        test_it="""
import os
import sys

def test_it():
    ours = {name for name in sys.modules if name.startswith("inngest")}
    assert ours <= {"inngest_server", "inngest_server.testing", "inngest_server.testing.plugin"}, ours
    assert not {"uvicorn", "structlog", "graphql"} & sys.modules.keys()
    assert not [name for name in os.environ if name.startswith("INNGEST_")]
""",
    )
    shown = run_pytest(tmp_path)
    assert shown.returncode == 0, shown.stdout


def test_histories_are_checked_in_a_test(tmp_path: Path) -> None:
    write(
        tmp_path,
        shop=APP,
        test_shop="""
import json
import pathlib
from shop import app

HISTORIES = pathlib.Path(__file__).parent / "histories.jsonl"

def test_1_record(inngest_world):
    inngest_world.serve(app.asgi)
    run = inngest_world.send("order", {"amount": 5}).run
    inngest_world.advance(days=3)
    HISTORIES.write_text(json.dumps(run.history))

def test_2_same(inngest_world):
    inngest_world.serve(app.asgi)
    inngest_world.check_histories(HISTORIES)
    assert inngest_world.runs() == inngest_world.calls == []

def test_3_changed(inngest_world):
    def order(event, steps):
        return steps.run("charge the card", lambda: 1 / 0)
    app.functions["order"] = order
    inngest_world.serve(app.asgi)
    inngest_world.check_histories(HISTORIES)
""",
    )
    shown = run_pytest(tmp_path)
    assert "1 failed, 2 passed" in shown.stdout, shown.stdout
    assert "the run went on with 'charge'; the code asks for 'charge the card'" in shown.stdout
