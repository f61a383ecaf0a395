"""Fixtures of tests that run the server as a process."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted import Answer, App
from tests.support.shim import Shim, compile_shim


@pytest.fixture
def make_app() -> Iterator[Callable[..., App]]:
    apps: list[App] = []

    def make(**functions: Callable[[dict[str, Any]], Answer]) -> App:
        apps.append(App(**functions))
        return apps[-1]

    yield make
    for app in apps:
        app.close()


@pytest.fixture
def make_shim(tmp_path: Path) -> Callable[..., Shim]:
    library = compile_shim(tmp_path)
    if library is None:
        reason = "needs Linux and a C compiler: faults are made by a preloaded library"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    def make(*, sync_delay_ms: int = 0, write_delay_us: int = 0) -> Shim:
        return Shim(library, tmp_path, sync_delay_ms=sync_delay_ms, write_delay_us=write_delay_us)

    return make
