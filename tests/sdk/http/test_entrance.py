"""Few requests of one event loop begin side by side, and none waits for another one's waiting."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

import inngest
from inngest._http import entrance
from inngest._http.handler import Handler
from inngest._http.per_loop import PerLoop
from tests.sdk.http.asking import call, call_body, said

MANY = 20


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One place only: whoever keeps it keeps all others out."""
    monkeypatch.setattr(entrance, "ROOM_STEPS", 1)


@pytest.fixture
async def client() -> AsyncIterator[inngest.Inngest]:
    made = inngest.Inngest(app_id="app", is_production=False, checkpointing=False)
    yield made
    await made.aclose()


def handler_of(client: inngest.Inngest, *functions: Any) -> Handler:
    return Handler(client, functions, framework="test")


async def test_the_first_of_many_is_answered_before_the_last_begins(client: inngest.Inngest) -> None:
    """Side by side, all would be in memory at once."""
    log: list[str] = []

    @client.create_function(fn_id="fn", event="a")
    async def fn(ctx: inngest.Context) -> None:
        log.append("begins")
        await ctx.group.parallel(tuple((lambda n=n: ctx.step.run(f"s{n}", str, n)) for n in range(10)))

    handler = handler_of(client, fn)

    async def ask() -> None:
        response = await handler.handle(call())
        assert len(said(response)) == 10
        log.append("answered")

    await asyncio.gather(*(ask() for _ in range(MANY)))

    assert log.count("begins") == log.count("answered") == MANY
    assert log[:10].count("answered") > 0


@pytest.mark.parametrize("where", ["code", "branch", "step", "hook", "plain function"])
async def test_whoever_waits_lets_the_others_begin(where: str, client: inngest.Inngest) -> None:
    is_free = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Waits(inngest.Middleware):
        async def transform_input(self, *_: Any) -> None:
            await is_free.wait()

    middleware = [Waits] if where == "hook" else []

    @client.create_function(fn_id="waits", event="a", middleware=middleware)
    async def waits(ctx: inngest.Context) -> str:
        if where == "code":
            await is_free.wait()
        if where == "branch":
            await asyncio.gather(is_free.wait(), ctx.step.run("beside", str, 1))
        await ctx.step.run("waits", is_free.wait)
        return "done"

    @client.create_function(fn_id="plain", event="a")
    def plain(ctx: inngest.ContextSync) -> str:
        asyncio.run_coroutine_threadsafe(is_free.wait(), loop).result(30)
        return "done"

    @client.create_function(fn_id="frees", event="a")
    async def frees(ctx: inngest.Context) -> str:
        is_free.set()
        return "freed"

    handler = handler_of(client, waits, plain, frees)
    body = call_body(steps={"beside": {"data": "1"}} if where == "branch" else {})
    waiting = call("app-plain" if where == "plain function" else "app-waits", body)

    async with asyncio.timeout(20):
        answers = await asyncio.gather(handler.handle(waiting), handler.handle(call("app-frees")))

    assert [answer.status for answer in answers] == [200 if where == "plain function" else 206, 200]


async def test_a_request_that_is_given_up_lets_the_others_begin(client: inngest.Inngest) -> None:
    @client.create_function(fn_id="fn", event="a")
    async def fn(ctx: inngest.Context) -> int:
        return 1

    handler = handler_of(client, fn)
    requests = [asyncio.create_task(handler.handle(call())) for _ in range(MANY)]
    await asyncio.sleep(0)
    for number in (0, 1, 5, MANY - 1):
        requests[number].cancel()

    async with asyncio.timeout(20):
        answers = await asyncio.gather(*requests, return_exceptions=True)
        again = await handler.handle(call())

    assert again.status == 200
    assert sum(isinstance(one, asyncio.CancelledError) for one in answers) == 4
    assert all(one.status == 200 for one in answers if not isinstance(one, BaseException))


async def test_nonsense_lets_the_others_begin(client: inngest.Inngest) -> None:
    @client.create_function(fn_id="fn", event="a")
    async def fn(ctx: inngest.Context) -> int:
        return 1

    handler = handler_of(client, fn)
    requests = [call("app-none"), call(body=b"{"), call(), call("app-none"), call()]

    async with asyncio.timeout(20):
        answers = await asyncio.gather(*(handler.handle(one) for one in requests))

    assert [one.status for one in answers] == [500, 400, 200, 500, 200]


