"""Background work goes on after a mistake of its own."""

import asyncio

import pytest
from structlog.testing import capture_logs

from inngest_server.engine import rounds
from inngest_server.engine.rounds import repeat


async def test_a_round_that_raises_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "FAILED_PAUSE_S", 0.0)
    begun = 0
    third = asyncio.Event()

    async def do_round() -> float:
        nonlocal begun
        begun += 1
        if begun == 2:
            raise ZeroDivisionError
        if begun == 3:
            third.set()
            return 3600.0
        return 0.0

    with capture_logs() as logs:
        task = asyncio.create_task(repeat("housekeeping", do_round))
        async with asyncio.timeout(5):
            await third.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert begun == 3
    assert [(one["event"], one["work"]) for one in logs] == [("server.round_failed", "housekeeping")]
