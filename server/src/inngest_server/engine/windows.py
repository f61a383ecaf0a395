"""Windows in memory: events that are collected before a run is made of them, and how one is taken in.

Adding an event costs the same however many a window has: the row, with all its ids, is made once for each
commit. Bodies stay in memory within a bound; those of the window that was added to longest ago are dropped
first, and read again when it closes (`closing.py`). Dropping waits for the commit, so that what is not in
memory is on disk.

A window that is due takes no more. It stays here until a run was made of it; an event that comes meanwhile
opens another one with the same name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from inngest_server.engine.facts import Pending, WindowDue
from inngest_server.events.event import Event
from inngest_server.events.expressions import compile_expression
from inngest_server.flow_control import batch, debounce
from inngest_server.flow_control.keys import KeyValue, hash_of, key_value
from inngest_server.flow_control.records import WindowKind, WindowRow
from inngest_server.runs.placement import shard_of
from inngest_server.wire import ulid
from inngest_server.wire.hashing import stable_hash64
from inngest_server.wire.shared import shared

if TYPE_CHECKING:
    from inngest_server.engine.starts import Start
    from inngest_server.engine.timers import Timers
    from inngest_server.engine.work import Work

KEY_CHARS_SHOWN = 200
"""Of a key's value, where a row keeps it for people only."""
EVENT_BYTES = 600
"""Roughly what an event takes of memory besides its body."""


class Window:
    """An open window; what its fields mean is told by `WindowRow`."""

    __slots__ = (
        "alarm_ms",
        "callers",
        "deadline_ms",
        "due_at_ms",
        "event_ids",
        "function_id",
        "id",
        "is_stored",
        "kept",
        "key_value",
        "kind",
        "max_size",
        "newest_ts_ms",
        "opened_at_ms",
        "period_ms",
        "shard",
        "since_ms",
        "size_bytes",
    )

    def __init__(self, row: WindowRow, *, is_stored: bool) -> None:
        self.id = row.window_id
        self.shard = row.shard
        self.function_id = shared(row.function_id)
        self.kind = WindowKind(row.kind)
        self.key_value = row.key_value
        self.opened_at_ms = row.opened_at_ms
        self.due_at_ms = row.due_at_ms
        self.deadline_ms = row.deadline_ms
        self.period_ms = row.period_ms
        self.max_size = row.max_size
        self.size_bytes = row.size_bytes
        self.newest_ts_ms = row.newest_ts_ms
        self.event_ids = row.event_ids.split("\n") if row.event_ids else []
        self.callers = row.callers.split("\n") if row.callers else None
        self.kept: list[Event] | None = None
        """Those of its events whose bodies are in memory."""
        self.alarm_ms = 0
        """The moment of its timer, which is not moved when the window's own moment is: it fires, and is set
        again."""
        self.is_stored = is_stored
        self.since_ms = row.opened_at_ms
        """When the first of the events came that it has now; after a restart it may be too early."""

    @property
    def name(self) -> str:
        """As `name_of`."""
        return self.id.partition(".")[2]

    @property
    def ulid(self) -> str:
        """What sets it apart from the others of its name; in the order in which windows opened."""
        return self.id.partition(".")[0]

    @property
    def count(self) -> int:
        return len(self.event_ids)

    @property
    def missing(self) -> list[str]:
        """Internal ids of the events whose bodies are not in memory."""
        kept = {event.internal_id for event in self.kept or ()}
        return [internal_id for internal_id in self.event_ids if internal_id not in kept]

    def row(self) -> WindowRow:
        return WindowRow(
            self.id,
            self.shard,
            self.function_id,
            self.kind.value,
            self.key_value,
            self.opened_at_ms,
            self.due_at_ms,
            self.deadline_ms,
            self.period_ms,
            self.max_size,
            self.size_bytes,
            self.newest_ts_ms,
            "\n".join(self.event_ids),
            "\n".join(self.callers or ()),
        )


