"""Who holds the slots of limits, who waits for them, and who is next.

A *bucket* counts the slots of one limit and key value. An item needs room in every bucket of its set and
takes all or none; an item that cannot is *parked*. Buckets have kinds, which their names begin with:

* `<function id>/` and `e/`, `a/`: step concurrency of one function, or shared in an environment or account;
  the item holds the slot while its request is under way;
* `r/`: concurrency of whole runs, and `s/`: a singleton; the run holds the slot from its first request to
  its end;
* `t/`: throttle; it is open when the rate allows a start. The start uses it up, at the moment at which it is
  sent and not when it is granted, for its run may have to be read in between; until then it keeps its place;
* `p/`: a paused function; in the set of each of its items, and shut while it is paused.

There is one queue for each (function, buckets of a request, buckets of a start), the smallest rank first. A
queue that is not empty *watches* one bucket of its set. Invariant between two calls of `grant`: that bucket
is shut for the queue's function, so no bucket has room while an item waits that has all its others. When a
bucket gets room, its watchers take turns: first the functions, then the groups of a function (its queues
with the same buckets of a request, which are its keys), and in a group the smallest rank is first. A
watcher whose turn comes while another of its buckets is shut watches that one from then on, and the turn
goes to the next. So a release looks at those that it can serve, and not at all who wait.

Whether a bucket is shut depends on the function too: functions with different limits may share one counter.

Slots are held by name (bucket, holder), so taking and releasing may be repeated. Nothing here is stored: the
rows of items, terms and meters are, and loading them builds this table again.
"""

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from itertools import count
from typing import NamedTuple

from inngest_server.flow_control import throttle
from inngest_server.flow_control.concurrency import is_full
from inngest_server.flow_control.throttle import Rate

Rank = tuple[int, str, str]
"""Order among waiters: when the run was made, earlier by its priority, its event, and the item's id."""

Buckets = tuple[str, ...]

AHEAD_MAX = 10_000
"""As many as are counted of those before an item: a line may be much longer."""

_NOTHING: tuple[Buckets, Buckets] = ((), ())
_SHARED_FIRST = {"a": 0, "e": 1}
_OF_STARTS = frozenset("rst")
_STIRRED_FEW = 16
"""As many as one release may stir, and few enough to look at for every grant."""


def split(buckets: Iterable[str]) -> tuple[Buckets, Buckets]:
    """Of a set the buckets of a request and those of a start, each sorted."""
    steps: list[str] = []
    starts: list[str] = []
    for bucket in buckets:
        (starts if kind_of(bucket) in _OF_STARTS else steps).append(bucket)
    return tuple(sorted(steps)), tuple(sorted(starts))


def kind_of(bucket: str) -> str:
    """The letter that its name begins with; empty for the step concurrency of one function."""
    return bucket[0] if bucket[1:2] == "/" else ""


def pause_bucket(function_id: str) -> str:
    return f"p/{function_id}"


class Place(NamedTuple):
    """Where an item stands among those that wait."""

    ahead: int
    """Of its own queue, which it comes after; `AHEAD_MAX` + 1 stands for more."""
    watched: str
    """The bucket that its queue waits for first."""
    rivals: int
    """Other queues that wait for that bucket, and take turns with this one."""


class _Queue:
    """Items of one function that need the same set."""

    __slots__ = ("buckets", "entry", "function_id", "heap", "starts", "steps", "watched")

    def __init__(self, function_id: str, steps: Buckets, starts: Buckets) -> None:
        self.function_id = function_id
        self.steps = steps
        self.starts = starts
        # Of a request first: a group that asks for the same one keeps its order by rank.
        self.buckets = (*sorted(steps, key=_by_sharing), *sorted(starts, key=_by_sharing))
        self.heap: list[Rank] = []
        self.watched: str | None = None
        self.entry = 0
        """Number of its valid entry among the watchers; others are leftovers."""


_Group = list[tuple[Rank, int, _Queue]]
"""Heap of queues by their heads. An entry is a leftover unless its number is the queue's."""


class _Watchers:
    """The queues that watch one bucket, in turns."""

    __slots__ = ("count", "functions")

    def __init__(self) -> None:
        self.functions: OrderedDict[str, OrderedDict[Buckets, _Group]] = OrderedDict()
        self.count = 0
        """Queues, without leftovers."""


