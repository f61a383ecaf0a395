"""Rows of registered apps and their functions."""

from typing import NamedTuple


class AppRow(NamedTuple):
    """A registered app. Key: `app_id`."""

    app_id: str
    shard: int
    name: str
    url: str
    sdk: str
    framework: str
    app_version: str
    checksum: str
    error: str
    """Why the last sync failed, for people; empty when it did not."""
    synced_at_ms: int
    archived_at_ms: int | None
    autodiscovered: int
    """1 when this server found the app by itself, as in development."""
    takes_input: int
    """1 when its SDK executes a step with an edited input instead of its own."""


class FunctionRow(NamedTuple):
    """A function of an app, kept when archived. Key: `function_id`."""

    function_id: str
    shard: int
    app_id: str
    slug: str
    """Composite id `<app>-<function>`."""
    version: int
    config: bytes
    """The configuration as it was registered."""
    created_at_ms: int
    archived_at_ms: int | None


class CronRow(NamedTuple):
    """A schedule of a function. Key: `cron_id`, derived from the function and the cron text."""

    cron_id: str
    shard: int
    function_id: str
    expression: str
    last_slot_ms: int
    """The latest slot that was decided, fired or skipped."""
    next_slot_ms: int
    fires_at_ms: int
    """`next_slot_ms` and its jitter."""
