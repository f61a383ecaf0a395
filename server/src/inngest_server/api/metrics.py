"""The metrics for Prometheus and whatever reads its form."""

from inngest_server.api.replies import NO_STORE, RequestRejectedError
from inngest_server.api.router import Reply, Request
from inngest_server.observability.metrics import CONTENT_TYPE

TYPE = (b"content-type", CONTENT_TYPE.encode())


async def show_metrics(request: Request) -> Reply:
    """All metrics as text; there is one environment, so its name in the path is not looked at."""
    metrics = request.context.metrics
    if metrics is None:
        raise RequestRejectedError(404, "this server has no metrics", code="not_found")
    return Reply(200, await metrics.text(), (TYPE, NO_STORE))
