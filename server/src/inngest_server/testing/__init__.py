"""Testing durable functions on the real engine, in virtual time. See docs/howto/test-your-functions.md.

pytest loads this package in every project, so nothing is imported before it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inngest_server.testing.async_world import AsyncRun, AsyncWorld
    from inngest_server.testing.calls import AppCall
    from inngest_server.testing.errors import WorldError
    from inngest_server.testing.outside import HTTPAnswer, HTTPRequest
    from inngest_server.testing.run import RunError, Step
    from inngest_server.testing.sent import Sent
    from inngest_server.testing.world import Run, World

_HOMES = {
    "AppCall": "calls",
    "AsyncRun": "async_world",
    "AsyncWorld": "async_world",
    "HTTPAnswer": "outside",
    "HTTPRequest": "outside",
    "Run": "world",
    "RunError": "run",
    "Sent": "sent",
    "Step": "run",
    "World": "world",
    "WorldError": "errors",
}
__all__ = [
    "AppCall",
    "AsyncRun",
    "AsyncWorld",
    "HTTPAnswer",
    "HTTPRequest",
    "Run",
    "RunError",
    "Sent",
    "Step",
    "World",
    "WorldError",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)
