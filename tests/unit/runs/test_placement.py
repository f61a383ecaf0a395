"""Where entities live, and what derived things are called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inngest_server.runs.placement import derived_ulid, make_run_id, shard_of, shard_of_run
from tests.builders import T0_MS

ULID = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"


@given(shard=st.integers(0, 255), at_ms=st.integers(0, 2**48 - 1), cause=st.text())
def test_a_run_id_names_its_shard(shard: int, at_ms: int, cause: str) -> None:
    run_id = make_run_id(at_ms, shard, "function", cause)
    assert len(run_id) == 26
    assert shard_of_run(run_id) == shard


def test_the_same_cause_gives_the_same_run() -> None:
    assert make_run_id(T0_MS, 1, "f", "e") == make_run_id(T0_MS, 1, "f", "e")


@pytest.mark.parametrize("other", [("f", "e2"), ("f2", "e"), ("fe", ""), ("", "fe")])
def test_another_cause_gives_another_run(other: tuple[str, str]) -> None:
    assert make_run_id(T0_MS, 1, "f", "e") != make_run_id(T0_MS, 1, *other)


def test_run_ids_sort_by_the_moment_of_their_cause() -> None:
    assert make_run_id(T0_MS, 255, "z") < make_run_id(T0_MS + 1, 0, "a")


@given(name=st.text(), count=st.integers(1, 256))
def test_every_name_has_one_shard(name: str, count: int) -> None:
    assert 0 <= shard_of(name, count) < count
    assert shard_of(name, count) == shard_of(name, count)


def test_events_that_the_server_makes_are_named_by_their_cause() -> None:
    assert derived_ulid(T0_MS, "run", "finished") == derived_ulid(T0_MS, "run", "finished")
    assert derived_ulid(T0_MS, "run", "finished") != derived_ulid(T0_MS, "run", "failed")
