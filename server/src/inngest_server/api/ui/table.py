"""The routes under `/api/ui/v1`; every one needs the bearer, unless the server is one for development."""

from inngest_server.api.access import Access
from inngest_server.api.router import Handler, Route
from inngest_server.api.ui import clock, explain, functions, histories, jobs, runs


def ui_routes() -> list[Route]:
    """Errors of these routes have the shape of `RequestRejectedError.ui_body`."""
    return [
        _route("GET", "/clock", clock.show_clock),
        _route("POST", "/clock", clock.move_clock),
        _route("GET", "/events/{event_id}/explain", explain.explain_one_event),
        _route("GET", "/functions/{slug}", functions.get_function),
        _route("POST", "/functions/{slug}/pause", functions.pause),
        _route("POST", "/functions/{slug}/resume", functions.resume),
        _route("POST", "/functions/{slug}/replay", jobs.replay),
        _route("POST", "/functions/{slug}/cancel", jobs.cancel),
        _route("GET", "/functions/{slug}/runs", histories.list_run_ids),
        _route("GET", "/jobs", jobs.list_jobs),
        _route("GET", "/jobs/{job_id}", jobs.get_job),
        _route("DELETE", "/jobs/{job_id}", jobs.delete_job),
        _route("GET", "/runs/{run_id}/explain", explain.explain_one_run),
        _route("GET", "/runs/{run_id}/history", histories.get_history),
        _route("POST", "/runs/{run_id}/rerun", runs.rerun),
        _route("POST", "/runs/{run_id}/fork", runs.fork),
    ]


def _route(method: str, path: str, handler: Handler) -> Route:
    return Route(method, f"/api/ui/v1{path}", Access.BEARER, handler)
