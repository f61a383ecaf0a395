"""What a response means: every status, header and malformed body of protocol 4.1 to 4.3 and 13."""

from typing import Any, NamedTuple

import pytest

from inngest_server.execution.answers import read_answer, too_large, transport_failed
from inngest_server.runs.facts import CallFailed, Reported, Returned
from inngest_server.wire import json
from tests.builders import DAY_MS, HOUR_MS, SECOND_MS, T0_MS

SDK = {"x-inngest-sdk": "py:v0.5.19"}
STEP = b'[{"op":"StepRun","id":"a","data":1}]'


def read(status: int, headers: dict[str, str], body: bytes) -> Any:
    return read_answer(status, headers, body, T0_MS)


def error_of(answer: Any) -> dict[str, Any]:
    assert isinstance(answer, CallFailed)
    return json.parse(answer.error)


# Results and opcodes.


@pytest.mark.parametrize(
    ("body", "output"),
    [
        (b'{"ok": [1, 2.5]}', b'{"ok":[1,2.5]}'),
        (b"null", b"null"),
        (b'"text"', b'"text"'),
        (b"", b"null"),
        (b" \n", b"null"),
        (b'{"n":12345678901234567890123}', b'{"n":12345678901234567890123}'),
    ],
)
def test_200_is_the_functions_result(body: bytes, output: bytes) -> None:
    assert read(200, SDK, body) == Returned(output)


def test_206_is_opcodes_with_what_the_headers_say_about_them() -> None:
    headers = {**SDK, "x-inngest-req-version": "2", "x-inngest-no-retry": "true", "retry-after": "60"}
    answer = read(206, headers, STEP)
    assert isinstance(answer, Reported)
    assert [op.code for op in answer.ops] == ["StepRun"]
    assert (answer.version, answer.no_retry, answer.retry_after_ms) == (2, True, 60_000)


@pytest.mark.parametrize("body", [b"[]", b' [{"op":"None"}] '])
def test_206_may_report_nothing(body: bytes) -> None:
    assert isinstance(read(206, SDK, body), Reported)


def test_206_may_be_a_single_opcode_of_a_very_old_sdk() -> None:
    answer = read(206, SDK, STEP[1:-1])
    assert [op.step_id for op in answer.ops] == ["a"]


@pytest.mark.parametrize(
    ("header", "version"),
    [
        (None, None),
        ("0", 0),
        ("1", 1),
        ("2", 2),
        (" 2 ", 2),
        ("-1", None),
        ("3", None),
        ("x", None),
        ("", None),
    ],
)
def test_the_request_version_is_one_that_we_know(header: str | None, version: int | None) -> None:
    headers = SDK if header is None else {**SDK, "x-inngest-req-version": header}
    assert read(206, headers, STEP).version == version


# Everything that is no usable answer.


