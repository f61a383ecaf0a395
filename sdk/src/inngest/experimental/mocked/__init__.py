"""Run a function in a unit test, without a server.

    client = mocked.Inngest(app_id="test")
    run = mocked.trigger(greet, inngest.Event(name="user.login", data={"name": "Alice"}), client)
    assert run.status is mocked.Status.COMPLETED
    assert run.output == "Hello, Alice!"

The function runs on the real engine, request after request, as a server would drive it: each step is
executed once, results pass through JSON, failed attempts are repeated at once and as often as `retries`
says. Sleeps take no time, and events are not sent. What only a server can do (`invoke`, `wait_for_event`,
`wait_for_signal`, `ai.infer`, `fetch`) needs a stub.
"""

from .client import Inngest
from .consts import Status, Timeout
from .errors import UnstubbedStepError
from .runs import Result, trigger

__all__ = ["Inngest", "Result", "Status", "Timeout", "UnstubbedStepError", "trigger"]
