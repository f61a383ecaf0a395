"""What a sync changes: the app, its functions and their versions, their schedules, and who may now run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from inngest_server.apps.config import FunctionConfig
from inngest_server.apps.diff import diff_sync
from inngest_server.apps.problems import Problem
from inngest_server.apps.records import AppRow, FunctionRow
from inngest_server.apps.registration import Registration
from inngest_server.apps.urls import normalize_app_url
from inngest_server.engine import crons, rekeying
from inngest_server.engine.facts import AppCameBack, FinishChanged
from inngest_server.engine.functions import Function
from inngest_server.runs.facts import AppReached
from inngest_server.runs.placement import shard_of
from inngest_server.wire import json
from inngest_server.wire.hashing import derived_uuid

if TYPE_CHECKING:
    from inngest_server.engine.work import Work


NOT_ANSWERED = "unreachable: the app has not announced itself yet"
"""Error of an app of which only the URL is known."""
HURRIED_MAX = 500
"""Calls of an app that came back which are told so between two batches."""


@dataclass(frozen=True, slots=True)
class SyncResult:
    app_id: str
    modified: bool
    warnings: tuple[Problem, ...]


def app_id_of(name: str) -> str:
    return derived_uuid("app", name)


def sync(work: Work, registration: Registration, now_ms: int) -> SyncResult:
    """Make the server's functions of an app those of its registration; the rest of them is archived."""
    app_id = app_id_of(registration.app_name)
    app = work.functions.apps.get(app_id)
    unchanged = (
        app is not None
        and app.checksum == registration.checksum
        and not app.error
        and app.archived_at_ms is None
    )
    if unchanged:
        return SyncResult(app_id, False, registration.warnings)
    shard_count = work.shard_count
    row = AppRow(
        app_id=app_id,
        shard=shard_of(app_id, shard_count),
        name=registration.app_name,
        url=registration.url,
        sdk=registration.sdk,
        framework=registration.framework,
        app_version=registration.app_version,
        checksum=registration.checksum,
        error="",
        synced_at_ms=now_ms,
        archived_at_ms=None,
        autodiscovered=0 if app is None else app.autodiscovered,
        takes_input=int(registration.takes_input),
    )
    work.put(row)
    replaced = [other for other in _apps_at(work, registration.url) if other.app_id != app_id]
    _archive(work, replaced, now_ms)
    _set_functions(work, row, registration.functions, now_ms)
    return SyncResult(app_id, True, registration.warnings)


def remove(work: Work, url: str, now_ms: int) -> bool:
    """Archive the apps at a URL with their functions; False if there is none."""
    apps = _apps_at(work, normalize_app_url(url))
    _archive(work, apps, now_ms)
    return bool(apps)


def add(work: Work, url: str, now_ms: int) -> str:
    """Keep a place for the app at a normalised URL; returns the id of the app that is there.

    Until the app announces itself, which archives this row, the URL is its name too.
    """
    for app in _apps_at(work, url):
        return app.app_id
    app_id = app_id_of(url)
    row = AppRow(
        app_id=app_id,
        shard=shard_of(app_id, work.shard_count),
        name=url,
        url=url,
        sdk="",
        framework="",
        app_version="",
        checksum="",
        error=NOT_ANSWERED,
        synced_at_ms=now_ms,
        archived_at_ms=None,
        autodiscovered=0,
        takes_input=0,
    )
    work.put(row)
    work.functions.put(row, ())
    return app_id


def move(work: Work, app_id: str, url: str) -> bool:
    """Keep the other, normalised URL of an app; False if there is none of that id.

    Its functions are called where they were until it announces itself there.
    """
    app = work.functions.apps.get(app_id)
    if app is None or app.archived_at_ms is not None:
        return False
    if app.url != url:
        row = app._replace(url=url, checksum="", error=NOT_ANSWERED)
        work.put(row)
        work.functions.put(row, ())
    return True


def delete(work: Work, app_id: str, now_ms: int) -> bool:
    """Archive an app with its functions; False if there is none of that id."""
    app = work.functions.apps.get(app_id)
    if app is None or app.archived_at_ms is not None:
        return False
    _archive(work, [app], now_ms)
    return True


def _apps_at(work: Work, url: str) -> list[AppRow]:
    """Apps in use at a normalised URL; one, unless a connected app has none."""
    apps = work.functions.apps.values()
    return [app for app in apps if url and app.url == url and app.archived_at_ms is None]


def _archive(work: Work, apps: list[AppRow], now_ms: int) -> None:
    """End the use of apps: removed ones, and those whose URL now serves an app of another name."""
    for app in apps:
        row = app._replace(archived_at_ms=now_ms, checksum="")
        work.put(row)
        _set_functions(work, row, (), now_ms)


def failed(work: Work, url: str, error: str, now_ms: int) -> None:
    """Keep why the app at a URL could not be synced, for people; its functions stay as they are."""
    for app in _apps_at(work, url):
        if app.error != error:
            row = app._replace(error=error)
            work.put(row)
            work.functions.put(row, ())


def discovered(work: Work, url: str) -> None:
    """Keep that the server found the app at a URL by itself."""
    for app in _apps_at(work, url):
        if not app.autodiscovered:
            row = app._replace(autodiscovered=1)
            work.put(row)
            work.functions.put(row, ())


def came_back(work: Work, fact: AppCameBack) -> None:
    """Let the calls that did not reach the app be tried at once, a slice at a time."""
    for app in _apps_at(work, fact.url):
        waiting = list(work.live.unreached.pop(app.app_id, ()))
        for item_id in waiting[:HURRIED_MAX]:
            work.tell(AppReached(item_id[:26], item_id))
        if len(waiting) > HURRIED_MAX:
            work.live.unreached[app.app_id] = dict.fromkeys(waiting[HURRIED_MAX:])
            work.tell(fact)


def _set_functions(work: Work, app: AppRow, configs: tuple[FunctionConfig, ...], now_ms: int) -> None:
    known = {function.row.slug: function for function in work.functions.of_app(app.app_id)}
    active = {slug: function for slug, function in known.items() if function.is_active}
    diff = diff_sync([function.config for function in active.values()], configs)
    rows: list[FunctionRow] = []
    for config in configs:
        if config.id in diff.added or config.id in diff.changed:
            rows.append(_function_row(work, app, config, known.get(config.id), now_ms))
    for slug in diff.removed:
        rows.append(active[slug].row._replace(archived_at_ms=now_ms))
    for row in rows:
        work.put(row)
    work.functions.put(app, rows)
    for row in rows:
        function = work.functions.get(row.function_id)
        crons.set_crons(work, function, now_ms)
        before = known.get(row.slug)
        if before is not None and before.config.timeouts.finish_ms != function.config.timeouts.finish_ms:
            work.tell(FinishChanged(function.id, list(work.live.shards), []))
        rekeying.configured(work, before, function, now_ms)


def _function_row(
    work: Work, app: AppRow, config: FunctionConfig, before: Function | None, now_ms: int
) -> FunctionRow:
    function_id = before.id if before else derived_uuid("function", app.name, config.id)
    return FunctionRow(
        function_id=function_id,
        shard=shard_of(function_id, work.shard_count),
        app_id=app.app_id,
        slug=config.id,
        version=before.row.version + 1 if before else 1,
        config=json.dumps(config.raw),
        created_at_ms=before.row.created_at_ms if before else now_ms,
        archived_at_ms=None,
    )


__all__ = [
    "SyncResult",
    "add",
    "app_id_of",
    "came_back",
    "delete",
    "discovered",
    "failed",
    "move",
    "remove",
    "sync",
]
