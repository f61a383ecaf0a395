"""What is sent for a gateway step, and what becomes of the answer."""

from typing import Any

import pytest

from inngest_server.execution.gateway_http import not_answered, outgoing, read_response
from inngest_server.execution.http1 import Headers, Response
from inngest_server.runs.facts import Answer, CallFailed, Fetched
from inngest_server.runs.opcodes.gateway import GatewayRequest
from inngest_server.wire import json
from tests.builders import T0_MS

KEY = "sk-of-the-provider"
URL = "https://ai.example/v1/chat"


def ai(**changes: Any) -> GatewayRequest:
    request = GatewayRequest(URL, "POST", {}, {"model": "m"}, "openai-chat", KEY)
    return request._replace(**changes)


def plain(**changes: Any) -> GatewayRequest:
    return GatewayRequest("https://api.example/", "GET", {}, None, None, "")._replace(**changes)


def respond(status: int = 200, body: bytes = b"", **headers: str) -> Response:
    return Response(status, Headers({name.replace("_", "-"): value for name, value in headers.items()}), body)


def read(request: GatewayRequest, response: Response, url: str = URL) -> Answer:
    return read_response(request, response, url, T0_MS)


def data_of(answer: Answer) -> Any:
    assert isinstance(answer, Fetched)
    return json.parse(answer.data)


def error_of(answer: Answer) -> Any:
    assert isinstance(answer, CallFailed)
    return json.parse(answer.error)


# What is sent.


@pytest.mark.parametrize(
    ("format", "name", "value"),
    [
        ("openai-chat", "Authorization", f"Bearer {KEY}"),
        ("grok", "Authorization", f"Bearer {KEY}"),
        ("", "Authorization", f"Bearer {KEY}"),
        ("bedrock", "Authorization", KEY),
        ("anthropic", "x-api-key", KEY),
    ],
)
def test_each_provider_gets_the_key_in_its_header(format: str, name: str, value: str) -> None:
    method, url, headers, body = outgoing(ai(format=format))
    assert (method, url, body) == ("POST", URL, b'{"model":"m"}')
    assert headers == {"Content-Type": "application/json", name: value}


def test_gemini_gets_the_key_in_the_query_once() -> None:
    _, url, headers, _ = outgoing(ai(format="gemini", url=f"{URL}?alt=json&key={KEY}"))
    assert url == f"{URL}?alt=json&key={KEY}"
    assert "Authorization" not in headers


def test_the_key_takes_the_place_of_a_header_of_that_name() -> None:
    headers = outgoing(ai(headers={"authorization": "Basic x", "anthropic-version": "1"})).headers
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert {name.lower() for name in headers} == {"authorization", "anthropic-version", "content-type"}


def test_without_a_key_the_headers_are_as_given() -> None:
    headers = outgoing(ai(auth_key="", headers={"authorization": "Basic x"})).headers
    assert headers == {"authorization": "Basic x", "Content-Type": "application/json"}


def test_a_plain_request_is_sent_as_it_is_without_what_belongs_to_the_connection() -> None:
    sent = outgoing(
        plain(
            method="PUT",
            body="grüße",
            headers={"X-A": "1", "Host": "other", "content-length": "9", "Accept-Encoding": "zstd"},
        )
    )
    assert sent == ("PUT", "https://api.example/", {"X-A": "1"}, "grüße".encode())


# What comes back.


def test_any_status_of_a_plain_request_is_a_success() -> None:
    answer = read(plain(), respond(503, "später".encode(), content_type="text/plain", retry_after="5"))
    assert data_of(answer) == {
        "url": URL,
        "headers": {"content-type": "text/plain", "retry-after": "5"},
        "body": "später",
        "status_code": 503,
    }


def test_what_told_of_the_encoded_body_does_not_tell_of_the_decoded_one() -> None:
    answer = read(plain(), respond(200, b"x" * 100, content_encoding="gzip", content_length="20", etag="1"))
    assert data_of(answer)["headers"] == {"etag": "1"}


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_status_that_forbids_a_body_has_none(status: int) -> None:
    assert data_of(read(plain(), respond(status)))["body"] is None


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert data_of(read(plain(), respond(200, b"\xff\x00a")))["body"] == "\ufffd\x00a"


@pytest.mark.parametrize("body", [b'{"choices": [{"n": 1.50}]}', b" [1]\n", b"12345678901234567890", b'"x"'])
def test_the_json_of_an_ai_provider_is_the_result(body: bytes) -> None:
    answer = read(ai(), respond(299, body))
    assert isinstance(answer, Fetched)
    assert answer.data == body.strip()


def test_another_status_of_an_ai_provider_fails_with_what_it_said() -> None:
    answer = read(ai(), respond(429, b'{"error": {"message": "slow down"}}', retry_after="7"))
    assert isinstance(answer, CallFailed)
    assert (answer.code, answer.retriable, answer.retry_after_ms) == ("http_status", True, 7_000)
    assert error_of(answer) == {
        "name": "AIGatewayError",
        "message": "Error making AI request: unsuccessful status code: 429",
        "data": {"error": {"message": "slow down"}},
        "stack": '{"error": {"message": "slow down"}}',
    }


def test_a_key_that_the_provider_repeats_is_not_shown() -> None:
    error = error_of(read(ai(), respond(401, b'{"error":"wrong key ' + KEY.encode() + b'"}')))
    assert KEY not in json.dumps(error).decode()
    assert error["data"] == {"error": "wrong key ***"}


def test_of_a_long_error_the_beginning_is_kept() -> None:
    error = error_of(read(ai(), respond(500, b"[" + b"1," * 50_000 + b"1]")))
    assert len(error["stack"]) == len(error["data"]) == 8192


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a":', b"NaN"])
def test_an_ai_answer_that_is_not_json_is_a_failed_try(body: bytes) -> None:
    answer = read(ai(), respond(200, body))
    assert isinstance(answer, CallFailed)
    assert (answer.code, answer.retriable) == ("invalid_response", True)
    assert "the response is not JSON (HTTP 200)" in error_of(answer)["message"]


def test_a_stream_is_not_asked_for_again() -> None:
    answer = read(ai(), respond(200, b"data: {}\n\n", content_type="text/event-stream; charset=utf-8"))
    assert isinstance(answer, CallFailed)
    assert not answer.retriable
    assert "leave `stream` out" in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("kind", "code", "retriable", "text"),
    [
        ("refused", "host_unreachable", True, "connection refused by https://ai.example/v1/chat"),
        ("timeout", "host_unreachable", True, "in time"),
        ("invalid_url", "invalid_url", False, "is no http or https address"),
        ("out_of_reach", "address_refused", False, "may not be reached: because"),
    ],
)
def test_without_an_answer_the_error_says_why_and_shows_no_secret(
    kind: Any, code: str, retriable: bool, text: str
) -> None:
    answer = not_answered(ai(url=f"{URL}?key={KEY}"), kind, "because")
    assert (answer.code, answer.retriable) == (code, retriable)
    assert text in error_of(answer)["message"]
    assert KEY.encode() not in answer.error
