"""Looking for apps on the ports and paths where they usually are. Source: protocol 2.6.

A port on which nothing listens costs a connection attempt on the loopback interface, which fails at once.
Only a port that is taken is asked for its paths, one after the other. The header `X-Inngest-SDK` decides: an
app in cloud mode does not send it to strangers.
"""

import asyncio
import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

PORTS = (80, 443, *range(3000, 3011), 4321, 5000, 5173, 8000, 8080, 8081, 8787, 8888, *range(8910, 8916))
PATHS = ("/api/inngest", "/x/inngest", "/.netlify/functions/inngest", "/.redwood/functions/inngest")
TIMEOUT_S = 2.0
"""For one path."""
HEAD_BYTES_MAX = 16 * 1024
"""Of an answer; an SDK's is far smaller, and its body is not read."""

_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)


class Found(NamedTuple):
    """What an open port turned out to be."""

    url: str | None = None
    """Where an app is served."""
    sdk: str = ""
    """As the app names it: `inngest-py:v0.5.19`."""


def listening_at(port: int) -> str | None:
    """The loopback address on which something listens at a port; does not wait for anything."""
    for family, address in _LOOPBACK:
        with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            code = probe.connect_ex((address, port))
            if code in _UNDER_WAY and probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                return address
    return None


async def ask_port(port: int, address: str, paths: Sequence[str] = PATHS) -> Found:
    """The first of the paths at which an SDK answers; what does not answer in time is not asked further."""
    for path in paths:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                sdk = await _sdk_at(port, address, path)
        except (TimeoutError, OSError):
            break
        if sdk:
            return Found(f"http://localhost:{port}{path}", sdk)
    return Found()


async def _sdk_at(port: int, address: str, path: str) -> str:
    """The `X-Inngest-SDK` of the answer; empty when there is none, or no HTTP.

    No client library: redirects must not be followed, and nothing beyond the headers is wanted.
    """
    reader, writer = await asyncio.open_connection(address, port, limit=HEAD_BYTES_MAX)
    try:
        lines = (f"GET {path} HTTP/1.1", f"Host: localhost:{port}", "User-Agent: inngest-server")
        writer.write("\r\n".join([*lines, "Accept: */*", "Connection: close", "", ""]).encode())
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return ""
    finally:
        writer.close()
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.strip().lower() == "x-inngest-sdk":
            return value.strip()
    return ""
