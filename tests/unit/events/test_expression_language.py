"""The language itself: literals, operators, macros, functions, and what is refused."""

from typing import Any

import pytest

from inngest_server.events.expressions import CompileError, EvaluationError, compile_expression
from tests.unit.events.test_expressions import EVENT, evaluate, exactly


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Literals.
        ("'a\\n\\t\\x41\\u00e9\\U0001F600\\101\\'\\\"'", "a\n\tA\u00e9\U0001f600A'\""),
        ("r'\\d'", "\\d"),
        ("'''a'b\nc'''", "a'b\nc"),
        ('"""a"b"""', 'a"b'),
        ("r'''a\\'''", "a\\"),
        ("''", ""),
        ("'' + '''x'''", "x"),
        ("b'abc'", "YWJj"),
        ("b'\\xff\\101'", "/0E="),
        ("0x1F", 31),
        ("-0x10", -16),
        ("5u", 5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551615u", 2**64 - 1),
        ("null", None),
        ("[1, 'a', true,]", [1, "a", True]),
        ("{'a': 1, 'b': [2]}", {"a": 1, "b": [2]}),
        ("{'a': event.data.missing}", {"a": None}),
        ("[event.data.missing]", [None]),
        ("{1: 'x'}[1.0]", "x"),
        ("{1: 'x'}[true] == null", True),
        ("1 // the first\n + 2", 3),
        # Precedence.
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 2 - 3", 5),
        ("true || false && false", True),
        ("1 < 2 == true", True),
        ("!true == false", True),
        ("-2 * -3", 6),
        ("- -2", 2),
        ("false ? 1 : true ? 2 : 3", 2),
        ("1 + 1 == 2 ? 'a' + 'b' : 'c'", "ab"),
        ("!(1 == 1)", False),
        # Arithmetic.
        ("5 / 2", 2),
        ("-5 / 2", -2),
        ("-5 % 3", -2),
        ("5 % -3", 2),
        ("event.data.n / 8", 12.5),
        ("event.data.n / 50", 2),
        ("size(event.data.list) / 2", 1),
        ("event.data.n % 7", 2),
        ("event.data.whole % 7", 2),
        ("1 + 1.5", 2.5),
        ("event.data.n * 2", 200),
        ("5.0 / 2", 2.5),
        ("1.0 / 0.0 > 1.0e300", True),
        ("[1] + [2]", [1, 2]),
        ("duration('1h') + duration('30m')", "5400s"),
        ("timestamp('2024-01-01T01:00:00Z') - timestamp('2024-01-01T00:00:00Z')", "3600s"),
        ("timestamp('2024-01-01T01:00:00Z') - duration('1h')", "2024-01-01T00:00:00Z"),
        ("-duration('1.5s')", "-1.5s"),
        # Fields and indexes.
        ("event['data']['nested'].deep['deeper']", "found"),
        ("event.data.object.b.c[1]", 2),
        ("event.data.object[event.data.list[0]]", 1),
        ("event.data.list[event.data.zero]", "a"),
        ("event.data.list[1.0]", "b"),
        ("{'a': {'b': 1}}.a.b", 1),
        ("event.data.items[0].count", 2),
        ("event.data.object.in == null", True),
        # Membership.
        ("'a' in event.data.list", True),
        ("3.0 in event.data.list", True),
        ("1 in event.data.flags", False),
        ("true in event.data.flags", True),
        ("'a' in event.data.object", True),
        ("'z' in event.data.object", False),
        ("null in [1, null]", True),
        ("[1] in [[2], [1.0]]", True),
        # Order.
        ("'a' < 'b'", True),
        ("false < true", True),
        ("'b' >= 'a'", True),
        ("duration('1m') < duration('1h')", True),
        # Deep equality.
        ("event.data.object == {'b': {'c': [1.0, 2]}, 'a': 1}", True),
        ("event.data.object == {'b': {'c': [1.0, 3]}, 'a': 1}", False),
        # Macros.
        ("has(event.data.nothing)", True),
        ("has(event.data.items[0].count)", True),
        ("has(event.data.items[1].count)", False),
        ("event.data.items.exists(i, has(i.count))", True),
        ("event.data.items.all(i, has(i.count))", False),
        ("event.data.numbers.map(n, n * 2)", [10, 24, 80]),
        ("event.data.numbers.map(n, n > 10, n * 2)", [24, 80]),
        ("event.data.numbers.filter(n, n > 10)", [12, 40]),
        ("event.data.numbers.filter(n, event.data.numbers.exists(m, m == n + 7))", [5]),
        ("[1, 2].map(x, [3, 4].map(y, x * y))", [[3, 4], [6, 8]]),
        ("[1].map(x, [x, 2].map(x, x))", [[1, 2]]),
        ("[1, 2].exists_one(x, x > 1)", True),
        ("[2, 2].exists_one(x, x > 1)", False),
        ("[].all(x, false)", True),
        ("event.data.object.exists(key, key == 'b')", True),
        ("[1, 'a'].exists(x, x > 0)", True),
        ("['a', 0].all(x, x > 0)", False),
        ("[timestamp('2024-01-01T00:00:00Z')]", ["2024-01-01T00:00:00Z"]),
        # Functions.
        ("size('h\u00e9llo')", 5),
        ("event.data.list.size()", 3),
        ("size(event.data.object)", 2),
        ("'hello'.endsWith('lo')", True),
        ("'hello'.matches('^h.l')", True),
        ("matches('hello', 'l+')", True),
        ("'a1'.matches(r'\\d')", True),
        ("'hello'.matches('^' + 'h')", True),
        ("lowercase('ABC\u00c9')", "abc\u00e9"),
        ("uppercase(event.data.text)", "ABC"),
        ("'AB\u00c9'.lowerAscii()", "ab\u00c9"),
        ("'ab\u00e9'.upperAscii()", "AB\u00e9"),
        ("b64decode('aGkgdGhlcmUh') + ' - b64 data'", "hi there! - b64 data"),
        ("b64decode('aGk')", "hi"),
        ('json_parse(\'{"a": {"b": [1, 2]}}\').a.b[1]', 2),
        ("json_parse(b64decode('eyJhIjogMX0=')).a", 1),
        ("int('12')", 12),
        ("int(-1.9)", -1),
        ("int(1.9)", 1),
        ("uint(3)", 3),
        ("double('1.5')", 1.5),
        ("double(3)", 3.0),
        ("string(100.0)", "100"),
        ("string(1.5)", "1.5"),
        ("string(1e-5)", "1e-05"),
        ("string(true)", "true"),
        ("string(b'abc')", "abc"),
        ("string(duration('90m'))", "5400s"),
        ("bool('true')", True),
        ("bytes('abc') == b'abc'", True),
        ("type(1) == int && type('a') == string && type(1.5) == double", True),
        ("type(event.data.list) == list && type(event.data.object) == map", True),
        ("type(event.data.missing) == null_type", True),
        ("dyn(1) == 1.0", True),
        # Times.
        ("now()", "2023-11-14T22:13:20Z"),
        ("now_plus('1h')", "2023-11-14T23:13:20Z"),
        ("now_minus('1d')", "2023-11-13T22:13:20Z"),
        ("date(event.ts) < now()", True),
        ("date('2023-11-14') < now() && now() < date('2023-11-15')", True),
        ("date('2020-01-01T12:00:00') + duration('6h35m10s') == date('2020-01-01T18:35:10')", True),
        ("date('2020-01-01 12:00:00+02:00')", "2020-01-01T10:00:00Z"),
        ("date('Tue, 14 Nov 2023 22:13:20 GMT') == now()", True),
        ("date(1700000000) == now()", True),
        ("date(1700000000000) == now()", True),
        ("timestamp(1700000000) == now()", True),
        ("timestamp('2024-01-01T00:00:00.123456789Z')", "2024-01-01T00:00:00.123456789Z"),
        ("timestamp('2024-02-29T00:00:00Z').getFullYear()", 2024),
        ("timestamp('2024-02-29T00:00:00Z').getMonth()", 1),
        ("timestamp('2024-02-29T00:00:00Z').getDate()", 29),
        ("timestamp('2024-02-29T00:00:00Z').getDayOfMonth()", 28),
        ("timestamp('2024-02-29T00:00:00Z').getDayOfWeek()", 4),
        ("timestamp('2024-02-29T00:00:00Z').getDayOfYear()", 59),
        ("timestamp('2024-02-29T13:14:15.678Z').getHours()", 13),
        ("timestamp('2024-02-29T13:14:15.678Z').getMinutes()", 14),
        ("timestamp('2024-02-29T13:14:15.678Z').getSeconds()", 15),
        ("timestamp('2024-02-29T13:14:15.678Z').getMilliseconds()", 678),
        ("timestamp('2024-01-01T00:00:00Z').getHours('America/New_York')", 19),
        ("timestamp('2024-01-01T00:00:00Z').getHours('+05:30')", 5),
        ("duration('1h30m').getMinutes()", 90),
        ("duration('1w2d') == duration('216h')", True),
    ],
)
def test_expression(text: str, expected: Any) -> None:
    assert exactly(evaluate(text)) == exactly(expected)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1 / 0", "division_by_zero"),
        ("1 % 0", "division_by_zero"),
        ("9223372036854775807 + 1", "out_of_range"),
        ("int(1e30)", "out_of_range"),
        ("int(1.0 / 0.0)", "out_of_range"),
        ("uint(-1)", "out_of_range"),
        ("1.0 / 0.0", "out_of_range"),
        ("timestamp(1e30)", "out_of_range"),
        ("duration('99999999w')", "out_of_range"),
        ("timestamp('9999-12-31T00:00:00Z') + duration('48h')", "out_of_range"),
        ("'a' < 1", "type_mismatch"),
        ("'a' - 1", "type_mismatch"),
        ("event.data.list + 1", "type_mismatch"),
        ("event.data.n.contains('1')", "type_mismatch"),
        ("event.data.list.contains('a')", "type_mismatch"),
        ("size(5)", "type_mismatch"),
        ("'a' in 'abc'", "type_mismatch"),
        ("(5).exists(x, x)", "type_mismatch"),
        ("{[1]: 2}", "type_mismatch"),
        ("{'a': 1, 'a': 2}", "bad_value"),
        ("int('12x')", "bad_value"),
        ("bool('yes')", "bad_value"),
        ("date('tomorrow')", "bad_value"),
        ("date('2024-02-30')", "bad_value"),
        ("duration('5')", "bad_value"),
        ("b64decode('***')", "bad_value"),
        ("json_parse('{')", "bad_value"),
        ("now().getHours('Mars/Base')", "bad_value"),
        ("now().getHours('../../etc/passwd')", "bad_value"),
        ("'a'.matches('(' + 'a')", "bad_pattern"),
        ("1 / 0 == 1 && true", "division_by_zero"),
        ("false || 1 / 0", "division_by_zero"),
        ("[1, 'a'].all(x, x > 0)", "type_mismatch"),
    ],
)
def test_an_expression_that_does_not_fit_says_why(text: str, code: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluate(text)
    assert caught.value.code == code
    assert not compile_expression(text).is_true(EVENT)


def test_an_error_names_types_and_never_values() -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluate("event.data.secret < 5", {"data": {"secret": "s3cret"}})
    assert str(caught.value) == "< cannot be used on text and a number"


@pytest.mark.parametrize("text", ["event.data.text", "1", "event.data.yes ? 'x' : 'y'", "[]", "null"])
def test_only_a_boolean_is_a_condition(text: str) -> None:
    expression = compile_expression(text)
    assert expression.is_true(EVENT) is False
    with pytest.raises(EvaluationError, match="must be true or false") as caught:
        expression.check_bool(EVENT)
    assert caught.value.code == "not_boolean"


def test_a_missing_attribute_as_condition_is_false() -> None:
    assert compile_expression("event.data.missing").check_bool(EVENT) is False
    assert compile_expression("event.data.yes").check_bool(EVENT) is True


# ---- compile errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "position", "hint"),
    [
        ("", "empty", 0, ""),
        ("  ", "empty", 0, ""),
        ("user_1234 == async.data.userId", "unknown_variable", 0, "'user_1234'"),
        ("evnt.data.x", "unknown_variable", 0, "event"),
        ("data.x == 1", "unknown_variable", 0, "event.data"),
        ("event.data.x = 1", "unexpected_character", 13, "=="),
        ("event.data.x === 1", "unexpected_character", 15, "=="),
        ("event.data.x & true", "unexpected_character", 13, "&&"),
        ("async.data.id == ${id}", "unexpected_character", 17, "filled in"),
        ("async.data.id == \u201cx\u201d", "unexpected_character", 17, "straight quotes"),
        ("async.data.id == 12ab", "bad_number", 19, "quotes"),
        ("async.data.id == 3f2504e0-4f89", "bad_number", 18, "quotes"),
        ("9223372036854775808", "bad_number", 0, ""),
        ("99999999999999999999", "bad_number", 0, "quotes"),
        ("event.data.a and event.data.b", "unexpected_token", 13, "&&"),
        ("not event.data.a", "unknown_variable", 0, "!"),
        ("event.data.a ==", "unexpected_token", 15, ""),
        ("event.data.", "unexpected_token", 11, ""),
        ("(event.data.a", "unexpected_token", 13, ""),
        ("event.data.a)", "unexpected_token", 12, ""),
        ("[1, 2", "unexpected_token", 5, ""),
        ("true ? 1", "unexpected_token", 8, ""),
        ("string(event.data.amount) + '-' event.data.planId", "unexpected_token", 32, ""),
        ("event.data.a 'x'", "unexpected_token", 13, "+"),
        ("'abc", "unterminated_text", 0, "quote"),
        ("'a\nb'", "unterminated_text", 0, "quote"),
        (r"'a\w'", "bad_escape", 2, "twice"),
        (r"event.data.a.matches('\w')", "bad_escape", 22, "twice"),
        (r"'\ud800'", "bad_escape", 1, ""),
        ("event.data.a.starsWith('x')", "unknown_function", 13, "startsWith"),
        ("uppercse('x')", "unknown_function", 0, "uppercase"),
        ("contains('x', 'y')", "unknown_function", 0, "value.contains"),
        ("'x'.uppercase()", "unknown_function", 4, "uppercase(value)"),
        ("lowercase()", "wrong_arguments", 0, ""),
        ("'x'.contains()", "wrong_arguments", 4, ""),
        ("[1].exists(x)", "bad_macro", 11, ".exists(item"),
        ("[1].exists(1, true)", "bad_macro", 11, ""),
        ("[1].all(x, true, false)", "wrong_arguments", 4, ""),
        ("has(event)", "bad_macro", 0, "has(event.data.email)"),
        ("'a'.matches('(')", "bad_pattern", 12, "RE2"),
        ("'a'.matches('(?=a)')", "bad_pattern", 12, "RE2"),
        ("event.data.a == 1; true", "unexpected_character", 17, ""),
        ("Foo{a: 1}", "unknown_variable", 0, ""),
        ("event.data.x is not an integer less than 2", "unexpected_token", 13, "=="),
    ],
)
def test_a_compile_error_points_and_advises(text: str, code: str, position: int, hint: str) -> None:
    with pytest.raises(CompileError) as caught:
        compile_expression(text)
    error = caught.value
    assert (error.code, error.position) == (code, position)
    assert hint in error.hint


def test_the_message_of_a_compile_error_shows_the_place() -> None:
    with pytest.raises(CompileError) as caught:
        compile_expression("event.data.a == 1 &&\n  event.data.b = 2")
    assert str(caught.value) == (
        "'=' has no meaning here at line 2, column 16:\n"
        "    event.data.b = 2\n"
        "                 ^\n"
        "To compare, write == (two equals signs)."
    )
