"""An app with one function of three steps; `make run` starts it and sends it an event.

By hand, with a server (`.venv/bin/inngest dev`) in another terminal:

    .venv/bin/python examples/hello/app.py
    curl -X PUT http://localhost:8290/api/inngest
    curl http://localhost:8288/e/test -d '{"name": "shop/order.placed", "data": {"order": 7}}'
"""

import asyncio
import os
from typing import Any

import uvicorn
from protocol_app import PATH, Event, ProtocolApp, Steps


async def ship_order(event: Event, step: Steps) -> Any:
    """What happens to an order. The result of each step is kept, whatever crashes in between."""
    order = event["data"]["order"]

    async def reserve() -> Any:
        await asyncio.sleep(0.2)  # As long as a warehouse takes to answer.
        return {"order": order, "shelf": "B12"}

    async def notify() -> Any:
        await asyncio.sleep(0.1)
        return {"sent_to": "customer@example.com"}

    reserved = await step.run("reserve stock", reserve)
    await step.sleep("wait for the courier", "1s")  # Could be a week: nothing runs or is held meanwhile.
    mail = await step.run("notify customer", notify)
    return {"order": order, "shipped_from": reserved["shelf"], **mail}


def main() -> None:
    """Serve until stopped."""
    port = int(os.environ.get("PORT", "8290"))
    server_url = os.environ.get("INNGEST_BASE_URL", "http://localhost:8288")
    app = ProtocolApp(
        "hello", f"http://127.0.0.1:{port}{PATH}", server_url, {"shop/order.placed": ship_order}
    )
    uvicorn.run(app, host="127.0.0.1", port=port, lifespan="off", log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
