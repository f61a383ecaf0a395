"""Encrypted values: their form on the wire, and their keys.

An encrypted value is `{"__ENCRYPTED__": true, "__STRATEGY__": "inngest/libsodium", "data": "<base64>"}`. The
data are 24 bytes of nonce and then libsodium's secretbox over the value's JSON; its key is the 32-byte
BLAKE2b hash of the secret text.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from inngest.errors import ConfigError, Error

if TYPE_CHECKING:
    from nacl.secret import SecretBox

__all__ = ["Cipher", "DecryptionError", "is_encrypted"]

MARKER: Final = "__ENCRYPTED__"
STRATEGY_MARKER: Final = "__STRATEGY__"
STRATEGY: Final = "inngest/libsodium"


class DecryptionError(Error):
    """A value was encrypted with another key or in another way, or was changed since."""

    code = "decryption_failed"


def is_encrypted(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether a value is one that encryption middleware made, with whatever strategy."""
    return isinstance(value, dict) and value.get(MARKER) is True  # pyright: ignore[reportUnknownMemberType]


class Cipher:
    """Encrypts with one key; decrypts with that one or any of the fallback keys."""

    def __init__(self, secret_key: str | bytes, fallback_keys: Sequence[str | bytes] = ()) -> None:
        """Raises `ConfigError` for an empty key, `ImportError` when PyNaCl is not installed."""
        self._box = _box(secret_key)
        self._boxes = [self._box, *map(_box, fallback_keys)]

    def encrypt(self, value: object) -> dict[str, object]:
        """The encrypted form of a JSON value; different at each call.

        Raises:
            TypeError, ValueError: the value has no JSON form.
        """
        plain = json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
        return {
            MARKER: True,
            STRATEGY_MARKER: STRATEGY,
            "data": b64encode(bytes(self._box.encrypt(plain))).decode(),
        }

    def decrypt(self, value: object) -> Any:
        """The value again; one that is not encrypted is returned as it is.

        Raises:
            DecryptionError: no key fits, or the strategy is another one.
        """
        if not is_encrypted(value):
            return value
        strategy = value.get(STRATEGY_MARKER)
        if strategy != STRATEGY:
            way = (
                f"the strategy {strategy!r}" if strategy else "the way of the first middleware for TypeScript"
            )
            raise DecryptionError(
                f"a value is encrypted in {way}, but only {STRATEGY!r} can be decrypted here; send it again "
                "with a middleware that uses that"
            )
        plain = self._open(value.get("data"))
        try:
            return json.loads(plain)
        except ValueError as error:
            raise DecryptionError("a decrypted value is no JSON: the app that made it is broken") from error

    def _open(self, data: object) -> bytes:
        from nacl.exceptions import CryptoError

        try:
            sealed = b64decode(data, validate=True) if isinstance(data, str) else b""
        except (Base64Error, ValueError):
            sealed = b""
        for box in self._boxes:
            try:
                return box.decrypt(sealed)
            except (CryptoError, ValueError):
                continue
        number = (
            f"none of the {len(self._boxes)} keys opens it"
            if len(self._boxes) > 1
            else "the key does not open it"
        )
        raise DecryptionError(
            f"a value cannot be decrypted: {number}. It was made with another key, which belongs into "
            "fallback_decryption_keys, or was changed on its way"
        )


def _box(secret_key: str | bytes) -> SecretBox:
    try:
        from nacl.secret import SecretBox
    except ImportError as error:
        raise ImportError(
            "inngest_encryption needs the package pynacl, which is not installed; "
            'install it, or the SDK with its extra, from the repository: pip install "./sdk[encryption]"',
            name="nacl",
        ) from error
    secret = secret_key.encode() if isinstance(secret_key, str) else secret_key
    if not isinstance(secret, bytes) or not secret:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            "an encryption key is a non-empty text, or bytes, that all apps share; got "
            f"{'an empty one' if secret in ('', b'') else type(secret_key).__name__}"
        )
    return SecretBox(blake2b(secret, digest_size=SecretBox.KEY_SIZE).digest())
