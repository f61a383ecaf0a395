"""Error objects, as lists, system events and parents show them."""

from typing import Any

import pytest

from inngest_server.runs.errors import error_object, published_error
from inngest_server.wire import json


def test_a_standard_error_says_its_name_and_message_twice() -> None:
    assert json.parse(error_object("Name", "why", stack="at x")) == {
        "error": "Name: why",
        "name": "Name",
        "message": "why",
        "stack": "at x",
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"name": "TypeError", "message": "m", "stack": "at x", "code": "E1"},
            {"error": "TypeError: m", "name": "TypeError", "message": "m", "stack": "at x", "code": "E1"},
        ),
        (
            {"error": "said", "name": "E", "message": "m"},
            {"error": "said", "name": "E", "message": "m"},
        ),
        (
            {},
            {
                "error": "Error: Function execution error",
                "name": "Error",
                "message": "Function execution error",
            },
        ),
        (
            {"name": 1, "message": None, "error": {}},
            {
                "error": "Error: Function execution error",
                "name": "Error",
                "message": "Function execution error",
            },
        ),
        (
            "text",
            {
                "error": "Error: Function execution error",
                "name": "Error",
                "message": "Function execution error",
            },
        ),
    ],
    ids=repr,
)
def test_a_published_error_is_whole(given: Any, expected: dict[str, Any]) -> None:
    assert published_error(json.dumps(given)) == expected
