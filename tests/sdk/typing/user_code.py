"""What a type checker knows of code that uses the SDK. Checked, never run; see test_typing.py."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, assert_type

from pydantic import BaseModel

import inngest

client = inngest.Inngest(app_id="shop", is_production=False)


class User(BaseModel):
    name: str


class Admin(BaseModel):
    rights: list[str]


async def load_user(user_id: int, *, is_fresh: bool = False) -> User:
    return User(name=str(user_id))


def count_items(shop: str) -> int:
    return len(shop)


async def load_people() -> list[User | Admin]:
    return []


# Functions know what their handlers return.


@client.create_function(fn_id="nothing", trigger=inngest.TriggerEvent(event="shop/opened"))
async def nothing(ctx: inngest.Context) -> None:
    pass


@client.create_function(fn_id="add", trigger=inngest.TriggerEvent(event="shop/added"))
async def add(ctx: inngest.Context) -> int:
    return 1


@client.create_function(fn_id="shout", trigger=inngest.TriggerEvent(event="shop/shouted"))
def shout(ctx: inngest.ContextSync) -> str:
    return "hey"


@client.create_function(
    fn_id="user", trigger=inngest.TriggerCron(cron="0 5 * * *"), output_type=User, retries=0
)
async def get_user(ctx: inngest.Context) -> User:
    return User(name="ada")


@client.create_function(fn_id="old", trigger=inngest.TriggerEvent(event="shop/old"))
async def old(ctx: inngest.Context, step: inngest.Step) -> float:
    return await step.run("one", lambda: 1.5)


@client.create_function(fn_id="old-sync", trigger=inngest.TriggerEvent(event="shop/old"))
def old_sync(ctx: inngest.ContextSync, step: inngest.StepSync) -> bytes:
    return step.run("one", lambda: b"")


assert_type(nothing, inngest.Function[None])
assert_type(add, inngest.Function[int])
assert_type(shout, inngest.Function[str])
assert_type(get_user, inngest.Function[User])
assert_type(old, inngest.Function[float])
assert_type(old_sync, inngest.Function[bytes])
assert_type(add.id, str)


# Steps know what their functions return, and take their arguments.


@client.create_function(
    fn_id="steps",
    trigger=[inngest.TriggerEvent(event="a", expression="event.data.n > 1"), inngest.TriggerEvent(event="b")],
)
async def steps(ctx: inngest.Context) -> None:
    assert_type(ctx.event, inngest.Event)
    assert_type(ctx.event.data, Mapping[str, Any])
    assert_type(ctx.event.ts, int)
    assert_type(ctx.events, list[inngest.Event])
    assert_type(ctx.attempt, int)
    assert_type(ctx.run_id, str)
    ctx.logger.info("hello %s", ctx.run_id)

    assert_type(await ctx.step.run("user", load_user, 1), User)
    assert_type(await ctx.step.run("fresh", load_user, 1, is_fresh=True), User)
    assert_type(await ctx.step.run("partial", functools.partial(load_user, 1, is_fresh=True)), User)
    assert_type(await ctx.step.run("count", count_items, "shop"), int)
    assert_type(await ctx.step.run("lambda", lambda: {"n": 1}), dict[str, int])
    assert_type(await ctx.step.run("typed", load_user, 1, output_type=User), User)
    assert_type(await ctx.step.run("people", load_people, output_type=list[User | Admin]), list[User | Admin])

    assert_type(await ctx.step.sleep("ms", 1000), None)
    assert_type(await ctx.step.sleep("delta", timedelta(seconds=1)), None)
    assert_type(await ctx.step.sleep("text", "5m"), None)
    assert_type(await ctx.step.sleep_until("at", datetime.now()), None)
    assert_type(await ctx.step.sleep_until("at-text", "2026-05-01T09:00:00Z"), None)

    event = await ctx.step.wait_for_event("wait", event="paid", timeout=timedelta(days=1))
    assert_type(event, inngest.Event | None)
    if event is not None:
        assert_type(event.name, str)
    received = await ctx.step.wait_for_signal("signal", signal="go", timeout="1h")
    assert_type(received, inngest.ReceivedSignal | None)

    assert_type(await ctx.step.invoke("add", function=add), int)
    assert_type(await ctx.step.invoke("shout", function=shout, data={"n": 1}), str)
    assert_type(await ctx.step.invoke("get", function=get_user, timeout=timedelta(minutes=5)), User)
    assert_type(await ctx.step.invoke("nothing", function=nothing), None)
    assert_type(await ctx.step.send_event("send", inngest.Event(name="x")), list[str])
    assert_type(await ctx.step.send_event("send", [inngest.Event(name="x", data={"n": 1})]), list[str])
    answer = await ctx.step.fetch("fetch", "https://example.com", method="POST", json={"n": 1})
    assert_type(answer.status_code, int)


@client.create_function(fn_id="steps-sync", trigger=inngest.TriggerEvent(event="a"))
def steps_sync(ctx: inngest.ContextSync) -> list[str]:
    assert_type(ctx.event, inngest.Event)
    assert_type(ctx.step.run("count", count_items, "shop"), int)
    assert_type(ctx.step.run("typed", count_items, "shop", output_type=int), int)
    assert_type(ctx.step.sleep("ms", 1000), None)
    assert_type(ctx.step.wait_for_event("wait", event="paid", timeout=1000), inngest.Event | None)
    assert_type(ctx.step.invoke("add", function=add), int)
    assert_type(
        ctx.group.parallel((lambda: ctx.step.run("a", lambda: 1), lambda: ctx.step.run("b", lambda: "b"))),
        tuple[int, str],
    )
    return ctx.step.send_event("send", inngest.Event(name="x"))


# Parallel steps keep their types apart.


def branch_of(ctx: inngest.Context, number: int) -> Callable[[], Awaitable[User]]:
    return lambda: ctx.step.run(f"user-{number}", load_user, number)


@client.create_function(fn_id="parallel", trigger=inngest.TriggerEvent(event="a"))
async def parallel(ctx: inngest.Context) -> tuple[int, str]:
    async def branch() -> User:
        return await ctx.step.run("branch", load_user, 2)

    assert_type(
        await ctx.group.parallel((lambda: ctx.step.run("a", count_items, "a"), branch)), tuple[int, User]
    )
    three = await ctx.group.parallel(
        (lambda: ctx.step.run("a", count_items, "a"), branch, lambda: ctx.step.sleep("s", 1)),
        parallel_mode=inngest.ParallelMode.RACE,
    )
    assert_type(three, tuple[int, User, None])
    many = tuple(branch_of(ctx, number) for number in range(3))
    users = await ctx.group.parallel(many)
    assert_type(users, tuple[User, ...])
    gathered = await asyncio.gather(
        ctx.step.run("g-1", count_items, "g"),
        branch(),
        asyncio.create_task(ctx.step.run("g-2", load_user, 3)),
    )
    assert_type(gathered, tuple[int, User, User])
    return await ctx.group.parallel(
        (lambda: ctx.step.run("n", count_items, "n"), lambda: ctx.step.run("s", lambda: "s"))
    )


# Sending.


async def send() -> None:
    assert_type(await client.send(inngest.Event(name="a", data={"n": 1})), list[str])
    assert_type(
        await client.send([inngest.Event(name="a"), inngest.Event(name="b", id="1", ts=1)]), list[str]
    )
    assert_type(await client.send({"name": "a", "data": {}}), list[str])
    assert_type(await client.send(name="a", data={"n": 1}), list[str])
    assert_type(client.send_sync(inngest.Event(name="a")), list[str])


# Every option has a type of its own.


async def on_failure(ctx: inngest.Context) -> None:
    ctx.logger.error(ctx.event.data["error"])


@client.create_function(
    fn_id="options",
    name="All options",
    trigger=[inngest.TriggerEvent(event="a"), inngest.TriggerCron(cron="0 5 * * *")],
    batch_events=None,
    cancel=[inngest.Cancel(event="stop", if_exp="async.data.id == event.data.id", timeout=timedelta(days=1))],
    concurrency=[
        inngest.Concurrency(limit=2),
        inngest.Concurrency(limit=1, key="event.data.user", scope="fn"),
    ],
    debounce=inngest.Debounce(period=timedelta(seconds=10), key="event.data.id", timeout=60_000),
    idempotency="event.data.id",
    on_failure=on_failure,
    priority=inngest.Priority(run="event.data.urgent ? 100 : 0"),
    rate_limit=None,
    retries=3,
    throttle=inngest.Throttle(limit=1, period=timedelta(seconds=5), burst=2),
    timeouts=inngest.Timeouts(start=timedelta(minutes=1), finish="1h"),
    singleton=inngest.Singleton(mode="skip", key="event.data.id"),
    checkpointing=False,
)
async def options(ctx: inngest.Context) -> dict[str, int]:
    return {}


assert_type(options, inngest.Function[dict[str, int]])


# Errors.


async def errors(ctx: inngest.Context) -> None:
    try:
        await ctx.step.run("user", load_user, 1)
    except inngest.StepError as error:
        assert_type(error.name, str)
        assert_type(error.message, str)
        raise inngest.NonRetriableError("no") from error
    raise inngest.RetryAfterError("later", timedelta(minutes=1), quiet=True)


# Middleware.


class Timing(inngest.Middleware):
    async def before_send_events(self, events: list[inngest.Event]) -> None:
        assert_type(events[0].name, str)

    async def after_send_events(self, result: inngest.SendEventsResult) -> None:
        assert_type(result.ids, list[str])

    async def transform_input(
        self,
        ctx: inngest.Context | inngest.ContextSync,
        function: inngest.Function[Any],
        steps: inngest.StepMemos,
    ) -> None:
        assert_type(steps.size, int)

    async def transform_output(self, result: inngest.TransformOutputResult) -> None:
        result.output = None


class TimingSync(inngest.MiddlewareSync):
    def before_execution(self) -> None:
        pass


with_middleware = inngest.Inngest(app_id="a", is_production=False, middleware=[Timing, TimingSync])
