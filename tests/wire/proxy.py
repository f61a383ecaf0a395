"""A reverse proxy that writes down what passes: one stands before each app and one before the server.

Every exchange becomes entries of one log in the order in which they happened: a `request` and later its
`response`, with others between them. The log has everything as it came; `normal.py` makes fixtures of it.
"""

import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

BODY_BYTES_MAX = 64 * 1024 * 1024
SKIPPED_HEADERS = frozenset({"connection", "content-length", "transfer-encoding", "content-encoding", "date"})


@dataclass(slots=True)
class Log:
    """What happened, in order."""

    entries: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def add(self, kind: str, **fields: Any) -> int:
        """Append an entry; its number."""
        self.entries.append({"kind": kind, "at_ms": time.time_ns() // 1_000_000, **fields})
        return len(self.entries) - 1


class Proxy:
    """Forwards to one origin and keeps the client's `Host`, so that apps register the proxy's address."""

    def __init__(self, log: Log, name: str, target: str) -> None:
        self._log = log
        self._name = name
        self._target = target
        self._runner: web.ServerRunner | None = None
        self._session: ClientSession | None = None

    async def start(self, port: int) -> None:
        self._session = ClientSession(
            connector=TCPConnector(limit=0), timeout=ClientTimeout(total=None), auto_decompress=True
        )
        self._runner = web.ServerRunner(web.Server(self._forward))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()

    async def stop(self) -> None:
        assert self._runner is not None
        assert self._session is not None
        await self._runner.cleanup()
        await self._session.close()

    async def _forward(self, request: web.BaseRequest) -> web.StreamResponse:
        assert self._session is not None
        body = b"".join([part async for part in request.content.iter_any()])
        headers = {name.lower(): value for name, value in request.headers.items()}
        url = urlsplit(request.raw_path)
        number = self._log.add(
            "request",
            to=self._name,
            method=request.method,
            path=url.path,
            query=dict(parse_qsl(url.query)),
            headers=headers,
            body=decoded(body),
        )
        sent = {name: value for name, value in request.headers.items() if name.lower() not in SKIPPED_HEADERS}
        sent.pop("Accept-Encoding", None)
        try:
            async with self._session.request(
                request.method,
                self._target + request.raw_path,
                headers=sent,
                data=body,
                allow_redirects=False,
            ) as response:
                answer = await response.read()
                got = {name.lower(): value for name, value in response.headers.items()}
                status = response.status
        except OSError as error:
            return web.Response(status=502, text=f"the recorder could not reach {self._target}: {error}")
        self._log.add("response", to=self._name, of=number, status=status, headers=got, body=decoded(answer))
        return web.Response(
            status=status,
            body=answer,
            headers={name: value for name, value in got.items() if name not in SKIPPED_HEADERS},
        )


def decoded(body: bytes) -> Any:
    """JSON where it is JSON, text where it is not, None where there is nothing."""
    if not body:
        return None
    try:
        return {"json": json.loads(body)}
    except ValueError:
        return {"text": body.decode("utf-8", "replace")}
