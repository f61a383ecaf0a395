"""Expressions of waits and cancellations: what they keep, what they may use, what they share."""

import pytest

from inngest_server.events.expressions import compile_expression
from tests.unit.events.test_expressions import EVENT


def test_a_wait_keeps_only_what_the_expression_uses() -> None:
    expression = compile_expression(
        "event.data.text == async.data.id && event.data.missing == null && event.data.list[0] == 'a'"
        " && event.data.text != 'x' && has(event.data.nothing)"
    )
    assert expression.capture(EVENT) == ("abc", None, "a", True)


def test_a_bare_event_or_a_computed_index_captures_the_part_needed() -> None:
    assert compile_expression("event == async").capture(EVENT) == (EVENT,)
    assert compile_expression("event.data.object[async.data.key] == 1").capture(EVENT) == (
        EVENT["data"]["object"],
    )


def test_captured_values_stand_in_for_the_event() -> None:
    expression = compile_expression("event.data.text == async.data.id && event.data.n > 10")
    captured = expression.capture(EVENT)

    assert expression.matches(captured, {"data": {"id": "abc"}}) is True
    assert expression.matches(captured, {"data": {"id": "abd"}}) is False


def test_what_was_missing_is_null_for_a_wait() -> None:
    """Protocol 5.4: unknown paths are interpolated as null, so a missing field equals a missing field."""
    expression = compile_expression("event.data.missing == async.data.missing")
    assert expression.is_true(EVENT, {"data": {}}) is False
    assert expression.matches(expression.capture(EVENT), {"data": {}}) is True
    assert expression.matches(expression.capture(EVENT), {"data": {"missing": 1}}) is False


def test_values_captured_by_another_expression_are_refused() -> None:
    with pytest.raises(ValueError, match="2 captured values for an expression with 1"):
        compile_expression("event.data.a == async.data.a").matches(("x", "y"), {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("false", True),
        ("event.data.n > 1000", True),
        ("event.data.n > 1000 && event.data.text == async.data.id", True),
        ("async.data.id == 1 && event.data.n > 1000", True),
        ("event.data.n > 1000 || event.data.no", True),
        ("event.data.no ? async.data.yes : false", True),
        ("1 / 0 == 1 && async.data.yes", True),
        ("event.data.text", True),
        ("true", False),
        ("event.data.n > 10", False),
        ("event.data.n > 10 && event.data.text == async.data.id", False),
        ("event.data.no || async.data.yes", False),
        ("event.data.yes ? async.data.yes : false", False),
        ("async.data.yes ? false : true", False),
        ("now() > date('2999-01-01')", False),
        ("!event.data.yes || async.data.yes == true", False),
    ],
)
def test_an_expression_that_can_never_match_is_known(text: str, expected: bool) -> None:
    expression = compile_expression(text)
    assert expression.is_constant_false(expression.capture(EVENT)) is expected


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("event.data.id == async.data.id && (async.data.n > 1 || !async.data.b)", []),
        ("async.data['a'][0] in ['x', 'y'] && int(async.status) == -200", []),
        ("uint(async.a) < double(async.b)", []),
        ("async.data.a ? true : false", []),
        ("has(async.data.a)", ["macros are not allowed here: has()"]),
        (
            "async.data.a.exists(x, x + 1 == 2) && size(async.data.a) > 0 && size(async.b) > 1",
            [
                "macros are not allowed here: exists()",
                "arithmetic is not allowed here: +",
                "functions are not allowed here: size()",
            ],
        ),
        (
            "date(async.a) > now()",
            ["functions are not allowed here: date()", "functions are not allowed here: now()"],
        ),
        ("async.name.endsWith('foo')", ["functions are not allowed here: endsWith()"]),
        ("-async.data.a == 1", ["arithmetic is not allowed here: -"]),
    ],
)
def test_the_restricted_policy_lists_what_it_does_not_allow(text: str, problems: list[str]) -> None:
    assert compile_expression(text).restricted_problems() == problems


def test_an_expression_knows_whether_it_uses_the_incoming_event() -> None:
    assert compile_expression("event.data.a == async.data.a").uses_async
    assert not compile_expression("event.data.a == 1").uses_async


def test_the_same_text_gives_the_same_expression() -> None:
    assert compile_expression("event.data.cached == 1") is compile_expression("event.data.cached == 1")


def test_texts_that_differ_in_literals_share_their_shape() -> None:
    shapes = {id(compile_expression(f"async.data.id == 'user_{number}'").shape) for number in range(50)}
    assert len(shapes) == 1
    assert compile_expression("async.data.id == 'user_7'").matches((), {"data": {"id": "user_7"}})
    assert not compile_expression("async.data.id == 'user_7'").matches((), {"data": {"id": "user_8"}})
