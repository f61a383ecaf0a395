"""Hashes whose values are stored, and so must never change."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_server.wire.hashing import derived_uuid, stable_hash64, xxh64, xxh64_base36


def test_a_derived_uuid_never_changes() -> None:
    assert derived_uuid("app", "function") == derived_uuid("app", "function")
    assert derived_uuid("app", "function") == "b50b968d-92f4-5029-a501-6725f391e9fb"


@given(st.lists(st.text()))
def test_a_derived_uuid_is_a_valid_uuid(parts: list[str]) -> None:
    text = derived_uuid(*parts)
    assert str(uuid.UUID(text)) == text
    assert uuid.UUID(text).version == 5
    assert uuid.UUID(text).variant == uuid.RFC_4122


@given(st.lists(st.text(max_size=3), max_size=3), st.lists(st.text(max_size=3), max_size=3))
def test_different_parts_have_different_uuids(parts: list[str], others: list[str]) -> None:
    assert (derived_uuid(*parts) == derived_uuid(*others)) == (parts == others)


def test_parts_are_kept_apart() -> None:
    assert derived_uuid("a", "bc") != derived_uuid("ab", "c")
    assert derived_uuid("1:a") != derived_uuid("a")


def test_the_shard_hash_never_changes() -> None:
    assert stable_hash64("function") == 9944996925997396777
    assert 0 <= stable_hash64("") < 2**64


def test_the_shard_hash_spreads() -> None:
    counts = [0] * 16
    for number in range(16_000):
        counts[stable_hash64(f"run-{number}") % 16] += 1
    assert min(counts) > 850
    assert max(counts) < 1150


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0xEF46DB3751D8E999),
        (b"a", 0xD24EC4F1A98C6E5B),
        (b"abc", 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_xxh64_gives_the_published_values(data: bytes, expected: int) -> None:
    assert xxh64(data) == expected


def test_xxh64_base36_is_lower_case() -> None:
    assert int(xxh64_base36("a"), 36) == 0xD24EC4F1A98C6E5B
    assert xxh64_base36("a") == xxh64_base36("a").lower()
