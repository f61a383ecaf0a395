"""Signatures of requests and answers, and the bearer of calls to the server (protocol 6)."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import parse_qs

from inngest.errors import ConfigError, SignatureError

from . import jsons

WINDOW_S = 300
"""Farther from now than this, a signature is not trusted."""

CANONICAL_BYTES_MAX = 8 * 1024 * 1024
"""A longer body has to come in its canonical form: whoever has no key shall not make us rewrite it."""

_PREFIX = re.compile(r"^signkey-\w+-")
_FIELDS_MAX = 8


def without_prefix(key: str) -> str:
    """The part of a signing key that counts: `signkey-prod-abcd` and `abcd` are the same key."""
    return _PREFIX.sub("", key.strip())


def bearer_of(key: str) -> str:
    """What the `authorization` header says after "Bearer ".

    Raises:
        ConfigError: the key is not hex of even length; the message does not repeat the key.
    """
    try:
        return sha256(bytes.fromhex(without_prefix(key))).hexdigest()
    except ValueError:
        raise ConfigError(
            "the signing key has to be hex of even length, with or without a prefix such as signkey-prod-; "
            "`openssl rand -hex 32` makes a good one"
        ) from None


def sign(body: bytes, key: str, *, now_s: float) -> str:
    """The header for these very bytes."""
    at = str(int(now_s))
    return f"t={at}&s={_mac(body, at, key)}"


def verify(header: str | None, body: bytes, keys: Sequence[str], *, now_s: float) -> str:
    """The first of `keys` with which the body was signed.

    Raises:
        SignatureError: no signature, one of another key or body, or one of another time.
    """
    if not header:
        raise SignatureError("the request is not signed: it has no x-inngest-signature header")
    at, given = _read(header)
    age_s = now_s - int(at)
    if abs(age_s) > WINDOW_S:
        side = "ago" if age_s > 0 else "from now"
        raise SignatureError(
            f"the request was signed {abs(age_s):.0f} seconds {side}; compare this host's clock with the "
            "server's"
        )
    # Servers send the canonical form already, so that nearly always the bytes themselves are right.
    for key in keys:
        if hmac.compare_digest(_mac(body, at, key), given):
            return key
    try:
        canonical = jsons.canonical(body) if len(body) <= CANONICAL_BYTES_MAX else body
    except ValueError:
        canonical = body
    if canonical != body:
        for key in keys:
            if hmac.compare_digest(_mac(canonical, at, key), given):
                return key
    raise SignatureError(
        "the signature does not fit this body and signing key; are the keys of app and server the same?"
    )


def _mac(body: bytes, at: str, key: str) -> str:
    mac = hmac.new(without_prefix(key).encode(), body, sha256)
    mac.update(at.encode())
    return mac.hexdigest()


def _read(header: str) -> tuple[str, str]:
    try:
        fields = parse_qs(header, max_num_fields=_FIELDS_MAX)
    except ValueError:
        fields = {}
    at, given = fields.get("t", [""])[0], fields.get("s", [""])[0]
    # Only ASCII digits, and so few that no conversion is costly.
    if not (at.isascii() and at.isdigit() and len(at) <= 12 and given.isascii() and given):
        raise SignatureError("the x-inngest-signature header is not of the form t=<unix seconds>&s=<hex>")
    return at, given
