"""Hashes that name things: the same input names the same thing on every node, for ever."""

import hashlib
from typing import Final

_BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


def derived_uuid(*parts: str) -> str:
    """The UUID of whatever these parts cause, so that doing it twice names it once.

    ("a", "bc") and ("ab", "c") differ. The bits are SHA-256 in the layout of a version 5 UUID,
    which every validator accepts.
    """
    # Lengths keep neighbouring parts apart whatever characters they contain.
    cause = "".join([f"{len(part)}:{part}" for part in parts])
    digest = bytearray(hashlib.sha256(cause.encode("utf-8", "surrogatepass")).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def stable_hash64(text: str) -> int:
    """64 evenly spread bits of a text, for placing things on shards. Stored data depends on it."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def xxh64_base36(text: str) -> str:
    """The xxHash64 of a text in lower-case base 36. Source: protocol 1.7."""
    number = xxh64(text.encode("utf-8", "surrogatepass"))
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _BASE36[digit] + digits
    return digits or "0"


# xxHash64 with seed 0, after its specification (github.com/Cyan4973/xxHash, doc/xxhash_spec.md).

_MASK: Final = (1 << 64) - 1
_P1: Final = 0x9E3779B185EBCA87
_P2: Final = 0xC2B2AE3D27D4EB4F
_P3: Final = 0x165667B19E3779F9
_P4: Final = 0x85EBCA77C2B2AE63
_P5: Final = 0x27D4EB2F165667C5


def xxh64(data: bytes) -> int:
    """The xxHash64 of some bytes, seed 0. For short texts: this is Python, not C."""
    size = len(data)
    position = 0
    if size >= 32:
        lanes = [(_P1 + _P2) & _MASK, _P2, 0, -_P1 & _MASK]
        while position + 32 <= size:
            for lane in range(4):
                word = int.from_bytes(data[position : position + 8], "little")
                lanes[lane] = _round(lanes[lane], word)
                position += 8
        a, b, c, d = lanes
        total = (_rotate(a, 1) + _rotate(b, 7) + _rotate(c, 12) + _rotate(d, 18)) & _MASK
        for lane in lanes:
            total = ((total ^ _round(0, lane)) * _P1 + _P4) & _MASK
    else:
        total = _P5
    return _avalanche(_take_rest((total + size) & _MASK, data[position:]))


def _take_rest(total: int, rest: bytes) -> int:
    """Mix in the last bytes, fewer than 32: by eight, then four, then one."""
    while len(rest) >= 8:
        total ^= _round(0, int.from_bytes(rest[:8], "little"))
        total = (_rotate(total, 27) * _P1 + _P4) & _MASK
        rest = rest[8:]
    if len(rest) >= 4:
        total ^= int.from_bytes(rest[:4], "little") * _P1 & _MASK
        total = (_rotate(total, 23) * _P2 + _P3) & _MASK
        rest = rest[4:]
    for byte in rest:
        total ^= byte * _P5 & _MASK
        total = _rotate(total, 11) * _P1 & _MASK
    return total


def _avalanche(total: int) -> int:
    total = (total ^ total >> 33) * _P2 & _MASK
    total = (total ^ total >> 29) * _P3 & _MASK
    return total ^ total >> 32


def _round(lane: int, word: int) -> int:
    return _rotate((lane + word * _P2) & _MASK, 31) * _P1 & _MASK


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> 64 - bits) & _MASK
