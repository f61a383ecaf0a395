"""Reading events: every limit from both sides, every bad index named, identity and seeds."""

import json as stdlib_json
from typing import Any

import pytest

from inngest_server.events import event as event_module
from inngest_server.events.event import (
    TS_MAX_MS,
    TS_MIN_MS,
    Draft,
    InvalidEventsError,
    make_event,
    read_event,
    read_events,
)
from inngest_server.wire import json, ulid
from tests.builders import T0_MS

EVENT = {"name": "shop/order.placed", "data": {"id": 1}}


def body_of(value: Any) -> bytes:
    return stdlib_json.dumps(value).encode()


def read(**fields: Any) -> Draft:
    return read_event({**EVENT, **fields})


# Bodies.


def test_an_object_is_one_event_and_an_array_several_in_order() -> None:
    assert [draft.name for draft in read_events(body_of(EVENT))] == ["shop/order.placed"]
    names = ["a", "b", "c"]
    assert [draft.name for draft in read_events(body_of([{"name": name} for name in names]))] == names


@pytest.mark.parametrize("body", [b"", b"  \n", b"[]", b" [ ] "])
def test_an_empty_body_has_no_events(body: bytes) -> None:
    assert read_events(body) == []


@pytest.mark.parametrize(
    "body", [b"null", b"7", b'"text"', b"true", b"name=x", b"{", b'[{"name":"a"}', b"\xff"]
)
def test_other_bodies_are_refused_with_what_would_be_right(body: bytes) -> None:
    with pytest.raises(InvalidEventsError, match="must contain an event object or an array of event objects"):
        read_events(body)


def test_a_request_may_have_five_thousand_events() -> None:
    assert len(read_events(body_of([{"name": "a"}] * 5000))) == 5000


def test_a_request_with_more_is_refused() -> None:
    with pytest.raises(InvalidEventsError, match="Cannot have more than 5000 events in a batch"):
        read_events(body_of([{"name": "a"}] * 5001))


def test_every_bad_event_of_a_request_is_named_with_its_reason() -> None:
    bodies = [EVENT, {"data": {}}, EVENT, 7, {"name": "inngest/x"}, {"name": "a", "ts": 1.5}]

    with pytest.raises(InvalidEventsError) as caught:
        read_events(body_of(bodies))

    problems = str(caught.value).split("; ")
    assert [problem.split(":")[0] for problem in problems] == ["event 1", "event 3", "event 4", "event 5"]
    assert "event name must be a text" in problems[0]
    assert "must be an object, got a number" in problems[1]
    assert "reserved for internal use: inngest/x" in problems[2]
    assert "whole milliseconds" in problems[3]


@pytest.mark.parametrize("in_array", [False, True])
def test_the_size_limit_of_an_event_holds_alone_and_in_an_array(in_array: bool) -> None:
    fits = b'{"name":"a","data":{"x":"' + b"x" * 100 + b'"}}'
    above = fits.replace(b'"}}', b'x"}}')

    def wrap(event: bytes) -> bytes:
        return b"[" + event + b',{"name":"b"}]' if in_array else event

    assert read_events(wrap(fits), event_bytes_max=len(fits))
    message = f"Event is over the max size: Max {len(fits)} bytes / Size {len(above)} bytes"
    with pytest.raises(InvalidEventsError, match=message):
        read_events(wrap(above), event_bytes_max=len(fits))


def test_the_default_size_limit_is_three_mebibytes() -> None:
    frame = len(b'{"name":"a","data":{"x":""}}')
    fits = b'{"name":"a","data":{"x":"' + b"x" * (3 * 1024 * 1024 - frame) + b'"}}'
    assert len(fits) == 3_145_728
    assert len(read_events(fits)) == 1
    with pytest.raises(InvalidEventsError, match="Max 3145728 bytes / Size 3145729 bytes"):
        read_events(fits + b" ")


# Fields.


@pytest.mark.parametrize("name", ["a", "shop/order.placed", "n" * 256, "innge/x", "x-inngest/y", "ünï"])
def test_names_are_taken_as_they_are(name: str) -> None:
    assert read(name=name).name == name


@pytest.mark.parametrize("name", [None, "", 7, ["a"], {}, True, "n" * 257])
def test_a_name_is_a_text_of_1_to_256_characters(name: object) -> None:
    with pytest.raises(InvalidEventsError, match="event name"):
        read(name=name)


@pytest.mark.parametrize("name", ["inngest/", "inngest/function.finished", "INNGEST/x", "InnGest/y"])
def test_internal_names_are_reserved(name: str) -> None:
    with pytest.raises(InvalidEventsError, match=f"event name is reserved for internal use: {name}"):
        read(name=name)


