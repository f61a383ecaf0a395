"""A sample by its id, and the world that it plays in."""

from collections.abc import Callable

import pytest

from inngest_server.testing import World
from tests.sdk.samples import shown
from tests.sdk.samples.shown import Shown

Show = Callable[[str], Shown]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    """`show("PY-02")` is the sample of that id in catalogue.csv."""
    return lambda sample_id: shown.show(sample_id, monkeypatch)


@pytest.fixture
def world(inngest_world: World) -> World:
    """A server of the test's own, on a clock that only the test moves."""
    return inngest_world
