"""Workers that connect to the server over WebSocket; not in this version.

The name is here so that an application which imports it starts, and learns what to do instead when it
connects.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NoReturn

from .errors import Error

__all__ = ["ConnectUnavailableError", "ConnectionState", "connect"]


class ConnectionState(Enum):
    """What a worker's connection is doing."""

    CONNECTING = "CONNECTING"
    ACTIVE = "ACTIVE"
    RECONNECTING = "RECONNECTING"
    PAUSED = "PAUSED"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"


class ConnectUnavailableError(Error, NotImplementedError):
    """This version has no workers over WebSocket."""

    code = "connect_unavailable"
    is_retriable = False


def connect(apps: list[tuple[Any, list[Any]]], **options: Any) -> NoReturn:
    """Connect the functions of `apps`, pairs of a client and its functions, to the server.

    Raises:
        ConnectUnavailableError: always, in this version.
    """
    names = ", ".join(repr(getattr(client, "app_id", client)) for client, _ in apps) or "no app"
    raise ConnectUnavailableError(
        f"connect() was called for {names}, but this version of the SDK has no workers over WebSocket. "
        "Serve the functions over HTTP instead, for example inngest.fast_api.serve(app, client, functions)"
    )
