"""ULIDs: 48 bits of epoch milliseconds and 80 of entropy, as 26 characters that sort like time."""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final, NamedTuple

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_TO_PYTHON_BASE32: Final = str.maketrans(_ALPHABET, "0123456789ABCDEFGHIJKLMNOPQRSTUV")
_ULID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_SEED: Final = re.compile(r"([0-9]{1,15}),([A-Za-z0-9+/=]{1,24})")

_MS_END: Final = 1 << 48
_ENTROPY_END: Final = 1 << 80
_ENTROPY_BYTES: Final = 10


def encode(ms: int, entropy: bytes | int) -> str:
    """The ULID of a time and of 10 bytes, or 80 bits, of entropy.

    Raises:
        ValueError: one of them does not fit.
    """
    if isinstance(entropy, bytes):
        if len(entropy) != _ENTROPY_BYTES:
            raise ValueError(f"a ULID has {_ENTROPY_BYTES} bytes of entropy, not {len(entropy)}")
        entropy = int.from_bytes(entropy)
    if not (0 <= ms < _MS_END and 0 <= entropy < _ENTROPY_END):
        raise ValueError(f"a ULID has 48 bits of time and 80 of entropy; got {ms} ms and {entropy}")
    return _time_text(ms) + _entropy_text(entropy)


def timestamp_ms(ulid: str) -> int:
    """The time inside a ULID.

    Raises:
        ValueError: the text is not a ULID.
    """
    if not is_ulid(ulid):
        raise ValueError(f"not a ULID: {ulid[:40]!r}")
    return int(ulid[:10].translate(_TO_PYTHON_BASE32), 32)


def first_at(ms: int) -> str:
    """What ULIDs of that time and later ones sort after, and earlier ones before; any integer will do."""
    return _time_text(min(max(ms, 0), _MS_END))


def is_ulid(text: str) -> bool:
    """Whether a text is a ULID as this platform writes them, in upper case."""
    return _ULID.fullmatch(text) is not None


class MonotonicULIDs:
    """Fresh ULIDs, each greater than all before it from this object, whatever the clock does.

    `random80` returns integers of 80 random bits. For one thread.
    """

    def __init__(self, random80: Callable[[], int]) -> None:
        self._random80 = random80
        self._ms = -1
        self._time = ""
        self._entropy = _ENTROPY_END - 1  # Used up: the first id begins a millisecond in any case.

    def next(self, now_ms: int) -> str:
        """A ULID of this moment, or of the latest one seen when the clock went back."""
        self._entropy += 1
        if now_ms > self._ms:
            self._begin(now_ms)
        elif self._entropy == _ENTROPY_END:
            self._begin(self._ms + 1)
        return self._time + _entropy_text(self._entropy)

    def _begin(self, ms: int) -> None:
        if not 0 <= ms < _MS_END:
            raise ValueError(f"a ULID has 48 bits of time; got {ms} ms")
        self._ms = ms
        self._time = _time_text(ms)
        self._entropy = self._random80()


class Seed(NamedTuple):
    """What the header `x-inngest-event-id-seed` holds."""

    ms: int
    entropy: bytes


def parse_seed_header(text: str) -> Seed | None:
    """Read `<ms>,<base64 of 10 bytes>`; None when malformed, which senders must get away with.

    Source: protocol 1.5.
    """
    match = _SEED.fullmatch(text)
    if match is None:
        return None
    try:
        entropy = base64.b64decode(match[2], validate=True)
    except binascii.Error:
        return None
    ms = int(match[1])
    if len(entropy) != _ENTROPY_BYTES or ms >= _MS_END:
        return None
    return Seed(ms, entropy)


def from_seed(ms: int, entropy10: bytes, index: int) -> str:
    """The internal id of the event at `index` of a seeded request, so that a repeated request repeats it.

    `index` counts from 1 for `/e` and is 0 for `/invoke`. Source: protocol 1.5.
    """
    counter = (int.from_bytes(entropy10[6:]) + index) & 0xFFFF_FFFF
    return encode(ms, entropy10[:6] + counter.to_bytes(4))


def _time_text(ms: int) -> str:
    pairs = _PAIRS
    return (
        pairs[ms >> 40]
        + pairs[ms >> 30 & 1023]
        + pairs[ms >> 20 & 1023]
        + pairs[ms >> 10 & 1023]
        + pairs[ms & 1023]
    )


def _entropy_text(entropy: int) -> str:
    # Two halves of 40 bits: arithmetic on small integers is the faster one.
    pairs = _PAIRS
    high, low = entropy >> 40, entropy & 0xFF_FFFF_FFFF
    return (
        pairs[high >> 30]
        + pairs[high >> 20 & 1023]
        + pairs[high >> 10 & 1023]
        + pairs[high & 1023]
        + pairs[low >> 30]
        + pairs[low >> 20 & 1023]
        + pairs[low >> 10 & 1023]
        + pairs[low & 1023]
    )
