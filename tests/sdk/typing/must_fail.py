"""Mistakes that type checkers find. Never run; each line that ends with `# wrong` must be an error."""

from typing import assert_type

import inngest

client = inngest.Inngest(app_id="shop", is_production=False)


def count_items(shop: str) -> int:
    return len(shop)


async def load(number: int) -> str:
    return str(number)


inngest.Inngest()  # wrong
inngest.Inngest(app_id="a", retries=3)  # wrong
inngest.Event()  # wrong
inngest.Event(name=1)  # wrong
inngest.TriggerEvent(name="a")  # wrong
inngest.Throttle(limit=1)  # wrong
inngest.Concurrency(limit="2")  # wrong
inngest.Singleton(mode="maybe")  # wrong
client.create_function(fn_id="a", trigger="shop/opened")  # wrong
client.create_function(fn_id="a", trigger=inngest.TriggerEvent(event="a"), retry=3)  # wrong
client.create_function(fn_id="a", trigger=inngest.TriggerEvent(event="a"), retries="3")  # wrong


@client.create_function(fn_id="three", trigger=inngest.TriggerEvent(event="a"))  # wrong
async def three(ctx: inngest.Context, step: inngest.Step, more: int) -> None:
    pass


@client.create_function(fn_id="add", trigger=inngest.TriggerEvent(event="a"))
async def add(ctx: inngest.Context) -> int:
    return 1


async def steps(ctx: inngest.Context) -> None:
    await ctx.step.run("count", count_items)  # wrong
    await ctx.step.run("count", count_items, 1)  # wrong
    await ctx.step.run("count", count_items, "shop", "more")  # wrong
    await ctx.step.run("load", load, "text")  # wrong
    await ctx.step.run(count_items, "shop")  # wrong
    text: str = await ctx.step.run("count", count_items, "shop")  # wrong
    number: int = ctx.step.run("count", count_items, "shop")  # wrong
    await ctx.step.sleep("nap")  # wrong
    await ctx.step.sleepUntil("nap", 1)  # wrong
    await ctx.step.wait_for_event("wait", event="a")  # wrong
    event = await ctx.step.wait_for_event("wait", event="a", timeout=1000)
    event.name.upper()  # wrong
    other: str = await ctx.step.invoke("add", function=add)  # wrong
    await ctx.step.invoke("add", function="shop-add")  # wrong
    _first, _second, _third = await ctx.group.parallel(  # wrong
        (lambda: ctx.step.sleep("a", 1), lambda: ctx.step.sleep("b", 1))
    )
    assert_type(ctx.attempt, str)  # wrong
    print(text, number, other)


def steps_sync(ctx: inngest.ContextSync) -> None:
    number: int = ctx.step.run("load", load, 1)  # wrong
    ctx.step.run("count", count_items, 1)  # wrong
    print(number)


async def send() -> None:
    await client.send("shop/opened")  # wrong
    await client.send(inngest.Event(name="a"), name="b")  # wrong
    ids: str = await client.send(inngest.Event(name="a"))  # wrong
    print(ids)


raise inngest.RetryAfterError("later")  # wrong
