"""The body of a call request, byte for byte."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inngest_server.execution.compose import compose
from inngest_server.runs.run import Content, Known
from inngest_server.wire import json
from inngest_server.wire.limits import CALL_BODY_BYTES_MAX
from inngest_server.wire.step_ids import hash_step_id
from tests.builders import FUNCTION_ID, RUN_ID, make_item, make_journal_entry
from tests.unit.runs.builders import EVENT_BODY, Life, planned, ran


def make_content(memos: dict[str, bytes] | None = None, event_body: bytes = EVENT_BODY) -> Content:
    content = Content(event_body)
    for n, (step_id, memo) in enumerate((memos or {}).items(), start=1):
        content.fold(make_journal_entry(n=n, step_id=step_id, payload=memo, meta=b"{}"))
    return content


def compose_body(
    content: Content, *, canonical: bool = False, known: Known | None = None, **item: Any
) -> bytes:
    return compose(
        content,
        make_item(f"{RUN_ID}.0", **{"generation": 1, **item}),
        known or content.known,
        function_id=FUNCTION_ID,
        max_attempts=5,
        request_id="request-1",
        canonical=canonical,
    ).body


def test_the_first_request_of_a_run() -> None:
    assert compose_body(make_content()).decode() == (
        '{"ctx":{"attempt":0,"disable_immediate_execution":false,"env":"",'
        f'"fn_id":"{FUNCTION_ID}","generation_id":1,"job_id":"{RUN_ID}.0","max_attempts":5,'
        f'"qi_id":"{RUN_ID}.0","request_id":"request-1","run_id":"{RUN_ID}",'
        '"stack":{"current":0,"stack":[]},"step_id":"step","use_api":false},"defers":{},'
        f'"event":{EVENT_BODY.decode()},"events":[{EVENT_BODY.decode()}],'
        '"steps":{},"use_api":false,"version":-1}'
    )


def test_a_later_request_carries_memos_stack_and_position() -> None:
    content = make_content({"bb": b'{"data":2}', "aa": b"null"})
    body = json.parse(compose_body(content, stack_index=2, attempt=3, generation=4))
    assert body["ctx"]["stack"] == {"current": 2, "stack": ["bb", "aa"]}
    assert body["steps"] == {"aa": None, "bb": {"data": 2}}
    assert (body["ctx"]["attempt"], body["ctx"]["generation_id"]) == (3, 4)


def test_a_targeted_request_is_told_by_its_url_and_not_by_its_body() -> None:
    assert json.parse(compose_body(make_content(), step_id="aa", kind="step"))["ctx"]["step_id"] == "step"


def test_every_stacked_step_has_a_memo() -> None:
    life = Life()
    life.report(*planned("a", "b", "c"), version=1)
    for step_id in "cab":
        life.report_step(ran(step_id))
    for item in life.dispatches:
        body = json.parse(compose_body(life.content, stack_index=item.stack_index))
        assert body["ctx"]["stack"]["stack"] == ["c", "a", "b"]
        assert body["steps"].keys() == set(body["ctx"]["stack"]["stack"])
        assert 0 <= body["ctx"]["stack"]["current"] <= 3


@pytest.mark.parametrize(("stored", "sent"), [(-1, -1), (0, -1), (1, 1), (2, 2)])
def test_version_zero_is_never_sent(stored: int, sent: int) -> None:
    content = make_content()
    content.version = stored
    call = compose(
        content, make_item(), content.known, function_id="f", max_attempts=1, request_id="r", canonical=False
    )
    assert json.parse(call.body)["version"] == call.version == sent


def test_the_plan_only_flag_is_sent() -> None:
    content = make_content()
    content.plan_only = True
    assert json.parse(compose_body(content))["ctx"]["disable_immediate_execution"] is True


def test_a_request_says_nothing_that_was_decided_after_it() -> None:
    content = make_content({"bb": b'{"data":2}'})
    known = content.known
    content.fold(make_journal_entry(n=2, step_id="aa", meta=b'{"v":2,"plan":true}', payload=b"null"))

    body = json.parse(compose_body(content, known=known, stack_index=1))

    assert body["ctx"]["stack"] == {"current": 1, "stack": ["bb"]}
    assert body["steps"] == {"bb": {"data": 2}}
    assert (body["version"], body["ctx"]["disable_immediate_execution"]) == (-1, False)


def test_memos_travel_as_they_were_stored_unless_they_are_signed() -> None:
    content = make_content({"aa": b'{"data":{"z":1.0,"a":1e3}}'})
    assert b'{"data":{"z":1.0,"a":1e3}}' in compose_body(content)
    assert b'{"data":{"a":1000,"z":1}}' in compose_body(content, canonical=True)


def test_canonical_forms_that_are_kept_are_counted_unless_they_are_what_is_stored() -> None:
    memos = {"aa": b'{"data":{"z":1.0,"a":1e3}}', "bb": b'{"data":{"a":1}}'}
    content = make_content(memos, b'{"data":{},"id":"e","name":"a","ts":1,"user":{}}')
    for _ in range(2):
        compose_body(content, canonical=True)
    assert content.canonical_bytes == len(b'{"data":{"a":1000,"z":1}}')
    assert content.canonical["bb"] is content.memos["bb"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    values=st.lists(json_values, max_size=4),
    data=st.dictionaries(st.text(), json_values, max_size=3),
    attempt=st.integers(0, 20),
)
@settings(max_examples=150, deadline=None)
def test_what_is_signed_is_the_canonical_form_of_what_is_sent(
    values: list[Any], data: dict[str, Any], attempt: int
) -> None:
    memos = {hash_step_id(str(n)): json.dumps({"data": value}) for n, value in enumerate(values)}
    event = json.dumps({"user": {}, "name": "a", "data": data, "ts": 1, "id": "e"})
    content = make_content(memos, event)

    body = compose_body(content, canonical=True, attempt=attempt)

    assert body == json.canonical(json.parse(body))
    assert compose_body(content, canonical=True, attempt=attempt) == body  # Parts that are kept stay right.
    plain = json.parse(compose_body(content, attempt=attempt))
    assert json.canonical(plain) == body


# Large payloads.


def padded(size: int) -> bytes:
    """A memo of exactly that many bytes."""
    return b'{"data":"' + b"x" * (size - 11) + b'"}'


STATE_MAX = 4 * 1024 * 1024 - 1024


@pytest.mark.parametrize(("size", "use_api"), [(STATE_MAX - 1000, False), (STATE_MAX + 1, True)])
def test_a_run_with_much_state_is_told_to_fetch_its_memos(size: int, use_api: bool) -> None:
    body = json.parse(compose_body(make_content({"aa": padded(size)}), stack_index=1))
    assert body["use_api"] is body["ctx"]["use_api"] is use_api
    assert list(body["steps"]) == ([] if use_api else ["aa"])
    assert body["ctx"]["stack"] == {"current": 1, "stack": ["aa"]}
    assert body["events"] == [body["event"]]


def event_of(size: int) -> bytes:
    return b'{"data":{"x":"' + b"x" * size + b'"},"id":"e","name":"a","ts":1,"user":{}}'


def test_a_body_above_the_limit_leaves_memos_out_first() -> None:
    content = make_content({"aa": padded(2_000_000)}, event_of(1_500_000))
    raw = compose_body(content)
    body = json.parse(raw)
    assert len(raw) <= CALL_BODY_BYTES_MAX
    assert (body["use_api"], body["ctx"]["use_api"], body["steps"]) == (True, True, {})
    assert len(body["events"]) == 1


def test_a_body_above_the_limit_leaves_events_out_next_but_keeps_the_first() -> None:
    content = make_content({"aa": b"null"}, event_of(3_000_000))
    raw = compose_body(content)
    body = json.parse(raw)
    assert len(raw) <= CALL_BODY_BYTES_MAX
    assert (body["use_api"], body["ctx"]["use_api"], body["steps"], body["events"]) == (True, True, {}, [])
    assert body["event"]["name"] == "a"


def test_a_body_of_exactly_the_limit_is_sent_whole() -> None:
    frame = len(compose_body(make_content({"aa": padded(11)}, event_of(500_000))))
    size = 11 + CALL_BODY_BYTES_MAX - frame
    whole = compose_body(make_content({"aa": padded(size)}, event_of(500_000)))
    above = compose_body(make_content({"aa": padded(size + 1)}, event_of(500_000)))
    assert len(whole) == CALL_BODY_BYTES_MAX
    assert json.parse(whole)["use_api"] is False
    assert json.parse(above)["use_api"] is True


def test_a_step_with_the_id_event_gets_its_own_memo_in_a_signed_request() -> None:
    content = make_content({"event": b'{"data":1}'})
    assert json.parse(compose_body(content, canonical=True))["steps"] == {"event": {"data": 1}}


# Runs on batches.


def batch_of(*sizes: int) -> Content:
    first, *further = [event_of(size) for size in sizes]
    return Content(first, tuple(further))


def test_a_request_of_a_batch_carries_all_events_in_their_order() -> None:
    content = batch_of(3, 1, 2)
    body = json.parse(compose_body(content))
    assert [event["data"]["x"] for event in body["events"]] == ["xxx", "x", "xx"]
    assert body["event"] == body["events"][0]
    assert body["use_api"] is False


@given(data=st.lists(st.dictionaries(st.text(), json_values, max_size=3), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_what_is_signed_of_a_batch_is_the_canonical_form_of_what_is_sent(data: list[dict[str, Any]]) -> None:
    first, *further = [json.dumps({"user": {}, "name": "a", "data": one, "ts": 1, "id": "e"}) for one in data]
    content = Content(first, tuple(further))
    signed = [compose_body(content, canonical=True) for _ in range(2)]
    assert signed[0] == signed[1] == json.canonical(json.parse(compose_body(content)))


def test_a_batch_that_has_no_room_is_fetched_and_its_first_event_sent() -> None:
    content = batch_of(1_000, 2_200_000, 2_200_000)
    raw = compose_body(content)
    body = json.parse(raw)
    assert len(raw) <= CALL_BODY_BYTES_MAX
    assert (body["use_api"], body["ctx"]["use_api"], body["steps"], body["events"]) == (True, True, {}, [])
    assert body["event"]["data"]["x"] == "x" * 1_000


def test_canonical_forms_of_a_batch_are_counted_unless_they_are_what_is_stored() -> None:
    content = Content(event_of(1), (event_of(2), b'{"name":"b","data":{"n":1.0}}'))
    for _ in range(2):
        compose_body(content, canonical=True)
    assert content.canonical_bytes == len(b'{"data":{"n":1},"name":"b"}')


def make_content_with_input(memo: bytes | None = None) -> Content:
    content = make_content({"bb": b'{"data":2}'})
    meta = b'{"op":"StepPlanned","name":"charge","edited":"a run"}'
    content.fold(make_journal_entry(n=2, kind="opened", step_id="aa", meta=meta, payload=b"[1.50]"))
    if memo is not None:
        content.fold(make_journal_entry(n=3, step_id="aa", payload=memo, meta=b"{}"))
    return content


@pytest.mark.parametrize(("canonical", "sent"), [(False, b"[1.50]"), (True, b"[1.5]")])
def test_an_edited_input_is_sent_beside_the_memos_and_not_stacked(canonical: bool, sent: bytes) -> None:
    body = compose_body(make_content_with_input(), canonical=canonical, kind="step", step_id="aa")
    assert b'"steps":{"aa":{"input":' + sent + b'},"bb":{"data":2}}' in body
    assert json.parse(body)["ctx"]["stack"]["stack"] == ["bb"]


def test_a_step_that_was_executed_with_an_edited_input_has_its_memo() -> None:
    content = make_content_with_input(b'{"data":1}')
    for canonical in (False, True):
        body = compose_body(content, canonical=canonical)
        assert json.parse(body)["steps"] == {"aa": {"data": 1}, "bb": {"data": 2}}
    assert json.parse(body)["ctx"]["stack"]["stack"] == ["bb", "aa"]


def test_a_request_decided_before_the_memo_came_still_carries_the_edited_input() -> None:
    known = make_content_with_input().known
    content = make_content_with_input(b'{"data":1}')
    for canonical in (False, True, False):
        body = compose_body(content, canonical=canonical, known=known)
        assert json.parse(body)["steps"] == {"aa": {"input": [1.5]}, "bb": {"data": 2}}
