import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_server.apps.app_error import (
    AppError,
    TransportFailure,
    app_error_from_response,
    app_error_from_transport,
    missing_server_signing_key,
)
from inngest_server.wire.json import dumps

URL = "http://localhost:3000/api/inngest"
SDK = {"X-Inngest-SDK": "inngest-py:v0.5.19"}
HANDLED = {"x-inngest-sdk-handled": "true"}


def after(status: int, headers: dict[str, str], body: bytes = b"") -> AppError:
    error = app_error_from_response(status, headers, body, URL)
    assert error is not None
    return error


@pytest.mark.parametrize("headers", [SDK, HANDLED, {"x-inngest-sdk": ""}])
@pytest.mark.parametrize("status", [200, 201, 204, 206, 302, 402, 429, 502])
def test_any_other_status_of_an_sdk_is_a_success(status: int, headers: dict[str, str]) -> None:
    assert app_error_from_response(status, headers, b"", URL) is None


@pytest.mark.parametrize("status", [200, 302, 502])
def test_an_answer_that_no_sdk_gave_is_told(status: int) -> None:
    error = after(status, {"content-type": "text/html"}, b"<html>")

    assert error.code == "not_sdk"
    assert f"HTTP {status}" in error.message
    assert URL in error.message


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Your signing key is invalid", "invalid_signing_key"),
        ("No functions registered within your app", "no_functions"),
        ("At least one function is invalid", "invalid_function"),
        ("You didn't specify your workspace's signing key, or so", "missing_signing_key"),
        ("No INNGEST_ENV branch name found", "missing_branch_env_name"),
    ],
)
def test_a_known_400_has_its_own_code(said: str, code: str) -> None:
    assert after(400, SDK, dumps({"message": said})).code == code


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (dumps({"message": "Something else"}), "Something else"),
        (
            dumps({"message": "Is it that Your signing key is invalid"}),
            "Is it that Your signing key is invalid",
        ),
        (dumps({"error": "two\nproblems", "code": "config_invalid"}), "two\nproblems"),
        (b"plain text\n", "plain text"),
        (b"\xff", "\ufffd"),
    ],
)
def test_any_other_400_is_told_word_for_word(body: bytes, message: str) -> None:
    assert after(400, SDK, body) == AppError("sdk_rejected", message)


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"message":5}', b"<html>no</html>", b"{broken"])
def test_a_400_that_says_nothing_useful_is_still_told(body: bytes) -> None:
    error = after(400, SDK, body)

    assert error.code == "sdk_rejected"
    assert "did not say why" in error.message


def test_a_very_long_answer_is_cut() -> None:
    assert len(after(400, SDK, dumps({"message": "x" * 1_000_000})).message) == 4_000


def test_an_app_for_another_kind_of_server_is_told_what_to_set() -> None:
    error = after(400, SDK, dumps({"code": "server_kind_mismatch", "message": "server kind mismatch"}))

    assert error.code == "server_kind_mismatch"
    assert "INNGEST_DEV=1" in error.message


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "unauthorized"), (403, "forbidden"), (404, "url_not_found"), (500, "internal_server_error")],
)
@pytest.mark.parametrize("headers", [SDK, {}])
def test_the_statuses_of_the_protocol_have_codes(status: int, code: str, headers: dict[str, str]) -> None:
    error = after(status, headers)

    assert error.code == code
    assert f"HTTP {status}" in error.message
    assert URL in error.message


def test_a_401_of_an_sdk_is_about_keys_and_one_of_another_about_logins() -> None:
    assert "INNGEST_SIGNING_KEY" in after(401, HANDLED).message
    assert "INNGEST_DEV" in after(401, HANDLED).message
    assert "INNGEST_SIGNING_KEY" not in after(401, {}).message


def test_a_500_repeats_what_the_app_said() -> None:
    assert "It said: kaboom" in after(500, SDK, dumps({"message": "kaboom"})).message
    assert "It said" not in after(500, SDK, b"<html>kaboom</html>").message


@pytest.mark.parametrize("kind", typing.get_args(TransportFailure))
def test_every_failure_of_transport_names_the_url(kind: TransportFailure) -> None:
    error = app_error_from_transport(kind, URL, "detail of\nthe library")

    codes = {"tls": "unsupported_protocol", "out_of_reach": "address_refused"}
    assert error.code == codes.get(kind, "unreachable")
    assert URL in error.message
    assert error.message.endswith("(detail of the library)")
    assert "()" not in app_error_from_transport(kind, URL).message


def test_a_refused_localhost_hints_at_containers() -> None:
    assert app_error_from_transport("refused", URL).message == (
        "unreachable: connection refused at http://localhost:3000/api/inngest; is the app running, and on "
        "this port? Inside a container localhost is the container itself: use "
        "http://host.docker.internal:3000/api/inngest"
    )


@pytest.mark.parametrize("url", ["http://app:3000/x", "https://example.com/x", "http://[", "not a url"])
def test_other_hosts_do_not_hint_at_containers(url: str) -> None:
    assert "container" not in app_error_from_transport("refused", url).message


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("http://127.0.0.1:3000/x?a=1", "http://host.docker.internal:3000/x?a=1"),
        ("http://localhost/x", "http://host.docker.internal/x"),
        ("http://[::1]:3000/x", "http://host.docker.internal:3000/x"),
    ],
)
def test_the_hint_keeps_port_path_and_query(url: str, there: str) -> None:
    assert there in app_error_from_transport("timeout", url).message


def test_a_mismatch_of_tls_suggests_the_other_scheme() -> None:
    assert "try the same address with http://" in app_error_from_transport("tls", "https://a/x").message
    assert "try the same address with https://" in app_error_from_transport("tls", "http://a/x").message


def test_a_server_without_its_own_key_says_how_to_give_it_one() -> None:
    error = missing_server_signing_key()

    assert error.code == "missing_server_signing_key"
    assert "--signing-key" in error.message


@given(st.integers(100, 599), st.dictionaries(st.text(), st.text()), st.binary(), st.text())
def test_any_answer_is_understood(status: int, headers: dict[str, str], body: bytes, url: str) -> None:
    app_error_from_response(status, headers, body, url)
    app_error_from_transport("refused", url, url)
