"""Sending events: `/e/{key}` and `/invoke/{slug}`. Source: protocol 1."""

import asyncio

from inngest_server.api.access import is_event_key
from inngest_server.api.context import Context
from inngest_server.api.replies import RequestRejectedError
from inngest_server.api.router import Reply, Request
from inngest_server.engine.events import Dropped
from inngest_server.engine.facts import EventsSent, InvokeSent
from inngest_server.events.event import (
    TS_MAX_MS,
    Draft,
    Event,
    InvalidEventsError,
    make_event,
    read_event,
    read_events,
)
from inngest_server.events.form import InvalidFormError, form_kind, read_form
from inngest_server.events.system import INVOKED
from inngest_server.wire import json
from inngest_server.wire.ulid import Seed, from_seed, parse_seed_header

BODY_AT_ONCE_BYTES = 64 * 1024
"""A larger body is read in a thread."""
EVENTS_PER_FACT = 50
"""A large request is decided in slices, with other work between. Source: design 3."""


async def send_events(request: Request) -> Reply:
    """Store events and start what they start; 200 only once that is durable."""
    settings = request.context.settings
    engine = request.context.engine
    if not settings.is_open:
        if not settings.event_keys:
            raise RequestRejectedError(503, "Event keys are required to process events securely")
        if not is_event_key(settings, request.params["key"]):
            raise RequestRejectedError(401, "Event key not found")
    engine.check_admission()
    body = await request.body()
    try:
        drafts = await _read(body, request.header("content-type"), settings.event_bytes_max)
    except (InvalidEventsError, InvalidFormError) as error:
        raise RequestRejectedError(400, str(error), code=error.code) from error
    events = await _identify(request.context, drafts, _seed(request))
    if events:
        facts = [
            EventsSent(events[start : start + EVENTS_PER_FACT])
            for start in range(0, len(events), EVENTS_PER_FACT)
        ]
        if len(facts) == 1:
            await engine.ask_events(facts[0])
        else:
            await asyncio.gather(*[engine.ask_events(fact) for fact in facts])
    ids = ",".join([f'"{event.internal_id}"' for event in events])
    return Reply(200, f'{{"ids":[{ids}],"status":200}}'.encode())


async def _read(body: bytes, content_type: str, event_bytes_max: int) -> list[Draft]:
    """The events of a body: JSON whatever it is called, or else a form that counts as one event.

    Raises:
        InvalidEventsError, InvalidFormError: with every reason.
    """
    if form_kind(content_type, body) is None:
        if len(body) <= BODY_AT_ONCE_BYTES:
            return read_events(body, event_bytes_max=event_bytes_max)
        return await asyncio.to_thread(read_events, body, event_bytes_max=event_bytes_max)
    form = await asyncio.to_thread(read_form, content_type, body)
    try:
        return [read_event(form, size=len(body), size_max=event_bytes_max)]
    except InvalidEventsError as error:
        raise InvalidEventsError(f"{error}; fields of a form are lists of texts: send JSON") from error


async def _identify(context: Context, drafts: list[Draft], seed: Seed | None) -> list[Event]:
    events: list[Event] = []
    for index, draft in enumerate(drafts, start=1):
        events.append(_identify_one(context, draft, seed, index))
        if index % EVENTS_PER_FACT == 0:
            await asyncio.sleep(0)  # Others' turn.
    return events


def _seed(request: Request) -> Seed | None:
    """What the ids of a request that may be repeated are made from; its time is of the sender's clock."""
    seed = parse_seed_header(request.header("x-inngest-event-id-seed"))
    shift_ms = request.context.clock.seed_shift_ms()
    if seed is None or not shift_ms:
        return seed
    return seed._replace(ms=min(max(seed.ms + shift_ms, 0), TS_MAX_MS))


def _identify_one(context: Context, draft: Draft, seed: Seed | None, index: int) -> Event:
    """The event with ids that are the same when the request is repeated with its seed."""
    engine = context.engine
    return make_event(
        draft,
        internal_id=engine.next_id() if seed is None else from_seed(seed.ms, seed.entropy, index),
        received_at_ms=engine.now_ms(),
        repeatable=seed is not None,
        shift_ms=context.clock.shift_ms(),
    )


async def invoke_function(request: Request) -> Reply:
    """Start one function, whatever its triggers. Source: protocol 1.8."""
    engine = request.context.engine
    engine.check_admission()
    slug = request.params["slug"]
    raw = await request.body()
    try:
        fields: object = json.parse(raw) if raw.strip() else {}
        size_max = request.context.settings.event_bytes_max
        draft = read_event(fields, size=len(raw), size_max=size_max, name=INVOKED)
    except (InvalidEventsError, json.InvalidJSONError) as error:
        raise RequestRejectedError(400, str(error), code=error.code) from error
    draft.data["_inngest"] = {"fn_id": slug}
    event = _identify_one(request.context, draft, _seed(request), 0)
    result = await engine.ask_events(InvokeSent(slug, event))
    if result is None:
        raise RequestRejectedError(404, f"could not find function with ID: {slug}", code="function_not_found")
    if isinstance(result, Dropped):
        raise RequestRejectedError(429, result.reason, code="rate_limited")
    return Reply.of({"id": event.internal_id, "status": 200})