@pytest.mark.parametrize("turns", range(8))
async def test_code_that_takes_its_time_to_be_cancelled_lets_the_others_begin(
    turns: int, client: inngest.Inngest
) -> None:
    has_begun, is_free = asyncio.Event(), asyncio.Event()

    @client.create_function(fn_id="slow", event="a")
    async def slow(ctx: inngest.Context) -> None:
        has_begun.set()
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(60)
        finally:
            await is_free.wait()

    @client.create_function(fn_id="frees", event="a")
    async def frees(ctx: inngest.Context) -> None:
        assert not (has_begun.is_set() and leaving.done())
        is_free.set()

    handler = handler_of(client, slow, frees)
    leaving = asyncio.create_task(handler.handle(call("app-slow")))
    for _ in range(turns):
        await asyncio.sleep(0)
    leaving.cancel()

    assert (await handler.handle(call("app-frees"))).status == 200
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_code_that_gives_up_steps_again_and_again_lets_the_others_begin(
    client: inngest.Inngest,
) -> None:
    is_free = asyncio.Event()

    @client.create_function(fn_id="polls", event="a")
    async def polls(ctx: inngest.Context) -> str:
        while not is_free.is_set():
            step = asyncio.ensure_future(ctx.step.run("never", str, 1))
            await asyncio.sleep(0)
            step.cancel()
        return "done"

    @client.create_function(fn_id="frees", event="a")
    async def frees(ctx: inngest.Context) -> str:
        is_free.set()
        return "freed"

    handler = handler_of(client, polls, frees)
    async with asyncio.timeout(20):
        answers = await asyncio.gather(handler.handle(call("app-polls")), handler.handle(call("app-frees")))

    assert [said(answer) for answer in answers] == ["done", "freed"]


@pytest.fixture
def many_switches() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("many_switches")
def test_loops_of_many_threads_may_begin_and_end_at_the_same_time() -> None:
    async def nothing(_: object) -> None:
        pass

    per_loop = PerLoop(object, nothing)

    async def use() -> None:
        assert per_loop.get() is per_loop.get()

    def begin_and_end(_: int) -> None:
        for _ in range(100):
            asyncio.run(use())

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(begin_and_end, range(8)))


async def test_places_are_given_in_order_by_size_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "ROOM_STEPS", 100)
    random = Random(5)
    room = entrance.Entrance()
    sizes = {"small": 1, "few": 15, "some": 40, "many": 99, "all": 500}
    for name, size in sizes.items():
        (await room.enter(name)).leave(size)
    counted = {name: min(max(size, entrance.PLACE_STEPS), 100) for name, size in sizes.items()}
    names = [random.choice(list(sizes)) for _ in range(200)]
    inside: set[int] = set()
    entered: list[int] = []

    async def visit(number: int) -> None:
        entry = await room.enter(names[number])
        entered.append(number)
        inside.add(number)
        assert sum(counted[names[one]] for one in inside) <= 100
        for _ in range(random.randrange(4)):
            await asyncio.sleep(0)
        inside.discard(number)
        entry.leave()
        entry.leave()

    tasks = [asyncio.create_task(visit(number)) for number in range(len(names))]
    for task in random.sample(tasks, 60):
        await asyncio.sleep(0)
        task.cancel()
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks, return_exceptions=True)
        whole = await room.enter("all")

    assert entered == sorted(entered)
    assert len(entered) >= 140
    whole.leave()


async def test_a_request_takes_as_much_room_as_the_last_one_for_its_function_needed(
    monkeypatch: pytest.MonkeyPatch, client: inngest.Inngest
) -> None:
    monkeypatch.setattr(entrance, "ROOM_STEPS", 100)
    taken: list[int] = []
    free = entrance.Entrance.free

    def freed(self: entrance.Entrance, size: int) -> None:
        taken.append(size)
        free(self, size)

    monkeypatch.setattr(entrance.Entrance, "free", freed)

    @client.create_function(fn_id="fn", event="a")
    async def fn(ctx: inngest.Context) -> None:
        await asyncio.gather(*(ctx.step.run(f"s{n}", str, n) for n in range(ctx.event.data["steps"])))

    handler = handler_of(client, fn)
    for steps in (30, 500, 1, 1):
        await handler.handle(call(body=call_body(event={"data": {"steps": steps}})))

    assert taken == [10, 30, 100, 10]
