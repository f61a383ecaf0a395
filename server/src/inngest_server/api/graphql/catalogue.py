"""Apps and functions as GraphQL shows them."""

from typing import Any

from inngest_server.api.graphql.session import Session
from inngest_server.apps.config import (
    RETRIES_DEFAULT,
    ConcurrencyLimit,
    CronTrigger,
    FunctionConfig,
    Trigger,
)
from inngest_server.apps.options import ConcurrencyScope
from inngest_server.apps.records import AppRow
from inngest_server.apps.urls import CONNECT_SCHEMES
from inngest_server.engine.functions import Function
from inngest_server.wire import json
from inngest_server.wire.durations import format_go_duration
from inngest_server.wire.hashing import stable_hash64

SCOPES = {
    ConcurrencyScope.FN: "FUNCTION",
    ConcurrencyScope.ENV: "ENVIRONMENT",
    ConcurrencyScope.ACCOUNT: "ACCOUNT",
}
NO_LIMIT: dict[str, Any] = {"scope": "ACCOUNT", "limit": {"value": -1, "isPlanLimit": True}, "key": None}
"""What a function without any limit shows."""
NOT_SAID = {"ready": False, "reason": 0}
UNREACHABLE = "unreachable"


# Apps


def list_apps(session: Session, filter: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    method = (filter or {}).get("method")
    shown = [show_app(session, app) for app in session.catalogue.active_apps()]
    return [app for app in shown if method is None or app["method"] == method]


def find_app(session: Session, id: str) -> dict[str, Any] | None:
    app = session.catalogue.apps.get(id)
    return show_app(session, app) if app is not None and app.archived_at_ms is None else None


def show_app(session: Session, app: AppRow) -> dict[str, Any]:
    known = session.shown.get(("app", app.app_id))
    if known is not None:
        return known
    language, _, version = app.sdk.partition(":")
    functions = session.catalogue.active_functions(app.app_id)
    shown: dict[str, Any] = {
        "id": app.app_id,
        "externalID": app.name,
        "name": app.name,
        "sdkLanguage": language,
        "sdkVersion": version,
        "framework": app.framework or None,
        "url": app.url or None,
        "checksum": app.checksum or None,
        "error": _error_of(app),
        "functions": lambda: [show_function(session, one) for one in functions],
        "method": "CONNECT" if app.url.partition(":")[0] in CONNECT_SCHEMES else "SERVE",
        "appVersion": app.app_version or None,
        "sdkFeatureReadiness": {"aiMetadataExtraction": NOT_SAID, "extendedTraces": NOT_SAID},
        "connected": not app.error,
        "functionCount": len(functions),
        "autodiscovered": bool(app.autodiscovered),
    }
    session.shown["app", app.app_id] = shown
    return shown


def _error_of(app: AppRow) -> str | None:
    """The interface offers to mend the URL where this is exactly `unreachable`; all else it only shows."""
    is_unreachable = app.error.partition(":")[0] == UNREACHABLE
    return UNREACHABLE if is_unreachable else app.error or None


# Functions


def list_functions(session: Session) -> list[dict[str, Any]]:
    return [show_function(session, function) for function in session.catalogue.active_functions()]


def find_function(session: Session, query: dict[str, Any]) -> dict[str, Any] | None:
    """By slug; one that was archived is found too, because its runs are still there."""
    function = session.catalogue.find(query["functionSlug"])
    return show_function(session, function) if function is not None else None


def show_function(session: Session, function: Function) -> dict[str, Any]:
    known = session.shown.get(("function", function.id))
    if known is not None:
        return known
    config, app_id = function.config, function.row.app_id
    shown: dict[str, Any] = {
        "id": function.id,
        "name": config.name,
        "slug": function.row.slug,
        "failureHandler": lambda: _failure_handler(session, function),
        "config": lambda: json.dumps(normalized_config(function)).decode(),
        "configuration": lambda: _configuration(config),
        "concurrency": config.concurrency[0].limit if config.concurrency else 0,
        "triggers": [_show_trigger(trigger) for trigger in config.triggers],
        "url": config.url,
        "appID": app_id,
        "app": lambda: show_app(session, session.catalogue.apps[app_id]),
    }
    session.shown["function", function.id] = shown
    return shown


def _failure_handler(session: Session, function: Function) -> dict[str, Any] | None:
    handler = session.catalogue.failure_handlers.get((function.row.app_id, function.row.slug))
    return show_function(session, handler) if handler is not None else None


def _show_trigger(trigger: Trigger) -> dict[str, Any]:
    if isinstance(trigger, CronTrigger):
        return {"type": "CRON", "value": trigger.cron, "condition": None}
    return {"type": "EVENT", "value": trigger.event, "condition": trigger.expression}


def _configuration(config: FunctionConfig) -> dict[str, Any]:
    batch, rate, debounce = config.batch, config.rate_limit, config.debounce
    throttle, singleton = config.throttle, config.singleton
    return {
        "cancellations": [
            {"event": one.event, "timeout": one.timeout_text, "condition": one.if_expression}
            for one in config.cancel
        ],
        "retries": {"value": config.retries, "isDefault": config.retries == RETRIES_DEFAULT},
        "priority": config.priority_key,
        "eventsBatch": batch
        and {
            "maxSize": batch.max_size,
            "timeout": format_go_duration(batch.timeout_ms),
            "key": batch.key,
        },
        "concurrency": [_show_limit(limit) for limit in config.concurrency] or [NO_LIMIT],
        "rateLimit": rate
        and {"limit": rate.limit, "period": format_go_duration(rate.period_ms), "key": rate.key},
        "debounce": debounce and {"period": format_go_duration(debounce.period_ms), "key": debounce.key},
        "throttle": throttle
        and {
            "burst": throttle.burst,
            "key": throttle.key,
            "limit": throttle.limit,
            "period": format_go_duration(throttle.period_ms),
        },
        "singleton": singleton and {"mode": singleton.mode.name, "key": singleton.key},
    }


def _show_limit(limit: ConcurrencyLimit) -> dict[str, Any]:
    return {
        "scope": SCOPES[limit.scope],
        "limit": {"value": limit.limit, "isPlanLimit": False},
        "key": limit.key,
    }


def normalized_config(function: Function) -> dict[str, Any]:
    """The whole configuration with defaults filled in, durations in Go's spelling, and where it is called."""
    config = function.config
    batch, rate, debounce = config.batch, config.rate_limit, config.debounce
    throttle, singleton, timeouts = config.throttle, config.singleton, config.timeouts
    options: dict[str, Any] = {
        "concurrency": [_normalized_limit(limit) for limit in config.concurrency],
        "throttle": throttle and {**throttle.to_json(), "period": format_go_duration(throttle.period_ms)},
        "rateLimit": rate and {**rate.to_json(), "period": format_go_duration(rate.period_ms)},
        "idempotency": config.idempotency,
        "debounce": debounce
        and {
            **debounce.to_json(),
            "period": format_go_duration(debounce.period_ms),
            **_durations(timeout=debounce.timeout_ms),
        },
        "batchEvents": batch and {**batch.to_json(), "timeout": format_go_duration(batch.timeout_ms)},
        "priority": {"run": config.priority_key} if config.priority_key else None,
        "cancel": [cancel.to_json() for cancel in config.cancel],
        "timeouts": _durations(start=timeouts.start_ms, finish=timeouts.finish_ms),
        "singleton": singleton and singleton.to_json(),
        "checkpoint": config.checkpoint,
    }
    return {
        "id": function.id,
        "fv": function.row.version,
        "name": config.name,
        "slug": function.row.slug,
        "triggers": [trigger.to_json() for trigger in config.triggers],
        **{name: option for name, option in options.items() if option},
        "steps": [
            {
                "id": "step",
                "name": config.name,
                "uri": function.discovery_url or config.url,
                "retries": config.retries,
            }
        ],
    }


def _normalized_limit(limit: ConcurrencyLimit) -> dict[str, Any]:
    return {**limit.to_json(), "hash": f"{stable_hash64(limit.key or ''):016x}"}


def _durations(**durations_ms: int | None) -> dict[str, str]:
    return {name: format_go_duration(ms) for name, ms in durations_ms.items() if ms is not None}
