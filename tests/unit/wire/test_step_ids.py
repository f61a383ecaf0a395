"""Hashed step ids."""

import pytest

from inngest_server.wire.step_ids import hash_step_id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my-step-id", "e7d8a2f140845095749d60246ff1110c9d01d76a"),
        ("my-step-id:1", "f47c6228c581af870aa285200cf95ec3ac59bb6a"),
        ("step-1", "cd59ee9a8137151d1499d3d2eb40ba51aa91e0aa"),
        ("a", "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"),
        ("complete", "0737c22d3bfae812339732d14d8c7dbd6dc4e09c"),
    ],
)
def test_step_ids_are_hashed_as_in_the_protocol(text: str, expected: str) -> None:
    assert hash_step_id(text) == expected
