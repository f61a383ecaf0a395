"""Serve functions from a DigitalOcean Function.

    main = inngest.digital_ocean.serve(client, [welcome])

In `project.yml` the function needs `web: raw`, so that it gets whole requests.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypedDict, cast

from ._config import Streaming
from ._http.adapters import headers_of
from ._http.handler import Handler
from ._http.messages import Request, Response
from .client import Inngest
from .function import Function

__all__ = ["serve"]

# Where the platform shows web functions: <api_host>/api/v1/web/<namespace>/<package>/<function>.
_WEB_PREFIX = "/api/v1/web"


class Context(Protocol):
    """The part of the platform's context that is used here."""

    api_host: str
    function_name: str


class Answer(TypedDict):
    """What the platform makes a response of."""

    body: str
    headers: dict[str, str]
    statusCode: int


def serve(
    client: Inngest,
    functions: Sequence[Function[Any]],
    *,
    enable_unauthed_sync: bool | None = None,
    public_path: str | None = None,
    serve_origin: str | None = None,
    serve_path: str | None = None,
) -> Callable[[dict[str, object], Context], Answer]:
    """The `main` of a DigitalOcean Function that serves functions at its own address.

    The options are those of `inngest.starlette.serve`; `serve_path` only changes the path that the server
    shall call, as the platform alone decides where the function is found.
    """
    handler = Handler(
        client,
        functions,
        framework="digitalocean",
        serve_origin=serve_origin,
        serve_path=serve_path,
        public_path=public_path,
        enable_unauthed_sync=enable_unauthed_sync,
        streaming=Streaming.DISABLE,  # Whatever the environment says: the platform takes whole answers only.
    )

    def main(event: dict[str, object], context: Context) -> Answer:
        http = event.get("http")
        if not isinstance(http, Mapping):
            return _answer(Response(400, {"content-type": "text/plain"}, _NOT_RAW))
        return _answer(handler.handle_sync(_request(cast(Mapping[str, Any], http), event, context)))

    return main


_NOT_RAW = (
    b"The event has no `http` part: set `web: raw` for this function in project.yml and deploy it again."
)


def _request(http: Mapping[str, Any], event: dict[str, object], context: Context) -> Request:
    body = http.get("body") or ""
    path = f"{_WEB_PREFIX}/{context.function_name.strip('/')}{http.get('path') or ''}"
    query = http.get("queryString") or ""
    headers: dict[str, str] = http.get("headers") or {}
    return Request(
        method=(http.get("method") or "").upper(),
        url=f"{context.api_host.rstrip('/')}{path}" + (f"?{query}" if query else ""),
        headers=headers_of(headers.items()),
        body=base64.b64decode(body) if http.get("isBase64Encoded") else body.encode(),
        raw=event,
    )


def _answer(response: Response) -> Answer:
    # A text, never an object: the platform would write an object anew, and the signature is over these bytes.
    return {"body": response.body.decode(), "headers": response.headers, "statusCode": response.status}
