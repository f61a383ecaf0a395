"""Signatures and bearers; the vectors are those of protocol 11."""

import json

import pytest

from inngest._wire.signature import WINDOW_S, bearer_of, sign, verify
from inngest.errors import ConfigError, SignatureError

KEY = "signkey-test-a1b2c3d4e5f60718293a4b5c6d7e8f900112233445566778899aabbccddeeff0"
OTHER_KEY = "signkey-prod-" + "00" * 32
BODY = b'{"ctx":{"attempt":0,"run_id":"01HZ0000000000000000000000"},"event":{"data":{"a":1},"name":"test/e"}}'
T = 1_700_000_000
SIGNED = f"t={T}&s=80bdcdab9bf980ec59d204b7de5a0636cd2d1099d6d1b49f6c3f7db52af214f9"
SIGNED_EMPTY = f"t={T}&s=49e614afcf26a313f65058a1061f95ae8563cd673d3d8adef099dbd75216eb4f"


def test_the_vectors_of_the_protocol_hold() -> None:
    assert sign(BODY, KEY, now_s=T) == SIGNED
    assert sign(b"", KEY, now_s=T) == SIGNED_EMPTY
    assert bearer_of(KEY) == "0b8a99905f4e35ba4683a42a545575e31c76d66838f5ffd152b5ad89523b36f3"


def test_a_body_is_verified_in_its_canonical_form() -> None:
    loose = json.dumps(json.loads(BODY), indent=2).encode()

    assert verify(SIGNED, loose, [KEY], now_s=T) == KEY
    assert verify(SIGNED, BODY, [KEY], now_s=T) == KEY
    assert verify(SIGNED_EMPTY, b"", [KEY], now_s=T) == KEY


def test_a_prefix_of_the_key_does_not_count() -> None:
    bare = KEY.removeprefix("signkey-test-")

    assert verify(SIGNED, BODY, [f"signkey-prod-{bare}"], now_s=T)
    assert verify(SIGNED, BODY, [bare], now_s=T) == bare


def test_the_key_that_signed_is_told() -> None:
    assert verify(SIGNED, BODY, [OTHER_KEY, KEY], now_s=T) == KEY


@pytest.mark.parametrize("body", [BODY + b" x", BODY.replace(b"1", b"2"), b"", b"[" * 5000])
def test_another_body_is_refused(body: bytes) -> None:
    with pytest.raises(SignatureError, match="does not fit"):
        verify(SIGNED, body, [KEY, OTHER_KEY], now_s=T)


@pytest.mark.parametrize("off_s", [WINDOW_S, -WINDOW_S])
def test_clocks_may_differ_by_five_minutes(off_s: int) -> None:
    assert verify(SIGNED, BODY, [KEY], now_s=T + off_s) == KEY

    with pytest.raises(SignatureError, match="compare this host's clock"):
        verify(SIGNED, BODY, [KEY], now_s=T + off_s + (1 if off_s > 0 else -1))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "x",
        f"t={T}",
        f"s={'0' * 64}",
        f"t=-{T}&s=00",
        f"t={T}.5&s=00",
        "t=" + "9" * 5000 + "&s=00",
        f"t={T}&s=\u0660",
        "t=\u0661\u0662&s=00",
        "&".join(["t=1"] * 500),
        f"t=&s={'0' * 64}",
    ],
)
def test_a_malformed_header_is_refused_with_a_reason(header: str | None) -> None:
    with pytest.raises(SignatureError):
        verify(header, BODY, [KEY], now_s=T)


def test_a_very_long_body_is_not_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inngest._wire.signature.CANONICAL_BYTES_MAX", len(BODY))

    assert verify(SIGNED, BODY, [KEY], now_s=T) == KEY
    with pytest.raises(SignatureError):
        verify(SIGNED, BODY + b" ", [KEY], now_s=T)


def test_without_keys_nothing_is_trusted() -> None:
    with pytest.raises(SignatureError):
        verify(SIGNED, BODY, [], now_s=T)


@pytest.mark.parametrize("key", ["signkey-test-xyz", "signkey-test-abc", "not hex"])
def test_a_key_that_is_no_hex_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ConfigError, match="openssl rand -hex 32") as caught:
        bearer_of(key)
    assert key not in str(caught.value)
