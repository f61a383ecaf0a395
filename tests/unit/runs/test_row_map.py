"""A map of rows behaves as a dictionary does, however many there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_server.runs.records import ItemRow
from inngest_server.runs.row_map import RowMap
from tests.builders import make_item

KEYS = ("a", "b", "c")
CHANGES = st.lists(st.tuples(st.sampled_from(["put", "pop", "discard", "del"]), st.sampled_from(KEYS)))


@given(CHANGES)
def test_it_is_a_dictionary(changes: list[tuple[str, str]]) -> None:
    rows, model = RowMap[ItemRow](), dict[str, ItemRow]()
    for number, (change, key) in enumerate(changes):
        row = make_item(key, attempt=number)
        match change:
            case "put":
                rows[key] = model[key] = row
            case "discard":
                assert rows.pop(key, None) == model.pop(key, None)
            case "pop" if key in model:
                assert rows.pop(key) == model.pop(key)
            case "del" if key in model:
                del rows[key]
                del model[key]
            case _:
                with pytest.raises(KeyError):
                    rows.pop(key) if change == "pop" else rows.__delitem__(key)
        assert (rows, len(rows), bool(rows)) == (model, len(model), bool(model))
        assert list(rows) == list(model)
        assert list(rows.values()) == list(model.values())
        assert rows.keys() - {"a"} == model.keys() - {"a"}
        for known in KEYS:
            assert (rows.get(known), known in rows) == (model.get(known), known in model)


def test_rows_may_go_while_one_looks_at_them() -> None:
    rows = RowMap[ItemRow]()
    for key in KEYS:
        rows[key] = make_item(key)
    for row in rows.values():
        del rows[row.item_id]
    assert not rows


def test_a_row_stands_under_its_own_id() -> None:
    with pytest.raises(AssertionError, match="a is not b"):
        RowMap[ItemRow]()["b"] = make_item("a")
