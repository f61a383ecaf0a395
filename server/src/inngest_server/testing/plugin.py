"""The plugin of pytest: worlds as fixtures, and what happened in them beside a failure.

Only pytest is imported here, and nothing is done before a test asks for a world or the settings say
`inngest = true`.
"""

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from inngest_server.testing.async_world import AsyncWorld
    from inngest_server.testing.host import Host
    from inngest_server.testing.world import World

WORLDS = pytest.StashKey[list[Any]]()
"""Worlds of the test that is running."""
PORT = pytest.StashKey[Any]()
HOST = pytest.StashKey["Host"]()
OTHERS = ("INNGEST_BASE_URL", "INNGEST_API_BASE_URL", "INNGEST_EVENT_API_BASE_URL", "INNGEST_DEVSERVER_URL")
"""Variables that would send a client elsewhere."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        "inngest",
        "Let clients of Inngest SDKs that are made while modules are imported reach the worlds of tests",
        type="bool",
        default=False,
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "inngest(start=None, absolute_times=False, retry_interval=None, patience=timedelta(seconds=30)): "
        "options of the test's Inngest world, as those of `inngest_server.testing.World`",
    )
    if config.getini("inngest"):
        environment = _environment(config)
        before = {name: os.environ.get(name) for name in (*environment, *OTHERS)}
        config.add_cleanup(lambda: _restore(before))
        _restore({**dict.fromkeys(OTHERS), **environment})


def pytest_unconfigure(config: pytest.Config) -> None:
    host = config.stash.get(HOST, None)
    if host is not None:
        host.close()
    elif (reserved := config.stash.get(PORT, None)) is not None:
        reserved.close()


def _restore(variables: "dict[str, str | None]") -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _environment(config: pytest.Config) -> dict[str, str]:
    """What clients read to find this process; reserves its port."""
    from inngest_server.testing.host import reserve_port, url_of

    if PORT not in config.stash:
        config.stash[PORT] = reserve_port()
    return {"INNGEST_DEV": url_of(config.stash[PORT])}


def _host(config: pytest.Config) -> "Host":
    from inngest_server.testing.host import Host

    if HOST not in config.stash:
        _environment(config)
        config.stash[HOST] = Host(config.stash[PORT])
    return config.stash[HOST]


@pytest.fixture
def inngest_world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> "Iterator[World]":
    """An Inngest server of the test's own, on a clock that only the test moves.

    Apps are served by `inngest_world.serve(app)`. See docs/howto/test-your-functions.md.
    """
    from inngest_server.testing.world import World

    with World(host=_host(request.config), **_options(request)) as world:
        _enter(request, monkeypatch, world)
        yield world


@pytest.fixture
def inngest_async_world(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> "Iterator[AsyncWorld]":
    """As `inngest_world`, for tests that are coroutines."""
    from inngest_server.testing.async_world import AsyncWorld

    with AsyncWorld(host=_host(request.config), **_options(request)).opened() as world:
        _enter(request, monkeypatch, world)
        yield world


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    options: dict[str, Any] = {"seed": request.node.nodeid}
    for marker in reversed(list(request.node.iter_markers("inngest"))):
        if marker.args:
            raise pytest.UsageError("the marker `inngest` takes options by name: inngest(start=...)")
        options |= marker.kwargs
    return options


def _enter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, world: Any) -> None:
    for name, value in world.env.items():
        monkeypatch.setenv(name, value)
    for name in OTHERS:
        monkeypatch.delenv(name, raising=False)
    request.node.stash.setdefault(WORLDS, []).append(world)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    worlds = item.stash.get(WORLDS, list[Any]())
    if call.when == "call" and report.failed:
        for world in worlds:
            try:
                report.sections.append(("Inngest world", world.report()))
            except Exception as error:  # The failure of the test is what counts.
                report.sections.append(("Inngest world", f"it cannot be shown: {error!r}"))
    if call.when == "teardown" and worlds:
        del item.stash[WORLDS]
    return report
