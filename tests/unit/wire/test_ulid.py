"""ULIDs: their text, their order, and the ones that a seed header asks for."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_server.wire.ulid import (
    MonotonicULIDs,
    Seed,
    encode,
    first_at,
    from_seed,
    is_ulid,
    parse_seed_header,
    timestamp_ms,
)

TIMES = st.integers(min_value=0, max_value=2**48 - 1)
ENTROPIES = st.integers(min_value=0, max_value=2**80 - 1)
HEADER = "1743130137367,eii2YKXRVTJPuA=="


@pytest.mark.parametrize(
    ("index", "expected"),
    [(0, "01JQDAE4RQF8MBCR55T5AK4KXR"), (1, "01JQDAE4RQF8MBCR55T5AK4KXS"), (2, "01JQDAE4RQF8MBCR55T5AK4KXT")],
)
def test_seeded_ids_are_those_of_the_protocol(index: int, expected: str) -> None:
    seed = parse_seed_header(HEADER)

    assert seed is not None
    assert from_seed(seed.ms, seed.entropy, index) == expected


@given(TIMES, ENTROPIES)
def test_a_ulid_holds_its_time_and_entropy(ms: int, entropy: int) -> None:
    ulid = encode(ms, entropy)
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    value = 0
    for character in ulid:
        value = value * 32 + alphabet.index(character)

    assert value == ms << 80 | entropy
    assert ulid == encode(ms, entropy.to_bytes(10))
    assert timestamp_ms(ulid) == ms
    assert is_ulid(ulid)


@given(TIMES, ENTROPIES, TIMES, ENTROPIES)
def test_text_sorts_like_time(ms: int, entropy: int, ms2: int, entropy2: int) -> None:
    assert (encode(ms, entropy) < encode(ms2, entropy2)) == ((ms, entropy) < (ms2, entropy2))


@pytest.mark.parametrize(
    ("ms", "entropy"),
    [(-1, 0), (2**48, 0), (0, -1), (0, 2**80), (0, b""), (0, b"123456789"), (0, b"12345678901")],
)
def test_what_does_not_fit_is_refused(ms: int, entropy: int | bytes) -> None:
    with pytest.raises(ValueError, match="entropy"):
        encode(ms, entropy)


@pytest.mark.parametrize(
    "text",
    ["", "01JQDAE4RQF8MBCR55T5AK4KX", "01JQDAE4RQF8MBCR55T5AK4KXRR", "81JQDAE4RQF8MBCR55T5AK4KXR",
     "01jqdae4rqf8mbcr55t5ak4kxr", "01JQDAE4RQF8MBCR55T5AK4KXI", "01JQDAE4RQF8MBCR55T5AK4KXR\n"],
)  # fmt: skip
def test_other_texts_are_no_ulids(text: str) -> None:
    assert not is_ulid(text)
    with pytest.raises(ValueError, match="not a ULID"):
        timestamp_ms(text)


@given(st.lists(st.integers(min_value=0, max_value=50), max_size=50), st.data())
def test_fresh_ids_increase_even_when_the_clock_goes_back(nows: list[int], data: st.DataObject) -> None:
    top = st.sampled_from([0, 1, 2**80 - 2, 2**80 - 1])
    ids = MonotonicULIDs(lambda: data.draw(top))

    made = [ids.next(now) for now in nows]

    assert made == sorted(set(made))
    assert all(is_ulid(ulid) and timestamp_ms(ulid) >= now for ulid, now in zip(made, nows, strict=True))


def test_entropy_that_overflows_borrows_the_next_millisecond() -> None:
    entropies = iter([2**80 - 1, 7, 9])
    ids = MonotonicULIDs(lambda: next(entropies))

    assert [ids.next(5), ids.next(5), ids.next(6), ids.next(7)] == [
        encode(5, 2**80 - 1),
        encode(6, 7),
        encode(6, 8),
        encode(7, 9),
    ]


def test_a_clock_before_1970_counts_as_1970() -> None:
    assert MonotonicULIDs(lambda: 7).next(-5) == encode(0, 7)


def test_a_time_beyond_48_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="48 bits"):
        MonotonicULIDs(lambda: 0).next(2**48)


def test_the_counter_of_a_seed_wraps_within_its_four_bytes() -> None:
    assert from_seed(1, b"\x01" * 6 + b"\xff" * 4, 2) == encode(1, b"\x01" * 6 + b"\x00\x00\x00\x01")


@given(TIMES, st.binary(min_size=10, max_size=10))
def test_a_well_formed_seed_header_is_read(ms: int, entropy: bytes) -> None:
    assert parse_seed_header(f"{ms},{base64.b64encode(entropy).decode()}") == Seed(ms, entropy)


@pytest.mark.parametrize(
    "text",
    ["", ",", "1743130137367", "1743130137367,", "x,eii2YKXRVTJPuA==", "-1,eii2YKXRVTJPuA==",
     "1,eii2YKXRVTJPuA", "1,eii2YKXRVTJP", "1,eii2YKXRVTJPuA==,", "281474976710656,eii2YKXRVTJPuA==",
     " 1,eii2YKXRVTJPuA==", "1,eii2-KXRVTJPuA==", "1," + "A" * 100, "\u0661,eii2YKXRVTJPuA=="],
)  # fmt: skip
def test_a_malformed_seed_header_is_none(text: str) -> None:
    assert parse_seed_header(text) is None


@given(st.text())
def test_any_seed_header_is_survived(text: str) -> None:
    parse_seed_header(text)


@pytest.mark.parametrize("ms", [-5, 0, 1, 1_790_000_000_000, 2**48 - 1])
def test_a_bound_lies_between_the_ids_of_a_moment_and_those_before(ms: int) -> None:
    at = max(ms, 0)
    assert first_at(ms) < encode(at, 0)
    if at > 0:
        assert first_at(ms) > encode(at - 1, 2**80 - 1)


def test_after_the_last_moment_no_id_follows() -> None:
    assert first_at(2**70) > encode(2**48 - 1, 2**80 - 1)
