"""Finding apps on local ports: what is asked, how often, and when it ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from inngest_server.apps.app_error import AppError
from inngest_server.engine.discovery import ROUNDS_MAX, AppDiscovery
from inngest_server.engine.facts import AppRemoved
from inngest_server.engine.polling import AppPoller
from inngest_server.engine.registering import register
from inngest_server.execution.prober import HEAD_BYTES_MAX, PATHS, ask_port, listening_at
from tests.support.processes import free_port
from tests.unit.engine.builders import Office, make_function

TIMEOUT_S = 20.0
SDK = "inngest-py:v0.5.19"


class Site:
    """A program that listens on a port of its own; `answer` makes the answer to a path."""

    def __init__(self, answer: Callable[[str], bytes]) -> None:
        self.asked: list[str] = []
        self.port = 0
        self._answer = answer

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if line:  # Else somebody only looked whether anybody is there.
            path = line.decode().split(" ")[1]
            self.asked.append(path)
            writer.write(self._answer(path))
        writer.close()


def serving(path: str) -> Callable[[str], bytes]:
    """An app at one path; the rest is a 404."""

    def answer(asked: str) -> bytes:
        if asked != path:
            return b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
        return f"HTTP/1.1 200 OK\r\nX-Inngest-SDK: {SDK}\r\ncontent-length: 2\r\n\r\n{{}}".encode()

    return answer


@asynccontextmanager
async def listening(answer: Callable[[str], bytes]) -> AsyncIterator[Site]:
    site = Site(answer)
    server = await asyncio.start_server(site.talk, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    async with server, asyncio.timeout(TIMEOUT_S):
        yield site


# ---- one port ------------------------------------------------------------------------------------


async def test_a_port_is_open_while_something_listens() -> None:
    async with listening(serving("/")) as site:
        assert listening_at(site.port) == "127.0.0.1"
    assert listening_at(free_port()) is None


@pytest.mark.parametrize("path", PATHS)
async def test_an_app_is_found_by_its_header_at_each_usual_path(path: str) -> None:
    async with listening(serving(path)) as site:
        found = await ask_port(site.port, "127.0.0.1")

    assert found == (f"http://localhost:{site.port}{path}", SDK)
    assert site.asked == list(PATHS[: PATHS.index(path) + 1])


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://198.51.100.1/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-inngest-sdk:\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 2 * HEAD_BYTES_MAX + b"\r\n\r\n",
        b"220 mail.example ESMTP\r\n",
        b"",
    ],
)
async def test_other_programs_are_no_apps(answer: bytes) -> None:
    async with listening(lambda _: answer) as site:
        assert (await ask_port(site.port, "127.0.0.1")).url is None


# ---- the loop ------------------------------------------------------------------------------------


class Home:
    """A running engine, and apps that register themselves when they are asked."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.office = Office()
        self.asked: list[str] = []
        self.accepts = accepts
        syncer: Any = self
        self.poller = AppPoller(self.office.engine, syncer, urls=(), poll=True, interval_s=5)

    async def sync(self, url: str) -> AppError | None:
        self.asked.append(url)
        if not self.accepts:
            return AppError("sdk_rejected", "no")
        body = {"appName": "shop", "url": url, "sdk": "py:v0.5.19", "functions": [make_function("order")]}
        await register(self.office.engine, body)
        return None

    def discovery(self, *ports: int) -> AppDiscovery:
        return AppDiscovery(self.office.engine, self.poller, ports=ports)

    @property
    def apps(self) -> list[tuple[str, int]]:
        return [(app.url, app.autodiscovered) for app in self.office.engine.functions.apps.values()]


@asynccontextmanager
async def home(**options: bool) -> AsyncIterator[Home]:
    made = Home(**options)
    await made.office.engine.start()
    running = asyncio.create_task(made.office.engine.run())
    async with asyncio.timeout(TIMEOUT_S):
        yield made
    running.cancel()


async def test_an_app_that_is_found_is_synced_and_marked() -> None:
    async with home() as at, listening(serving("/x/inngest")) as site:
        await at.discovery(free_port(), site.port).run_once()

        assert at.apps == [(f"http://localhost:{site.port}/x/inngest", 1)]


async def test_an_app_that_was_found_stays_marked_when_it_syncs_again() -> None:
    async with home() as at, listening(serving("/x/inngest")) as site:
        await at.discovery(site.port).run_once()
        [(url, _)] = at.apps
        body = {"appName": "shop", "url": url, "sdk": "py:v0.5.20", "functions": [make_function("order")]}

        assert (await register(at.office.engine, body)).modified

        assert at.apps == [(url, 1)]


async def test_nothing_is_asked_while_there_is_an_app_and_again_when_it_is_gone() -> None:
    async with home() as at, listening(serving("/x/inngest")) as site:
        discovery = at.discovery(site.port)
        await discovery.run_once()
        asked = len(site.asked)
        await discovery.run_once()
        assert len(site.asked) == asked

        await at.office.engine.ask(AppRemoved(f"http://localhost:{site.port}/x/inngest"))
        await discovery.run_once()

        assert len(site.asked) == 2 * asked
        assert len(at.asked) == 2


async def test_an_app_that_refuses_is_asked_again_in_the_next_round() -> None:
    async with home(accepts=False) as at, listening(serving("/api/inngest")) as site:
        discovery = at.discovery(site.port)
        await discovery.run_once()
        await discovery.run_once()

        assert len(at.asked) == 2
        assert at.apps == []


async def test_a_program_that_is_no_app_is_asked_ever_less_often() -> None:
    async with home() as at, listening(serving("/elsewhere")) as site:
        discovery = at.discovery(site.port)
        rounds: list[int] = []
        for number in range(5 * ROUNDS_MAX):
            before = len(site.asked)
            await discovery.run_once()
            if len(site.asked) > before:
                rounds.append(number)

    assert rounds == [0, 2, 6, 12, 18, 24]
