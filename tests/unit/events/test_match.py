"""Which triggers an event matches."""

from typing import Any

import pytest

from inngest_server.events.expressions import CompileError
from inngest_server.events.match import TriggerIndex
from tests.builders import T0_MS


def make_index(*triggers: tuple[str, str] | tuple[str, str, str]) -> TriggerIndex[str]:
    index = TriggerIndex[str]()
    for owner, event_name, *expression in triggers:
        index.add(owner, event_name, expression[0] if expression else "")
    return index


def match(index: TriggerIndex[str], name: str, data: Any = None) -> list[str]:
    return index.match(name, {"name": name, "data": data or {}}, T0_MS)


@pytest.mark.parametrize(
    ("trigger", "name", "matches"),
    [
        ("a/b.c", "a/b.c", True),
        ("a/b.c", "a/b.d", False),
        ("a/b.c", "A/b.c", False),
        ("a/*", "a/b.c", True),
        ("a/b.*", "a/b.c", True),
        ("a/b.*", "a/b.c.d", True),
        ("a/b.*", "a/bc", False),
        ("a/*", "b/a", False),
        ("a/*", "a", False),
        ("a.*", "a.b", True),
        ("*", "a/b", False),
        ("a*", "ab", False),
    ],
)
def test_a_trigger_names_an_event_or_all_that_begin_like_it(trigger: str, name: str, matches: bool) -> None:
    index = make_index(("f", trigger))
    assert match(index, name) == (["f"] if matches else [])
    assert index.knows(name) is matches


def test_a_function_starts_once_however_many_of_its_triggers_match() -> None:
    index = make_index(("f", "a/b"), ("f", "a/*"), ("f", "a/b", "event.data.x == 1"))
    assert match(index, "a/b", {"x": 1}) == ["f"]


def test_exact_triggers_come_before_wildcards_and_each_in_the_order_of_adding() -> None:
    index = make_index(("w", "a/*"), ("2", "a/b"), ("1", "a/b"))
    assert match(index, "a/b") == ["2", "1", "w"]


@pytest.mark.parametrize(
    ("expression", "data", "matches"),
    [
        ("event.data.total > 100", {"total": 101}, True),
        ("event.data.total > 100", {"total": 100}, False),
        ("event.data.missing == 'x'", {}, False),
        ("event.data.total", {"total": 5}, False),
        ("size(event.data.total) > 1", {"total": 5}, False),
    ],
)
def test_an_expression_has_to_be_true_and_no_error(expression: str, data: Any, matches: bool) -> None:
    assert match(make_index(("f", "a/b", expression)), "a/b", data) == (["f"] if matches else [])


def test_another_trigger_may_match_where_an_expression_does_not() -> None:
    index = make_index(("f", "a/b", "event.data.x == 1"), ("f", "a/*"))
    assert match(index, "a/b") == ["f"]


def test_an_expression_that_does_not_compile_is_refused() -> None:
    with pytest.raises(CompileError):
        make_index(("f", "a/b", "event.data.("))


def test_an_event_that_nobody_wants_is_told_apart_cheaply() -> None:
    assert not make_index(("f", "a/b")).knows("a/c")
