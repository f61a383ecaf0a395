"""Marks of event ids that a read may have missed."""

from inngest_server.engine.marks import RecentMarks
from tests.builders import T0_MS


def make_marks(*keys: str) -> RecentMarks:
    marks = RecentMarks()
    for key in keys:
        marks.add(key, f"internal-{key}", T0_MS)
    return marks


def test_a_mark_is_found_from_its_decision_on() -> None:
    marks = make_marks("a")
    assert marks.find("a") == ("internal-a", T0_MS)
    assert marks.find("b") is None


def test_a_mark_is_kept_while_a_fact_may_have_read_before_its_commit() -> None:
    marks = make_marks("a")
    marks.committed(3)
    marks.deciding(3)
    assert marks.find("a") is not None
    marks.deciding(4)
    assert marks.find("a") is None


def test_a_mark_that_is_not_durable_is_kept_whatever_is_decided() -> None:
    marks = make_marks("a")
    marks.deciding(99)
    assert marks.find("a") is not None


def test_later_marks_stay_when_earlier_ones_go() -> None:
    marks = make_marks("a")
    marks.committed(1)
    marks.add("b", "internal-b", T0_MS)
    marks.committed(2)
    marks.deciding(2)
    assert (marks.find("a"), marks.find("b")) == (None, ("internal-b", T0_MS))
    assert len(marks) == 1


def test_a_commit_without_marks_keeps_nothing() -> None:
    marks = make_marks()
    marks.committed(1)
    marks.deciding(2)
    assert len(marks) == 0


def test_clearing_forgets_all() -> None:
    marks = make_marks("a")
    marks.committed(1)
    marks.clear()
    marks.deciding(9)
    assert len(marks) == 0
