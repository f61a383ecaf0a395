"""Which options of a function this server accepts and shows, but does not enforce yet.

The names: an option is enforced when *every* name it needs is in the enforced set. A concurrency limit
needs `concurrency.step` or `concurrency.fn` for its level, and besides `concurrency.key` if it has a key
and `concurrency.scope:env` or `concurrency.scope:account` if it is shared between functions. So a server
that holds `concurrency.step` and `concurrency.key` enforces `{"limit": 5, "key": "event.data.user"}`, and
neither limits of whole runs nor shared ones. The other options have one name each, that of the register
body, except that both timeouts and both features of a cron stand alone.
"""

from collections.abc import Iterator

from inngest_server.apps.config import ConcurrencyLevel, ConcurrencyLimit, ConcurrencyScope, FunctionConfig

__all__ = ["OPTIONS", "unenforced_options"]

OPTIONS = (
    "triggers.cron",
    "triggers.cron.jitter",
    "concurrency.step",
    "concurrency.fn",
    "concurrency.key",
    "concurrency.scope:env",
    "concurrency.scope:account",
    "throttle",
    "rateLimit",
    "idempotency",
    "debounce",
    "batchEvents",
    "priority",
    "cancel",
    "timeouts.start",
    "timeouts.finish",
    "singleton",
)
"""Every name, in the order in which `unenforced_options` gives them."""


def unenforced_options(config: FunctionConfig, enforced: frozenset[str]) -> tuple[str, ...]:
    """The names of configured options that `enforced` lacks, each once, in the order of `OPTIONS`.

    Options that have no effect by rule (`rateLimit` beside `idempotency`, either beside a batch) and
    `checkpoint`, which no server acts on, are not told.
    """
    missing = frozenset(_configured(config)) - enforced
    return tuple(name for name in OPTIONS if name in missing)


def _configured(config: FunctionConfig) -> Iterator[str]:
    rate_limit = config.effective_rate_limit
    present = {
        "triggers.cron": bool(config.cron_triggers),
        "triggers.cron.jitter": any(trigger.jitter_ms for trigger in config.cron_triggers),
        "throttle": config.throttle is not None,
        "rateLimit": rate_limit is not None and config.idempotency is None,
        "idempotency": rate_limit is not None and config.idempotency is not None,
        "debounce": config.debounce is not None,
        "batchEvents": config.batch is not None,
        "priority": config.priority_key is not None,
        "cancel": bool(config.cancel),
        "timeouts.start": config.timeouts.start_ms is not None,
        "timeouts.finish": config.timeouts.finish_ms is not None,
        "singleton": config.singleton is not None,
    }
    yield from (name for name, is_set in present.items() if is_set)
    for limit in config.concurrency:
        yield from _names_of_limit(limit)


def _names_of_limit(limit: ConcurrencyLimit) -> Iterator[str]:
    yield "concurrency.fn" if limit.level is ConcurrencyLevel.RUN else "concurrency.step"
    if limit.key is not None:
        yield "concurrency.key"
    if limit.scope is not ConcurrencyScope.FN:
        yield f"concurrency.scope:{limit.scope.value}"
