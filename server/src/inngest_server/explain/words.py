"""How explanations write durations, places and lists."""

from collections.abc import Sequence
from itertools import pairwise

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))
NAMED_MAX = 3


def duration(ms: int) -> str:
    """Two units at most: `3 d 4 h`, `2 min 5 s`, `1.5 s`, `20 ms`."""
    ms = abs(ms)
    if ms < 1_000:
        return f"{ms} ms"
    if ms < 10_000 and ms % 1_000:
        return f"{ms / 1000:.1f} s"
    for (unit, size), (smaller, smaller_size) in pairwise(_UNITS):
        if ms >= size:
            rest = ms % size // smaller_size
            return f"{ms // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{ms // 1000} s"


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `11th`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def count(number: int, noun: str) -> str:
    """`1 run`, `2,000 runs`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def listed(names: Sequence[str], total: int | None = None, *, most: int = NAMED_MAX) -> str:
    """`a, b and 3 more`; `total` is how many there are, where `names` are not all."""
    total = len(names) if total is None else total
    shown = list(names[:most])
    if total > len(shown):
        shown.append(f"{total - len(shown):,} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def shortened(text: str, most: int = 80) -> str:
    """A text of a user, on one line and not too long."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= most else f"{line[: most - 1]}…"
