"""Google's own CEL is asked for a second opinion, on the part of the language where we mean the same."""

import importlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inngest_server.events.expressions import compile_expression

try:
    cel: Any = importlib.import_module("cel_expr_python.cel")
except ImportError:
    pytest.skip("cel-expr-python is not installed (pip install cel-expr-python)", allow_module_level=True)

EVENT: dict[str, Any] = {
    "data": {
        "n": 7,
        "f": 2.5,
        "s": "hello",
        "b": True,
        "list": [1, 2, 3],
        "words": ["a", "bc", "def"],
        "o": {"k": "v", "m": {"n": 1}},
        "nothing": None,
    }
}
ENVIRONMENT = cel.NewEnv(variables={"event": cel.Type("map<string, dyn>")})


def standard(text: str) -> Any:
    """What CEL says; `None` where CEL finds an error, which is where we begin to be lenient."""
    try:
        value = ENVIRONMENT.compile(text).eval(data={"event": EVENT})
    except RuntimeError:
        return None
    return None if value.type() == cel.Type.ERROR else _plain(value.plain_value())


def _plain(value: Any) -> Any:
    match value:
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case float():
            return None if value != value or value in (float("inf"), float("-inf")) else value
        case None | bool() | int() | str():
            return value
        case _:
            return None


# Expressions by type, so that most of them are valid for a checker that knows types.
numbers = st.deferred(
    lambda: st.one_of(
        st.integers(-20, 20).map(str),
        st.sampled_from(["size(event.data.words)", "int('12')", "int(2.9)", "event.data.s.size()"]),
        st.builds("({} {} {})".format, numbers, st.sampled_from("+-*/%"), numbers),
        st.builds("(-{})".format, numbers),
        st.builds("({} ? {} : {})".format, booleans, numbers, numbers),
    )
)
doubles = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["1.5", "-0.25", "double('3.5')", "double(2)", "1e3"]),
        st.builds("({} {} {})".format, doubles, st.sampled_from("+-*"), doubles),
    )
)
texts = st.deferred(
    lambda: st.one_of(
        st.sampled_from(
            ["'a'", '"hello"', "event.data.s", "event.data.o.k", "string(12)", "string(1.5)", "''"]
        ),
        st.builds("({} + {})".format, texts, texts),
        st.builds("string({})".format, numbers | booleans),
    )
)
lists = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["[1, 2, 3]", "event.data.list", "[3]", "[4, 4]"]),
        st.builds("({} + {})".format, lists, lists),
        st.builds("{}.filter(x, x {} {})".format, lists, comparisons, st.integers(0, 4)),
        st.builds("{}.map(x, x)".format, lists),
    )
)
comparisons = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
booleans = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["true", "false", "event.data.b", "has(event.data.s)", "has(event.data.zzz)"]),
        st.sampled_from(["'k' in event.data.o", "event.data.nothing == null", "event.data.o.m.n == 1"]),
        st.builds("({} {} {})".format, numbers, comparisons, numbers),
        st.builds("({} {} {})".format, doubles, comparisons, doubles),
        st.builds("({} {} {})".format, texts, comparisons, texts),
        st.builds("({} {} event.data.n)".format, numbers, comparisons),
        st.builds("({} {} event.data.f)".format, numbers, comparisons),
        st.builds("({} {} {})".format, booleans, st.sampled_from(["&&", "||"]), booleans),
        st.builds("(!{})".format, booleans),
        st.builds("({} in {})".format, numbers, lists),
        st.builds(
            "{}.{}(x, x {} {})".format,
            lists,
            st.sampled_from(["all", "exists", "exists_one"]),
            comparisons,
            st.integers(0, 4),
        ),
        st.builds("{}.{}({})".format, texts, st.sampled_from(["contains", "startsWith", "endsWith"]), texts),
        st.builds("{}.matches('^[a-h]+.?$')".format, texts),
        st.builds("({} == {})".format, lists, lists),
    )
)


@settings(max_examples=250, deadline=None)
@given(text=st.one_of(numbers, doubles, texts, lists, booleans))
def test_where_cel_has_an_answer_ours_is_the_same(text: str) -> None:
    expected = standard(text)
    if expected is not None:
        result = compile_expression(text).evaluate(EVENT)
        assert (type(result), result) == (type(expected), expected)


@pytest.mark.parametrize(
    "text",
    [
        "-5 / 2",
        "-5 % 3",
        "5 % -3",
        "9223372036854775807 - 1",
        "-9223372036854775808",
        "size('\u00e9\u20ac')",
        "'\\u00e9' == '\u00e9'",
        "string(1e21)",
        "string(1e-5)",
        "string(100.0)",
        "bool('t')",
        "int(-1.9)",
        "int(timestamp('2024-01-31T12:34:56Z'))",
        "string(duration('90m'))",
        "duration('1h').getMinutes()",
        "duration('3.25s').getMilliseconds()",
        "timestamp('2024-02-29T13:14:15.678Z').getDayOfYear()",
        "timestamp('2024-02-29T13:14:15.678Z').getDayOfWeek()",
        "timestamp('2024-02-29T13:14:15.678Z').getMonth()",
        "timestamp('2024-02-29T13:14:15.678Z').getDate()",
        "timestamp('2024-02-29T13:14:15.678Z').getHours('America/New_York')",
        "timestamp('2024-02-29T13:14:15.678Z').getHours('+05:30')",
        "timestamp('2024-02-29T13:14:15Z') + duration('10h') == timestamp('2024-02-29T23:14:15Z')",
        "timestamp('2024-02-29T13:14:15Z') - timestamp('2024-02-28T13:14:15Z') == duration('24h')",
        "{'a': 1}.map(k, k)",
        "[1, 2, 3].map(x, x > 1, x * 2)",
        "[[1, 2], [3]].exists(l, l.exists(x, x == 3))",
        "event.data.words.filter(w, w.size() > 1)",
        "type(1) == int && type('') == string && type([]) == list",
        "1 / 0 == 1 || true",
        "1 / 0 == 1 && false",
        "!(1 / 0 == 1 && false)",
        "[1, 0].exists(x, 1 / x == 1)",
        "[0, 1].exists(x, 1 / x == 1)",
        "event.data.n == 7.0 && event.data.n > 6.5",
        "b'ab' == bytes('ab')",
        "true ? (false ? 1 : 2) : 3",
        "7 / (true ? 2 : 3)",
        "1 < 2 == true",
    ],
)
def test_cel_agrees_on(text: str) -> None:
    expected = standard(text)
    assert expected is not None
    result = compile_expression(text).evaluate(EVENT)
    assert (type(result), result) == (type(expected), expected)