class Windows:
    """All windows of a node."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._all: dict[str, Window] = {}
        """By id, in the order of their `since_ms`."""
        self._open: dict[str, Window] = {}
        """Those that may take events, by name."""
        self._changed: dict[str, Window] = {}
        self._kept: OrderedDict[str, int] = OrderedDict()
        """Bytes of kept events by window, the one that was added to last at the end."""
        self.kept_bytes = 0
        self._opened = 0
        """Since memory was loaded; of two windows that close at one moment, the earlier number is first."""

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Window]:
        return iter(self._all.values())

    def clear(self) -> None:
        self._all.clear()
        self._open.clear()
        self._changed.clear()
        self._kept.clear()
        self.kept_bytes = 0

    def next_id(self, name: str, first_event_id: str, now_ms: int) -> str:
        """The id of a window that opens now."""
        self._opened = (self._opened + 1) & 0xFFFF_FFFF
        cause = stable_hash64(f"{name}/{first_event_id}").to_bytes(8, "big")
        return f"{ulid.encode(now_ms, self._opened.to_bytes(4, 'big') + cause[:6])}.{name}"

    def find(self, window_id: str) -> Window | None:
        return self._all.get(window_id)

    def find_open(self, name: str, now_ms: int) -> Window | None:
        """The window of that name that takes events at this moment."""
        window = self._open.get(name)
        return window if window is not None and window.due_at_ms > now_ms else None

    def oldest_ms(self) -> int | None:
        """From when on their events came."""
        oldest = next(iter(self._all.values()), None)
        return oldest.since_ms if oldest is not None else None

    def load(self, rows: list[WindowRow], timers: Timers) -> None:
        """Take in what is stored."""
        for row in sorted(rows, key=lambda row: (row.opened_at_ms, row.window_id)):
            self.add(Window(row, is_stored=True), timers)

    def add(self, window: Window, timers: Timers) -> None:
        self._all[window.id] = window
        known = self._open.get(window.name)
        if known is None or known.due_at_ms <= window.due_at_ms:
            self._open[window.name] = window
        self.arm(window, timers)

    def arm(self, window: Window, timers: Timers) -> None:
        """Set the timer of a window to its present moment."""
        window.alarm_ms = window.due_at_ms
        timers.set(window.due_at_ms, "window", "", window.id)

    def is_armed(self, window_id: str, due_ms: int) -> bool:
        """Whether a timer of that moment still means something."""
        window = self._all.get(window_id)
        return window is not None and window.alarm_ms == due_ms

    def keep(self, window: Window, event: Event) -> None:
        """Note an event of a window with its body; for a debounce it replaces the one before."""
        if window.kind is WindowKind.DEBOUNCE:
            self._drop(window)
        if window.kept is None:
            window.kept = []
        window.kept.append(event)
        size = EVENT_BYTES + len(event.body)
        self._kept[window.id] = self._kept.pop(window.id, 0) + size
        self.kept_bytes += size

    def _drop(self, window: Window) -> None:
        window.kept = None
        self.kept_bytes -= self._kept.pop(window.id, 0)

    def renew(self, window: Window, now_ms: int) -> None:
        """Note that a debounce needs none of its former events any more: it may be pushed back for ever."""
        window.since_ms = now_ms
        self._all[window.id] = self._all.pop(window.id)

    def change(self, window: Window) -> None:
        """Its row goes into the next batch."""
        self._changed[window.id] = window

    def forget(self, window: Window) -> None:
        del self._all[window.id]
        self._changed.pop(window.id, None)
        self._drop(window)
        if self._open.get(window.name) is window:
            del self._open[window.name]

    def remove(self, work: Work, window: Window) -> None:
        """Forget a window of which a run is made, here and on disk."""
        self.forget(window)
        if window.is_stored:
            work.batch.remove(WindowRow, window.id, window.shard)
            work.owns(window.shard)

    def store(self, work: Work) -> None:
        """Put the rows of changed windows into the batch; call before it is committed."""
        for window in self._changed.values():
            work.put(window.row())
            window.is_stored = True
        self._changed.clear()

    def trim(self) -> None:
        """Drop bodies beyond the bound; call when all changes are durable."""
        while self.kept_bytes > self._bytes_max and self._kept:
            self._drop(self._all[next(iter(self._kept))])


def take_batch(work: Work, start: Start, event: dict[str, Any], now_ms: int) -> bool:
    """Add an event to the batch of its key; False if it is to run alone. `event` is its parsed body."""
    limit = start.function.config.batch
    if limit is None or not batch.takes(limit, event, now_ms):
        return False
    windows, body = work.live.windows, start.event.body
    key = key_value(compile_expression(limit.key) if limit.key else None, event, now_ms)
    name = name_of(start.function.id, WindowKind.BATCH, key)
    window = windows.find_open(name, now_ms)
    if window is not None and start.event.repeatable and start.event.internal_id in window.event_ids:
        return True  # The same request came again.
    taken = batch.collect(limit, window, len(body), now_ms)
    if window is None:
        window = _open(work, start, WindowKind.BATCH, name, key, now_ms)
        window.max_size, window.period_ms, window.due_at_ms = (
            limit.max_size,
            limit.timeout_ms,
            taken.due_at_ms,
        )
        windows.add(window, work.live.timers)
    window.due_at_ms, window.size_bytes = taken.due_at_ms, taken.size_bytes
    window.newest_ts_ms = max(window.newest_ts_ms, start.event.ts_ms)
    window.event_ids.append(start.event.internal_id)
    windows.keep(window, start.event)
    windows.change(window)
    if batch.is_due(window, now_ms):
        # A fact of its own: if it raises, that is no fault of the event.
        work.told.append(Pending(WindowDue(window.id)))
    return True


def take_debounce(work: Work, start: Start, event: dict[str, Any], now_ms: int) -> bool:
    """Let an event open or push back the window of its key; False if its function debounces nothing."""
    limit = start.function.config.debounce
    if limit is None:
        return False
    windows = work.live.windows
    key = key_value(compile_expression(limit.key) if limit.key else None, event, now_ms)
    name = name_of(start.function.id, WindowKind.DEBOUNCE, key)
    window = windows.find_open(name, now_ms)
    taken = debounce.collect(limit, window, start.event.ts_ms, now_ms)
    if window is None:
        window = _open(work, start, WindowKind.DEBOUNCE, name, key, now_ms)
        window.period_ms, window.deadline_ms = limit.period_ms, taken.deadline_ms
        window.due_at_ms = taken.due_at_ms
        windows.add(window, work.live.timers)
    window.due_at_ms = taken.due_at_ms
    if taken.is_newest:
        window.event_ids = [start.event.internal_id]
        window.newest_ts_ms, window.size_bytes = start.event.ts_ms, len(start.event.body)
        windows.keep(window, start.event)
        windows.renew(window, now_ms)
    if start.parent is not None:
        window.callers = [*(window.callers or ()), start.parent]
    windows.change(window)
    return True


def name_of(function_id: str, kind: WindowKind, key: KeyValue) -> str:
    """What windows of one function, kind and key have in common; short, because there may be very many."""
    return hash_of(f"{function_id}/{kind.value}/{key.hash}")


def _open(work: Work, start: Start, kind: WindowKind, name: str, key: KeyValue, now_ms: int) -> Window:
    """A new window, still without its moment and its first event."""
    function_id = start.function.id
    row = WindowRow(
        window_id=work.live.windows.next_id(name, start.event.internal_id, now_ms),
        shard=shard_of(function_id, work.shard_count),
        function_id=function_id,
        kind=kind.value,
        key_value=key.text[:KEY_CHARS_SHOWN],
        opened_at_ms=now_ms,
        due_at_ms=now_ms,
        deadline_ms=None,
        period_ms=0,
        max_size=0,
        size_bytes=0,
        newest_ts_ms=start.event.ts_ms,
        event_ids="",
        callers="",
    )
    return Window(row, is_stored=False)