def test_an_internal_caller_names_the_event_itself() -> None:
    draft = read_event({"name": "ignored", "data": {}}, name="inngest/function.invoked")
    assert draft.name == "inngest/function.invoked"


@pytest.mark.parametrize("field", ["data", "user"])
def test_data_and_user_are_objects_and_empty_by_default(field: str) -> None:
    assert getattr(read_event({"name": "a"}), field) == {}
    assert getattr(read(**{field: None}), field) == {}
    assert getattr(read(**{field: {"a": [1]}}), field) == {"a": [1]}


@pytest.mark.parametrize("value", [[], [1], "x", 0, 7, False, True])
@pytest.mark.parametrize("field", ["data", "user", "meta"])
def test_data_user_and_meta_of_another_type_are_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidEventsError, match=f"event {field} must be an object"):
        read(**{field: value})


def test_what_only_the_server_may_say_is_removed_from_data() -> None:
    assert read(data={"_inngest": {"correlation_id": "forged"}, "a": 1}).data == {"a": 1}


@pytest.mark.parametrize(
    ("given", "kept"), [(None, ""), ("", ""), ("order-1", "order-1"), ("i" * 256, "i" * 256)]
)
def test_an_id_is_optional(given: str | None, kept: str) -> None:
    assert read(id=given).event_id == kept


@pytest.mark.parametrize("event_id", [7, True, {}, "i" * 257])
def test_an_id_is_a_text_of_at_most_256_characters(event_id: object) -> None:
    with pytest.raises(InvalidEventsError, match="event id"):
        read(id=event_id)


@pytest.mark.parametrize(
    ("given", "kept"),
    [(None, 0), (0, 0), (TS_MIN_MS, TS_MIN_MS), (TS_MAX_MS, TS_MAX_MS), (T0_MS, T0_MS)],
)
def test_a_time_lies_between_1980_and_2100_and_zero_is_unset(given: int | None, kept: int) -> None:
    assert read(ts=given).ts_ms == kept


@pytest.mark.parametrize(
    ("ts", "reason"),
    [
        (TS_MIN_MS - 1, "timestamp is before Jan 1, 1980"),
        (-1, "timestamp is before Jan 1, 1980"),
        (1, "timestamp is before Jan 1, 1980"),
        (TS_MAX_MS + 1, "timestamp is after Jan 1, 2100"),
        (10**30, "timestamp is after Jan 1, 2100"),
        (1700000000000.0, "whole milliseconds"),
        (1.5, "whole milliseconds"),
        ("1700000000000", "whole milliseconds"),
        (False, "whole milliseconds"),
        (True, "whole milliseconds"),
        ([], "whole milliseconds"),
    ],
)
def test_other_times_are_refused(ts: object, reason: str) -> None:
    with pytest.raises(InvalidEventsError, match=reason):
        read(ts=ts)


@pytest.mark.parametrize(("given", "kept"), [(None, None), ("", None), ("2024-01", "2024-01")])
def test_a_schema_version_is_passed_on(given: str | None, kept: str | None) -> None:
    assert read(v=given).v == kept


def test_a_schema_version_is_a_text() -> None:
    with pytest.raises(InvalidEventsError, match="event v must be a text"):
        read(v=2)


def test_unknown_fields_are_ignored() -> None:
    assert read(colour="red") == read()


# Sessions.


