"""The routes of REST; every one needs the bearer."""

from inngest_server.api.access import Access
from inngest_server.api.rest import (
    apps,
    cancellations,
    checkpoints,
    events,
    held,
    repairs,
    runs,
    signals,
    state,
    traces,
)
from inngest_server.api.router import Handler, Route


def rest_routes() -> list[Route]:
    """Sources: protocol 3.4, 7.2 to 7.7."""
    return [
        # v0: what SDKs fetch.
        _route("GET", "/v0/runs/{run_id}/batch", state.get_batch),
        _route("GET", "/v0/runs/{run_id}/actions", state.get_actions),
        _route("DELETE", "/v0/runs/{run_id}", state.delete_run),
        _route("POST", "/v0/telemetry", state.take_telemetry),
        # v1: what users ask.
        _route("GET", "/v1/events", events.list_events),
        _route("GET", "/v1/events/{event_id}", events.get_event),
        _route("GET", "/v1/events/{event_id}/runs", events.list_runs_of_event),
        _route("GET", "/v1/runs/{run_id}", runs.get_run),
        _route("DELETE", "/v1/runs/{run_id}", runs.delete_run),
        _route("GET", "/v1/runs/{run_id}/timeline", runs.show_timeline),
        _route("GET", "/v1/runs/{run_id}/jobs", runs.list_jobs),
        _route("POST", "/v1/runs/{run_id}/metadata", runs.add_metadata),
        _route("GET", "/v1/apps/{app_name}/functions", apps.list_functions),
        _route("POST", "/v1/cancellations", cancellations.create_cancellation),
        _route("GET", "/v1/cancellations", cancellations.list_cancellations),
        _route("DELETE", "/v1/cancellations/{cancellation_id}", cancellations.delete_cancellation),
        _route("POST", "/v1/signals", signals.send_signal),
        # v1, ours: what is set aside.
        _route("GET", "/v1/held", held.list_held),
        _route("POST", "/v1/held/{id}/release", held.release),
        _route("POST", "/v1/repairs", repairs.repair),
        # v1: what SDKs report.
        _route("POST", "/v1/checkpoint/{run_id}/async", checkpoints.checkpoint),
        _route("POST", "/v1/http/runs/{run_id}/async", checkpoints.checkpoint),
        _route("POST", "/v1/traces/userland", traces.take_spans),
        _route("POST", "/dev/traces", traces.take_spans),
    ]


def _route(method: str, path: str, handler: Handler) -> Route:
    return Route(method, path, Access.BEARER, handler)
