"""Parking: who gets a free slot, alone and against a model that looks at everybody every time."""

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inngest_server.flow_control.parking import (
    AHEAD_MAX,
    Buckets,
    Parking,
    Place,
    Rank,
    pause_bucket,
    split,
)
from inngest_server.flow_control.throttle import Rate
from tests.builders import T0_MS

F, G = "f", "g"
ALL = 1_000_000
A, B, AB = ("a1",), ("b1",), ("a1", "b1")
SECOND = Rate(1_000_000_000, 1_000_000_000)


class Lot:
    """A parking with limits that a test may change; buckets that are not named have none."""

    def __init__(self, limits: dict[str, int] | None = None) -> None:
        self.limits = dict[tuple[str, str] | str, int]()
        self.limits.update(limits or {})
        self.rates: dict[str, Rate] = {}
        self.paused: set[str] = set()
        self.table = self.make()
        self.now_ms = T0_MS

    def make(self) -> Parking:
        return Parking(
            self.limit_of, lambda bucket, _: self.rates.get(bucket), lambda one: one in self.paused
        )

    def limit_of(self, bucket: str, function_id: str) -> int | None:
        return self.limits.get((bucket, function_id), self.limits.get(bucket))

    def put(self, item: str, steps: Buckets = (), starts: Buckets = (), *, of: str = F, age: int = 0) -> None:
        """Park an item that was made `age` before the others, without looking who may go."""
        self.table.park(item, of, steps, starts, (T0_MS - age, "", item))

    def park(
        self, item: str, steps: Buckets = (), starts: Buckets = (), *, of: str = F, age: int = 0
    ) -> list[str]:
        self.put(item, steps, starts, of=of, age=age)
        return self.grant()

    def release(self, *holders: str) -> list[str]:
        """Items that were sent, or runs, give back what they have."""
        for holder in holders:
            self.table.sent(holder, self.now_ms)
            self.table.release(holder)
        return self.grant()

    def grant(self) -> list[str]:
        return self.table.grant(self.now_ms, ALL)


def test_slots_are_granted_up_to_the_limit() -> None:
    lot = Lot({"a1": 2})
    assert [lot.park(item, A) for item in "xyz"] == [["x"], ["y"], []]
    assert lot.table.holders("a1") == ["x", "y"]
    assert lot.table.is_granted("x", A, (), T0_MS)
    assert lot.table.is_waiting("z", A, ())
    assert lot.table.set_of("z") == A


def test_a_released_slot_goes_to_the_oldest_waiter() -> None:
    lot = Lot({"a1": 1})
    lot.park("holder", A)
    lot.park("young", A, age=1)
    lot.park("old", A, age=9)
    assert lot.release("holder") == ["old"]
    assert lot.release("old") == ["young"]
    assert lot.release("young") == []
    assert lot.table.is_empty()


def test_slots_of_several_buckets_are_taken_all_or_none() -> None:
    lot = Lot({"a1": 1, "b1": 1})
    lot.park("holder", B)
    assert lot.park("both", AB) == []
    assert lot.table.holders("a1") == []
    assert lot.release("holder") == ["both"]
    assert (lot.table.holders("a1"), lot.table.holders("b1")) == (["both"], ["both"])


def test_a_wake_up_that_the_first_cannot_use_goes_to_the_next() -> None:
    lot = Lot({"a1": 1, "b1": 1})
    lot.park("holds-a", A)
    lot.park("holds-b", B)
    lot.park("both", AB, age=9)
    lot.park("only-a", A, age=1)
    assert lot.release("holds-a") == ["only-a"]
    assert lot.release("holds-b") == []
    assert lot.release("only-a") == ["both"]


def test_a_bucket_without_a_limit_is_always_free() -> None:
    lot = Lot()
    assert [lot.park(item, A) for item in "xyz"] == [["x"], ["y"], ["z"]]


def test_a_raised_limit_is_used_when_the_function_asks_again() -> None:
    lot = Lot({"a1": 1})
    for item in "xyz":
        lot.park(item, A)
    lot.limits["a1"] = 2
    assert lot.grant() == []
    lot.table.ask_again(F)
    assert lot.grant() == ["y"]
    del lot.limits["a1"]
    lot.table.ask_again(F)
    assert lot.grant() == ["z"]


def test_a_lowered_limit_takes_nothing_away() -> None:
    lot = Lot({"a1": 2})
    for item in "xyz":
        lot.park(item, A)
    lot.limits["a1"] = 1
    assert lot.release("x") == []
    assert lot.release("y") == ["z"]


