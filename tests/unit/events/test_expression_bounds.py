"""Whatever a user types, and whatever an event holds, costs little and raises only our own errors."""

import random
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inngest_server.events.expressions import (
    CompileError,
    EvaluationError,
    Expression,
    WorkLimitError,
    compile_expression,
    compile_search,
)
from inngest_server.events.expressions.limits import (
    NESTING_MAX,
    TEXT_CHARS_MAX,
    TREE_HEIGHT_MAX,
    WORK_STEPS_MAX,
)

# Pieces that lead deeper into the parser and the functions than random characters do.
PIECES = [
    *("event", "async", "vars", "event.data", "async.data", ".data", ".id", ".missing", "['a']", "[0]"),
    *("event.data.list", "event.data.text", "event.data.n", "event.data.object", "[event.data.n]"),
    *("(", ")", "[", "]", "{", "}", ",", ":", "?", ".", "&&", "||", "!", "==", "!=", "<", "<=", ">", ">="),
    *("in", "+", "-", "*", "/", "%", "'a'", '"b"', "r'\\d'", "b'x'", "'''", "1", "0", "2.5", "1e9", "0x1f"),
    *("5u", "9223372036854775807", "1e308", "true", "false", "null", "x", "y", "'x'", "\n", "//\n"),
    *("has(", "size(", "int(", "uint(", "double(", "string(", "bool(", "bytes(", "type(", "dyn(", "date("),
    *("timestamp(", "duration(", "now()", "now_plus(", "now_minus(", "lowercase(", "uppercase("),
    *("b64decode(", "json_parse(", "matches(", ".exists(x,", ".all(x,", ".exists_one(x,", ".map(x,"),
    *(".filter(x,", ".contains(", ".startsWith(", ".endsWith(", ".matches(", ".size()", ".getHours("),
    *(".getFullYear()", "'2024-01-01'", "'1h'", "'[1, {}]'", "'+05:30'", "'Europe/Paris'"),
]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["2024-01-01T00:00:00Z", "1h", "a", "", "(", "\ud800", 0, 1, 2**63, 10**400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
events = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(("list", "text", "n", "object", "id", "a"), json_values)
        )
    }
)


def check(error: CompileError | EvaluationError, text: str = "") -> None:
    assert error.code
    assert len(str(error)) < 1_000
    if isinstance(error, CompileError):
        assert 0 <= error.position <= len(text)


def use(expression: Expression, event: dict[str, Any], other: dict[str, Any]) -> None:
    """Call everything; only `EvaluationError` may come out, and only where it is announced."""
    for evaluate in (expression.evaluate, expression.check_bool):
        try:
            evaluate(event, other, 1_700_000_000_000)
        except EvaluationError as error:
            check(error)
    expression.is_true(event, other)
    captured = expression.capture(event)
    matched = expression.matches(captured, other)
    assert not (matched and expression.is_constant_false(captured))
    expression.restricted_problems()


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_is_an_expression_or_a_compile_error(text: str) -> None:
    try:
        use(compile_expression(text), {}, {})
    except CompileError as error:
        check(error, text)


@settings(max_examples=400, deadline=None)
@given(pieces=st.lists(st.sampled_from(PIECES), min_size=1, max_size=14), event=events, other=events)
@example(pieces=["json_parse(", "event.data.text", ")"], event={"data": {"text": "\ud800"}}, other={})
@example(pieces=["event.data.n", "*", "2.5"], event={"data": {"n": 10**400}}, other={})
@example(pieces=["string(", "event.data.n", ")"], event={"data": {"n": 10**5000}}, other={})
@example(pieces=["'a'", "+", "event.data.n"], event={"data": {"n": -(10**5000)}}, other={})
@example(pieces=["event.data.n", "/", "3"], event={"data": {"n": 10**400}}, other={})
@example(pieces=["date(", "event.data.n", ")"], event={"data": {"n": 10**400}}, other={})
@example(pieces=["double(", "event.data.n", ")"], event={"data": {"n": 10**400}}, other={})
@example(pieces=["event.data.text", ".matches(", "'a'", ")"], event={"data": {"text": "\ud800"}}, other={})
@example(pieces=["'a'", ".matches(", "event.data.text", ")"], event={"data": {"text": "\ud800"}}, other={})
def test_plausible_text_never_raises_anything_else(
    pieces: list[str], event: dict[str, Any], other: dict[str, Any]
) -> None:
    text = " ".join(pieces)
    # A sentence of pieces is more often valid with its brackets closed.
    closed = text + ")" * max(text.count("(") - text.count(")"), 0)
    for candidate in (text, closed):
        for compile_text in (compile_expression, compile_search):
            try:
                expression = compile_text(candidate)
            except CompileError:
                continue
            use(expression, event, other)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 4_000,
        "(" * 4_000 + "1" + ")" * 4_000,
        "[" * 4_000 + "]" * 4_000,
        "{" * 8_000,
        "!" * 8_000 + "true",
        "-" * 8_000 + "1",
        "1" + "+1" * 4_000,
        "1" + "-1" * 4_000,
        "1" + "==1" * 2_700,
        "true" + "?true" * 1_600,
        "true" + "?1:true" * 1_100 + "?1:2",
        "true" + "?true:1" * 1_100,
        "x" + ".x" * 4_000,
        "event" + ".x" * 4_000,
        "event" + "[0]" * 2_700,
        "event" + "[event" * 1_300,
        "'a'" + ".lowerAscii()" * 600,
        "lowercase(" * 800 + "'a'" + ")" * 800,
        "[1]" + ".map(x,x)" * 900,
        "[1].map(x," * 800 + "1" + ")" * 800,
        "'" * 8_000,
        '"' * 7_999,
        "\\" * 8_000,
        "'" + "\\" * 7_999,
        "r" * 8_000,
        "1" * 8_000,
        "1." * 4_000,
        "0x" + "f" * 8_000,
        "//" * 4_000,
        "a" * (TEXT_CHARS_MAX + 1),
    ],
)
def test_deep_and_long_texts_are_refused(text: str) -> None:
    for compile_text in (compile_expression, compile_search):
        with pytest.raises(CompileError) as caught:
            compile_text(text)
        check(caught.value, text)


