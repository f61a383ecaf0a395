"""An application as a process: asked to stop, it finishes what it is doing, and then it stops."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.sdk.frameworks.calls import call
from tests.sdk.frameworks.exchange import SocketExchange
from tests.support.processes import Process, free_port, wait_for

ROOT = Path(__file__).parents[3]


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_stopped_application_answers_the_call_that_it_is_busy_with(kind: str, tmp_path: Path) -> None:
    port = free_port()
    argv = [sys.executable, "-m", "uvicorn", "tests.sdk.frameworks.busy_app:app", "--port", str(port)]
    with Process(argv, log=tmp_path / "log", cwd=ROOT, env={"BUSY_FOLDER": str(tmp_path)}) as process:

        def says(text: str) -> bool:
            return text in process.log_text()

        await asyncio.to_thread(process.wait_until, lambda: says("Uvicorn running"), "it listens")
        calling = asyncio.create_task(SocketExchange(port)(call(kind, app_id="busy")))
        await asyncio.to_thread(wait_for, (tmp_path / "started").exists, "the start of the function")

        stopping = asyncio.create_task(asyncio.to_thread(process.stop))
        await asyncio.to_thread(wait_for, lambda: says("Shutting down"), "the end to begin")
        (tmp_path / "go-on").touch()
        reply, status = await calling, await stopping

    assert (reply.status, reply.body) == (200, b'"done"')
    assert status in (0, -signal.SIGTERM)  # Uvicorn passes the signal on once it has finished.
