"""JSON as it is written and signed."""

import json
import random
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from inngest._wire.jsons import NotJsonError, canonical, dumps, loads, to_plain
from inngest_server.wire import json as server_json


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1.0", "1"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1e21", "1e+21"),
        ("1e20", "100000000000000000000"),
        ("1.5e300", "1.5e+300"),
        ("1e-7", "1e-7"),
        ("1.25e-7", "1.25e-7"),
        ("1e-6", "0.000001"),
        ("0.0001", "0.0001"),
        ("123456789012345680000", "123456789012345680000"),
        ("9007199254740993", "9007199254740992"),
        ("4.50", "4.5"),
        ("2e-3", "0.002"),
        ("333333333.33333329", "333333333.3333333"),
        ("1E30", "1e+30"),
        ("0.000000000000000000000000001", "1e-27"),
        ("-12.5e1", "-125"),
    ],
)
def test_numbers_are_written_as_ecmascript_writes_them(text: str, wanted: str) -> None:
    assert canonical(text.encode()).decode() == wanted


@pytest.mark.parametrize("seed", range(20))
def test_app_and_server_agree_on_the_canonical_form(seed: int) -> None:
    chance = random.Random(seed)
    text = json.dumps(_any_value(chance, 0)).encode()

    assert canonical(text) == server_json.canonical(server_json.parse(text))


def _any_value(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(8 if depth < 4 else 6)
    match kind:
        case 0:
            return chance.choice([None, True, False])
        case 1:
            return chance.randrange(-(10**18), 10**18) // 10 ** chance.randrange(18)
        case 2 | 3:
            return chance.uniform(-1, 1) * 10.0 ** chance.randrange(-30, 30)
        case 4 | 5:
            return "".join(chance.choice('aé"\\\n\t\x01\x7f\u2028\ue000\uffff\U0001f600') for _ in range(5))
        case 6:
            return [_any_value(chance, depth + 1) for _ in range(3)]
        case _:
            return {str(_any_value(chance, 9)): _any_value(chance, depth + 1) for _ in range(4)}


def test_keys_are_sorted_by_their_code_units() -> None:
    # U+1F600 is D83D DE00 in UTF-16, so it comes before U+E000.
    text = '{"\ue000":1,"\U0001f600":2,"b":[{"z":1,"a":2}],"a":3}'

    assert canonical(text.encode()).decode() == '{"a":3,"b":[{"a":2,"z":1}],"\U0001f600":2,"\ue000":1}'


def test_an_empty_body_is_its_own_canonical_form() -> None:
    assert canonical(b"") == b""


@pytest.mark.parametrize("text", [b"{", b"NaN", b"[1e999]", b"\xff", b'"\\ud800"', b"[" * 100_000])
def test_what_is_no_json_has_no_canonical_form(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (UnicodeError and JSONDecodeError are of this kind.)
        canonical(text)


@pytest.mark.parametrize("text", [b"", b"{", b"NaN", b"[-Infinity]", b"\xff\xfe", b"[" * 100_000, b"1 2"])
def test_what_is_no_json_is_not_read(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (As above.)
        loads(text)


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, {"when": datetime(2026, 1, 1)}]}, r"x\.a\[1\]\.when is a datetime.*isoformat"),
        ({"a": float("nan")}, r"x\.a is nan"),
        ({"a": {1, 2}}, r"x\.a is a set.*list\("),
        ({("a", "b"): 1}, r"has the key \('a', 'b'\)"),
        ({"a": "\ud800"}, r"x\.a has half a surrogate"),
        ({"a": object()}, r"x\.a is an object, which has no JSON form"),
        ([b"bytes"], r"x\[0\] is a bytes"),
    ],
)
def test_what_has_no_json_form_is_named_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(NotJsonError, match=message):
        dumps(value, what="x")


def test_a_list_that_contains_itself_is_named() -> None:
    value: list[Any] = [1]
    value.append(value)

    with pytest.raises(NotJsonError, match=r"x\[1\] contains itself"):
        dumps(value, what="x")


def test_text_is_written_as_it_is_and_not_escaped() -> None:
    assert dumps({"a": "é😀"}).decode() == '{"a":"é😀"}'


def test_a_plain_copy_holds_only_what_json_knows() -> None:
    value = {
        "time": datetime(2026, 1, 2, tzinfo=UTC),
        "tuple": (1, 2),
        "enum": Colour.RED,
        "id": UUID(int=1),
        "price": Decimal("1.50"),
        3: "key",
    }

    assert to_plain(value) == {
        "time": "2026-01-02T00:00:00+00:00",
        "tuple": [1, 2],
        "enum": "red",
        "id": "00000000-0000-0000-0000-000000000001",
        "price": "1.50",
        "3": "key",
    }
