"""An app as users write them, for any Python SDK with the documented interface."""

import datetime
from typing import Any

from fastapi import FastAPI

import inngest
import inngest.fast_api

client = inngest.Inngest(app_id="orders")
charges: list[Any] = []


def on(event: str) -> inngest.TriggerEvent:
    return inngest.TriggerEvent(event=event)


@client.create_function(fn_id="which", trigger=on("which"))
async def which(ctx: inngest.Context) -> str:
    return str(inngest.__file__)


@client.create_function(fn_id="charge", trigger=on("charge/asked"))
async def charge(ctx: inngest.Context) -> dict[str, Any]:
    return {"charged": ctx.event.data["amount"]}


async def apologise(ctx: inngest.Context) -> str:
    return f"sorry about {ctx.event.data['error']['message']}"


@client.create_function(fn_id="order", trigger=on("order/placed"), retries=2, on_failure=apologise)
async def order(ctx: inngest.Context) -> Any:
    async def reserve() -> str:
        if ctx.event.data.get("fails", 0) > ctx.attempt:
            raise ValueError(f"no stock, try {ctx.attempt}")
        return f"reserved {ctx.event.data['amount']}"

    async def say(what: str) -> str:
        return f"said {what}"

    reserved = await ctx.step.run("reserve", reserve)
    paid = await ctx.step.wait_for_event(
        "paid",
        event="order/paid",
        if_exp="event.data.id == async.data.id",
        timeout=datetime.timedelta(days=2),
    )
    if paid is None:
        await ctx.step.send_event(
            "tell", inngest.Event(name="order/expired", data={"id": ctx.event.data["id"]})
        )
        return "expired"
    charged = await ctx.step.invoke("charge", function=charge, data={"amount": ctx.event.data["amount"]})
    said = await ctx.group.parallel(
        (lambda: ctx.step.run("mail", say, "mail"), lambda: ctx.step.run("sms", say, "sms"))
    )
    await ctx.step.sleep("cool off", datetime.timedelta(days=7))
    return [reserved, charged, list(said)]


@client.create_function(fn_id="report", trigger=inngest.TriggerCron(cron="0 9 * * *"))
async def report(ctx: inngest.Context) -> str:
    return "reported"


@client.create_function(fn_id="blocking", trigger=on("blocking"))
def blocking(ctx: inngest.ContextSync) -> list[str]:
    first = ctx.step.run("first", lambda: "one")
    ctx.step.sleep("nap", datetime.timedelta(hours=1))
    return [first, ctx.step.run("second", lambda: "two")]


app = FastAPI()
inngest.fast_api.serve(app, client, [which, charge, order, report, blocking])
