"""Onboarding with Tornado: a mail at once and another a day later.

    INNGEST_DEV=1 .venv/bin/python examples/tornado/app.py

In another terminal:

    .venv/bin/inngest dev -u http://127.0.0.1:8000/api/inngest --no-discovery
    curl http://localhost:8288/e/test -d '{"name": "app/account.created", "data": {"email": "a@example.com"}}'
"""

import asyncio
from datetime import timedelta

from tornado.web import Application

import inngest
import inngest.tornado

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


app = Application()
inngest.tornado.serve(app, client, [onboard])


async def main() -> None:
    app.listen(8000, address="127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
