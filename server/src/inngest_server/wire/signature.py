"""Signing keys, the request signature made with them, and the bearer derived from them.

Comparisons with secrets take constant time, and no error ever contains a key or a valid signature.

    SignatureError
    ├── SignatureMissingError
    ├── SignatureMalformedError
    ├── SignatureMismatchError
    └── SignatureExpiredError
    InvalidSigningKeyError
"""

import hashlib
import hmac
import re
from typing import Final
from urllib.parse import parse_qsl

CLOCK_SKEW_S: Final = 5 * 60
"""How far a signature's time may be from ours, in both directions. Source: protocol 6.2."""

_PREFIX: Final = re.compile(r"signkey-\w+-", re.ASCII)
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")
_BEARER: Final = re.compile(r"bearer +(\S+)\s*", re.IGNORECASE | re.ASCII)
_HEADER_LENGTH_MAX: Final = 256


class SignatureError(ValueError):
    """A request's signature does not hold."""

    code = "signature_invalid"


class SignatureMissingError(SignatureError):
    """The request carries no signature."""

    code = "signature_missing"

    def __init__(self) -> None:
        super().__init__("the request is not signed: is the sender in dev mode, or without a signing key?")


class SignatureMalformedError(SignatureError):
    """The header is not `t=<unix seconds>&s=<hex>`."""

    code = "signature_malformed"

    def __init__(self) -> None:
        super().__init__("the signature header is malformed: expected t=<unix seconds>&s=<64 hex digits>")


class SignatureMismatchError(SignatureError):
    """The signature was made with another key, or over another body."""

    code = "signature_mismatch"

    def __init__(self) -> None:
        super().__init__(
            "the signature does not match: compare the signing keys of both sides, "
            "and look for a proxy that changes bodies"
        )


class SignatureExpiredError(SignatureError):
    """The signature is right but its time too far from ours; often a skewed clock."""

    code = "signature_expired"

    def __init__(self, signed_at_s: int, now_s: int) -> None:
        away = f"{now_s - signed_at_s} s ago" if now_s >= signed_at_s else f"{signed_at_s - now_s} s ahead"
        super().__init__(f"signed {away}; compare this host's clock with the sender's")
        self.signed_at_s = signed_at_s
        self.now_s = now_s


class InvalidSigningKeyError(ValueError):
    """The configured signing key cannot be one."""

    code = "invalid_signing_key"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the signing key {reason}: it must be an even number of hexadecimal digits, with or "
            "without a prefix such as signkey-prod-. `openssl rand -hex 32` makes a good one"
        )
        self.reason = reason


def strip_key(key: str) -> str:
    """A signing key without its `signkey-<env>-` prefix, if it has one. Source: protocol 6.1."""
    return _PREFIX.sub("", key, count=1) if key.startswith("signkey-") else key


def check_signing_key(key: str) -> str:
    """A configured key without its prefix, once it is known to be usable.

    Raises:
        InvalidSigningKeyError: not hex of even length; the message says how to make a good one.

    Source: decisions, "signing key".
    """
    stripped = strip_key(key)
    if _HEX.fullmatch(stripped):
        return stripped
    if not stripped:
        raise InvalidSigningKeyError("is empty")
    if re.fullmatch(r"[0-9a-fA-F]+", stripped):
        raise InvalidSigningKeyError("has an odd number of digits")
    raise InvalidSigningKeyError("has characters other than 0-9 and a-f")


def sign(body_canonical: bytes, key: str, now_s: int) -> str:
    """The value of `X-Inngest-Signature` for a body in RFC 8785 form; an empty body is signed too.

    Source: protocol 6.2.
    """
    return f"t={now_s}&s={_signature(body_canonical, key, str(now_s))}"


def verify(body: bytes, header: str | None, key: str, now_s: int) -> None:
    """Return if the header was made with this key, over these bytes, within `CLOCK_SKEW_S` of now.

    The bytes are the RFC 8785 form of a request's body, but a response's own bytes (protocol 6.3).

    Raises:
        SignatureMissingError, SignatureMalformedError, SignatureMismatchError,
        SignatureExpiredError: an age is only told to those who have the key.
    """
    if not header:
        raise SignatureMissingError
    signed_at, signature = _read_header(header)
    if not hmac.compare_digest(_signature(body, key, signed_at), signature):
        raise SignatureMismatchError
    if abs(now_s - int(signed_at)) > CLOCK_SKEW_S:
        raise SignatureExpiredError(int(signed_at), now_s)


def bearer_hash(key: str) -> str:
    """What an SDK sends as bearer for this key, without a prefix.

    Raises:
        InvalidSigningKeyError: the key is not hex.

    Source: protocol 6.5.
    """
    return hashlib.sha256(bytes.fromhex(check_signing_key(key))).hexdigest()


def bearer_matches(header: str | None, key: str) -> bool:
    """Whether an `Authorization` header proves that its sender has this key.

    The hash counts with or without a prefix, and so does the key itself, as in the reference server.

    Raises:
        InvalidSigningKeyError: the key is not hex.
    """
    match = _BEARER.fullmatch(header or "")
    if match is None:
        return False
    given = strip_key(match[1]).encode()
    is_hash = hmac.compare_digest(given, bearer_hash(key).encode())
    is_key = hmac.compare_digest(given, strip_key(key).encode())
    return is_hash or is_key


def _signature(body: bytes, key: str, signed_at: str) -> str:
    # The key is the hex text itself, not the bytes that it spells.
    return hmac.digest(strip_key(key).encode(), body + signed_at.encode(), "sha256").hex()


def _read_header(header: str) -> tuple[str, str]:
    """The time, exactly as it was signed, and the signature; in any order, as SDKs read it too."""
    if len(header) > _HEADER_LENGTH_MAX:
        raise SignatureMalformedError
    fields = dict(parse_qsl(header))
    signed_at, signature = fields.get("t", ""), fields.get("s", "").lower()
    if not re.fullmatch(r"[0-9]{1,12}", signed_at) or not re.fullmatch(r"[0-9a-f]{64}", signature):
        raise SignatureMalformedError
    return signed_at, signature
