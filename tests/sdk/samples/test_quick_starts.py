"""Samples that are a whole app: made, served, registered and run."""

import logging
import re
from types import SimpleNamespace
from typing import Any

import pytest

from inngest_server.testing import World
from tests.sdk.samples.conftest import Show
from tests.sdk.samples.play import run
from tests.sdk.samples.shown import body


@pytest.mark.parametrize("sample", ["PY-01", "P-41"])
def test_flask_serves(show: Show, world: World, sample: str) -> None:
    import flask

    class App(flask.Flask):
        port = 0

        def run(self, *, port: int, **_: Any) -> None:
            self.port = port

    shown = show(sample).edited(body("def hello", 'return "Hello world!"'))
    shown.modules({"src.flask": {"app": App("src.flask")}})
    app = shown.play().app
    world.serve(app)
    ended = run(world, "say-hello")

    assert app.port == 8000
    assert (ended.status, ended.output) == ("Completed", "Hello world!")


@pytest.mark.parametrize("sample", ["PY-02", "P-42"])
def test_fastapi_serves(show: Show, world: World, sample: str) -> None:
    world.serve(show(sample).play().app)
    ended = run(world, "say-hello")

    assert (ended.status, ended.output) == ("Completed", "Hello world!")


def test_a_fastapi_app_comes_before_the_client(show: Show) -> None:
    import fastapi

    assert isinstance(show("PY-48").play().app, fastapi.FastAPI)


def test_the_quick_start_logs_a_readable_event(
    show: Show, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "uvicorn")
    logging.getLogger("uvicorn").propagate = True
    world.serve(show("PY-49").play().app)
    ended = run(world, "app/my_function", {"greeting": "salut"})

    assert (ended.status, ended.output) == ("Completed", "done")
    assert re.search(r"app/my_function.*salut|salut.*app/my_function", caplog.text)
    assert caplog.text.count("salut") == 1


def test_an_app_on_modal(show: Show, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Modal itself is played by what the page calls of it."""

    class Image:
        def __getattr__(self, _: str) -> Any:
            return lambda *_args, **_options: self

    class App:
        def __init__(self, _: str) -> None:
            pass

        def function(self, *, image: Image) -> Any:
            return lambda make: make

    shown = show("S-06")
    modal = SimpleNamespace(App=App, Image=Image(), asgi_app=lambda: lambda make: make)
    shown.modules({"modal": vars(modal), "dotenv": {"load_dotenv": lambda: None}})
    world.serve(shown.play().fastapi_app())
    ended = run(world, "my-event", {"n": 1})

    assert (ended.status, ended.output) == ("Completed", "done")
    assert "my-event" in capsys.readouterr().out
