"""Singletons: which lock a run needs, and what becomes of it when the lock is held. Source: protocol 5.9."""

from inngest_server.apps.options import SingletonMode
from inngest_server.flow_control.singleton import Skip, Start, judge, singleton_rule
from tests.builders import T0_MS
from tests.unit.engine.builders import make_config


def lock_of(key: str | None, data: dict[str, object], function_id: str = "fn") -> str | None:
    singleton = {"mode": "skip"} if key is None else {"mode": "skip", "key": key}
    rule = singleton_rule(function_id, make_config(singleton=singleton))
    assert rule is not None
    return rule.lock_of({"data": data}, T0_MS)


def test_a_free_lock_starts_in_both_modes() -> None:
    assert [judge(mode, ()) for mode in SingletonMode] == [Start(), Start()]


def test_a_lock_that_is_held_skips_the_new_run() -> None:
    assert judge(SingletonMode.SKIP, ("old",)) == Skip("old")


def test_a_lock_that_is_held_cancels_whoever_holds_it() -> None:
    assert judge(SingletonMode.CANCEL, ("old", "older")) == Start(("old", "older"))


def test_without_a_key_the_function_has_one_lock() -> None:
    assert lock_of(None, {"user": "ann"}) == lock_of(None, {"user": "bob"}) == "fn/"
    assert lock_of(None, {}, "other") == "other/"


def test_each_value_of_the_key_has_its_own_lock() -> None:
    key = "event.data.user"
    locks = [lock_of(key, {"user": "ann"}), lock_of(key, {"user": "bob"}), lock_of(key, {}), "fn/"]
    assert len(set(locks)) == len(locks)
    assert None not in locks


def test_a_key_that_is_false_or_fails_makes_no_singleton() -> None:
    assert lock_of("event.data.alone", {"alone": False}) is None
    assert lock_of("date(event.data.user)", {"user": "ann"}) is None
    assert lock_of("event.data.alone", {"alone": "false"}) is not None


def test_a_function_without_the_option_has_no_rule() -> None:
    assert singleton_rule("fn", make_config()) is None
