"""Settings come from the test alone; a scripted server; both ways of calling it."""

import os
from collections.abc import Iterator

import pytest

from inngest._http import api
from tests.sdk.http.server import Server, serving


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("INNGEST_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "BACKOFF_S", 0.0)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as scripted:
        yield scripted


@pytest.fixture(params=[True, False], ids=["async", "sync"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return request.param
