"""The names of key values, on which stored buckets, marks and locks depend."""

from inngest_server.events.expressions import compile_expression
from inngest_server.flow_control.keys import NO_KEY, hash_of, key_value, value_of
from tests.builders import T0_MS

EVENT = {"name": "shop/order.placed", "data": {"user": "ann", "total": 7, "empty": ""}}


def test_a_function_without_a_key_has_one_value() -> None:
    assert key_value(None, EVENT, T0_MS) == NO_KEY == ("", "")


def test_a_text_is_its_own_text() -> None:
    key = compile_expression("event.data.user")
    assert key_value(key, EVENT, T0_MS) == value_of("ann") == (hash_of("ann"), "ann")


def test_other_values_are_compared_as_their_json() -> None:
    assert [value_of(one).text for one in (7, None, True, [1, "a"])] == ["7", "null", "true", '[1,"a"]']
    assert value_of(7) == value_of("7")


def test_a_missing_attribute_and_a_failing_key_are_null() -> None:
    missing = key_value(compile_expression("event.data.nobody"), EVENT, T0_MS)
    failing = key_value(compile_expression("date(event.data.user)"), EVENT, T0_MS)
    assert missing == failing == value_of(None)


def test_an_empty_text_is_a_value_like_any_other() -> None:
    assert key_value(compile_expression("event.data.empty"), EVENT, T0_MS) == (hash_of(""), "")
    assert hash_of("") != ""


def test_hashes_do_not_change_for_stored_rows_have_them() -> None:
    assert (hash_of(""), hash_of("ann")) == ("e4a6a0577479b2b4", "8d3adf6abf23f3a5")
    assert len({hash_of(str(number)) for number in range(1000)}) == 1000
