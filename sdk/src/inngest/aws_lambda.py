"""Serve functions from an AWS Lambda function.

    handler = inngest.aws_lambda.serve(client, [welcome])

It understands the events of API Gateway (REST APIs, payload 1.0; HTTP APIs, payload 1.0 and 2.0), of function
URLs and of Application Load Balancers. Lambda has no streaming for Python.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from ._config import Streaming
from ._http.adapters import headers_of
from ._http.handler import Handler
from ._http.messages import Request, Response
from .client import Inngest
from .function import Function

__all__ = ["serve"]

Event = Mapping[str, Any]


def serve(
    client: Inngest,
    functions: Sequence[Function[Any]],
    *,
    enable_unauthed_sync: bool | None = None,
    public_path: str | None = None,
    serve_origin: str | None = None,
    serve_path: str | None = None,
) -> Callable[[dict[str, Any], object], dict[str, Any]]:
    """A Lambda handler that serves functions, whatever path it is called with.

    The options are those of `inngest.starlette.serve`; `serve_path` only changes the path that the server
    shall call, as the routes of the gateway decide which requests come here.
    """
    handler = Handler(
        client,
        functions,
        framework="aws-lambda",
        serve_origin=serve_origin,
        serve_path=serve_path,
        public_path=public_path,
        enable_unauthed_sync=enable_unauthed_sync,
        streaming=Streaming.DISABLE,  # Whatever the environment says: the platform takes whole answers only.
    )

    def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
        about: dict[str, Any] = event.get("requestContext") or {}
        if "http" not in about and "httpMethod" not in event:
            return _answer(Response(400, {"content-type": "text/plain"}, _NOT_HTTP), multiple=False)
        response = handler.handle_sync(_request(event, about))
        # A load balancer that sends headers in this form wants them back in it.
        multiple = "elb" in about and event.get("multiValueHeaders") is not None
        return _answer(response, multiple=multiple)

    return lambda_handler


_NOT_HTTP = (
    b"The event describes no HTTP request: "
    b"call this function through API Gateway, a function URL or a load balancer."
)


def _request(event: Event, about: Event) -> Request:
    headers = headers_of(_headers(event))
    is_v2 = "http" in about
    return Request(
        method=about["http"]["method"] if is_v2 else event["httpMethod"],
        url=_origin(about, headers) + (_target_v2(event) if is_v2 else _target_v1(event, about)),
        headers=headers,
        body=_body(event),
        raw=event,
    )


def _headers(event: Event) -> Iterator[tuple[str, str]]:
    several = event.get("multiValueHeaders")
    if several is None:
        yield from (event.get("headers") or {}).items()
        return
    for name, values in several.items():
        for value in values:
            yield name, value


def _origin(about: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    host = headers.get("host") or about.get("domainName") or "localhost"
    return f"{headers.get('x-forwarded-proto', 'https')}://{host}"


def _target_v2(event: Event) -> str:
    query = event.get("rawQueryString") or ""
    return event["rawPath"] + (f"?{query}" if query else "")


def _target_v1(event: Event, about: Mapping[str, Any]) -> str:
    # The context's path begins with the stage, the event's does not; a load balancer has only the latter.
    path = about.get("path") or event["path"]
    query: dict[str, Any] = (
        event.get("multiValueQueryStringParameters") or event.get("queryStringParameters") or {}
    )
    if "elb" in about:  # Load balancers hand the values over as they came, still encoded.
        pairs = [(name, value) for name, values in query.items() for value in _listed(values)]
        encoded = "&".join(f"{name}={value}" for name, value in pairs)
    else:
        encoded = urlencode(query, doseq=True)
    return path + (f"?{encoded}" if encoded else "")


def _listed(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values


def _body(event: Event) -> bytes:
    body = event.get("body") or ""
    return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()


def _answer(response: Response, *, multiple: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "statusCode": response.status,
        "body": response.body.decode(),
        "isBase64Encoded": False,
    }
    if multiple:
        answer["multiValueHeaders"] = {name: [value] for name, value in response.headers.items()}
    else:
        answer["headers"] = response.headers
    return answer
