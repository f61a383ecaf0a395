"""What tests of samples share: serving a sample, running it, and the helpers that a page assumes."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import fastapi

import inngest
import inngest.fast_api
from inngest_server.testing import Run, RunError, World

KEPT: list[inngest.Inngest] = []
"""A client lives as long as its process. One that goes before its event loop, which is here that of all
worlds, would leave connections to the garbage collector, which warns of them."""


def serve_functions(
    world: World, client: inngest.Inngest, functions: Sequence[inngest.Function[Any]]
) -> None:
    KEPT.append(client)
    app = fastapi.FastAPI()
    inngest.fast_api.serve(app, client, list(functions))
    world.serve(app)


def serve(world: World, module: ModuleType) -> None:
    """Serve what a sample defined, with the client that it used."""
    functions = [value for value in vars(module).values() if isinstance(value, inngest.Function)]
    serve_functions(world, module.inngest_client, functions)


def run(world: World, event: str, data: dict[str, Any] | None = None) -> Run:
    """Send an event, let time pass until nothing waits for it, and give back the only run."""
    sent = world.send(event, data)
    world.until_idle()
    return sent.run


def error_of(ended: Run) -> RunError:
    """Why it failed."""
    assert ended.error is not None, ended.timeline
    return ended.error


def lasted_s(ended: Run) -> float:
    """From the run's first call to its end, in the server's seconds."""
    assert ended.started_at is not None
    assert ended.ended_at is not None
    return (ended.ended_at - ended.started_at).total_seconds()


class Calls:
    """Helpers that a page assumes: any name is a function that notes its arguments."""

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self.made: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._answers = answers or {}

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.made.append((name, args, options))
            return self._answers.get(name)

        return call

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.made]


def module_and_client(client: inngest.Inngest) -> Any:
    """On some pages the client has the name of the module, and both are used."""

    class Both:
        def __getattr__(self, name: str) -> Any:
            return getattr(inngest, name) if hasattr(inngest, name) else getattr(client, name)

    return Both()
