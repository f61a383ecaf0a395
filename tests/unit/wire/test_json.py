"""JSON: what is accepted on arrival, and the canonical form that signatures depend on."""

import json
import math
import re
import struct
from decimal import Decimal
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_server.wire.json import (
    DEPTH_MAX,
    InvalidJSONError,
    canonical,
    checked,
    dumps,
    elements,
    parse,
    parse_kept,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(min_value=-(10**18), max_value=10**18).map(float)
    | st.sampled_from([1e-5, 1.5e-6, 1e-7, 1e15, 1e16, 1e20, 1e21, -0.0, 2.0**53, 5e-324, 12.5, 1.0])
    | st.text()
    | st.text(alphabet="-e+.0123456789,:[]{}\"\\")
)  # fmt: skip
KEYS = st.text() | st.text(alphabet="ab\U0001f600\ue000\uffff\ud7ff", max_size=3)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20)


def reference_canonical(value: Any) -> str:
    """RFC 8785 word for word, as slowly as it takes."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        return reference_number(float(value))
    if isinstance(value, list):
        return "[" + ",".join(map(reference_canonical, cast("list[Any]", value))) + "]"
    keys = sorted(value, key=lambda key: struct.unpack(f">{len(utf16(key)) // 2}H", utf16(key)))
    return (
        "{" + ",".join(f"{reference_canonical(key)}:{reference_canonical(value[key])}" for key in keys) + "}"
    )


def utf16(text: str) -> bytes:
    return text.encode("utf-16-be")


def reference_number(number: float) -> str:
    """Number::toString of ECMA-262, with its own letters: value = s x 10^(n-k), s has k digits."""
    if number == 0:
        return "0"
    if number < 0:
        return "-" + reference_number(-number)
    _, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int)
    s, k = "".join(map(str, digits)), len(digits)
    n = exponent + k
    if k <= n <= 21:
        return s + "0" * (n - k)
    if 0 < n <= 21:
        return s[:n] + "." + s[n:]
    if -6 < n <= 0:
        return "0." + "0" * -n + s
    sign = "+" if n > 0 else "-"
    return (s if k == 1 else s[0] + "." + s[1:]) + "e" + sign + str(abs(n - 1))


# canonical()


@given(VALUES)
def test_canonical_agrees_with_the_reference(value: Any) -> None:
    assert canonical(value).decode() == reference_canonical(value)


@given(VALUES)
def test_canonical_of_a_canonical_text_is_that_text(value: Any) -> None:
    once = canonical(value)
    assert canonical(parse(once)) == once


@given(VALUES)
def test_exact_integers_are_the_only_difference_of_big_ints(value: Any) -> None:
    exact = canonical(value, big_ints="exact")
    assert canonical(parse(exact)) == canonical(value)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_are_printed_as_in_appendix_b_of_rfc_8785(bits: str, expected: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))

    assert canonical(number) == expected.encode()
    assert canonical({"a": [number]}) == b'{"a":[' + expected.encode() + b"]}"


def test_keys_are_sorted_by_utf16_code_units() -> None:
    # The example of RFC 8785, section 3.2.3.
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\u00f6"]
    expected = ["\r", "1", "\x80", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]

    assert list(json.loads(canonical(dict.fromkeys(keys)))) == expected


@pytest.mark.parametrize(
    ("number", "double", "exact"),
    [
        (2**53, b"9007199254740992", b"9007199254740992"),
        (2**53 + 1, b"9007199254740992", b"9007199254740993"),
        (-(2**53) - 1, b"-9007199254740992", b"-9007199254740993"),
        (12345678901234567890, b"12345678901234567000", b"12345678901234567890"),
        (10**25, b"1e+25", b"10000000000000000000000000"),
    ],
)
def test_integers_beyond_2_to_the_53(number: int, double: bytes, exact: bytes) -> None:
    assert canonical(number) == double
    assert canonical(number, big_ints="exact") == exact


@pytest.mark.parametrize("write", [dumps, canonical])
def test_nan_and_infinities_become_null_on_every_path(write: Any) -> None:
    for number in (math.nan, math.inf, -math.inf):
        assert write([number]) == b"[null]"
        assert write([number, 2**70])[:6] == b"[null,"


@pytest.mark.parametrize("value", [{1: 2}, [{1: 2**70}], [object()], {"a": b"bytes"}, {1, 2}])
def test_what_is_not_json_is_a_type_error(value: Any) -> None:
    for write in (dumps, canonical):
        with pytest.raises(TypeError):
            write(value)


# dumps()


@given(VALUES)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert parse(dumps(value)) == value


def test_dumps_keeps_the_order_of_keys_and_the_digits_of_integers() -> None:
    assert (
        dumps({"b": 10**30, "a": [1.0, True, None]})
        == b'{"b":' + str(10**30).encode() + b',"a":[1.0,true,null]}'
    )


def test_a_lone_surrogate_of_our_own_making_is_replaced() -> None:
    assert dumps(["\ud800"]) == canonical(["\ud800"]) == '["\ufffd"]'.encode()


# parse()


@given(VALUES)
def test_parse_agrees_with_the_standard_library(value: Any) -> None:
    text = json.dumps(value)
    parsed = parse(text.encode())
    assert parsed == json.loads(text)
    assert repr(parsed) == repr(json.loads(text))  # The types of numbers, too.


@given(st.binary())
def test_parse_never_raises_anything_else(body: bytes) -> None:
    try:
        parse(body)
    except InvalidJSONError as error:
        assert 0 <= error.position <= len(body)  # noqa: PT017


@given(st.text(alphabet='[]{}",:\\u0dDeE8cC1.-+ nultrfasNI'))
def test_what_parse_accepts_can_be_written(text: str) -> None:
    try:
        value = parse(text.encode())
    except InvalidJSONError:
        return
    assert parse(dumps(value)) == value
    canonical(value)


@given(
    st.integers(min_value=10**17, max_value=10**22) | st.integers(min_value=-(10**22), max_value=-(10**17))
)
def test_large_integers_stay_integers_wherever_they_stand(number: int) -> None:
    for pad in range(8):
        text = " " * pad + f'{{"a":[{number}]}}'
        assert parse(text.encode()) == {"a": [number]}


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (rb'["\ud800"]', ["\ufffd"]),
        (rb'["\udc00\ud800"]', ["\ufffd\ufffd"]),
        (rb'["a\uD83Db"]', ["a\ufffdb"]),
        (rb'{"\ud800":{"x\uDFFF":1}}', {"\ufffd": {"x\ufffd": 1}}),
        (rb'["\ud83d\ude00\ud800"]', ["\U0001f600\ufffd"]),
        (rb'["\\ud800","\ud800"]', ["\\ud800", "\ufffd"]),
        (rb'["\\\ud800"]', ["\\\ufffd"]),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"a":1,"a":[18446744073709551616]}', {"a": [2**64]}),
        (b"1.0", 1.0),
        (b" null\r\n", None),
    ],
)
def test_parse_accepts(body: bytes, value: Any) -> None:
    assert parse(body) == value


@pytest.mark.parametrize(
    ("body", "position", "reason"),
    [
        (b"", 0, "empty"),
        (b"  \n", 0, "empty"),
        (b"{} x", 3, "Extra data"),
        (b'{"a":}', 5, "Expecting value"),
        (b'{"NaN": [1, NaN]}', 12, "NaN is not"),
        (b"[-Infinity]", 1, "-Infinity is not"),
        (b'["1e400", 1e400]', 10, "range"),
        (b"[" + b"9" * 400 + b"]", 1, "range"),
        (b"[-" + b"9" * 400 + b"]", 1, "range"),
        (b'["\x01"]', 2, "control character"),
        (b'["\xff"]', 2, "UTF-8"),
        (b"\xff\xfe{\x00}\x00", 0, "UTF-8"),
        (b"[1,]", 3, "value"),
        (b"{'a': 1}", 1, "property name"),
        (b'["\\ud8"]', 4, "escape"),
    ],
)
def test_parse_refuses_and_says_where(body: bytes, position: int, reason: str) -> None:
    with pytest.raises(InvalidJSONError, match=re.escape(reason)) as caught:
        parse(body)

    assert caught.value.code == "invalid_json"
    assert caught.value.position in range(position - 1, position + 1)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'{"]":', b"}")])
@pytest.mark.parametrize("leaf", [b"1", b"99999999999999999999", rb'"\ud800"', b'"[[[[{{{{"'])
def test_depth_is_bounded_on_every_path(opening: bytes, closing: bytes, leaf: bytes) -> None:
    deepest = opening * DEPTH_MAX + leaf + closing * DEPTH_MAX
    parse(deepest)

    for depth in (DEPTH_MAX + 1, 255, 1025, 100_000):
        with pytest.raises(InvalidJSONError, match="deeper"):
            parse(opening * depth + leaf + closing * depth)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    body = b"[" + b",".join([b'{"a":[]}'] * 1000) + b"]"
    assert parse(body) == [{"a": []}] * 1000


def test_the_deepest_value_can_still_be_wrapped_and_written() -> None:
    value = parse(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    for _ in range(100):
        value = {"a": value}
    assert dumps(value).count(b"{") == canonical(value).count(b"{") == 100


@pytest.mark.parametrize("body", [b'["' + rb"\"" * 100_000, b'"' * 100_000, b'["' + rb"\u" * 100_000])
def test_hostile_texts_take_no_quadratic_time(body: bytes) -> None:
    with pytest.raises(InvalidJSONError):
        parse(body)


def test_orjson_still_writes_what_the_fast_path_expects() -> None:
    assert orjson.dumps([1.0, -0.0, 0.5]) == b"[1.0,-0.0,0.5]"
    assert re.fullmatch(rb"\[1e\+?21,1\.5e-9\]", orjson.dumps([1e21, 1.5e-9]))
    assert (
        orjson.dumps('\x00\x1f\x7f\u2028\b\f\n\r\t"\\/')
        == b'"\\u0000\\u001f\x7f\xe2\x80\xa8\\b\\f\\n\\r\\t\\"\\\\/"'
    )


@pytest.mark.parametrize("leaf", [b"1", b"123456789012345678901234567890"], ids=["quick", "slow"])
def test_a_text_that_wraps_one_as_deep_as_allowed_is_read(leaf: bytes) -> None:
    deepest = b"[" * DEPTH_MAX + leaf + b"]" * DEPTH_MAX
    assert parse_kept(deepest) == parse(deepest)
    with pytest.raises(InvalidJSONError):
        parse(b'{"data":{"event":' + deepest + b"}}")
    wrapped = b'{"data":{"event":' + deepest + b"}}"
    assert canonical(parse_kept(wrapped), "exact") == wrapped


@pytest.mark.parametrize(
    "text", [b'{"b": 1.50, "a": [1E2]}', b"12345678901234567890", b'"\\u00e9 \\ud83d\\ude00"', b"null"]
)
def test_a_checked_text_means_what_it_meant_and_stays_as_it_came(text: bytes) -> None:
    kept = checked(b" " + text + b"\n")
    assert parse(kept) == parse(text)
    assert kept == text or b"\\ud" in text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (b"\xef\xbb\xbf[1]", b"[1]"),
        (b'"\\ud800"', b'"\xef\xbf\xbd"'),
        (b'["\\uDFFFx"]', b'["\xef\xbf\xbdx"]'),
    ],
)
def test_what_parsing_mends_is_mended_in_a_checked_text(text: bytes, kept: bytes) -> None:
    assert checked(text) == kept


@pytest.mark.parametrize(
    "text", [b"", b"{", b"NaN", b"\xff", b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1)]
)
def test_what_is_not_json_is_refused_by_a_check_too(text: bytes) -> None:
    with pytest.raises(InvalidJSONError):
        checked(text)


# Elements of an array, one by one.

ARRAYS = [
    b"[]",
    b" [ ] ",
    b"[1]",
    b'[{"a":[1,{"b":"]}"}]} , "x,\\"]" ,[],null,[[1],[2]]]',
    b"\xef\xbb\xbf[1, 2]",
    '[{"ü":"\\ud83d,ü]"},"é"]'.encode(),
]


@pytest.mark.parametrize("text", ARRAYS)
def test_the_elements_of_an_array_are_those_that_parsing_gives(text: bytes) -> None:
    assert [parse(element) for element in elements(text)] == parse(text)


@given(st.lists(st.recursive(st.none() | st.text() | st.integers(0, 9), st.lists, max_leaves=9), max_size=9))
def test_the_elements_of_any_array_are_those_that_parsing_gives(value: list[Any]) -> None:
    assert [parse(element) for element in elements(dumps(value))] == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"1",
        b"[",
        b"[1",
        b'["x]',
        b"[{]",
        b"[1}",
        b"[1]]",
        b"[1] x",
        b"[,]",
        b"[1,]",
        b"[1,,2]",
        b"[" * 300,
        b'["\\"]',
    ],
)
def test_what_is_no_array_has_no_elements(text: bytes) -> None:
    with pytest.raises(InvalidJSONError):
        _ = [parse(element) for element in elements(text)]
