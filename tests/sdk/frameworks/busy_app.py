"""An application whose functions end when a file appears; `test_processes.py` runs it."""

import asyncio
import os
import time
from pathlib import Path

from fastapi import FastAPI

import inngest
import inngest.fast_api

FOLDER = Path(os.environ["BUSY_FOLDER"])
POLL_S = 0.01

client = inngest.Inngest(app_id="busy", is_production=False)


@client.create_function(fn_id="sync", trigger=inngest.TriggerEvent(event="sync"))
def wait_sync(ctx: inngest.ContextSync) -> str:
    (FOLDER / "started").touch()
    while not (FOLDER / "go-on").exists():
        time.sleep(POLL_S)
    return "done"


@client.create_function(fn_id="async", trigger=inngest.TriggerEvent(event="async"))
async def wait_async(ctx: inngest.Context) -> str:
    (FOLDER / "started").touch()
    while not (FOLDER / "go-on").exists():  # noqa: ASYNC110 (another process makes it)
        await asyncio.sleep(POLL_S)
    return "done"


app = FastAPI()
inngest.fast_api.serve(app, client, [wait_sync, wait_async])
