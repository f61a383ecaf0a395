"""Keys, signatures and bearers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_server.wire.json import canonical, parse
from inngest_server.wire.signature import (
    CLOCK_SKEW_S,
    InvalidSigningKeyError,
    SignatureError,
    SignatureExpiredError,
    SignatureMalformedError,
    SignatureMismatchError,
    SignatureMissingError,
    bearer_hash,
    bearer_matches,
    check_signing_key,
    sign,
    strip_key,
    verify,
)

HEX = "a1b2c3d4e5f60718293a4b5c6d7e8f900112233445566778899aabbccddeeff0"
KEY = f"signkey-test-{HEX}"
OTHER_KEY = "signkey-test-" + "00" * 32
HASH = "0b8a99905f4e35ba4683a42a545575e31c76d66838f5ffd152b5ad89523b36f3"
T = 1700000000
BODY = b'{"ctx":{"attempt":0,"run_id":"01HZ0000000000000000000000"},"event":{"data":{"a":1},"name":"test/e"}}'


def test_signatures_are_those_of_the_protocol() -> None:
    assert sign(BODY, KEY, T) == f"t={T}&s=80bdcdab9bf980ec59d204b7de5a0636cd2d1099d6d1b49f6c3f7db52af214f9"
    assert sign(b"", KEY, T) == f"t={T}&s=49e614afcf26a313f65058a1061f95ae8563cd673d3d8adef099dbd75216eb4f"
    assert sign(BODY, HEX, T) == sign(BODY, KEY, T)
    assert canonical(parse(BODY)) == BODY


def test_bearers_are_those_of_the_protocol() -> None:
    assert bearer_hash(KEY) == bearer_hash(HEX) == HASH


@given(st.binary(), st.integers(min_value=0, max_value=10**11), st.integers(-CLOCK_SKEW_S, CLOCK_SKEW_S))
def test_what_is_signed_verifies_within_the_skew(body: bytes, at_s: int, skew_s: int) -> None:
    verify(body, sign(body, KEY, at_s), KEY, at_s + skew_s)


@pytest.mark.parametrize("header", [None, ""])
def test_no_header_is_missing(header: str | None) -> None:
    with pytest.raises(SignatureMissingError):
        verify(BODY, header, KEY, T)


@pytest.mark.parametrize(
    "header",
    ["x", "t=1", "s=" + "0" * 64, f"t={T}&s=", f"t={T}&s=xyz", f"t=-1&s={'0' * 64}", f"t=1.5&s={'0' * 64}",
     f"t={T}&s={'0' * 63}", f"t={T}&s={'g' * 64}", f"t={'9' * 13}&s={'0' * 64}", "é" * 10, "a=1&" * 1000,
     f"t=\u0661&s={'0' * 64}", f"t=&s={'0' * 64}"],
)  # fmt: skip
def test_a_header_of_another_shape_is_malformed(header: str) -> None:
    with pytest.raises(SignatureMalformedError):
        verify(BODY, header, KEY, T)


def test_another_key_body_or_time_is_a_mismatch() -> None:
    header = sign(BODY, KEY, T)
    for body, shown, key in [
        (BODY, header, OTHER_KEY),
        (BODY + b" ", header, KEY),
        (BODY, header.replace(f"t={T}", f"t={T + 1}"), KEY),
    ]:
        with pytest.raises(SignatureMismatchError):
            verify(body, shown, key, T)


@pytest.mark.parametrize("age_s", [CLOCK_SKEW_S + 1, -CLOCK_SKEW_S - 1])
def test_a_signature_expires_in_both_directions(age_s: int) -> None:
    with pytest.raises(SignatureExpiredError, match="301 s") as caught:
        verify(BODY, sign(BODY, KEY, T), KEY, T + age_s)

    assert caught.value.signed_at_s == T


def test_an_old_signature_by_another_key_is_a_mismatch_and_tells_no_age() -> None:
    with pytest.raises(SignatureMismatchError):
        verify(BODY, sign(BODY, OTHER_KEY, T), KEY, T + 10_000)


def test_order_and_case_of_a_signature_do_not_matter() -> None:
    t, s = sign(BODY, KEY, T).split("&")
    verify(BODY, f"{s}&{t}", KEY, T)
    verify(BODY, f"{t}&s={s[2:].upper()}", KEY, T)


@given(st.text())
def test_any_header_is_refused_by_name(header: str) -> None:
    with pytest.raises(SignatureError):
        verify(BODY, header, KEY, T)


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        (f"Bearer {HASH}", True),
        (f"Bearer signkey-test-{HASH}", True),
        (f"bearer  {HASH} ", True),
        (f"Bearer {KEY}", True),
        (f"Bearer {HEX}", True),
        (None, False),
        ("", False),
        ("Bearer", False),
        ("Bearer ", False),
        ("Bearer undefined", False),
        (HASH, False),
        (f"Basic {HASH}", False),
        (f"Bearer {HASH[:-1]}", False),
        (f"Bearer {HASH}0", False),
        ("Bearer \u00e9", False),
        (f"Bearer {bearer_hash(OTHER_KEY)}", False),
    ],
)
def test_bearers(header: str | None, matches: bool) -> None:
    assert bearer_matches(header, KEY) is matches


@pytest.mark.parametrize(
    ("key", "stripped"),
    [
        (KEY, HEX),
        (HEX, HEX),
        ("signkey-prod-ab", "ab"),
        ("signkey-branch_1-ab", "ab"),
        ("signkey-ab", "signkey-ab"),
        ("signkey-a-signkey-b-ab", "signkey-b-ab"),
        ("xsignkey-test-ab", "xsignkey-test-ab"),
    ],
)
def test_only_one_leading_prefix_is_removed(key: str, stripped: str) -> None:
    assert strip_key(key) == stripped


@pytest.mark.parametrize("key", [KEY, HEX, "ab", "AB12"])
def test_hex_of_even_length_is_a_key(key: str) -> None:
    assert check_signing_key(key) == strip_key(key)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "is empty"),
        ("signkey-prod-", "is empty"),
        ("abc", "odd number"),
        ("signkey-prod-abc", "odd number"),
        ("topsecret", "other than"),
        ("ab cd", "other than"),
        ("abcd\n", "other than"),
        ("signkey-my-env-abcd", "other than"),
    ],
)
def test_other_keys_are_refused_with_the_command_that_makes_one(key: str, reason: str) -> None:
    with pytest.raises(InvalidSigningKeyError, match=reason) as caught:
        check_signing_key(key)

    assert "openssl rand -hex 32" in str(caught.value)
    assert caught.value.code == "invalid_signing_key"
    assert not key.strip() or key not in str(caught.value).replace("signkey-prod-.", "")
