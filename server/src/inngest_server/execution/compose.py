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
    memos = list(islice(content.memos, known.memos))
    event, events = _events(content, canonical=canonical)
    use_api = content.state_bytes > USE_API_STATE_BYTES or not events
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
                events,
                b'],"steps":{',
                steps,
                b'},"use_api":true,"version":%d}' % version
                if use_api
                else b'},"use_api":false,"version":%d}' % version,
            )
        )
        if len(body) <= CALL_BODY_BYTES_MAX or (use_api and not events):
            return CallBody(body, version)
        if use_api:
            events = b""
        use_api = True


def _events(content: Content, *, canonical: bool) -> tuple[bytes, bytes]:
    """The first event, and all of them as the elements of an array: none if there is no room for them."""
    event, further = content.event_body, content.further
    if canonical:
        event = _canonical(content, "", event)  # No step has this id.
        further = _canonical_further(content)
    events_bytes = 2 * len(event) + sum([len(body) + 1 for body in further])
    return event, b",".join((event, *further)) if events_bytes <= CALL_BODY_BYTES_MAX else b""


def _canonical_further(content: Content) -> tuple[bytes, ...]:
    if content.canonical_further is None:
        forms = [json.canonical(json.parse_kept(body), "exact") for body in content.further]
        pairs = list(zip(content.further, forms, strict=True))
        content.canonical_further = tuple([raw if raw == form else form for raw, form in pairs])
        content.canonical_bytes += sum([len(form) for raw, form in pairs if raw != form])
    return content.canonical_further


def _steps(content: Content, step_ids: list[str], *, canonical: bool) -> bytes:
    memos = content.memos
    if content.inputs:
        # An input stays there when its step has a memo: what was decided before that is still sent with it.
        memos = {**content.inputs, **{step_id: memos[step_id] for step_id in step_ids}}
        step_ids = list(memos)
    parts: list[bytes] = []
    for step_id in sorted(step_ids):
        memo = memos[step_id]
        if canonical:
            is_input = memo is content.inputs.get(step_id)
            memo = _canonical(content, f"input {step_id}" if is_input else step_id, memo)
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
