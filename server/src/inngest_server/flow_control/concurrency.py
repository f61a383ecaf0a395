"""Slots of limits: who holds them, who waits, and who is next.

A *bucket* counts the slots of one limit (and key value). An item needs a slot in every bucket of its set,
all or none. Items that cannot have theirs are parked in one queue per distinct set, oldest first. Invariant:
the set of a queue that is not empty has a full bucket, so a free slot never lies beside an item that could
use it.

Slots are held by name (bucket, item), so taking and releasing may be repeated. Nothing here is stored: the
holders are the sent items and the waiters the parked ones, and loading them builds this table again.
"""

import heapq
from collections.abc import Callable, Iterable

Rank = tuple[int, str, str]
"""Order among waiters: when the run was made, its event, then the item's id."""


class SlotTable:
    """The buckets of one shard.

    `limit_of` gives the present limit of a bucket; None when the limit no longer exists, which frees all.
    """

    def __init__(self, limit_of: Callable[[str], int | None]) -> None:
        self._limit_of = limit_of
        self._holders: dict[str, dict[str, None]] = {}
        self._held: dict[str, tuple[str, ...]] = {}
        self._parked: dict[str, tuple[str, ...]] = {}
        self._queues: dict[tuple[str, ...], list[tuple[Rank, str]]] = {}
        self._queues_of: dict[str, dict[tuple[str, ...], None]] = {}

    def holders(self, bucket: str) -> int:
        return len(self._holders.get(bucket, ()))

    def is_holding(self, item_id: str) -> bool:
        return item_id in self._held

    def buckets_of(self, item_id: str) -> tuple[str, ...]:
        """The set that the item holds or waits for; empty if it does neither."""
        return self._held.get(item_id) or self._parked.get(item_id) or ()

    def hold(self, item_id: str, buckets: tuple[str, ...]) -> None:
        """Let the item hold its slots whatever the limits say: it was sent when they allowed it."""
        self._held[item_id] = buckets
        for bucket in buckets:
            self._holders.setdefault(bucket, {})[item_id] = None

    def park(self, item_id: str, buckets: tuple[str, ...], rank: Rank) -> None:
        """Queue the item for its set. Call `grant` afterwards: the set may be free."""
        if item_id in self._parked:
            return
        self._parked[item_id] = buckets
        queue = self._queues.get(buckets)
        if queue is None:
            queue = self._queues[buckets] = []
            for bucket in buckets:
                self._queues_of.setdefault(bucket, {})[buckets] = None
        heapq.heappush(queue, (rank, item_id))

    def release(self, item_id: str) -> tuple[str, ...]:
        """Give back what the item holds, or leave the queue; returns the buckets that may be free now."""
        self._parked.pop(item_id, None)  # Its entry in the heap is skipped when it comes up.
        buckets = self._held.pop(item_id, ())
        for bucket in buckets:
            holders = self._holders[bucket]
            del holders[item_id]
            if not holders:
                del self._holders[bucket]
        return buckets

    def grant(self, buckets: Iterable[str]) -> list[str]:
        """Give free slots in these buckets to the oldest waiters that need them; returns who holds now.

        A queue whose other buckets are full is passed over, so a wake-up it cannot use goes to the next.
        """
        granted: list[str] = []
        for bucket in buckets:
            while not self._is_full(bucket):
                queue = self._first_ready(bucket)
                if queue is None:
                    break
                granted.append(self._take_first(queue))
        return granted

    def waited_for(self) -> list[str]:
        """Buckets that somebody waits for."""
        return list(self._queues_of)

    def parked_in(self, prefix: str) -> list[str]:
        """Items parked for a bucket whose name begins so, oldest first."""
        found = {  # Who came back to a queue it had left may stand in it twice.
            entry
            for buckets, queue in self._queues.items()
            if any(bucket.startswith(prefix) for bucket in buckets)
            for entry in queue
            if self._parked.get(entry[1]) == buckets
        }
        return [item_id for _, item_id in sorted(found)]

    def _is_full(self, bucket: str) -> bool:
        limit = self._limit_of(bucket)
        return limit is not None and self.holders(bucket) >= limit

    def _first_ready(self, bucket: str) -> tuple[str, ...] | None:
        """The queue with the oldest head among those that need the bucket and whose whole set is free."""
        best: tuple[tuple[Rank, str], tuple[str, ...]] | None = None
        for buckets in list(self._queues_of.get(bucket, ())):
            head = self._head(buckets)
            if head is None or (best is not None and best[0] <= head):
                continue
            if not any(self._is_full(other) for other in buckets):
                best = (head, buckets)
        return best[1] if best is not None else None

    def _head(self, buckets: tuple[str, ...]) -> tuple[Rank, str] | None:
        queue = self._queues[buckets]
        while queue and self._parked.get(queue[0][1]) != buckets:
            heapq.heappop(queue)
        if queue:
            return queue[0]
        del self._queues[buckets]
        for bucket in buckets:
            queues = self._queues_of[bucket]
            del queues[buckets]
            if not queues:
                del self._queues_of[bucket]
        return None

    def _take_first(self, buckets: tuple[str, ...]) -> str:
        _, item_id = heapq.heappop(self._queues[buckets])
        del self._parked[item_id]
        self.hold(item_id, buckets)
        return item_id
