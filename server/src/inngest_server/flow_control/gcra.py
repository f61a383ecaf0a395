"""The generic cell rate algorithm: how many may pass in a time, with one number of state.

The number is the *theoretical arrival time* (`tat`): when the next one would come if all came evenly. Each
that passes moves it on by one emission interval; who would move it further ahead of now than the tolerance
must wait. A tat that has passed says the same as none. Source: protocol 5.12. All times are integers of
nanoseconds.
"""

NS_PER_MS = 1_000_000


def take(tat_ns: int, now_ns: int, emission_ns: int, tolerance_ns: int) -> tuple[bool, int]:
    """Whether one may pass now, and the tat after it; if not, the moment from which it may.

    `tat_ns` is 0 for what was never used. With a tolerance of n emission intervals n pass at once, then one
    per interval.
    """
    new_tat_ns = max(now_ns, tat_ns) + emission_ns
    allowed_at_ns = new_tat_ns - tolerance_ns
    return (True, new_tat_ns) if allowed_at_ns <= now_ns else (False, allowed_at_ns)


def emission_ns(limit: int, period_ms: int) -> int:
    """The interval between two of `limit` in `period_ms`, rounded down to whole nanoseconds."""
    return period_ms * NS_PER_MS // max(limit, 1)


def in_ms(moment_ns: int) -> int:
    """The first whole millisecond at or after a moment: a timer never fires early."""
    return -(-moment_ns // NS_PER_MS)
