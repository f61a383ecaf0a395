"""One copy of what recurs: step ids, event names, expressions.

A hundred thousand waiting runs of a few functions hold a handful of different ones.
"""

from functools import lru_cache


@lru_cache(maxsize=16_384)
def shared(text: str) -> str:
    """The text itself, as the same object each time while it is remembered.

    Bounded, unlike `sys.intern`: step ids come from users and need not recur.
    """
    return text


@lru_cache(maxsize=1024)
def shared_bytes(data: bytes) -> bytes:
    """As `shared`: many waits capture no value, or the same one."""
    return data
