"""The shop of the how-to pages, written with our SDK."""

import datetime
from typing import Any

from fastapi import FastAPI

import inngest
import inngest.asgi
import inngest.fast_api
import inngest.wsgi
from inngest.experimental.ai.openai import Adapter

client = inngest.Inngest(app_id="shop")


@client.create_function(fn_id="fulfil", trigger=inngest.TriggerEvent(event="shop/order.placed"))
async def fulfil(ctx: inngest.Context) -> Any:
    data = ctx.event.data
    if "id" not in data:
        bill = await ctx.step.invoke_by_id(
            "bill", app_id="billing", function_id="charge", data={"amount": data["amount"]}
        )
        model = Adapter(auth_key="sk-test", model="gpt-4o")
        await ctx.step.ai.infer(
            "thank", adapter=model, body={"messages": [{"role": "user", "content": "Thank them"}]}
        )
        return bill

    async def reserve() -> dict[str, Any]:
        return {"reserved": data["amount"]}

    async def paid(step: str, days: int) -> object:
        return await ctx.step.wait_for_event(
            step,
            event="shop/order.paid",
            if_exp="event.data.id == async.data.id",
            timeout=datetime.timedelta(days=days),
        )

    await ctx.step.run("reserve", reserve)
    if await paid("paid", 2) is None:
        await ctx.step.send_event(
            "remind", inngest.Event(name="shop/order.reminded", data={"id": data["id"]})
        )
        if await paid("paid late", 1) is None:
            return "cancelled"
    return "fulfilled"


@client.create_function(fn_id="audit", trigger=inngest.TriggerEvent(event="shop/audit.asked"))
def audit(ctx: inngest.ContextSync) -> str:
    return "audited"


app = FastAPI()
inngest.fast_api.serve(app, client, [fulfil])
asgi_app = inngest.asgi.serve(client, [fulfil])
wsgi_app = inngest.wsgi.serve(client, [audit], serve_path="/hooks/inngest")
