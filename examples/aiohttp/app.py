"""Onboarding with aiohttp: a mail at once and another a day later.

    INNGEST_DEV=1 .venv/bin/python examples/aiohttp/app.py

In another terminal:

    .venv/bin/inngest dev -u http://127.0.0.1:8000/api/inngest --no-discovery
    curl http://localhost:8288/e/test -d '{"name": "app/account.created", "data": {"email": "a@example.com"}}'
"""

from datetime import timedelta

from aiohttp import web

import inngest
import inngest.aiohttp

client = inngest.Inngest(app_id="onboarding")


@client.create_function(fn_id="onboard", trigger=inngest.TriggerEvent(event="app/account.created"))
async def onboard(ctx: inngest.Context) -> str:
    email = str(ctx.event.data["email"])
    await ctx.step.run("send welcome", send_mail, email, "Welcome!")
    await ctx.step.sleep("let a day pass", timedelta(days=1))
    return await ctx.step.run("send tips", send_mail, email, "Three things to try first")


async def send_mail(to: str, subject: str) -> str:
    """Where your mail service would be. A step whose result is stored is not run again."""
    return f"sent {subject!r} to {to}"


app = web.Application()
inngest.aiohttp.serve(app, client, [onboard])

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=8000, handler_cancellation=True)