def test_who_was_sent_before_holds_whatever_the_limit_says() -> None:
    lot = Lot({"a1": 1})
    lot.table.hold("x", A)
    lot.table.hold("y", A)
    assert lot.park("z", A) == []
    assert lot.release("x") == []
    assert lot.release("y") == ["z"]


def test_parking_and_releasing_may_be_repeated() -> None:
    lot = Lot({"a1": 1})
    lot.park("holder", A)
    assert lot.park("x", A) == lot.park("x", A) == []
    assert lot.table.waiting_of(F) == ["x"]
    assert lot.release("holder") == ["x"]
    assert lot.release("x") == lot.release("x") == lot.release("never seen") == []


def test_a_waiter_that_leaves_is_passed_over() -> None:
    lot = Lot({"a1": 1})
    lot.park("holder", A)
    lot.park("old", A, age=9)
    lot.park("young", A)
    assert lot.release("old") == []
    assert lot.release("holder") == ["young"]


def test_a_waiter_that_moved_to_other_buckets_is_not_granted_its_old_ones() -> None:
    lot = Lot({"a1": 1, "b1": 1})
    lot.park("holds-a", A)
    lot.park("holds-b", B)
    lot.park("x", A)
    lot.table.release("x")  # The key of its limit changed.
    assert lot.park("x", B) == []
    assert lot.release("holds-a") == []
    assert lot.release("holds-b") == ["x"]
    assert lot.table.held_by("x") == B


def test_functions_with_different_limits_share_one_counter() -> None:
    lot = Lot()
    lot.limits |= {("e/1/2", F): 5, ("e/1/2", G): 50}
    shared = ("e/1/2",)
    assert sum(bool(lot.park(f"f{n}", shared)) for n in range(9)) == 5
    assert sum(bool(lot.park(f"g{n}", shared, of=G)) for n in range(60)) == 45
    assert len(lot.table.holders("e/1/2")) == 50
    assert lot.release("f0") == ["g45"]  # At 49 there is room for the one and none for the other.
    assert lot.release(*[f"g{n}" for n in range(60)]) == ["f5"]


def test_two_tenants_take_every_second_slot_however_long_their_backlogs() -> None:
    """They share one slot; each has a bucket of its own besides, which is never full."""
    lot = Lot({"e/1/2": 1})
    for n in range(10_000):
        lot.put(f"hot{n:05}", ("e/1/2", "f/1/hot"), age=20_000 - n)
    running = lot.grant()
    for n in range(20):
        lot.put(f"small{n:02}", ("e/1/2", "f/1/small"), age=n)
    served: list[str] = []
    for _ in range(40):
        running = lot.release(*running)
        served += [item.rstrip("0123456789") for item in running]
    assert served == ["hot", "small"] * 20 or served == ["small", "hot"] * 20


def test_a_tenant_at_its_own_limit_does_not_pass_by_those_who_wait_for_the_shared_one() -> None:
    lot = Lot({"e/1/2": 1, "f/1/hot": 1, "f/1/small": 1})
    for n in range(20):
        lot.put(f"hot{n:02}", ("e/1/2", "f/1/hot"), age=100 - n)
        lot.put(f"small{n:02}", ("e/1/2", "f/1/small"), age=n)
    running, served = lot.grant(), Counter[str]()
    for _ in range(20):
        served.update(item.rstrip("0123456789") for item in running)
        running = lot.release(*running)
    assert served == {"hot": 10, "small": 10}


def test_functions_take_turns_before_their_keys_do() -> None:
    lot = Lot({"e/1/2": 1})
    lot.park("holder", ("e/1/2",))
    for n in range(3):
        for key in "xyz":
            lot.put(f"f-{key}{n}", ("e/1/2", f"f/1/{key}"), age=100 - n)
        lot.put(f"g{n}", ("e/1/2",), of=G, age=n)
    running, served = lot.release("holder"), list[str]()
    for _ in range(6):
        served += running
        running = lot.release(*running)
    assert served == ["f-x0", "g2", "f-y0", "g1", "f-z0", "g0"]


def test_within_a_key_a_started_run_goes_before_a_younger_one_that_wants_to_start() -> None:
    """A run ended: its step slot and its run slot come free at once."""
    lot = Lot({"f/1/": 1, "r/f/1/": 2})
    lot.table.hold("run1.0", ("f/1/",))
    lot.table.hold("run1", ("r/f/1/",))
    lot.table.hold("run2", ("r/f/1/",))
    lot.park("run3.0", ("f/1/",), ("r/f/1/",), age=5)
    lot.park("run2.7", ("f/1/",), age=6)
    assert lot.release("run1.0", "run1") == ["run2.7"]
    assert lot.release("run2.7") == ["run3.0"]
    assert lot.table.held_by("run3") == ("r/f/1/",)


