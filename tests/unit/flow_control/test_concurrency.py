"""Slots of limits, alone and against a model that looks at everybody every time."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inngest_server.flow_control.concurrency import Rank, SlotTable
from tests.builders import T0_MS

A, B, AB = ("a",), ("b",), ("a", "b")


def make_table(limits: Mapping[str, int]) -> SlotTable:
    """Buckets that are not named have no limit."""
    return SlotTable(limits.get)


def park(table: SlotTable, item_id: str, buckets: tuple[str, ...], age: int = 0) -> list[str]:
    """Queue an item that was made `age` before the others, and grant what is free."""
    table.park(item_id, buckets, (T0_MS - age, "", item_id))
    return table.grant(buckets)


def release(table: SlotTable, item_id: str) -> list[str]:
    return table.grant(table.release(item_id))


def test_slots_are_granted_up_to_the_limit() -> None:
    table = make_table({"a": 2})
    assert [park(table, item, A) for item in "xyz"] == [["x"], ["y"], []]
    assert table.holders("a") == 2
    assert not table.is_holding("z")
    assert table.buckets_of("z") == A


def test_a_released_slot_goes_to_the_oldest_waiter() -> None:
    table = make_table({"a": 1})
    park(table, "holder", A)
    park(table, "young", A, age=1)
    park(table, "old", A, age=9)
    assert release(table, "holder") == ["old"]
    assert release(table, "old") == ["young"]
    assert release(table, "young") == []
    assert table.holders("a") == 0


def test_of_equally_old_waiters_the_id_decides() -> None:
    table = make_table({"a": 1})
    park(table, "holder", A)
    park(table, "y", A)
    park(table, "x", A)
    assert release(table, "holder") == ["x"]


def test_slots_of_several_buckets_are_taken_all_or_none() -> None:
    table = make_table({"a": 1, "b": 1})
    park(table, "holder", B)
    assert park(table, "both", AB) == []
    assert table.holders("a") == 0
    assert release(table, "holder") == ["both"]
    assert (table.holders("a"), table.holders("b")) == (1, 1)


def test_a_wake_up_that_the_first_cannot_use_goes_to_the_next() -> None:
    table = make_table({"a": 1, "b": 1})
    park(table, "holds-a", A)
    park(table, "holds-b", B)
    park(table, "both", AB, age=9)
    park(table, "only-a", A, age=1)
    assert release(table, "holds-a") == ["only-a"]


def test_a_bucket_without_a_limit_is_always_free() -> None:
    table = make_table({})
    assert [park(table, item, A) for item in "xyz"] == [["x"], ["y"], ["z"]]


def test_a_raised_limit_is_used_when_it_is_granted() -> None:
    limits = {"a": 1}
    table = make_table(limits)
    for item in "xyz":
        park(table, item, A)
    limits["a"] = 2
    assert table.grant(table.waited_for()) == ["y"]
    del limits["a"]
    assert table.grant(table.waited_for()) == ["z"]
    assert table.waited_for() == []


def test_a_lowered_limit_takes_nothing_away() -> None:
    limits = {"a": 2}
    table = make_table(limits)
    for item in "xyz":
        park(table, item, A)
    limits["a"] = 1
    assert release(table, "x") == []
    assert release(table, "y") == ["z"]


def test_an_item_that_was_sent_before_holds_whatever_the_limit_says() -> None:
    table = make_table({"a": 1})
    table.hold("x", A)
    table.hold("y", A)
    assert table.holders("a") == 2
    assert park(table, "z", A) == []


def test_parking_and_releasing_may_be_repeated() -> None:
    table = make_table({"a": 1})
    park(table, "holder", A)
    park(table, "x", A)
    park(table, "x", A)
    assert table.parked_in("a") == ["x"]
    assert release(table, "holder") == ["x"]
    assert release(table, "x") == []
    assert release(table, "x") == []
    assert table.release("never seen") == ()


def test_a_waiter_that_leaves_is_passed_over() -> None:
    table = make_table({"a": 1})
    park(table, "holder", A)
    park(table, "old", A, age=9)
    park(table, "young", A)
    table.release("old")
    assert release(table, "holder") == ["young"]


def test_a_waiter_that_moved_to_other_buckets_is_not_granted_its_old_ones() -> None:
    limits = {"a": 1, "b": 1}
    table = make_table(limits)
    park(table, "holds-a", A)
    park(table, "holds-b", B)
    park(table, "x", A)
    table.release("x")  # The key of its limit changed.
    park(table, "x", B)

    assert release(table, "holds-a") == []
    assert table.holders("a") == 0
    assert release(table, "holds-b") == ["x"]
    assert table.buckets_of("x") == B


def test_who_waits_for_a_function_is_found_oldest_first() -> None:
    table = make_table({"f/1": 0, "f/2": 0, "g/1": 0})
    park(table, "young", ("f/1",))
    park(table, "old", ("f/2",), age=9)
    park(table, "other", ("g/1",), age=5)
    assert table.parked_in("f/") == ["old", "young"]


class Model:
    """Who holds and who waits, in plain dictionaries."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.limits = limits
        self.held: dict[str, tuple[str, ...]] = {}
        self.parked: dict[str, tuple[Rank, tuple[str, ...]]] = {}

    def holders(self, bucket: str) -> int:
        return sum(bucket in buckets for buckets in self.held.values())

    def has_room(self, buckets: tuple[str, ...]) -> bool:
        return all(self.holders(bucket) < self.limits[bucket] for bucket in buckets)

    def first_ready(self, bucket: str) -> str | None:
        """The oldest waiter that needs the bucket and could have all that it needs."""
        ready = [
            (rank, item)
            for item, (rank, buckets) in self.parked.items()
            if bucket in buckets and self.has_room(buckets)
        ]
        return min(ready)[1] if ready else None

    def take(self, item: str) -> None:
        self.held[item] = self.parked.pop(item)[1]


