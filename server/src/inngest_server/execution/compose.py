"""The body of a call request, put together from stored bytes. Source: protocol 3.2.

Parts are JSON texts already; they are joined in canonical key order, so that what is signed is what is sent.
"""

from itertools import islice
from typing import NamedTuple

from inngest_server.runs.records import ItemRow
from inngest_server.runs.run import Content, Known
from inngest_server.wire import json
from inngest_server.wire.limits import CALL_BODY_BYTES_MAX

USE_API_STATE_BYTES = CALL_BODY_BYTES_MAX - 1024
"""A run with more state than this is told to fetch its memos."""


class CallBody(NamedTuple):
    """A composed body, and the request version that the header repeats."""

    body: bytes
    version: int


def compose(
    content: Content,
    item: ItemRow,
    known: Known,
    *,
    function_id: str,
    max_attempts: int,
    request_id: str,
    canonical: bool,
) -> CallBody:
    """The request for an item, of what was known when it was decided. `canonical` gives the RFC 8785 form.

    Memos that an SDK would have to be sent beyond the size limit are left out and `use_api` is set.
    """
    memos, event = list(islice(content.memos, known.memos)), content.event_body
    if canonical:
        event = _canonical(content, "", event)  # No step has this id.
    use_api = content.state_bytes > USE_API_STATE_BYTES
    version = known.version if known.version in (1, 2) else -1
    while True:
        steps = _steps(content, memos, canonical=canonical) if not use_api else b""
        body = b"".join(
            (
                b'{"ctx":{"attempt":%d,"disable_immediate_execution":' % item.attempt,
                b"true" if known.plan_only else b"false",
                b',"env":"","fn_id":"%b","generation_id":%d,"job_id":"%b","max_attempts":%d,"qi_id":"%b"'
                % (
                    function_id.encode(),
                    item.generation,
                    item.item_id.encode(),
                    max_attempts,
                    item.item_id.encode(),
                ),
                b',"request_id":"%b","run_id":"%b","stack":{"current":%d,"stack":['
                % (request_id.encode(), item.run_id.encode(), min(item.stack_index, len(memos))),
                b",".join([json.dumps(step_id) for step_id in memos]),
                b']},"step_id":"step","use_api":true},"defers":{},"event":'
                if use_api
                else b']},"step_id":"step","use_api":false},"defers":{},"event":',
                event,
                b',"events":[',
                event,
                b'],"steps":{',
                steps,
                b'},"use_api":true,"version":%d}' % version
                if use_api
                else b'},"use_api":false,"version":%d}' % version,
            )
        )
        if use_api or len(body) <= CALL_BODY_BYTES_MAX:
            break
        use_api = True
    if use_api and len(body) > CALL_BODY_BYTES_MAX:
        body = body.replace(b',"events":[' + event + b'],"steps":{', b',"events":[],"steps":{', 1)
    return CallBody(body, version)


def _steps(content: Content, step_ids: list[str], *, canonical: bool) -> bytes:
    memos = content.memos
    parts: list[bytes] = []
    for step_id in sorted(step_ids):
        memo = _canonical(content, step_id, memos[step_id]) if canonical else memos[step_id]
        parts.append(b"%b:%b" % (json.dumps(step_id), memo))
    return b",".join(parts)


def _canonical(content: Content, key: str, raw: bytes) -> bytes:
    known = content.canonical.get(key)
    if known is None:
        known = json.canonical(json.parse_kept(raw), "exact")
        if known == raw:
            known = raw  # One copy of both.
        else:
            content.canonical_bytes += len(known)
        content.canonical[key] = known
    return known