def test_the_smaller_rank_is_first_although_it_waited_for_a_run_slot() -> None:
    lot = Lot({"f/1/": 1, "r/f/1/": 2})
    lot.table.hold("run1", ("r/f/1/",))
    lot.table.hold("run2", ("r/f/1/",))
    lot.park("run3.0", ("f/1/",), ("r/f/1/",), age=6)  # Its priority makes it older than a run that goes on.
    lot.table.hold("run1.1", ("f/1/",))
    lot.park("run2.7", ("f/1/",), age=5)
    assert lot.release("run1.1", "run1") == ["run3.0"]


def test_a_bucket_that_is_stirred_and_still_shut_keeps_its_waiters() -> None:
    lot = Lot({"f/1/": 1})
    lot.rates["t/f/1/"] = SECOND
    lot.park("first", (), ("t/f/1/",))
    lot.park("older", ("f/1/",), ("t/f/1/",), age=9)
    lot.table.hold("holder", ("f/1/",))
    lot.park("younger", ("f/1/",))
    lot.table.stir("t/f/1/")
    assert lot.release("holder") == ["younger"]
    assert lot.table.opens_at_ms("t/f/1/", lot.now_ms) == T0_MS + 1000


def test_a_throttle_lets_one_through_at_each_moment_and_says_when_the_next_is() -> None:
    lot = Lot()
    lot.rates["t/f/1/"] = SECOND
    starts = ("t/f/1/",)
    assert [lot.park(item, (), starts) for item in "xyz"] == [["x"], [], []]
    assert lot.table.take_metered() == ["t/f/1/"]
    assert lot.table.opens_at_ms("t/f/1/", lot.now_ms) == T0_MS + 1000

    assert lot.release("x") == []  # Nothing is given back.
    lot.now_ms += 1000
    lot.table.stir("t/f/1/")
    assert lot.grant() == ["y"]
    lot.table.sent("y", lot.now_ms)
    assert lot.table.opens_at_ms("t/f/1/", lot.now_ms) == T0_MS + 2000
    lot.now_ms += 5000
    lot.table.stir("t/f/1/")
    assert lot.grant() == ["z"]
    assert lot.table.opens_at_ms("t/f/1/", lot.now_ms) is None


def test_a_start_that_was_granted_and_never_sent_has_not_used_its_throttle() -> None:
    lot = Lot()
    lot.rates["t/f/1/"] = SECOND
    assert [lot.park(item, (), ("t/f/1/",)) for item in "xy"] == [["x"], []]

    lot.table.release("x")

    assert lot.grant() == ["y"]
    assert lot.table.opens_at_ms("t/f/1/", lot.now_ms) is None


def test_older_ones_whose_throttle_is_shut_again_do_not_keep_a_newer_one_of_another_key() -> None:
    lot = Lot({"a/1": 3})
    lot.rates.update({"t/f/1/": SECOND, "t/f/2/": SECOND})
    lot.park("first", (), ("t/f/2/",))
    lot.table.sent("first", lot.now_ms)
    for age, item in ((9, "x"), (8, "y")):
        lot.park(item, ("a/1",), ("t/f/2/",), age=age)
    for holder in ("p", "q", "r"):
        lot.park(holder, ("a/1",))
    lot.park("z", ("a/1",), ("t/f/1/",))
    lot.now_ms += 1000

    lot.table.stir("t/f/2/")
    assert lot.release("p", "q", "r") == ["x", "z"]


def test_nothing_of_a_throttle_is_used_while_another_bucket_is_shut() -> None:
    lot = Lot({"a1": 1})
    lot.rates["t/f/1/"] = SECOND
    lot.park("holder", A)
    assert lot.park("x", A, ("t/f/1/",)) == []
    assert lot.table.tat_ns("t/f/1/") == 0
    assert lot.release("holder") == ["x"]
    lot.table.sent("x", lot.now_ms)
    assert lot.table.tat_ns("t/f/1/") == (T0_MS + 1000) * 1_000_000


