"""Durations, places and lists for people."""

import pytest

from inngest_server.explain.words import count, duration, listed, ordinal, shortened


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (1_500, "1.5 s"),
        (59_999, "59 s"),
        (60_000, "1 min"),
        (125_000, "2 min 5 s"),
        (3_600_000, "1 h"),
        (7_260_000, "2 h 1 min"),
        (3 * 86_400_000 + 4 * 3_600_000 + 5, "3 d 4 h"),
    ],
)
def test_durations_have_two_units_at_most(ms: int, text: str) -> None:
    assert duration(ms) == text


def test_places_have_their_endings() -> None:
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111, 10_001)] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th", "10,001st"]
    )


def test_long_lists_say_how_many_more_there_are() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert listed(["a", "b"], 2_000) == "a, b and 1,998 more"
    assert (count(1, "run"), count(2_000, "run")) == ("1 run", "2,000 runs")


def test_texts_of_users_are_cut_to_one_line() -> None:
    assert shortened("a\nb\x1b", 10) == "a b "
    assert shortened("x" * 100, 5) == "xxxx…"
