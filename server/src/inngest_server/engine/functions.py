"""The functions this node knows, ready for use: triggers indexed, expressions compiled, URLs made.

Shared by all shards of a node and changed only when a sync was committed or the catalogue was loaded.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from inngest_server.apps.config import ConcurrencyLevel, ConcurrencyScope, FunctionConfig
from inngest_server.apps.records import AppRow, FunctionRow
from inngest_server.apps.urls import call_url
from inngest_server.events.expressions import EvaluationError, Expression, compile_expression
from inngest_server.events.match import TriggerIndex
from inngest_server.wire import json
from inngest_server.wire.hashing import stable_hash64

ENFORCED_OPTIONS = frozenset(
    {"triggers.cron", "triggers.cron.jitter", "concurrency.step", "concurrency.key", "cancel"}
)
"""Options whose rule this server applies; each sync names the others that it meets."""


@dataclass(frozen=True, slots=True)
class StepLimit:
    """A step-level concurrency limit of one function."""

    name: str
    """Function id and a hash of the key's text: what a bucket's name begins with."""
    limit: int
    key: Expression | None


@dataclass(frozen=True, slots=True)
class Function:
    """A function as it is registered now."""

    row: FunctionRow
    config: FunctionConfig
    app_name: str
    discovery_url: str
    limits: tuple[StepLimit, ...]

    @property
    def id(self) -> str:
        return self.row.function_id

    @property
    def is_active(self) -> bool:
        return self.row.archived_at_ms is None

    def buckets(self, event: dict[str, Any], now_ms: int) -> tuple[str, ...]:
        """The set of buckets in which a request of a run on this event needs a slot; sorted."""
        return tuple(sorted({f"{limit.name}/{_key_hash(limit.key, event, now_ms)}" for limit in self.limits}))


def _key_hash(key: Expression | None, event: dict[str, Any], now_ms: int) -> str:
    if key is None:
        return ""
    try:
        value = key.evaluate(event, None, now_ms)
    except EvaluationError:
        value = None  # As if the attribute were missing. Source: protocol 5.15.
    text = value if isinstance(value, str) else json.dumps(value).decode()
    return f"{stable_hash64(text):016x}"


def make_function(row: FunctionRow, app_name: str) -> Function:
    """The usable form of a stored row, whose configuration was valid when it was stored."""
    config = FunctionConfig.from_json(json.parse(row.config))
    limits = [
        StepLimit(
            name=f"{row.function_id}/{stable_hash64(limit.key or ''):016x}",
            limit=limit.limit,
            key=compile_expression(limit.key) if limit.key else None,
        )
        for limit in config.concurrency
        if limit.level is ConcurrencyLevel.STEP and limit.scope is ConcurrencyScope.FN and limit.limit > 0
    ]
    return Function(
        row, config, app_name, "" if config.is_connected else call_url(config.url, "step"), tuple(limits)
    )


class Functions:
    """Apps and functions by every name they are looked up by."""

    def __init__(self) -> None:
        self.apps: dict[str, AppRow] = {}
        self._by_id: dict[str, Function] = {}
        self._by_slug: dict[str, Function] = {}
        self._triggers = TriggerIndex[Function]()
        self._limits: dict[str, int] = {}

    def load(self, apps: Iterable[AppRow], functions: Iterable[FunctionRow]) -> None:
        """Replace everything that is known."""
        self.apps = {row.app_id: row for row in apps}
        self._by_id = {row.function_id: make_function(row, self.apps[row.app_id].name) for row in functions}
        self._index()

    def put(self, app: AppRow, functions: Iterable[FunctionRow]) -> None:
        """Take in a committed sync."""
        self.apps[app.app_id] = app
        for row in functions:
            self._by_id[row.function_id] = make_function(row, app.name)
        self._index()

    def _index(self) -> None:
        # Two apps may register the same slug; of those in use the last one counts, before any archived one.
        known = sorted(self._by_id.values(), key=lambda one: one.is_active)
        self._by_slug = {function.row.slug: function for function in known}
        self._limits = {}
        for function in self._by_id.values():
            for limit in function.limits:  # Two with the same key are one bucket; the stricter one counts.
                self._limits[limit.name] = min(limit.limit, self._limits.get(limit.name, limit.limit))
        self._triggers = TriggerIndex[Function]()
        for function in sorted(self.active(), key=lambda one: one.row.slug):
            for trigger in function.config.event_triggers:
                self._triggers.add(function, trigger.event, trigger.expression or "")

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

    def match(self, event_name: str, event: dict[str, Any], now_ms: int) -> list[Function]:
        """Active functions that an event starts, in the order of their slugs per trigger name."""
        return self._triggers.match(event_name, event, now_ms)

    def limit_of(self, bucket: str) -> int | None:
        """The present limit of a bucket; None when no function has such a limit any more."""
        return self._limits.get(bucket.rpartition("/")[0])
