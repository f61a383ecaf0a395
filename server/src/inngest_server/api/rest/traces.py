"""Spans that SDKs export. They are taken and not kept, which is compliant. Source: protocol 7.6."""

from inngest_server.api.replies import NO_STORE
from inngest_server.api.rest.answers import bare
from inngest_server.api.router import Reply, Request

TRACES_BYTES_MAX = 8 * 1024 * 1024
PROTOBUF = "application/x-protobuf"


async def take_spans(request: Request) -> Reply:
    """An `ExportTraceServiceResponse` that rejects nothing, in the encoding of the request."""
    await request.body(TRACES_BYTES_MAX)
    if request.header("content-type").partition(";")[0].strip().lower() == PROTOBUF:
        return Reply(200, b"", ((b"content-type", PROTOBUF.encode()), NO_STORE))
    return bare(b'{"partialSuccess":{}}')