class Parking:
    """All buckets of a node.

    `limit_of` gives the present limit of a bucket for a function, None when there is none any more, which
    frees all; `rate_of` the same for a throttle; `is_paused` is asked with a function id.
    """

    def __init__(
        self,
        limit_of: Callable[[str, str], int | None],
        rate_of: Callable[[str, str], Rate | None],
        is_paused: Callable[[str], bool],
    ) -> None:
        self._limit_of = limit_of
        self._rate_of = rate_of
        self._is_paused = is_paused
        self._holders: dict[str, dict[str, None]] = {}
        self._held: dict[str, Buckets] = {}
        self._granted: dict[str, tuple[Buckets, Buckets]] = {}
        self._waiting: dict[str, _Queue] = {}
        self._queues: dict[tuple[str, Buckets, Buckets], _Queue] = {}
        self._watchers: dict[str, _Watchers] = {}
        self._stirred: dict[str, None] = {}
        self._tats_ns: dict[str, int] = {}
        self._unsent: Counter[str] = Counter()
        """Starts that a throttle was granted to, and that were not sent yet."""
        self._metered: dict[str, None] = {}
        self._numbers = count(1)

    # What is so.

    def holders(self, bucket: str) -> list[str]:
        """Ids of the items, or for a bucket of starts of the runs, that hold a slot; oldest grant first."""
        return list(self._holders.get(bucket, ()))

    def held_by(self, holder: str) -> Buckets:
        """The buckets in which an item or a run holds a slot."""
        return self._held.get(holder, ())

    def is_granted(self, item_id: str, steps: Buckets, starts: Buckets, now_ms: int) -> bool:
        """Whether the item got this very set, has not been sent yet, and may be now.

        The rate of its throttle may have been lowered since.
        """
        if self._granted.get(item_id) != (steps, starts):
            return False
        return all(self._may_start(bucket, now_ms) for bucket in starts if kind_of(bucket) == "t")

    def is_waiting(self, item_id: str, steps: Buckets, starts: Buckets) -> bool:
        """Whether the item waits for this very set."""
        queue = self._waiting.get(item_id)
        return queue is not None and queue.steps == steps and queue.starts == starts

    def set_of(self, item_id: str) -> Buckets:
        """The set that the item waits for or was granted; empty if neither."""
        queue = self._waiting.get(item_id)
        steps, starts = (queue.steps, queue.starts) if queue else self._granted.get(item_id, _NOTHING)
        return (*steps, *starts)

    def is_shut(self, bucket: str, function_id: str, now_ms: int) -> bool:
        """Whether nothing of the function gets a slot of the bucket now."""
        match kind_of(bucket):
            case "t":
                rate = self._rate_of(bucket, function_id)
                return rate is not None and self._opens_at_ms(bucket, rate, now_ms) > now_ms
            case "p":
                return self._is_paused(function_id)
            case _:
                limit = self._limit_of(bucket, function_id)
                return is_full(limit, len(self._holders.get(bucket, ())))

    def place_of(self, item_id: str, rank: Rank) -> Place | None:
        """Where a parked item stands, given its rank; None if it does not wait."""
        queue = self._waiting.get(item_id)
        if queue is None or queue.watched is None:
            return None
        heap, waiting, ahead, nodes = queue.heap, self._waiting, 0, [0]
        size = len(heap)
        # Level by level, for what is below a larger one in a heap is larger too.
        while nodes and ahead <= AHEAD_MAX:
            smaller = [node for node in nodes if node < size and heap[node] < rank][: AHEAD_MAX + 1 - ahead]
            ahead += len([node for node in smaller if waiting.get(heap[node][2]) is queue])
            nodes = [below for node in smaller for below in (2 * node + 1, 2 * node + 2)]
        return Place(ahead, queue.watched, self._watchers[queue.watched].count - 1)

    def next_after(self, item_id: str, function_id: str, at_most: int) -> list[str]:
        """Items that come after one of the function that was granted its set, in the queue that it left.

        Smallest rank first. Looks at few more than it returns, however many wait.
        """
        queue = self._queues.get((function_id, *self._granted.get(item_id, _NOTHING)))
        if queue is None:
            return []
        heap, found = queue.heap, list[str]()
        # What is below a larger one in a heap is larger too; those that left are not counted out for long.
        front, looks = [(heap[0], 0)] if heap else [], 2 * at_most
        while front and looks and len(found) < at_most:
            looks -= 1
            rank, node = heapq.heappop(front)
            if self._waiting.get(rank[2]) is queue:
                found.append(rank[2])
            for child in range(2 * node + 1, min(2 * node + 3, len(heap))):
                heapq.heappush(front, (heap[child], child))
        return found

    def waiting_of(self, function_id: str) -> list[str]:
        """Items of a function that wait, smallest rank first."""
        ranks = {
            rank
            for (owner, _, _), queue in self._queues.items()
            if owner == function_id
            for rank in queue.heap
            if self._waiting.get(rank[2]) is queue
        }
        return [rank[2] for rank in sorted(ranks)]

    def waiting_for(self, bucket: str) -> list[str]:
        """Items whose set has the bucket and that wait, smallest rank first, whatever holds them back now."""
        wanted = [queue for queue in self._queues.values() if bucket in queue.steps or bucket in queue.starts]
        ranks = {rank for queue in wanted for rank in queue.heap if self._waiting.get(rank[2]) is queue}
        return [rank[2] for rank in sorted(ranks)]

    def is_empty(self) -> bool:
        """Whether nobody holds or waits for anything."""
        return not (self._held or self._waiting or self._granted or self._watchers or self._holders)

    # What changes it.

    def hold(self, holder: str, buckets: Buckets) -> None:
        """Let an item or a run hold its slots whatever the limits say: it got them when they allowed it."""
        self._held[holder] = buckets
        for bucket in buckets:
            self._holders.setdefault(bucket, {})[holder] = None

    def rehold(self, holder: str, buckets: Buckets) -> None:
        """Let a holder hold these slots in place of those that it has."""
        before = self._held.get(holder, ())
        if before != buckets:
            self._give_back(holder)
            if buckets:
                self.hold(holder, buckets)

    def park(self, item_id: str, function_id: str, steps: Buckets, starts: Buckets, rank: Rank) -> None:
        """Queue an item for its set. `rank` ends with its id. Call `grant` afterwards: it may be free."""
        if item_id in self._waiting:
            return
        key = function_id, steps, starts
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _Queue(function_id, steps, starts)
        self._waiting[item_id] = queue
        heapq.heappush(queue.heap, rank)
        if queue.watched is None:
            self._ask(queue)
        elif self._head(queue) == rank:
            self._watch(queue, queue.watched)  # Its group has to know the new head.

    def take(self, item_id: str, function_id: str, steps: Buckets, starts: Buckets, now_ms: int) -> bool:
        """Grant an item its set at once if nobody else waits for any of it, and nothing of it is shut."""
        if self._stirred or self._is_paused(function_id):
            return False  # Somebody else may go too, and be first.
        for buckets in (steps, starts):
            for bucket in buckets:
                if bucket in self._watchers or self.is_shut(bucket, function_id, now_ms):
                    return False
        self._take(item_id, function_id, steps, starts, now_ms)
        return True

    def release(self, holder: str) -> None:
        """Give back what an item or a run holds, and leave the queue. Call `grant` afterwards.

        A start that was granted and not sent, as its limits changed meanwhile, has not used its throttle.
        """
        for bucket in self._granted.pop(holder, _NOTHING)[1]:
            if kind_of(bucket) == "t":
                self._leave(bucket)
                self.stir(bucket)
        queue = self._waiting.pop(holder, None)  # Its entry in the heap is skipped when it comes up.
        if queue is not None and self._head(queue) is None:
            self._close(queue)
        self._give_back(holder)

    def sent(self, item_id: str, now_ms: int) -> Buckets:
        """Note that a granted item is under way; returns the buckets of starts that it was granted."""
        starts = self._granted.pop(item_id, _NOTHING)[1]
        for bucket in starts:
            if kind_of(bucket) == "t":
                self._leave(bucket)
                self._use(bucket, now_ms)
        return starts

    def stir(self, bucket: str) -> None:
        """Say that a bucket may have room for another reason than a release. Call `grant` afterwards."""
        if bucket in self._watchers:
            self._stirred[bucket] = None

    def ask_again(self, function_id: str) -> None:
        """Let all that a function has waiting ask for its set anew: its limits are others now."""
        for (owner, _, _), queue in self._queues.items():
            if owner == function_id:
                self._ask(queue)
                # At another rate they may open sooner.
                self._metered |= {bucket: None for bucket in queue.starts if kind_of(bucket) == "t"}

    @property
    def is_stirred(self) -> bool:
        """Whether `grant` has something to look at."""
        return bool(self._stirred)

    def grant(self, now_ms: int, at_most: int) -> list[str]:
        """Give free slots to those whose turn it is; returns the items that hold theirs now.

        After `at_most` of them it stops, and `is_stirred` says that there may be more.
        """
        granted: list[str] = []
        # Where most compete first: who comes from a bucket of its own must not pass them by.
        for bucket in sorted(self._stirred, key=_by_sharing):
            self._serve(bucket, now_ms, granted, at_most)
            if len(granted) >= at_most:
                return granted
            del self._stirred[bucket]
        return granted

    # Throttles.

    def tat_ns(self, bucket: str) -> int:
        """How far a throttle is used up; 0 when it never was."""
        return self._tats_ns.get(bucket, 0)

    def unsent(self, bucket: str) -> int:
        """How many starts a throttle was granted to that were not sent yet."""
        return self._unsent[bucket]

    def set_tat(self, bucket: str, tat_ns: int) -> None:
        self._tats_ns[bucket] = tat_ns
        self._metered[bucket] = None

    @property
    def is_metered(self) -> bool:
        """Whether `take_metered` has something to say."""
        return bool(self._metered)

    def take_metered(self) -> list[str]:
        """Throttles that were used or are waited for since the last call: each may need an alarm."""
        metered = list(self._metered)
        self._metered.clear()
        return metered

    def opens_at_ms(self, bucket: str, now_ms: int) -> int | None:
        """When a throttle opens that somebody waits for, now at the earliest; None if nobody does."""
        watchers = self._watchers.get(bucket)
        if watchers is None:
            return None
        rates = (self._rate_of(bucket, function_id) for function_id in watchers.functions)
        opens = [self._opens_at_ms(bucket, rate, now_ms) for rate in rates if rate is not None]
        return min(opens, default=now_ms)

    def forget_tat(self, bucket: str) -> None:
        self._tats_ns.pop(bucket, None)

    # The rest is how.

    def _opens_at_ms(self, bucket: str, rate: Rate, now_ms: int) -> int:
        return throttle.opens_at_ms(rate, self._tats_ns.get(bucket, 0), now_ms, self._unsent[bucket])

    def _give_back(self, holder: str) -> None:
        for bucket in self._held.pop(holder, ()):
            holders = self._holders[bucket]
            del holders[holder]
            if not holders:
                del self._holders[bucket]
            self.stir(bucket)

    def _serve(self, bucket: str, now_ms: int, granted: list[str], at_most: int) -> None:
        """Let those that watch the bucket take turns until it is shut for all of them."""
        while len(granted) < at_most:
            queue = self._next(bucket, now_ms)
            if queue is None:
                return
            other = self._find_shut(queue, bucket, now_ms)
            if other is not None:
                self._watch(queue, other)
                continue
            functions = self._watchers[bucket].functions
            functions[queue.function_id].move_to_end(queue.steps)
            functions.move_to_end(queue.function_id)
            older = self._find_older(queue, bucket, now_ms)
            granted.append(self._take_first(older or queue, now_ms))

    def _find_older(self, queue: _Queue, bucket: str, now_ms: int) -> _Queue | None:
        """One of the same group that may go now, has a smaller rank, and watches another stirred bucket."""
        found, least = None, self._head(queue)
        for other in self._stirred if len(self._stirred) <= _STIRRED_FEW else ():
            is_asked = other != bucket and not self.is_shut(other, queue.function_id, now_ms)
            watchers = self._watchers.get(other) if is_asked else None
            groups = watchers.functions.get(queue.function_id) if watchers is not None else None
            group = groups.get(queue.steps) if groups is not None else None
            while group and (first := self._top(group, other)) is not None:
                head = self._head(first)
                if head is None or least is None or head > least:
                    break
                shut = self._find_shut(first, other, now_ms)
                if shut is None:
                    found, least = first, head
                    break
                self._watch(first, shut)
        return found

    def _next(self, bucket: str, now_ms: int) -> _Queue | None:
        """Whose turn it is among the watchers for which the bucket is not shut."""
        watchers = self._watchers.get(bucket)
        if watchers is None:
            return None
        for function_id in list(watchers.functions):
            if self.is_shut(bucket, function_id, now_ms):
                continue
            groups = watchers.functions[function_id]
            while groups:
                steps = next(iter(groups))
                queue = self._top(groups[steps], bucket)
                if queue is not None:
                    return queue
                del groups[steps]
            del watchers.functions[function_id]
        return None

    def _top(self, group: _Group, bucket: str) -> _Queue | None:
        """The queue with the smallest head of a group that watches the bucket."""
        while group:
            rank, number, queue = group[0]
            if number != queue.entry:
                heapq.heappop(group)
            elif self._head(queue) == rank:
                return queue
            else:
                self._watch(queue, bucket)  # Its first item left.
        return None

    def _find_shut(self, queue: _Queue, known_open: str, now_ms: int) -> str | None:
        function_id = queue.function_id
        if self._is_paused(function_id):
            return pause_bucket(function_id)
        for bucket in reversed(queue.buckets):  # In a shared one more turns would come to nothing.
            if bucket != known_open and self.is_shut(bucket, function_id, now_ms):
                return bucket
        return None

    def _ask(self, queue: _Queue) -> None:
        first = queue.buckets[0] if queue.buckets else pause_bucket(queue.function_id)
        self._watch(queue, first)
        self._stirred[first] = None

    def _watch(self, queue: _Queue, bucket: str) -> None:
        """Let a queue that is not empty watch the bucket, as the last of its turn if it did not before."""
        if queue.watched != bucket:
            self._unwatch(queue)
            queue.watched = bucket
            watchers = self._watchers.get(bucket)
            if watchers is None:
                watchers = self._watchers[bucket] = _Watchers()
            watchers.count += 1
            if kind_of(bucket) == "t":
                self._metered[bucket] = None
        queue.entry = next(self._numbers)
        groups = self._watchers[bucket].functions.setdefault(queue.function_id, OrderedDict())
        head = self._head(queue)
        assert head is not None
        heapq.heappush(groups.setdefault(queue.steps, []), (head, queue.entry, queue))

    def _unwatch(self, queue: _Queue) -> None:
        if queue.watched is None:
            return
        watchers = self._watchers[queue.watched]
        watchers.count -= 1
        if not watchers.count:
            del self._watchers[queue.watched]  # With the leftovers.
        queue.watched = None
        queue.entry = 0

    def _close(self, queue: _Queue) -> None:
        """Forget a queue that is empty."""
        self._unwatch(queue)
        del self._queues[queue.function_id, queue.steps, queue.starts]

    def _head(self, queue: _Queue) -> Rank | None:
        heap = queue.heap
        while heap and self._waiting.get(heap[0][2]) is not queue:
            heapq.heappop(heap)
        return heap[0] if heap else None

    def _take_first(self, queue: _Queue, now_ms: int) -> str:
        item_id = heapq.heappop(queue.heap)[2]
        del self._waiting[item_id]
        self._take(item_id, queue.function_id, queue.steps, queue.starts, now_ms)
        if self._head(queue) is None:
            self._close(queue)
        else:
            assert queue.watched is not None
            self._watch(queue, queue.watched)
        return item_id

    def _take(self, item_id: str, function_id: str, steps: Buckets, starts: Buckets, now_ms: int) -> None:
        self._granted[item_id] = steps, starts
        if steps:
            self.hold(item_id, steps)
        kept: list[str] = []
        for bucket in starts:
            if kind_of(bucket) == "t":
                self._unsent[bucket] += 1  # Whoever waits for it gets an alarm when this one is sent.
            else:
                kept.append(bucket)
        if kept:
            self.hold(run_of(item_id), tuple(kept))

    # A throttle is of one function, which its name says.

    def _may_start(self, bucket: str, now_ms: int) -> bool:
        """Whether one of those that a throttle was granted to may start now."""
        rate, tat_ns = self._rate_of(bucket, bucket.split("/")[1]), self._tats_ns.get(bucket, 0)
        return rate is None or throttle.opens_at_ms(rate, tat_ns, now_ms) <= now_ms

    def _use(self, bucket: str, now_ms: int) -> None:
        rate = self._rate_of(bucket, bucket.split("/")[1])
        if rate is not None:
            self._tats_ns[bucket] = throttle.start(rate, self._tats_ns.get(bucket, 0), now_ms)

    def _leave(self, bucket: str) -> None:
        """One that a throttle was granted to is sent, or will not be."""
        self._unsent[bucket] -= 1
        if not self._unsent[bucket]:
            del self._unsent[bucket]
        self._metered[bucket] = None


def run_of(item_id: str) -> str:
    """The run whose item it is."""
    return item_id.partition(".")[0]


def _by_sharing(bucket: str) -> int:
    return _SHARED_FIRST.get(kind_of(bucket), 2 + bool(bucket.rpartition("/")[2]))
