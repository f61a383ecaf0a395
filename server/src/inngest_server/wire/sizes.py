"""Sizes as people write them."""

import re
from typing import Final

_UNITS: Final = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SIZE: Final = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,6}))? ?([a-z]{0,3})", re.ASCII | re.IGNORECASE)


def find_size(text: str) -> int | None:
    """Bytes of a size such as `10GB`, `1.5 GiB` or `1048576`, rounded down; None if it is none.

    As on disks, a kilobyte has 1,000 bytes; units with an `i` are powers of 1,024.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (unit := _UNITS.get(match[3].lower())) is None:
        return None
    whole, fraction = match[1], match[2] or ""
    return int(whole + fraction) * unit // 10 ** len(fraction)