@pytest.mark.parametrize(
    ("meta", "sessions"),
    [
        (None, {}),
        ({}, {}),
        ({"sessions": {"chat": "c1", "n": 7, "x": 1.5}}, {"chat": "c1", "n": "7", "x": "1.5"}),
        ({"propagated_sessions": {"chat": "c1"}}, {"chat": "c1"}),
        ({"sessions": {"chat": "mine"}, "propagated_sessions": {"chat": "theirs"}}, {"chat": "mine"}),
        ({"sessions": None, "propagated_sessions": {"chat": "c1"}}, {}),
        ({"sessions": {"chat": None}, "propagated_sessions": {"chat": "c1", "b": "2"}}, {"b": "2"}),
        (
            {"sessions": {"m": "1", "n": "2"}, "propagated_sessions": {k: k for k in "edcba"}},
            {"m": "1", "n": "2", "a": "a", "b": "b", "c": "c"},
        ),
        ({"sessions": {"k" * 128: "v" * 512}}, {"k" * 128: "v" * 512}),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_sessions_are_folded_together_and_manual_keys_win(meta: Any, sessions: dict[str, str]) -> None:
    assert read(meta=meta).sessions == sessions


@pytest.mark.parametrize(
    ("sessions", "reason"),
    [
        ({k: k for k in "abcdef"}, "at most 5 entries"),
        ({"k": True}, "must be a text or a number"),
        ({"k": {}}, "must be a text or a number"),
        ({"k" * 129: "v"}, "too long"),
        ({"ü" * 65: "v"}, "too long"),
        ({"k": "v" * 513}, "too long"),
        ([], "must be an object"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_sessions_have_limits(sessions: Any, reason: str) -> None:
    with pytest.raises(InvalidEventsError, match=reason):
        read(meta={"sessions": sessions})


def test_five_sessions_are_allowed() -> None:
    assert len(read(meta={"sessions": {k: k for k in "abcde"}}).sessions) == 5


# Identity.


def test_id_and_time_default_to_those_of_the_arrival() -> None:
    event = make_event(read(), internal_id="internal-1", received_at_ms=T0_MS, repeatable=False)
    assert (event.event_id, event.ts_ms, event.received_at_ms) == ("internal-1", T0_MS, T0_MS)
    assert not event.repeatable


def test_the_senders_id_and_time_are_kept_beside_the_internal_id() -> None:
    draft = read(id="order-1", ts=T0_MS - 5)
    event = make_event(draft, internal_id="internal-1", received_at_ms=T0_MS, repeatable=False)
    assert (event.internal_id, event.event_id, event.ts_ms) == ("internal-1", "order-1", T0_MS - 5)
    assert event.repeatable


def test_what_functions_receive_is_canonical_and_complete() -> None:
    draft = read(user={"z": 1}, v="2", id="order-1", meta={"sessions": {"s": "1"}}, ts=T0_MS)
    event = make_event(draft, internal_id="internal-1", received_at_ms=T0_MS, repeatable=False)
    assert event.body == (
        b'{"data":{"id":1},"id":"order-1","meta":{"sessions":{"s":"1"}},"name":"shop/order.placed",'
        b'"ts":1790000000000,"user":{"z":1},"v":"2"}'
    )
    assert event.body == json.canonical(json.parse(event.body))


def test_what_was_not_given_is_left_out_but_for_data_and_user() -> None:
    event = make_event(read_event({"name": "a"}), internal_id="i", received_at_ms=T0_MS, repeatable=False)
    assert event.body == b'{"data":{},"id":"i","name":"a","ts":1790000000000,"user":{}}'


def test_integers_beyond_doubles_travel_exactly() -> None:
    draft = read_events(b'{"name":"a","data":{"n":123456789012345678901234567890}}')[0]
    event = make_event(draft, internal_id="i", received_at_ms=T0_MS, repeatable=False)
    assert b'"n":123456789012345678901234567890' in event.body


def test_a_seeded_request_gives_its_events_the_same_ids_when_it_is_repeated() -> None:
    seed = ulid.parse_seed_header("1743130137367,eii2YKXRVTJPuA==")
    assert seed is not None
    drafts = read_events(body_of([EVENT, EVENT]))

    events = [
        make_event(
            draft,
            internal_id=ulid.from_seed(seed.ms, seed.entropy, index),
            received_at_ms=T0_MS,
            repeatable=True,
        )
        for index, draft in enumerate(drafts, start=1)
    ]

    assert [event.event_id for event in events] == [
        "01JQDAE4RQF8MBCR55T5AK4KXS",
        "01JQDAE4RQF8MBCR55T5AK4KXT",
    ]
    assert [event.internal_id for event in events] == [event.event_id for event in events]
    assert all(event.repeatable for event in events)


def test_a_large_array_is_read_as_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [{"name": f"e/{number}", "data": {"text": "]}," * 9, "rows": [[], {}]}} for number in range(50)]
    body = body_of(sent)
    whole = read_events(body)
    monkeypatch.setattr(event_module, "BODY_AT_ONCE_BYTES", 10)
    assert read_events(body) == whole
    for bad in (body[:-1], body[:-1] + b"}", body + b"x", body[:-1] + b",]", b"[1,{]"):
        with pytest.raises(InvalidEventsError):
            read_events(bad)


def test_an_event_larger_than_any_may_be_is_refused_without_being_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_module, "BODY_AT_ONCE_BYTES", 10)
    body = b'[{"name":"a"},{"name":"b","data":{"x":"' + b"x" * 500 + b'"}}]'
    with pytest.raises(InvalidEventsError, match=r"^event 1: Event is over the max size: Max 100 bytes"):
        read_events(body, event_bytes_max=100)
    with pytest.raises(InvalidEventsError, match="Cannot have more than 5000 events"):
        read_events(b"[" + b",".join([b"{}"] * 5001) + b"]")
