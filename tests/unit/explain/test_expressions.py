"""Conditions with values in place of paths."""

from typing import Any

import pytest

from inngest_server.explain.expressions import VALUE_CHARS_MAX, VALUES_MAX, filled

EVENT: dict[str, Any] = {
    "name": "shop/order",
    "data": {"total": 50, "user": {"id": "u-1", "odd key": 1}, "items": [{"n": 2}], "long": "x" * 500},
}


@pytest.mark.parametrize(
    ("text", "shown", "is_true"),
    [
        ("event.data.total > 100", "50 > 100", False),
        ("event.data.total>=50&&event.name=='shop/order'", "50>=50&&\"shop/order\"=='shop/order'", True),
        ('event.data.user["id"] == "u-1"', '"u-1" == "u-1"', True),
        ("event.data.user['odd key'] == 1", "1 == 1", True),
        ("event . data . total == 50", "50 == 50", True),
        ("event.data.items[0].n == 2", "2 == 2", True),
        ("event.data.none == 1 || has(event.data.user.id)", '(missing) == 1 || has("u-1")', True),
        ("event.data.items.exists(i, i.n == 3)", '[{"n":2}].exists(i, i.n == 3)', False),
        ('event.name[0] == "s"', '(missing) == "s"', False),
        ("true", "true", True),
    ],
)
def test_values_stand_where_paths_stood(text: str, shown: str, is_true: bool) -> None:
    found = filled(text, EVENT, 0)
    assert (found.text, found.is_true, found.error) == (shown, is_true, "")


def test_values_are_listed_by_path_and_cut() -> None:
    found = filled("event.data.user.id == event.data.long", EVENT, 0)
    assert found.values["event.data.user.id"] == '"u-1"'
    assert len(found.values["event.data.long"]) == VALUE_CHARS_MAX


def test_a_condition_that_fails_says_why() -> None:
    found = filled("event.data.user + 1 > 2", EVENT, 0)
    assert not found.is_true
    assert found.error


def test_a_text_that_is_no_condition_says_why() -> None:
    found = filled("event.data.total >", EVENT, 0)
    assert (found.is_true, found.values) == (False, {})
    assert "ends too early" in found.error


def test_very_many_values_are_not_all_listed() -> None:
    text = " || ".join(f"event.data.a{n} == {n}" for n in range(VALUES_MAX + 5))
    assert len(filled(text, EVENT, 0).values) == VALUES_MAX
