"""Whose error an error is."""

import asyncio
from typing import Any

from inngest_server.apps.app_error import AppError
from inngest_server.engine.polling import AppPoller
from tests.builders import make_app_row
from tests.unit.engine.builders import APP_URL, Office

DOWN_URL = "http://localhost:8001/api/inngest"


class Apps:
    """The one at `DOWN_URL` does not answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def sync(self, url: str) -> AppError | None:
        self.asked.append(url)
        return AppError("unreachable", "nobody is there") if url == DOWN_URL else None


async def test_an_app_that_connects_itself_does_not_get_the_error_of_another() -> None:
    office, apps = Office(), Apps()
    await office.engine.start()
    functions = office.engine.functions
    for name, url in {"worker": "ws://localhost:9/x", "shop": APP_URL, "down": DOWN_URL}.items():
        functions.put(make_app_row(name, name=name, url=url, shard=1), ())
    syncer: Any = apps
    poller = AppPoller(office.engine, syncer, urls=(), poll=True, interval_s=5)

    running = asyncio.create_task(office.engine.run())
    async with asyncio.timeout(10):
        await poller.run_once()
    running.cancel()

    assert apps.asked == [APP_URL, DOWN_URL]
    errors = {name: app.error for name, app in functions.apps.items()}
    assert errors == {"worker": "", "shop": "", "down": "unreachable: nobody is there"}
