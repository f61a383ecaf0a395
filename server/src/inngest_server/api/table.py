"""Every route of the server with its access rule."""

from inngest_server.api import events, metrics, register, status
from inngest_server.api.access import Access
from inngest_server.api.graphql import endpoint
from inngest_server.api.rest.table import rest_routes
from inngest_server.api.router import Route
from inngest_server.api.ui.table import ui_routes


def route_table() -> list[Route]:
    """All routes; what is not here answers 404, behind the bearer."""
    return [
        Route("POST", "/e/{key}", Access.EVENT_KEY, events.send_events),
        Route("POST", "/invoke/{slug}", Access.EVENT_KEY_OR_BEARER, events.invoke_function),
        Route("GET", "/", Access.BEARER, status.welcome),
        Route("GET", "/health", Access.OPEN, status.health),
        Route("GET", "/dev", Access.BEARER, status.dev_info),
        Route("GET", "/metrics", Access.BEARER, metrics.show_metrics),
        Route("GET", "/v1/prom/{env}", Access.BEARER, metrics.show_metrics),
        Route("POST", "/fn/register", Access.BEARER, register.register),
        Route("DELETE", "/fn/remove", Access.BEARER, register.remove_app),
        Route("POST", "/v0/gql", Access.BEARER, endpoint.query),
        *rest_routes(),
        *ui_routes(),
    ]
