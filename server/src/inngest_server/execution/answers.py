"""Reading what an app answered to a call request. Pure. Source: protocol 4.1 to 4.3 and 13."""

from collections.abc import Mapping
from typing import Any, cast

from inngest_server.runs.errors import MalformedOpError, error_object
from inngest_server.runs.facts import Answer, CallFailed, Reported, Returned
from inngest_server.runs.opcodes.registry import parse_ops
from inngest_server.wire import json
from inngest_server.wire.durations import parse_retry_after_ms

BODY_SHOWN_BYTES = 8192


def read_answer(status: int, headers: Mapping[str, str], body: bytes, now_ms: int) -> Answer:
    """The meaning of a response; header names must be looked up without regard to case."""
    if status == 201:
        return _read_stream(headers, body, now_ms)
    from_sdk = bool(headers.get("x-inngest-sdk") or headers.get("x-inngest-sdk-handled"))
    if 200 <= status < 300 and not from_sdk:
        return _failed("not_sdk", "The response did not come from an Inngest SDK", retriable=True)
    if status == 206:
        return _read_ops(headers, body, now_ms)
    if 200 <= status < 300:
        return _read_result(body)
    if status == 401 and headers.get("x-inngest-sdk-handled"):
        return _failed(
            "signature_rejected",
            "the app did not accept this server's signature: compare INNGEST_SIGNING_KEY of the app with "
            "--signing-key of the server, and INNGEST_DEV of the app with the server's mode",
            retriable=True,
        )
    error = _read_error(body) if from_sdk else _foreign_error(status, body)
    return CallFailed(
        error,
        "function_error" if from_sdk else "http_status",
        retriable=headers.get("x-inngest-no-retry", "").lower() != "true",
        retry_after_ms=_retry_after(headers, now_ms),
    )


def transport_failed(code: str, message: str) -> CallFailed:
    """No response came: the app may be down, unreachable, or too slow."""
    return _failed(code, message, retriable=True)


def too_large() -> CallFailed:
    """The body passed the limit while it was read."""
    return _failed(
        "output_too_large", "Your function's response body exceeds the maximum size limit", retriable=True
    )


def _read_ops(headers: Mapping[str, str], body: bytes, now_ms: int) -> Answer:
    try:
        ops = parse_ops(json.parse(body))
    except json.InvalidJSONError as error:
        return _failed("invalid_response", f"the response to a call is not JSON: {error}", retriable=True)
    except MalformedOpError as error:
        return _failed(error.code, str(error), retriable=True)
    return Reported(
        ops,
        version=_version(headers.get("x-inngest-req-version")),
        no_retry=headers.get("x-inngest-no-retry", "").lower() == "true",
        retry_after_ms=_retry_after(headers, now_ms),
    )


def _read_result(body: bytes) -> Answer:
    if not body.strip():
        return Returned(b"null")
    try:
        return Returned(json.dumps(json.parse(body)))
    except json.InvalidJSONError as error:
        return _failed("invalid_response", f"the function's result is not JSON: {error}", retriable=True)


def _read_stream(headers: Mapping[str, str], body: bytes, now_ms: int) -> Answer:
    """A response that was kept alive with blanks: one object with the real status, headers and body."""
    try:
        inner = json.parse(body.strip())
    except json.InvalidJSONError as error:
        return _failed("invalid_response", f"the streamed response is not JSON: {error}", retriable=True)
    if not isinstance(inner, dict):
        return _failed("invalid_response", "the streamed response is no object", retriable=True)
    fields = cast("dict[str, Any]", inner)
    status = fields.get("status")
    if not isinstance(status, int) or status == 201:
        message = str(fields.get("error") or "the streamed response has no status")
        return _failed("stream_failed", message, retriable=True)
    content = fields.get("body")
    given = fields.get("headers")
    inner_headers = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    merged = {key.lower(): value for key, value in headers.items()}
    merged.update({key.lower(): str(value) for key, value in inner_headers.items()})
    # Go has these beside the headers.
    if fields.get("noRetry") is True:
        merged.setdefault("x-inngest-no-retry", "true")
    if isinstance(fields.get("retryAt"), str):
        merged.setdefault("retry-after", fields["retryAt"])
    return read_answer(status, merged, _unwrapped(content), now_ms)


def _unwrapped(content: object) -> bytes:
    """The body inside a stream: JSON in a text (Python, TypeScript), or a value, which may be a text (Go)."""
    if isinstance(content, str):
        raw = content.encode("utf-8", "replace")
        try:
            json.parse(raw)
        except json.InvalidJSONError:
            return json.dumps(content) if content.strip() else raw
        return raw
    return json.dumps(content)


def _read_error(body: bytes) -> bytes:
    """The error object of the SDK as it is, or the text that stands in its place."""
    try:
        parsed = json.parse(body)
    except json.InvalidJSONError:
        parsed = body[:BODY_SHOWN_BYTES].decode("utf-8", "replace")
    if isinstance(parsed, str):
        # TypeScript 3 serialises its error object twice.
        try:
            again = json.parse(parsed.encode())
        except json.InvalidJSONError:
            again = None
        parsed = cast("object", again) if isinstance(again, dict) else parsed
    if isinstance(parsed, dict):
        fields = cast("dict[str, Any]", parsed)
        name = fields.get("name") if isinstance(fields.get("name"), str) else "Error"
        message = (
            fields.get("message") if isinstance(fields.get("message"), str) else "Function execution error"
        )
        return json.dumps({**fields, "name": name, "message": message})
    return error_object("Error", parsed if isinstance(parsed, str) and parsed else "Function execution error")


def _foreign_error(status: int, body: bytes) -> bytes:
    message = f"Your server returned HTTP {status} before the SDK responded."
    shown = body[:BODY_SHOWN_BYTES].decode("utf-8", "replace")
    return json.dumps(
        {
            "error": message,
            "name": "Server returned a fatal error",
            "message": message,
            "stack": f"No Inngest SDK answered at this URL; what did begins with:\n{shown}",
        }
    )


def _version(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip() in ("0", "1", "2") else None


def _retry_after(headers: Mapping[str, str], now_ms: int) -> int | None:
    text = headers.get("retry-after")
    return parse_retry_after_ms(text, now_ms) if text else None


def _failed(code: str, message: str, *, retriable: bool) -> CallFailed:
    return CallFailed(error_object(code, message), code, retriable=retriable, retry_after_ms=None)
