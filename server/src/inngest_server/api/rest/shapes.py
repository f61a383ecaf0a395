"""Events, runs, jobs and functions as the REST API shows them. Source: protocol 7.2.

Payloads are JSON texts already and are put into place as they are, so that a number keeps all its digits.
"""

from typing import Any

from inngest_server.apps.records import FunctionRow
from inngest_server.events.records import EventRow
from inngest_server.execution.driver import ACCOUNT_ID
from inngest_server.runs.records import ItemRow, RunRow
from inngest_server.wire import json
from inngest_server.wire.times import format_rfc3339

ENVIRONMENT_ID = "00000000-0000-4000-b000-000000000000"
"""The one environment there is (decisions, "environments"); the reference dev server calls it the same."""


def show_event(row: EventRow, body: bytes) -> bytes:
    """An event with its `body`, which brings the keys from `data` to `v`.

    `v` is null where the sender gave none. It would be the last key of the body, and a text; without it the
    body ends with the object `user`.
    """
    if body.endswith(b"}}"):
        body = body[:-1] + b',"v":null}'
    return (
        b'{"internal_id":"%b","account_id":"%b","environment_id":"%b","source":"","source_id":null,'
        b'"received_at":"%b",%b'
        % (
            row.internal_id.encode(),
            ACCOUNT_ID.encode(),
            ENVIRONMENT_ID.encode(),
            format_rfc3339(row.received_at_ms).encode(),
            body[1:],
        )
    )


def show_run(row: RunRow) -> bytes:
    """A run; its output is the result of a completed one and the error object of a failed one."""
    fields = json.dumps(
        {
            "run_id": row.run_id,
            "run_started_at": _moment(row.started_at_ms),
            "function_id": row.function_id,
            "function_version": row.function_version,
            "environment_id": ENVIRONMENT_ID,
            "event_id": row.event_id,
            "batch_id": row.batch_id,
            "original_run_id": row.original_run_id,
            "cron": row.cron,
            "status": row.status,
            "ended_at": _moment(row.ended_at_ms),
        }
    )
    return b'%b,"output":%b}' % (fields[:-1], row.output if row.output is not None else b"null")


def show_job(row: ItemRow) -> dict[str, Any]:
    """Work of a run. Its position is always 0: nothing is promised about what others send before it."""
    return {
        "JobID": row.item_id,
        "at": _moment(row.due_at_ms),
        "position": 0,
        "kind": row.kind,
        "attempt": row.attempt,
        "Raw": {
            "state": row.state,
            "step_id": row.step_id or None,
            "generation": row.generation,
            "queued_at": _moment(row.queued_at_ms),
            "sent_at": _moment(row.sent_at_ms or None),
        },
    }


def show_function(row: FunctionRow) -> dict[str, Any]:
    config = json.parse(row.config)
    return {
        "internal_id": row.function_id,
        "env_id": ENVIRONMENT_ID,
        "app_id": row.app_id,
        "id": row.slug,
        "name": config.get("name") or row.slug,
        "config": config,
        "created_at": _moment(row.created_at_ms),
        "archived_at": _moment(row.archived_at_ms),
    }


def _moment(ms: int | None) -> str | None:
    """A time that has not come is null."""
    return None if ms is None else format_rfc3339(ms)
