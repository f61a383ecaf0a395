"""The background loop under threads that use and close it at the same time."""

import asyncio
import contextvars
import threading

import pytest

from inngest._http.background import BackgroundLoop

THREADS = 8
ROUNDS = 60


async def answer(value: int) -> int:
    await asyncio.sleep(0)
    return value


def test_every_caller_gets_an_answer_while_the_loop_is_closed_again_and_again() -> None:
    background = BackgroundLoop("test-loop")
    answered: list[int] = []
    given_up: list[int] = []

    def call(number: int) -> None:
        for _ in range(ROUNDS):
            try:
                answered.append(background.run(answer(number)))
            except asyncio.CancelledError:
                given_up.append(number)

    threads = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        background.close()
        threads[0].join(0.001)
    for thread in threads:
        thread.join(30)
    background.close()

    assert len(answered) + len(given_up) == THREADS * ROUNDS
    assert answered


def test_an_error_reaches_the_caller() -> None:
    background = BackgroundLoop("test-loop")

    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        background.run(fail())
    background.close()


def test_context_variables_of_the_caller_are_seen() -> None:
    background = BackgroundLoop("test-loop")
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")

    async def read() -> str:
        return name.get()

    name.set("ann")
    assert background.run(read()) == "ann"
    background.close()


def test_the_last_coroutine_runs_on_the_loop_that_ends() -> None:
    background = BackgroundLoop("test-loop")
    loops: list[asyncio.AbstractEventLoop] = []

    async def note() -> None:
        loops.append(asyncio.get_running_loop())

    background.run(note())
    background.close(note())

    assert loops[0] is loops[1]
    assert loops[0].is_closed()


def test_closing_what_never_ran_does_nothing() -> None:
    ran: list[None] = []

    async def last() -> None:
        ran.append(None)

    background = BackgroundLoop("test-loop")
    background.close(last())
    background.close()

    assert ran == []


def test_work_that_closes_its_own_loop_is_cancelled() -> None:
    background = BackgroundLoop("test-loop")

    async def close() -> None:
        background.close()
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        background.run(close())
