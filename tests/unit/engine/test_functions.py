"""Functions by every name, and the buckets of their limits."""

from typing import Any

import pytest

from inngest_server.engine.functions import Function, Functions, make_function
from inngest_server.wire import json
from tests.builders import FUNCTION_ID, T0_MS, make_app_row, make_function_row
from tests.unit.engine.builders import make_config


def make_row(
    function_id: str = FUNCTION_ID, name: str = "fulfil", *, archived: bool = False, **options: Any
) -> Any:
    config = make_config(name, **options)
    return make_function_row(
        function_id,
        slug=config.id,
        config=json.dumps(config.raw),
        archived_at_ms=T0_MS if archived else None,
    )


def make(**options: Any) -> Function:
    return make_function(make_row(**options), "shop")


def load(*rows: Any) -> Functions:
    functions = Functions()
    functions.load([make_app_row()], rows)
    return functions


def test_a_function_is_found_by_slug_and_by_id() -> None:
    functions = load(make_row())
    assert functions.find("shop-fulfil") is functions.find(FUNCTION_ID)
    assert functions.find("shop-other") is None


def test_an_archived_function_is_found_but_starts_on_nothing() -> None:
    functions = load(make_row(archived=True))
    found = functions.find("shop-fulfil")
    assert found is not None
    assert not found.is_active
    assert not functions.is_subscribed("shop/order.placed")
    assert functions.match("shop/order.placed", {}, T0_MS) == []


def test_the_url_of_a_discovery_names_the_step() -> None:
    assert make().discovery_url.endswith("?fnId=shop-fulfil&stepId=step")


def test_a_function_without_limits_needs_no_slots() -> None:
    function = make()
    assert not function.is_limited
    assert function.step_buckets({}, T0_MS) == ()


def test_a_limit_without_key_has_one_bucket_and_with_key_one_for_each_value() -> None:
    plain, keyed = make(concurrency=5), make(concurrency=[{"limit": 5, "key": "event.data.user"}])
    events = [{"data": {"user": user}} for user in ("ann", "bob", "ann")]
    assert len({plain.step_buckets(event, T0_MS) for event in events}) == 1
    assert len({keyed.step_buckets(event, T0_MS) for event in events}) == 2


@pytest.mark.parametrize("event", [{}, {"data": {}}, {"data": {"user": None}}])
def test_a_missing_key_value_is_a_value_too(event: dict[str, Any]) -> None:
    keyed = make(concurrency=[{"limit": 1, "key": "event.data.user"}])
    assert len(keyed.step_buckets(event, T0_MS)) == 1


def test_every_limit_is_a_bucket_in_one_order() -> None:
    limits = [{"limit": 5}, {"limit": 1, "key": "event.data.user"}]
    function = make(concurrency=limits)
    buckets = function.step_buckets({"data": {"user": "ann"}}, T0_MS)
    assert len(buckets) == 2
    assert list(buckets) == sorted(buckets)


def test_two_limits_with_the_same_key_are_one_bucket_with_the_stricter_limit() -> None:
    row = make_row(concurrency=[{"limit": 2}, {"limit": 7}])
    functions = load(row)
    (bucket,) = functions.get(FUNCTION_ID).step_buckets({}, T0_MS)
    assert functions.limit_of(bucket, FUNCTION_ID) == 2


@pytest.mark.parametrize(("scope", "prefix"), [("env", "e/"), ("account", "a/")])
def test_functions_share_a_bucket_when_their_keys_have_the_same_text_and_value(
    scope: str, prefix: str
) -> None:
    limits = [{"limit": 1, "scope": scope, "key": key} for key in ("event.data.a", "event.data.b")]
    rows = [
        make_row(function_id, name, concurrency=limit)
        for function_id, name, limit in (
            ("f1", "one", [limits[0]]),
            ("f2", "two", [limits[0] | {"limit": 9}]),
            ("f3", "three", [limits[1]]),
        )
    ]
    functions = load(*rows)
    event = {"data": {"a": "x", "b": "x"}}
    one, two, three = (functions.get(f"f{n}").step_buckets(event, T0_MS) for n in (1, 2, 3))
    assert one == two != three
    (bucket,) = one
    assert bucket.startswith(prefix)
    assert [functions.limit_of(bucket, f"f{n}") for n in (1, 2, 3)] == [1, 9, None]


def test_a_limit_of_whole_runs_is_counted_apart_from_that_of_requests() -> None:
    function = make(concurrency={"fn": [{"limit": 1}], "step": [{"limit": 2}]})
    (run_bucket,) = function.run_buckets({}, T0_MS)
    (step_bucket,) = function.step_buckets({}, T0_MS)
    assert run_bucket == f"r/{step_bucket}"


def test_a_throttle_has_one_bucket_for_each_value_of_its_key() -> None:
    function = make(throttle={"limit": 1, "period": "1m", "key": "event.data.user"})
    buckets = {function.throttle_buckets({"data": {"user": user}}, T0_MS) for user in ("ann", "bob", "ann")}
    assert len(buckets) == 2
    assert function.is_limited
    assert not function.limits  # Its runs may be on any shard.


def test_a_limit_of_none_is_no_limit() -> None:
    assert make(concurrency=0).limits == ()


def test_the_limit_of_a_bucket_is_the_present_one() -> None:
    functions = load(make_row(concurrency=5))
    (bucket,) = functions.get(FUNCTION_ID).step_buckets({}, T0_MS)
    assert functions.limit_of(bucket, FUNCTION_ID) == 5
    functions.put(make_app_row(), [make_row(concurrency=7)])
    assert functions.limit_of(bucket, FUNCTION_ID) == 7
    functions.put(make_app_row(), [make_row()])
    assert functions.limit_of(bucket, FUNCTION_ID) is None


def test_functions_start_in_the_order_of_their_slugs() -> None:
    functions = load(make_row("id-1", "b"), make_row("id-2", "a"))
    found = functions.match("shop/order.placed", {"name": "shop/order.placed"}, T0_MS)
    assert [function.row.slug for function in found] == ["shop-a", "shop-b"]


def test_of_two_apps_with_the_same_slug_the_function_in_use_is_found() -> None:
    other_id = "5b1d6e0a-0000-4000-8000-000000000002"
    for archived in (FUNCTION_ID, other_id):
        functions = load(*[make_row(one, archived=one == archived) for one in (FUNCTION_ID, other_id)])
        found = functions.find("shop-fulfil")
        assert found is not None
        assert found.is_active
