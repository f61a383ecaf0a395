"""Settings come from the test alone; a scripted server; no log of failures that tests provoke."""

import logging
import os
from collections.abc import Iterator

import pytest

from tests.sdk.http.server import Server, serving


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("INNGEST_", "DEV_SERVER_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    logging.getLogger("inngest").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("inngest").setLevel(logging.NOTSET)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as scripted:
        yield scripted