@pytest.mark.parametrize(
    "text",
    [
        " && ".join(f"event.data.a != '{number}'" for number in range(300)),
        " || ".join(f"event.data.a == '{number}'" for number in range(299, -1, -1)),
        f"event.data.a in [{', '.join(str(number) for number in range(1_000))}, '7']",
        "(" * (NESTING_MAX - 1) + "event.data.a == '7'" + ")" * (NESTING_MAX - 1),
        "1 + " * (TREE_HEIGHT_MAX - 1) + "1 == 100",
    ],
)
def test_what_people_write_is_not(text: str) -> None:
    assert isinstance(compile_expression(text).check_bool({"data": {"a": "7"}}), bool)


def test_the_highest_tree_needs_few_python_frames() -> None:
    text = "1 + " * (TREE_HEIGHT_MAX - 1) + "(" * (NESTING_MAX - 1) + "1" + ")" * (NESTING_MAX - 1)
    depth = len(_frames())
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 520)
    try:
        assert compile_expression(text).evaluate({}) == TREE_HEIGHT_MAX
        assert compile_expression(f"async.x == {text}").matches((), {"x": TREE_HEIGHT_MAX})
    finally:
        sys.setrecursionlimit(limit)


def _frames() -> list[object]:
    frames: list[object] = []
    frame = sys._getframe()
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


LONG = {
    "data": {
        "list": list(range(2_000)),
        "texts": ["x" * 1_000 + str(number) for number in range(2_000)],
        "text": "x" * 1_000_000,
        "same": "".join(["x"] * 1_000_000),
        "json": "[" * 1_000_000,
    }
}


@pytest.mark.parametrize(
    "text",
    [
        "event.data.list.all(x, event.data.list.all(y, event.data.list.all(z, x + y + z >= 0)))",
        "event.data.list.all(x, event.data.text == event.data.same)",
        "event.data.list.all(x, event.data.text <= event.data.same)",
        "event.data.list.all(x, event.data.list == event.data.list + [] )",
        "event.data.list.all(x, event.data.texts + event.data.texts != [])",
        "event.data.texts.all(x, !(('y' + x) in event.data.texts))",
        "event.data.list.all(x, !event.data.text.contains('y'))",
        "event.data.list.all(x, !event.data.text.matches('y'))",
        "event.data.texts.all(x, !'abc'.matches('y' + x))",
        "event.data.list.map(x, event.data.text + event.data.text)",
        "event.data.text" + " + event.data.text" * 9,
        "event.data.list.all(x, uppercase(event.data.text) != '')",
        "json_parse(event.data.json)",
        "event.data.list.map(x, event.data.list.map(y, [x, y]))",
    ],
)
def test_work_is_bounded(text: str) -> None:
    with pytest.raises(WorkLimitError) as caught:
        compile_expression(text).evaluate(LONG)
    assert caught.value.code == "work_limit"
    assert str(WORK_STEPS_MAX) in str(caught.value)
    assert compile_expression(text).is_true(LONG) is False


def test_running_out_of_work_is_not_false() -> None:
    """Otherwise `a || b` could be true only because `a` was too much work."""
    endless = "event.data.list.all(x, event.data.list.all(y, x + y >= 0))"
    for text in (f"{endless} || true", f"{endless} ? false : true", f"[1].exists(i, {endless} || true)"):
        with pytest.raises(WorkLimitError):
            compile_expression(text).evaluate(LONG)


@pytest.mark.parametrize("text", ["event.data == async.data", "event.data in [async.data]", "[event.data]"])
def test_deeply_nested_json_needs_no_recursion(text: str) -> None:
    def nested() -> dict[str, Any]:
        value: Any = 1
        for _ in range(5_000):
            value = [value]
        return {"data": value}

    expression = compile_expression(text)
    assert expression.evaluate(nested(), nested())


def test_evaluating_does_not_change_the_event() -> None:
    event: dict[str, Any] = {"data": {"list": [1, 2], "object": {"a": 1}}}
    result = compile_expression("(event.data.list + [3]).map(x, x * 2) + [event.data.object]").evaluate(event)
    result[3]["a"] = 99
    assert event == {"data": {"list": [1, 2], "object": {"a": 1}}}
    constant = compile_expression("[1, 2]")
    constant.evaluate({}).append(3)
    assert constant.evaluate({}) == [1, 2]


def test_random_bytes_are_refused_quickly() -> None:
    source = random.Random(7)
    for _ in range(300):
        text = "".join(chr(source.randrange(1, 0x250)) for _ in range(source.randrange(1, 2_000)))
        try:
            compile_expression(text)
        except CompileError as error:
            check(error, text)
