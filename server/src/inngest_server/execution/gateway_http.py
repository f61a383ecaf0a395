"""What is sent for a gateway step, and what the answer means. Pure. Source: protocol 5.7.

Nothing here may put a secret of the request into an error: errors are shown in traces and sent to the app.
"""

from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from inngest_server.apps.app_error import TransportFailure
from inngest_server.execution.http1 import Response
from inngest_server.runs.facts import Answer, CallFailed, Fetched
from inngest_server.runs.opcodes.gateway import AI, HTTP, GatewayRequest, gateway_error, shown_url
from inngest_server.wire import json
from inngest_server.wire.durations import parse_retry_after_ms

FORBIDDEN_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Set by who sends, not by whom it is sent for; left out, as `fetch` does."""
KEY_HEADERS = {"anthropic": "x-api-key"}
"""By format, where the key has a header of its own."""
BODILESS_STATUSES = frozenset({204, 205, 304})
ERROR_TEXT_BYTES_MAX = 8 * 1024
ERROR_DATA_BYTES_MAX = 64 * 1024
SECRET_CHARS_MIN = 8
"""A shorter key may be part of any text."""

# What happened, whether another try may go better, and the code. It is another one than that of an app which
# cannot be reached: that the app is back says nothing about this host.
_FAILURES: dict[TransportFailure, tuple[str, bool, str]] = {
    "refused": ("connection refused by {url}", True, "host_unreachable"),
    "timeout": ("no answer from {url} in time", True, "host_unreachable"),
    "dns": ("the host of {url} has no address", True, "host_unreachable"),
    "tls": ("{url} does not speak TLS as asked", True, "host_unreachable"),
    "certificate": ("the certificate of {url} is not trusted", True, "host_unreachable"),
    "reset": ("the connection to {url} broke off before an answer", True, "host_unreachable"),
    "redirects": ("{url} redirects too often, from https to http, or nowhere", True, "host_unreachable"),
    "invalid_url": ("{url} is no http or https address", False, "invalid_url"),
    "out_of_reach": ("{url} may not be reached: {detail}", False, "address_refused"),
    "other": ("no answer from {url}", True, "host_unreachable"),
}


class Outgoing(NamedTuple):
    """A request as it is sent."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes


def outgoing(request: GatewayRequest) -> Outgoing:
    """The request with the key where its provider wants it."""
    headers = {
        name: value for name, value in request.headers.items() if name.lower() not in FORBIDDEN_HEADERS
    }
    if not request.is_ai:
        return Outgoing(request.method, request.url, headers, (request.body or "").encode())
    url = request.url
    _set(headers, "Content-Type", "application/json")
    if request.auth_key:
        if request.format == "gemini":
            url = _with_key(url, request.auth_key)
        elif request.format in KEY_HEADERS:
            _set(headers, KEY_HEADERS[request.format], request.auth_key)
        else:
            scheme = "" if request.format == "bedrock" else "Bearer "
            _set(headers, "Authorization", scheme + request.auth_key)
    return Outgoing(request.method, url, headers, json.dumps(request.body))


def _set(headers: dict[str, str], name: str, value: str) -> None:
    for known in [known for known in headers if known.lower() == name.lower()]:
        del headers[known]
    headers[name] = value


def _with_key(url: str, key: str) -> str:
    """The URL with the key in its query, once: some SDKs have put it there already."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # Sending it says what is wrong.
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "key"]
    return parts._replace(query=urlencode([*query, ("key", key)])).geturl()


def read_response(request: GatewayRequest, response: Response, url: str, now_ms: int) -> Answer:
    """The meaning of a response, which `url` gave."""
    if not request.is_ai:
        return Fetched(json.dumps(_as_fetched(response, url)))
    if response.status > 299:
        return _refused(request, response, now_ms)
    try:
        return Fetched(json.checked(response.body))
    except json.InvalidJSONError:
        pass
    if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
        # Each try costs money, and the next one would be answered in the same way.
        return failed(
            request,
            "invalid_response",
            "the provider streams its answer, which a step cannot have: leave `stream` out of the body",
            retriable=False,
        )
    return failed(
        request,
        "invalid_response",
        f"the response is not JSON (HTTP {response.status})",
        **_shown(request, response),
    )


def _as_fetched(response: Response, url: str) -> dict[str, Any]:
    """The response as the SDK makes one of its own again; the body is decoded already."""
    headers = dict(response.headers)
    if headers.pop("content-encoding", None) is not None:
        headers.pop("content-length", None)
    # JavaScript refuses to make a response with such a status and a body, be it empty.
    body = None if response.status in BODILESS_STATUSES else response.body.decode("utf-8", "replace")
    return {"url": url, "headers": headers, "body": body, "status_code": response.status}


def _refused(request: GatewayRequest, response: Response, now_ms: int) -> CallFailed:
    wait = response.headers.get("retry-after")
    return failed(
        request,
        "http_status",
        f"unsuccessful status code: {response.status}",
        retry_after_ms=parse_retry_after_ms(wait, now_ms) if wait else None,
        **_shown(request, response),
    )


def _shown(request: GatewayRequest, response: Response) -> dict[str, Any]:
    """What an error shows of a body: as JSON if it is short, and the beginning of its text."""
    body = response.body
    if len(request.auth_key) >= SECRET_CHARS_MIN:
        body = body.replace(request.auth_key.encode(), b"***")
    text = body[:ERROR_TEXT_BYTES_MAX].decode("utf-8", "replace")
    data: Any = text
    if len(body) <= ERROR_DATA_BYTES_MAX:
        with suppress(json.InvalidJSONError):
            data = json.parse(body)
    return {"data": data, "stack": text}


def not_answered(request: GatewayRequest, kind: TransportFailure, detail: str) -> CallFailed:
    """No response came. `detail` is used only where it cannot contain the URL."""
    text, retriable, code = _FAILURES[kind]
    reason = text.format(url=shown_url(request.url), detail=detail)
    return failed(request, code, reason, retriable=retriable)


def failed(
    request: GatewayRequest,
    code: str,
    reason: str,
    *,
    retriable: bool = True,
    retry_after_ms: int | None = None,
    **extra: Any,
) -> CallFailed:
    """A try that failed; `extra` goes into the error object."""
    error = gateway_error(AI if request.is_ai else HTTP, reason, **extra)
    return CallFailed(error, code, retriable, retry_after_ms)