def test_a_throttle_counts_a_start_from_when_it_is_sent_and_keeps_its_place_until_then() -> None:
    lot = Lot()
    lot.rates["t/f/1/"] = SECOND
    assert [lot.park(item, (), ("t/f/1/",)) for item in "xyz"] == [["x"], [], []]
    lot.now_ms += 15_000  # So long it takes to read x.
    lot.table.stir("t/f/1/")
    assert lot.grant() == []

    lot.table.sent("x", lot.now_ms)

    assert lot.table.opens_at_ms("t/f/1/", lot.now_ms) == T0_MS + 16_000


def test_a_start_that_was_granted_waits_on_if_its_throttle_was_made_slower_before_it_is_sent() -> None:
    lot = Lot()
    lot.rates["t/f/1/"] = Rate(1_000_000_000, 2_000_000_000)
    assert [lot.park(item, (), ("t/f/1/",)) for item in "xy"] == [["x"], ["y"]]
    lot.rates["t/f/1/"] = SECOND
    lot.table.sent("x", lot.now_ms)

    assert not lot.table.is_granted("y", (), ("t/f/1/",), lot.now_ms)
    assert lot.table.is_granted("y", (), ("t/f/1/",), lot.now_ms + 1000)


def test_nothing_of_a_paused_function_gets_a_slot_until_it_is_resumed() -> None:
    lot = Lot({"a1": 1})
    lot.park("holder", A)
    lot.park("x", A)
    lot.park("other", A, of=G, age=-5)
    lot.paused.add(F)
    assert lot.park("free") == []
    assert lot.release("holder") == ["other"]
    assert not lot.table.take("late", F, (), (), lot.now_ms)

    lot.paused.clear()
    lot.table.stir(pause_bucket(F))
    assert lot.grant() == ["free"]
    assert lot.release("other") == ["x"]


def test_slots_are_taken_at_once_only_where_nobody_waits() -> None:
    lot = Lot({"a1": 1, "b1": 1})
    assert lot.table.take("x", F, A, (), T0_MS)
    assert not lot.table.take("y", F, A, (), T0_MS)
    lot.park("y", A)
    lot.table.release("x")
    assert not lot.table.take("z", F, A, (), T0_MS)
    assert lot.grant() == ["y"]


def test_a_grant_stops_at_its_bound_and_goes_on_later() -> None:
    lot = Lot({"a1": 0})
    for n in range(5):
        lot.park(f"x{n}", A, age=9 - n)
    lot.limits["a1"] = 5
    lot.table.ask_again(F)
    assert lot.table.grant(T0_MS, 3) == ["x0", "x1", "x2"]
    assert lot.table.is_stirred
    assert lot.table.grant(T0_MS, 3) == ["x3", "x4"]
    assert not lot.table.is_stirred


