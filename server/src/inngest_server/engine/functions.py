"""The functions this node knows, ready for use: triggers indexed, expressions compiled, URLs made.

Shared by all shards of a node and changed only when a sync was committed or the catalogue was loaded.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from inngest_server.apps.config import ConcurrencyLimit, FunctionConfig, Throttle
from inngest_server.apps.records import AppRow, FunctionRow
from inngest_server.apps.urls import call_url
from inngest_server.events.match import TriggerIndex
from inngest_server.flow_control.concurrency import Counted, counted
from inngest_server.flow_control.parking import Buckets, kind_of
from inngest_server.flow_control.rate_limit import RateRule, rate_rule
from inngest_server.flow_control.singleton import SingletonRule, singleton_rule
from inngest_server.flow_control.throttle import Rate, Throttled, throttled
from inngest_server.wire import json

NO_BUCKETS: tuple[Buckets, Buckets] = ((), ())


class Former(NamedTuple):
    """Limits of a function under a configuration that it had before its keys changed."""

    concurrency: tuple[ConcurrencyLimit, ...]
    throttle: Throttle | None


@dataclass(frozen=True, slots=True)
class Function:
    """A function as it is registered now."""

    row: FunctionRow
    config: FunctionConfig
    app_name: str
    discovery_url: str
    limits: tuple[Counted, ...]
    """Of concurrency."""
    throttle: Throttled | None
    former_limits: tuple[Counted, ...] = ()
    """Those by which runs still count, beside the present ones, until they are re-keyed (`rekeying.py`)."""
    former_throttles: tuple[Throttled, ...] = ()
    rate: RateRule | None = None
    """By which its starts are dropped."""
    singleton: SingletonRule | None = None
    fixed_buckets: tuple[Buckets, Buckets] | None = None
    """Those of a request and those of a start, where they are the same for every event."""

    @property
    def id(self) -> str:
        return self.row.function_id

    @property
    def is_active(self) -> bool:
        return self.row.archived_at_ms is None

    @property
    def has_start_rules(self) -> bool:
        """Whether an event may be collected or dropped before a run is made."""
        return self.rate is not None or self.collects_events

    @property
    def collects_events(self) -> bool:
        """Whether runs are made when a window closes."""
        return self.config.batch is not None or self.config.debounce is not None

    @property
    def has_keys(self) -> bool:
        """Whether the buckets of its requests depend on the event."""
        limits = (*self.limits, *self.former_limits, *self.former_throttles)
        return any(one.key is not None for one in limits) or (
            self.throttle is not None and self.throttle.key is not None
        )

    @property
    def is_limited(self) -> bool:
        """Whether its requests may have to wait for slots."""
        return self.fixed_buckets != NO_BUCKETS

    def step_buckets(self, event: dict[str, Any], now_ms: int) -> Buckets:
        """In which a request of a run on this event needs a slot; sorted."""
        limits = (*self.limits, *self.former_limits)
        return tuple(sorted({one.bucket(event, now_ms) for one in limits if not one.is_of_runs}))

    def run_buckets(self, event: dict[str, Any], now_ms: int) -> Buckets:
        """In which a run on this event needs a slot from its first request to its end; sorted."""
        limits = (*self.limits, *self.former_limits)
        return tuple(sorted({one.bucket(event, now_ms) for one in limits if one.is_of_runs}))

    def throttle_buckets(self, event: dict[str, Any], now_ms: int) -> Buckets:
        """By which the start of a run on this event is throttled; sorted."""
        throttles = (*((self.throttle,) if self.throttle else ()), *self.former_throttles)
        return tuple(sorted({one.bucket(event, now_ms) for one in throttles}))

    def start_buckets(self, event: dict[str, Any], now_ms: int) -> Buckets:
        """In which the start of a run on this event needs room besides; sorted."""
        return tuple(sorted((*self.run_buckets(event, now_ms), *self.throttle_buckets(event, now_ms))))


def make_function(row: FunctionRow, app_name: str, former: Sequence[Former] = ()) -> Function:
    """The usable form of a stored row, whose configuration was valid when it was stored."""
    config = FunctionConfig.from_json(json.parse(row.config))
    function_id = row.function_id
    function = Function(
        row,
        config,
        app_name,
        "" if config.is_connected else call_url(config.url, "step"),
        tuple(counted(function_id, limit) for limit in config.concurrency),
        throttled(function_id, config.throttle) if config.throttle else None,
        tuple(counted(function_id, limit) for one in former for limit in one.concurrency),
        tuple(throttled(function_id, one.throttle) for one in former if one.throttle),
        rate_rule(function_id, config),
        singleton_rule(function_id, config),
    )
    if function.has_keys:
        return function
    return replace(function, fixed_buckets=(function.step_buckets({}, 0), function.start_buckets({}, 0)))


class Functions:
    """Apps and functions by every name they are looked up by."""

    def __init__(self) -> None:
        self.apps: dict[str, AppRow] = {}
        self._by_id: dict[str, Function] = {}
        self._by_slug: dict[str, Function] = {}
        self._triggers = TriggerIndex[Function]()
        self._rate_limited = TriggerIndex[Function]()
        """The same for those with a rate limit alone."""
        self._limits: dict[tuple[str, str], int] = {}
        """By function and what the names of the buckets begin with."""
        self._rates: dict[tuple[str, str], Rate] = {}
        self._former: dict[str, Sequence[Former]] = {}

    def load(self, apps: Iterable[AppRow], functions: Iterable[FunctionRow]) -> None:
        """Replace everything that is known."""
        self.apps = {row.app_id: row for row in apps}
        self._former.clear()
        self._by_id = {row.function_id: make_function(row, self.apps[row.app_id].name) for row in functions}
        self._index()

    def put(self, app: AppRow, functions: Iterable[FunctionRow]) -> None:
        """Take in a committed sync."""
        self.apps[app.app_id] = app
        for row in functions:
            former = self._former.get(row.function_id, ())
            self._by_id[row.function_id] = make_function(row, app.name, former)
        self._index()

    def _index(self) -> None:
        # Two apps may register the same slug; of those in use the last one counts, before any archived one.
        known = sorted(self._by_id.values(), key=lambda one: one.is_active)
        self._by_slug = {function.row.slug: function for function in known}
        self._index_limits()
        self._triggers, self._rate_limited = TriggerIndex[Function](), TriggerIndex[Function]()
        for function in sorted(self.active(), key=lambda one: one.row.slug):
            for trigger in function.config.event_triggers:
                self._triggers.add(function, trigger.event, trigger.expression or "")
                if function.rate is not None:
                    self._rate_limited.add(function, trigger.event, trigger.expression or "")

    def find(self, slug_or_id: str) -> Function | None:
        """The function of that composite slug or id, archived or not."""
        return self._by_slug.get(slug_or_id) or self._by_id.get(slug_or_id)

    def get(self, function_id: str) -> Function:
        return self._by_id[function_id]

    def of_app(self, app_id: str) -> list[Function]:
        """All functions of an app, archived ones too, by slug."""
        found = [function for function in self._by_id.values() if function.row.app_id == app_id]
        return sorted(found, key=lambda one: one.row.slug)

    def all(self) -> list[Function]:
        """Archived ones too."""
        return list(self._by_id.values())

    def active(self) -> Iterator[Function]:
        return (function for function in self._by_id.values() if function.is_active)

    def is_subscribed(self, event_name: str) -> bool:
        return self._triggers.knows(event_name)

    def limits_rate(self, event_name: str) -> bool:
        """Whether a function with a rate limit may start on events of that name."""
        return self._rate_limited.knows(event_name)

    def match(self, event_name: str, event: dict[str, Any], now_ms: int) -> list[Function]:
        """Active functions that an event starts, in the order of their slugs per trigger name."""
        return self._triggers.match(event_name, event, now_ms)

    def match_rate_limited(self, event_name: str, event: dict[str, Any], now_ms: int) -> list[Function]:
        """Those of them that have a rate limit."""
        return self._rate_limited.match(event_name, event, now_ms)

    def limit_of(self, bucket: str, function_id: str) -> int | None:
        """The present limit of a bucket for a function; None when it has no such limit any more."""
        limit = self._limits.get((function_id, bucket.rpartition("/")[0]))
        return 1 if limit is None and kind_of(bucket) == "s" else limit

    def rate_of(self, bucket: str, function_id: str) -> Rate | None:
        """The present rate of a throttle's bucket for its function; None when it is throttled no more."""
        return self._rates.get((function_id, bucket.rpartition("/")[0]))

    def set_former(self, function_id: str, former: Sequence[Former]) -> None:
        """Let limits of former configurations count beside the present ones; none ends it."""
        function = self._by_id[function_id]
        self._former[function_id] = tuple(former)
        self._by_id[function_id] = make_function(function.row, function.app_name, former)
        self._index()

    def _index_limits(self) -> None:
        limits: dict[tuple[str, str], int] = {}
        rates: dict[tuple[str, str], Rate] = {}
        for function in self._by_id.values():
            present = {one.prefix for one in function.limits}
            former = (one for one in function.former_limits if one.prefix not in present)
            for one in (*function.limits, *former):
                # Two with the same key are one bucket; the stricter one counts.
                name = function.id, one.prefix
                limits[name] = min(one.limit, limits.get(name, one.limit))
            for throttle in (
                *function.former_throttles,
                *((function.throttle,) if function.throttle else ()),
            ):
                rates[function.id, throttle.prefix] = throttle.rate
        self._limits, self._rates = limits, rates
