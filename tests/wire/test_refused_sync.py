"""What the official SDKs answer to our PUT when this server refused their registration; recorded by hand."""

import json

import pytest

from inngest_server.apps.app_error import app_error_from_response

URL = "http://localhost:3000/api/inngest"
OUR_401 = {"code": "unauthorized", "error": "Authentication failed", "data": None, "status": 401}
PYTHON = (200, {"x-inngest-sdk": "inngest-py:v0.5.19"}, OUR_401)
TYPESCRIPT = (401, {"x-inngest-sdk-handled": "true"}, {"message": "Authentication failed", "modified": False})


@pytest.mark.parametrize(("status", "headers", "body"), [PYTHON, TYPESCRIPT], ids=["python", "typescript"])
def test_a_registration_with_a_wrong_key_is_no_success(
    status: int, headers: dict[str, str], body: dict[str, object]
) -> None:
    """Python passes our error on with HTTP 200."""
    error = app_error_from_response(status, headers, json.dumps(body).encode(), URL)

    assert error is not None
    assert error.code == "unauthorized"
    assert "INNGEST_SIGNING_KEY" in error.message
    assert "refused the registration" in error.message


def test_a_registration_with_an_invalid_function_is_no_success() -> None:
    body = {
        "code": "config_invalid",
        "error": "At least one function is invalid",
        "data": None,
        "status": 400,
    }
    error = app_error_from_response(
        200, {"x-inngest-sdk": "inngest-py:v0.5.19"}, json.dumps(body).encode(), URL
    )

    assert error is not None
    assert (error.code, "At least one function is invalid" in error.message) == ("config_invalid", True)


@pytest.mark.parametrize(
    "body", [{"ok": True, "modified": True}, {"message": "Successfully registered", "modified": False}]
)
def test_an_accepted_registration_is_a_success(body: dict[str, object]) -> None:
    assert app_error_from_response(200, {"x-inngest-sdk": "x"}, json.dumps(body).encode(), URL) is None