class Bad(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    code: str
    name: str
    message: str
    """A part of it."""
    retriable: bool = True


BAD = {
    "200 of something else": Bad(
        200, {}, b"<html>", "not_sdk", "not_sdk", "did not come from an Inngest SDK"
    ),
    "204 of something else": Bad(204, {}, b"", "not_sdk", "not_sdk", "did not come from an Inngest SDK"),
    "206 of something else": Bad(206, {}, STEP, "not_sdk", "not_sdk", "did not come from an Inngest SDK"),
    "206 empty": Bad(206, SDK, b"", "invalid_response", "invalid_response", "empty"),
    "206 blank": Bad(206, SDK, b"  \n", "invalid_response", "invalid_response", "empty"),
    "206 no JSON": Bad(206, SDK, b"[{]", "invalid_response", "invalid_response", "not JSON"),
    "206 no opcodes": Bad(206, SDK, b"7", "malformed_op", "malformed_op", "array of opcodes"),
    "206 null": Bad(206, SDK, b"null", "malformed_op", "malformed_op", "array of opcodes"),
    "206 unknown opcode": Bad(
        206, SDK, b'[{"op":"StepNotFound","id":"a"}]', "malformed_op", "malformed_op", "'StepNotFound'"
    ),
    "206 no id": Bad(206, SDK, b'[{"op":"StepRun"}]', "malformed_op", "malformed_op", "no id"),
    "200 no JSON": Bad(200, SDK, b"OK", "invalid_response", "invalid_response", "not JSON"),
    "200 NaN": Bad(200, SDK, b"NaN", "invalid_response", "invalid_response", "not JSON"),
    "500 error": Bad(
        500, SDK, b'{"name":"TypeError","message":"boom"}', "function_error", "TypeError", "boom"
    ),
    "500 error without name": Bad(500, SDK, b'{"message":"boom"}', "function_error", "Error", "boom"),
    "500 error without message": Bad(
        500, SDK, b'{"name":"E"}', "function_error", "E", "Function execution error"
    ),
    "500 error twice serialised": Bad(
        500, SDK, json.dumps('{"name":"TypeError","message":"boom"}'), "function_error", "TypeError", "boom"
    ),
    "500 text": Bad(500, SDK, b"it broke", "function_error", "Error", "it broke"),
    "500 JSON text": Bad(500, SDK, b'"it broke"', "function_error", "Error", "it broke"),
    "500 empty": Bad(500, SDK, b"", "function_error", "Error", "Function execution error"),
    "500 array": Bad(500, SDK, b"[1]", "function_error", "Error", "Function execution error"),
    "500 no UTF-8": Bad(500, SDK, b"\xff\xfe", "function_error", "Error", "\ufffd"),
    "400 retriable": Bad(400, SDK, b'{"name":"E","message":"m"}', "function_error", "E", "m"),
    "400 final": Bad(
        400,
        {**SDK, "x-inngest-no-retry": "true"},
        b'{"name":"E","message":"m"}',
        "function_error",
        "E",
        "m",
        retriable=False,
    ),
    "500 final": Bad(
        500, {**SDK, "x-inngest-no-retry": "TRUE"}, b"{}", "function_error", "Error", "", retriable=False
    ),
    "500 explicitly retriable": Bad(
        500, {**SDK, "x-inngest-no-retry": "false"}, b"{}", "function_error", "Error", ""
    ),
    "401 of the SDK": Bad(
        401,
        {"x-inngest-sdk-handled": "true"},
        b'{"message":"Unauthorized"}',
        "signature_rejected",
        "signature_rejected",
        "INNGEST_SIGNING_KEY",
    ),
    "500 marked as handled only": Bad(
        500,
        {"x-inngest-sdk-handled": "true"},
        b'{"name":"E","message":"m"}',
        "function_error",
        "E",
        "m",
    ),
    "404 of something else": Bad(
        404,
        {},
        b"<h1>Not Found</h1>",
        "http_status",
        "Server returned a fatal error",
        "Your server returned HTTP 404 before the SDK responded.",
    ),
    "502 of a proxy": Bad(
        502, {}, b"Bad Gateway", "http_status", "Server returned a fatal error", "HTTP 502 before the SDK"
    ),
    "503 of a proxy, final": Bad(
        503,
        {"x-inngest-no-retry": "true"},
        b"",
        "http_status",
        "Server returned a fatal error",
        "HTTP 503",
        retriable=False,
    ),
    "304": Bad(304, {}, b"", "http_status", "Server returned a fatal error", "HTTP 304"),
    "201 empty": Bad(201, SDK, b"   ", "invalid_response", "invalid_response", "not JSON"),
    "201 cut off": Bad(201, SDK, b'  {"status":206', "invalid_response", "invalid_response", "not JSON"),
    "201 array": Bad(201, SDK, b"[]", "invalid_response", "invalid_response", "no object"),
    "201 no status": Bad(201, SDK, b'{"body":"[]"}', "stream_failed", "stream_failed", "no status"),
    "201 in 201": Bad(201, SDK, b'{"status":201,"body":""}', "stream_failed", "stream_failed", ""),
    "201 status text": Bad(
        201, SDK, b'{"status":"206","body":"[]"}', "stream_failed", "stream_failed", "no status"
    ),
    "201 failure": Bad(201, SDK, b'{"error":"worker died"}', "stream_failed", "stream_failed", "worker died"),
    "201 of something else": Bad(201, {}, b'{"status":206,"body":"[]"}', "not_sdk", "not_sdk", "Inngest SDK"),
    "201 bad opcodes": Bad(201, SDK, b'{"status":206,"body":"7"}', "malformed_op", "malformed_op", "array"),
    "201 function error": Bad(
        201,
        SDK,
        json.dumps({"status": 500, "body": '{"name":"E","message":"m"}', "headers": {}}),
        "function_error",
        "E",
        "m",
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_what_is_no_usable_answer_is_a_failed_try_with_a_reason(bad: Bad) -> None:
    answer = read(bad.status, bad.headers, bad.body)

    error = error_of(answer)
    assert (answer.code, answer.retriable) == (bad.code, bad.retriable)
    assert error["name"] == bad.name
    assert bad.message in error["message"]


def test_an_error_of_the_app_is_kept_with_everything_it_says() -> None:
    body = {
        "name": "E",
        "message": "m",
        "stack": "at x",
        "code": "c",
        "__serialized": True,
        "cause": {"a": 1},
    }
    assert error_of(read(500, SDK, json.dumps(body))) == body


def test_an_answer_of_something_else_is_shown_up_to_a_bound() -> None:
    error = error_of(read(500, {}, b"y" * 100_000))
    assert error["stack"].count("y") in range(8192, 8192 + 20)
    assert error["error"] == error["message"]


# Retry-After.


@pytest.mark.parametrize(
    ("header", "wait_ms"),
    [
        ("60", 60 * SECOND_MS),
        ("0", SECOND_MS),
        ("-5", SECOND_MS),
        ("9999999", DAY_MS),
        ("soon", None),
        ("1.5", None),
        ("2026-09-21T15:13:20Z", HOUR_MS),
        ("Mon, 21 Sep 2026 15:13:20 GMT", HOUR_MS),
        ("2020-01-01T00:00:00Z", SECOND_MS),
        ("2030-01-01T00:00:00Z", DAY_MS),
    ],
)
@pytest.mark.parametrize("status", [206, 500])
def test_retry_after_is_seconds_or_a_date_within_a_second_and_a_day(
    status: int, header: str, wait_ms: int | None
) -> None:
    answer = read(status, {**SDK, "retry-after": header}, STEP)
    assert answer.retry_after_ms == wait_ms


# Streams.


def stream(**inner: Any) -> bytes:
    return b"   " + json.dumps(inner)


@pytest.mark.parametrize("body", [STEP.decode(), json.parse(STEP)], ids=["text", "value"])
def test_the_body_in_a_stream_is_a_text_or_a_value(body: Any) -> None:
    answer = read(201, {}, stream(status=206, body=body, headers={"X-Inngest-SDK": "go:v0.14.1"}))
    assert isinstance(answer, Reported)
    assert [op.data for op in answer.ops] == [b"1"]


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ('{"a":1}', b'{"a":1}'),
        ({"a": 1}, b'{"a":1}'),
        ('"text"', b'"text"'),
        ("just a text of Go", b'"just a text of Go"'),
        (None, b"null"),
        ("", b"null"),
        ("null", b"null"),
    ],
)
def test_the_result_in_a_stream_is_unwrapped_once(body: Any, output: bytes) -> None:
    assert read(201, SDK, stream(status=200, body=body)) == Returned(output)


def test_headers_in_a_stream_override_the_outer_ones() -> None:
    outer = {**SDK, "x-inngest-req-version": "1", "Retry-After": "5"}
    inner = {"X-Inngest-Req-Version": "2", "x-inngest-no-retry": "true"}
    answer = read(201, outer, stream(status=206, body="[]", headers=inner))
    assert (answer.version, answer.no_retry, answer.retry_after_ms) == (2, True, 5000)


def test_go_says_beside_the_headers_whether_and_when_to_retry() -> None:
    answer = read(201, SDK, stream(status=500, body={}, noRetry=True, retryAt="2026-09-21T15:13:20Z"))
    assert (answer.retriable, answer.retry_after_ms) == (False, HOUR_MS)


# What never came.


def test_a_body_that_is_too_large_is_a_failed_try() -> None:
    assert too_large().code == "output_too_large"
    assert error_of(too_large())["message"] == "Your function's response body exceeds the maximum size limit"


def test_a_broken_connection_is_a_failed_try() -> None:
    answer = transport_failed("unreachable", "connection refused")
    assert (answer.code, answer.retriable, answer.retry_after_ms) == ("unreachable", True, None)
    assert error_of(answer)["message"] == "connection refused"
