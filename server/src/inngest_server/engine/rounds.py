"""Work in the background that is done in rounds."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger("inngest.server")

FAILED_PAUSE_S = 30.0


async def repeat(work: str, do_round: Callable[[], Awaitable[float]]) -> None:
    """Do rounds for ever, each followed by the pause in seconds that it returns.

    A round that raises is our own mistake: it is logged, and must not end the server that runs it.
    """
    while True:
        try:
            pause_s = await do_round()
        except Exception as error:
            log.error("server.round_failed", work=work, exc_info=error)
            pause_s = FAILED_PAUSE_S
        await asyncio.sleep(pause_s)