def test_a_release_does_not_look_at_the_keys_that_it_cannot_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 keys behind one shared bucket: what a slot costs does not depend on how many wait."""
    lot = Lot({"e/1/2": 5, **{f"f/1/{n}": 1 for n in range(10_000)}})
    for n in range(10_000):
        for turn in range(2):
            lot.put(f"item{n:05}-{turn}", ("e/1/2", f"f/1/{n}"), age=100 - turn)
    running = lot.grant()
    looks = 0
    is_shut = Parking.is_shut

    def counted(self: Parking, bucket: str, function_id: str, now_ms: int) -> bool:
        nonlocal looks
        looks += 1
        return is_shut(self, bucket, function_id, now_ms)

    monkeypatch.setattr(Parking, "is_shut", counted)
    for _ in range(2_000):
        running += lot.release(running.pop(0))
    assert len(set(running)) == 5
    assert looks < 2_000 * 20


def test_the_place_in_line_is_counted_up_to_a_bound() -> None:
    lot = Lot({"a1": 0})
    for n in range(AHEAD_MAX + 50):
        # The ids of later ones are smaller in part, so that the heap is not sorted already.
        lot.put(f"{n * 7919 % 100_003:06}", A, age=-n)
    ranks = {rank[2]: rank for rank in lot.table._queues[F, A, ()].heap}
    items = sorted(ranks, key=lambda item: ranks[item])
    lot.put("other", AB)
    lot.release(items[1])

    def place(item: str) -> Place | None:
        return lot.table.place_of(item, ranks[item])

    assert place(items[0]) == Place(0, "a1", 1)
    assert place(items[1]) is None
    assert [place(items[n]).ahead for n in (2, 100, AHEAD_MAX)] == [1, 99, AHEAD_MAX - 1]  # type: ignore[union-attr]
    assert [place(items[n]).ahead for n in (AHEAD_MAX + 2, -1)] == [AHEAD_MAX + 1] * 2  # type: ignore[union-attr]


def test_those_next_in_line_are_found_without_a_look_at_the_whole_line() -> None:
    lot = Lot({"a1": 1, "b1": 0})
    for n in range(1_000):
        lot.put(f"{n * 7919 % 1_009:04}", A, age=-n)
    lot.put("other", AB, age=5_000)
    [granted] = lot.grant()
    lot.release(f"{2 * 7919 % 1_009:04}")  # It waited, and left.
    in_turn = [f"{n * 7919 % 1_009:04}" for n in (1, 3, 4, 5)]
    assert granted == "0000"
    assert lot.table.next_after(granted, F, 4) == in_turn
    assert len(lot.table.next_after(granted, F, 5_000)) == 998
    assert lot.table.next_after("other", F, 4) == []


def test_the_names_of_a_set_say_what_an_item_holds_and_what_its_run() -> None:
    assert split(["t/f/1/", "f/1/2", "s/f/3", "a/1/2", "r/f/1/"]) == (
        ("a/1/2", "f/1/2"),
        ("r/f/1/", "s/f/3", "t/f/1/"),
    )


# Against the model.

LIMITS = {"f1": 2, "f2": 1, "e/1/1": 3, "r/f/1": 2, "r/f/2": 1}
STEPS = st.sampled_from([(), ("f1",), ("f2",), ("e/1/1",), ("e/1/1", "f1"), ("e/1/1", "f2"), ("f1", "f2")])
STARTS = st.sampled_from([(), (), ("r/f/1",), ("r/f/2",), ("t/f/1",), ("r/f/1", "t/f/1")])


class Parked:
    def __init__(self, rank: Rank, function_id: str, steps: Buckets, starts: Buckets) -> None:
        self.rank, self.function_id, self.steps, self.starts = rank, function_id, steps, starts

    @property
    def group(self) -> tuple[str, Buckets]:
        return self.function_id, self.steps


class Model:
    """Who holds and who waits, in plain dictionaries; everybody is looked at every time."""

    def __init__(self, lot: Lot) -> None:
        self.lot = lot
        self.held: dict[str, Buckets] = {}
        self.parked: dict[str, Parked] = {}
        self.next_start_ms = 0.0
        """Of the throttle, which has no burst."""

    def holders(self, bucket: str) -> int:
        return sum(bucket in buckets for buckets in self.held.values())

    def may_go(self, one: Parked) -> bool:
        for bucket in (*one.steps, *one.starts):
            if bucket.startswith("t/"):
                if self.lot.now_ms < self.next_start_ms:
                    return False
            elif self.holders(bucket) >= (self.lot.limit_of(bucket, one.function_id) or 0):
                return False
        return one.function_id not in self.lot.paused

    def take(self, item: str) -> None:
        """Take a grant of the table's, which must be one that is allowed and nobody's before it."""
        one = self.parked.pop(item)
        assert self.may_go(one), f"{item} has no room"
        older = [
            other
            for other, what in self.parked.items()
            if what.group == one.group and what.rank < one.rank and self.may_go(what)
        ]
        assert not older, f"{item} went before {older}"
        self.held[item] = one.steps
        kept = tuple(bucket for bucket in one.starts if not bucket.startswith("t/"))
        if kept:
            self.held[f"run-{item}"] = kept
        if len(kept) < len(one.starts):
            self.next_start_ms = self.lot.now_ms + 1000


class ParkingMachine(RuleBasedStateMachine):
    """Items come and go; every grant of the table is one that the model allows, and it forgets nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.lot = Lot(dict(LIMITS))
        self.lot.rates["t/f/1"] = SECOND
        self.model = Model(self.lot)
        self.number = 0

    def grant(self) -> None:
        for item in self.lot.grant():
            self.model.take(item)
            self.lot.table.sent(item, self.lot.now_ms)

    @rule(steps=STEPS, starts=STARTS, function_id=st.sampled_from([F, G]), age=st.integers(0, 5))
    def arrive(self, steps: Buckets, starts: Buckets, function_id: str, age: int) -> None:
        self.number += 1
        item = f"{self.number}.0"
        rank = (T0_MS - age, "", item)
        self.lot.table.park(item, function_id, steps, starts, rank)
        self.model.parked[item] = Parked(rank, function_id, steps, starts)
        self.grant()

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """Of an item its slots are released, or with them those of its run."""
        holders = data.draw(
            st.lists(st.sampled_from(sorted(self.model.held)), min_size=1, max_size=3, unique=True)
        )
        for holder in holders:
            del self.model.held[holder]
            self.lot.table.release(self.name(holder))
        self.grant()

    @staticmethod
    def name(holder: str) -> str:
        """The model names the run of `7.0` `run-7.0`, the table `7`."""
        return holder.removeprefix("run-").partition(".")[0] if holder.startswith("run-") else holder

    @precondition(lambda self: self.model.parked)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(sorted(self.model.parked)))
        del self.model.parked[item]
        self.lot.table.release(item)
        self.grant()

    @rule(of=st.sampled_from([F, G]), bucket=st.sampled_from(sorted(LIMITS)), limit=st.integers(1, 4))
    def change_limit(self, of: str, bucket: str, limit: int) -> None:
        self.lot.limits[bucket, of] = limit
        self.lot.table.ask_again(of)
        self.grant()

    @rule(data=st.data(), buckets=st.lists(st.sampled_from([*LIMITS, "t/f/1"]), min_size=1, unique=True))
    def stir(self, data: st.DataObject, buckets: list[str]) -> None:
        """Who is stirred need not have room; somebody may finish at the same time."""
        for bucket in buckets:
            self.lot.table.stir(bucket)
        if self.model.held and data.draw(st.booleans()):
            holder = data.draw(st.sampled_from(sorted(self.model.held)))
            del self.model.held[holder]
            self.lot.table.release(self.name(holder))
        self.grant()

    @rule(function_id=st.sampled_from([F, G]))
    def pause_or_resume(self, function_id: str) -> None:
        self.lot.paused ^= {function_id}
        self.lot.table.stir(pause_bucket(function_id))
        self.grant()

    @rule(passed_ms=st.integers(1, 1500))
    def time_passes(self, passed_ms: int) -> None:
        until_ms = self.lot.now_ms + passed_ms
        self.lot.table.take_metered()
        while True:  # As the alarms do: at each moment at which it opens.
            opens_ms = self.lot.table.opens_at_ms("t/f/1", self.lot.now_ms)
            if opens_ms is None or opens_ms > until_ms:
                break
            self.lot.now_ms = opens_ms
            self.lot.table.stir("t/f/1")
            before = len(self.model.parked)
            self.grant()
            if len(self.model.parked) == before:
                break
        self.lot.now_ms = until_ms
        self.lot.table.stir("t/f/1")
        self.grant()

    @rule()
    def restart(self) -> None:
        before, self.lot.table = self.lot.table, self.lot.make()
        for holder, buckets in self.model.held.items():
            self.lot.table.hold(self.name(holder), buckets)
        for item, one in self.model.parked.items():
            self.lot.table.park(item, one.function_id, one.steps, one.starts, one.rank)
        self.lot.table.set_tat("t/f/1", before.tat_ns("t/f/1"))
        self.grant()

    @invariant()
    def nobody_waits_for_what_is_free(self) -> None:
        assert [item for item, one in self.model.parked.items() if self.model.may_go(one)] == []

    @invariant()
    def both_know_the_same_holders(self) -> None:
        for bucket in LIMITS:
            assert len(self.lot.table.holders(bucket)) == self.model.holders(bucket)
        for function_id in (F, G):
            waiting = [one.rank for one in self.model.parked.values() if one.function_id == function_id]
            assert self.lot.table.waiting_of(function_id) == [rank[2] for rank in sorted(waiting)]


TestParking = ParkingMachine.TestCase
TestParking.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(keys=st.lists(st.sampled_from("wxyz"), min_size=1, max_size=60), limit=st.integers(1, 3))
def test_no_key_gets_two_slots_more_than_another_that_waits(keys: Iterable[str], limit: int) -> None:
    """As long as two keys wait for a shared bucket, their shares differ by one at most."""
    lot = Lot({"e/1/2": limit})
    lot.park("holder", ("e/1/2",), of=G)
    for _ in range(limit - 1):
        lot.park(f"holder{_}", ("e/1/2",), of=G)
    left = Counter[str]()
    for n, key in enumerate(keys):
        lot.put(f"{key}{n:03}", ("e/1/2", f"f/1/{key}"), age=100 - n)
        left[key] += 1
    running, shares = lot.release("holder"), Counter[str]()
    while running:
        (item,) = running
        shares[item[0]] += 1
        left[item[0]] -= 1
        waiting = [key for key, count in left.items() if count]
        assert not waiting or max(shares.values()) - min(shares[key] for key in waiting) <= 1
        running = lot.release(item)
    assert not +left
