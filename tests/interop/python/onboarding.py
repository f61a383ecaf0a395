"""A month of onboarding with the official Python SDK, for tests of virtual time.

Environment: PORT; DAY_S, how many seconds a day has; STEP_LOG, a file that gets one JSON line per step
execution; and what the SDK reads itself.
"""

import json
import logging
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import fastapi
import uvicorn

import inngest
import inngest.fast_api

DAYS = 30
UPGRADE_DAY = 10
FAILING_DAY = 5
BUSY_DAY = 12
# Five days and their multiples must be whole seconds: the SDK takes no other timeout.
DAY = timedelta(seconds=float(os.environ.get("DAY_S", "86400")))

client = inngest.Inngest(app_id="onboarding-py", logger=logging.getLogger("uvicorn.error"))
log_file = os.open(os.environ.get("STEP_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def executed(ctx: inngest.Context, step: str) -> None:
    line = {"run_id": ctx.run_id, "step": step, "attempt": ctx.attempt}
    os.write(log_file, json.dumps(line).encode() + b"\n")


async def mail(ctx: inngest.Context, day: int) -> int:
    """The mail of a day; two of them need a second try."""
    executed(ctx, f"mail-{day}")
    if day == FAILING_DAY and ctx.attempt == 0:
        raise ValueError("the mail host is away")
    if day == BUSY_DAY and ctx.attempt == 0:
        raise inngest.RetryAfterError("the mail host is busy", datetime.now(UTC) + DAY / 2)
    return day


@client.create_function(fn_id="onboarding", trigger=inngest.TriggerEvent(event="interop/signed-up"))
async def onboarding(ctx: inngest.Context) -> dict[str, Any]:
    for day in range(DAYS):
        await ctx.step.run(f"mail-{day}", mail, ctx, day)
        if day == UPGRADE_DAY:
            await ctx.step.send_event("upgrade", inngest.Event(name="interop/upgraded"))
        await ctx.step.sleep(f"day-{day}", DAY)
    confirmed = await ctx.step.wait_for_event("confirmed", event="interop/confirmed", timeout=10 * DAY)
    return {"mails": DAYS, "confirmed": confirmed is not None}


@client.create_function(fn_id="reminder", trigger=inngest.TriggerEvent(event="interop/signed-up"))
async def reminder(ctx: inngest.Context) -> str:
    upgraded = await ctx.step.wait_for_event("upgraded", event="interop/upgraded", timeout=90 * DAY)
    await ctx.step.sleep_until("later", datetime.now(UTC) + DAY)

    async def remind() -> str:
        executed(ctx, "remind")
        return "never" if upgraded is None else "upgraded"

    return await ctx.step.run("remind", remind)


@client.create_function(fn_id="nagger", trigger=inngest.TriggerEvent(event="interop/signed-up"))
async def nagger(ctx: inngest.Context) -> str:
    upgraded = await ctx.step.wait_for_event("upgraded", event="interop/upgraded", timeout=5 * DAY)

    async def nag() -> str:
        executed(ctx, "nag")
        return "not yet" if upgraded is None else "upgraded"

    return await ctx.step.run("nag", nag)


app = fastapi.FastAPI()
inngest.fast_api.serve(app, client, [onboarding, reminder, nagger])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")), log_level="warning")