SETS = st.sampled_from([A, B, ("c",), AB, ("a", "c"), ("b", "c"), ("a", "b", "c")])
LIMITS = {"a": 1, "b": 2, "c": 3}


class Slots(RuleBasedStateMachine):
    """Items come and go; the table and the model must say the same after every call."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = dict(LIMITS)
        self.table = make_table(self.limits)
        self.model = Model(self.limits)
        self.number = 0

    def check_grants(self, buckets: tuple[str, ...] | list[str]) -> None:
        granted = self.table.grant(buckets)
        expected: list[str] = []
        for bucket in buckets:
            while self.model.holders(bucket) < self.limits[bucket]:
                item = self.model.first_ready(bucket)
                if item is None:
                    break
                self.model.take(item)
                expected.append(item)
        assert granted == expected

    @rule(buckets=SETS, age=st.integers(0, 5))
    def arrive(self, buckets: tuple[str, ...], age: int) -> None:
        self.number += 1
        item = f"item-{self.number}"
        rank = (T0_MS - age, "", item)
        self.table.park(item, buckets, rank)
        self.model.parked[item] = (rank, buckets)
        self.check_grants(buckets)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(sorted(self.model.held)))
        freed = self.table.release(item)
        assert freed == self.model.held.pop(item)
        self.check_grants(freed)

    @precondition(lambda self: self.model.parked)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(sorted(self.model.parked)))
        assert self.table.release(item) == ()
        del self.model.parked[item]

    @precondition(lambda self: self.model.parked)
    @rule(data=st.data(), buckets=SETS)
    def move(self, data: st.DataObject, buckets: tuple[str, ...]) -> None:
        item = data.draw(st.sampled_from(sorted(self.model.parked)))
        rank, _ = self.model.parked[item]
        self.table.release(item)
        self.table.park(item, buckets, rank)
        self.model.parked[item] = (rank, buckets)
        self.check_grants(buckets)

    @rule(bucket=st.sampled_from(["a", "b", "c"]), limit=st.integers(0, 4))
    def change_limit(self, bucket: str, limit: int) -> None:
        self.limits[bucket] = limit
        self.check_grants(self.table.waited_for())

    @rule()
    def restart(self) -> None:
        table = make_table(self.limits)
        for item, buckets in self.model.held.items():
            table.hold(item, buckets)
        for item, (rank, buckets) in self.model.parked.items():
            table.park(item, buckets, rank)
        self.table = table
        self.check_grants(table.waited_for())

    @invariant()
    def both_say_the_same(self) -> None:
        for bucket in LIMITS:
            assert self.table.holders(bucket) == self.model.holders(bucket)
        for item, buckets in self.model.held.items():
            assert self.table.is_holding(item)
            assert self.table.buckets_of(item) == buckets
        for item, (_, buckets) in self.model.parked.items():
            assert not self.table.is_holding(item)
            assert self.table.buckets_of(item) == buckets
        assert self.table.parked_in("") == [item for _, item in self.order()]

    def order(self) -> list[tuple[Rank, str]]:
        return sorted((rank, item) for item, (rank, _) in self.model.parked.items())

    @invariant()
    def no_free_slot_lies_beside_a_waiter_that_could_use_it(self) -> None:
        assert not [item for item, (_, buckets) in self.model.parked.items() if self.model.has_room(buckets)]


TestSlots = Slots.TestCase
TestSlots.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(sets=st.lists(SETS, max_size=30))
def test_a_limit_is_never_passed_by_granting(sets: list[tuple[str, ...]]) -> None:
    table = make_table(LIMITS)
    for number, buckets in enumerate(sets):
        park(table, f"item-{number:02}", buckets)
        assert all(table.holders(bucket) <= limit for bucket, limit in LIMITS.items())
