"""Serves the app in the test's process, or in one of the interpreter that ORDERS_PYTHON names."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PYTHON = os.environ.get("ORDERS_PYTHON")


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | None]:
    """Where the app is in another process; one serves the whole session, and each test has a new world."""
    if PYTHON is None:
        yield None
        return
    log = tmp_path_factory.mktemp("app") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PYTHON, "-m", "uvicorn", "orders:app", "--port", "0"],
            cwd=Path(__file__).parent,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"running on (http://\S+)", line):
                yield f"{found[1]}/api/inngest"
                break
        else:
            pytest.fail(f"the app did not start:\n{''.join(lines)}")
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture
def world(inngest_world: Any, address: str | None) -> Any:
    """A world in which the app is served."""
    if address is None:
        from orders import app

        inngest_world.serve(app)
    else:
        inngest_world.serve(address)
    return inngest_world
