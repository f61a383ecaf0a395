"""AIGateway and Gateway: the server makes an HTTP request for a step. Source: protocol 5.7.

The step is opened and gets an item of kind `gateway`, which goes the way of every item: it is queued, holds
slots of step concurrency while it is sent, is sent again when it was lost, and is tried again with the
function's attempts and back-off. Its answer is the step's memo, and so is the last failure: user code can
catch it.

The request is needed after a restart, so it is the payload of the entry that opens the step:

    {"input": {"url", "method", "format"?, "body"}, "secret": {"url", "headers", "auth_key"?}}

`input` may be shown to people: its URL has neither query nor login, where keys are put too. `secret` is for
who sends the request and for nobody else: no log line, trace or answer of an API may have it. It lives as
long as the run's journal. A body is not secret: it is the step's input, as the arguments of other steps are.
"""

import re
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from inngest_server.runs.errors import MalformedOpError, RunFailure
from inngest_server.runs.facts import Op
from inngest_server.runs.turn import Turn, require
from inngest_server.wire import json

AI = "AIGateway"
HTTP = "Gateway"

_FAILED = {AI: "Error making AI request", HTTP: "Error making gateway request"}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""Of methods and header names. Source: RFC 9110, 5.6.2."""
_NO_HEADER_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
METHOD_CHARS_MAX = 32


class GatewayRequest(NamedTuple):
    """What a step has the server request."""

    url: str
    method: str
    headers: dict[str, str]
    body: Any
    """JSON value of an AI request; text or None otherwise."""
    format: str | None
    """Of an AI provider: decides how the key is sent. None for a plain request."""
    auth_key: str

    @property
    def is_ai(self) -> bool:
        return self.format is not None

    def __repr__(self) -> str:
        """Without secrets: it may stand in a traceback."""
        return f"GatewayRequest({self.method} {shown_url(self.url)})"


def ai_gateway(turn: Turn, op: Op) -> None:
    """Ask an AI provider."""
    opts = op.opts
    _open(
        turn,
        op,
        GatewayRequest(
            url=require(opts.get("url"), op, "opts.url"),
            method="POST",
            headers=_headers(op),
            body=opts.get("body") if opts.get("body") is not None else {},
            format=_text(op, "format"),
            auth_key=_text(op, "auth_key"),
        ),
    )


def gateway(turn: Turn, op: Op) -> None:
    """Make a request as an app's own HTTP client would."""
    method = (_text(op, "method") or "POST").upper()
    if _TOKEN.fullmatch(method) is None or len(method) > METHOD_CHARS_MAX:
        raise MalformedOpError(f"Gateway of step {op.display_name!r}: {method[:50]!r} is no HTTP method")
    body = op.opts.get("body")
    if body is not None and not isinstance(body, str):
        raise MalformedOpError(
            f"Gateway of step {op.display_name!r} has a body that is no text; files, forms and streams "
            "cannot be sent by the server: give the body as text"
        )
    _open(
        turn,
        op,
        GatewayRequest(
            url=require(op.opts.get("url"), op, "opts.url"),
            method=method,
            headers=_headers(op),
            body=body,
            format=None,
            auth_key="",
        ),
    )


def _open(turn: Turn, op: Op, request: GatewayRequest) -> None:
    if turn.is_forsaken(op):
        turn.enqueue("gateway", op.step_id)  # What was asked for first is what is requested.
    if not turn.is_new(op):
        return
    payload = _stored(request)
    turn.check_input(op, len(payload))
    if turn.content.request_bytes + len(payload) > turn.limits.requests_bytes_max:
        raise RunFailure(
            "input_too_large",
            f"with that of step {op.display_name!r} the gateway requests of this run have more than "
            f"{turn.limits.requests_bytes_max} bytes; split its work between several runs",
        )
    turn.open(op, {}, payload)
    turn.enqueue("gateway", op.step_id)


def _stored(request: GatewayRequest) -> bytes:
    shown: dict[str, Any] = {"url": shown_url(request.url), "method": request.method}
    secret: dict[str, Any] = {"url": request.url, "headers": request.headers}
    if request.format is not None:
        shown["format"] = request.format
        secret["auth_key"] = request.auth_key
    shown["body"] = request.body
    return json.dumps({"input": shown, "secret": secret})


def read_stored(payload: bytes) -> GatewayRequest:
    """The request that the opening entry of a step has as its payload, secrets included."""
    stored = json.parse_kept(payload)
    shown, secret = stored["input"], stored["secret"]
    return GatewayRequest(
        url=secret["url"],
        method=shown["method"],
        headers=secret["headers"],
        body=shown["body"],
        format=shown.get("format"),
        auth_key=secret.get("auth_key", ""),
    )


def with_body(payload: bytes, changes: dict[str, Any]) -> bytes:
    """Such a payload of an AI request with these keys of its body replaced."""
    stored = json.parse_kept(payload)
    body = stored["input"]["body"]
    stored["input"]["body"] = {**(body if isinstance(body, dict) else {}), **changes}
    return json.dumps_kept(stored)


def public_input(payload: bytes) -> bytes:
    """What people may see of such a payload, as JSON."""
    return json.dumps(json.parse_kept(payload)["input"])


def shown_url(url: str) -> str:
    """A URL without what may be a secret in it: login, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an invalid address"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def gateway_error(op_code: str, reason: str, **extra: Any) -> bytes:
    """The error object of a failed gateway step; `reason` must contain no secret."""
    return json.dumps({"name": f"{op_code}Error", "message": f"{_FAILED[op_code]}: {reason}", **extra})


def _headers(op: Op) -> dict[str, str]:
    given: object = op.opts.get("headers") or {}
    if not isinstance(given, dict):
        raise MalformedOpError(f"{op.code} of step {op.display_name!r} has headers that are no object")
    headers = cast("dict[str, object]", given)
    for name, value in headers.items():
        # Never the value: it may be a key.
        if not isinstance(value, str) or _NO_HEADER_VALUE.search(value) is not None:
            raise MalformedOpError(
                f"{op.code} of step {op.display_name!r}: the header {name[:50]!r} needs a text of one line"
            )
        if _TOKEN.fullmatch(name) is None:
            raise MalformedOpError(f"{op.code} of step {op.display_name!r}: {name[:50]!r} is no header name")
    return cast("dict[str, str]", headers)


def _text(op: Op, field: str) -> str:
    given = op.opts.get(field)
    if given is None:
        return ""
    if not isinstance(given, str) or _NO_HEADER_VALUE.search(given) is not None:
        raise MalformedOpError(
            f"{op.code} of step {op.display_name!r} needs opts.{field} as a text of one line"
        )
    return given
