"""Every opcode: how it is read, what it does to the run, and the memo that comes of it."""

from typing import Any

import pytest

from inngest_server.runs.decision import StartChild
from inngest_server.runs.errors import MalformedOpError
from inngest_server.runs.facts import ChildEnded, EventArrived, SignalArrived
from inngest_server.runs.opcodes.registry import parse_ops
from inngest_server.runs.records import JournalKind, WaitKind
from inngest_server.wire import json
from tests.builders import DAY_MS, FUNCTION_ID, HOUR_MS, RUN_ID, SECOND_MS, T0_MS
from tests.unit.runs.builders import Life, make_error, make_op, planned, ran

YEAR_MS = 365 * DAY_MS
SHA1 = "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"

# How opcodes are read.


@pytest.mark.parametrize("spelling", ["StepRun", "steprun", "STEPRUN"])
def test_an_opcode_is_read_without_regard_to_case(spelling: str) -> None:
    assert make_op(spelling, "a").code == "StepRun"


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"displayName": "Charge card", "name": "charge"}, "Charge card"),
        ({"displayName": "", "name": "charge"}, "charge"),
        ({"displayName": None, "name": "charge"}, "charge"),
        ({}, SHA1),
        ({"displayName": 7, "name": ["x"]}, SHA1),
    ],
)
def test_a_step_is_shown_by_display_name_then_name_then_id(fields: dict[str, Any], shown: str) -> None:
    assert make_op("StepRun", SHA1, **fields).display_name == shown


def test_fields_that_are_null_count_as_absent() -> None:
    op = make_op("StepRun", "a", opts=None, error=None, data=None, name=None, userland={"index": None})
    assert (op.opts, op.error, op.data, op.name) == ({}, None, b"null", "")


def test_a_single_object_is_one_opcode() -> None:
    assert [op.step_id for op in parse_ops({"op": "StepRun", "id": "a"})] == ["a"]


def test_sdk_internals_in_an_opcode_are_not_kept() -> None:
    life = Life()
    life.report(ran("a", 1, mode="sync", rawArgs=["secret"], promise={}, middleware={"secret": 1}))
    assert b"secret" not in b"".join(entry.meta + (entry.payload or b"") for entry in life.journal)


@pytest.mark.parametrize(
    "body",
    [
        None,
        "StepRun",
        7,
        [None],
        ["StepRun"],
        [[]],
        [{}],
        [{"op": 7, "id": "a"}],
        [{"op": "StepNotFound", "id": "a"}],
        [{"op": "StepRun"}],
        [{"op": "StepRun", "id": ""}],
        [{"op": "StepRun", "id": 7}],
        [{"op": "StepRun", "id": "a" * 257}],
        [{"op": "StepRun", "id": 'a"b'}],
        [{"op": "StepRun", "id": "a\nb"}],
        [{"op": "StepRun", "id": "a&b=c"}],
        [{"op": "StepRun", "id": "ä"}],
        [{"op": "StepError", "error": {"message": "x"}}],
        [{"op": "StepRun", "id": "a"}, {"op": "Unheard", "id": "b"}],
    ],
    ids=repr,
)
def test_what_is_no_opcode_of_this_server_is_malformed(body: object) -> None:
    with pytest.raises(MalformedOpError):
        parse_ops(body)


@pytest.mark.parametrize("code", ["None", "RunComplete", "DiscoveryRequest"])
def test_opcodes_about_no_step_need_no_id(code: str) -> None:
    assert parse_ops([{"op": code}])[0].step_id == ""


# Memo shapes: protocol 3.3, byte for byte.

ERROR = {"name": "TypeError", "message": "boom", "stack": "at x", "code": "E1", "cause": {"name": "Inner"}}


@pytest.mark.parametrize(
    ("op", "memo"),
    [
        (ran("a", {"ok": True}), b'{"data":{"ok":true}}'),
        (ran("a", None), b'{"data":null}'),
        (ran("a", {}), b'{"data":{}}'),
        (make_op("StepRun", "a"), b'{"data":null}'),
        (ran("a", [1, 2.5, "ü", 12345678901234567890]), '{"data":[1,2.5,"ü",12345678901234567890]}'.encode()),
        (make_op("Step", "a", data={"data": 1}), b'{"data":1}'),
        (make_op("Step", "a", data="raw"), b'"raw"'),
        (make_op("StepFailed", "a", error=ERROR), b'{"error":' + json.dumps(ERROR) + b"}"),
        (
            make_op("StepFailed", "a", error=make_error(), data="serialised"),
            b'{"error":{"name":"Error","message":"boom"}}',
        ),
        (
            make_op("StepFailed", "a", error={"name": "E"}),
            b'{"error":{"name":"E","message":"Function execution error"}}',
        ),
        (make_op("StepFailed", "a", error={"message": "m"}), b'{"error":{"message":"m","name":"Error"}}'),
        (make_op("StepFailed", "a", error="just text"), b'{"error":{"message":"just text","name":"Error"}}'),
        (
            make_op("StepFailed", "a", error={"name": 1, "message": {"x": 1}}),
            b'{"error":{"name":"Error","message":"{\\"x\\":1}"}}',
        ),
    ],
    ids=repr,
)
def test_a_reported_result_is_stored_as_sdks_expect_it_back(op: Any, memo: bytes) -> None:
    life = Life()

    life.report(op)

    assert life.content.memos == {"a": memo}


def test_a_sleep_gives_null() -> None:
    life = Life()
    life.report(make_op("Sleep", "a", opts={"duration": "10s"}))
    life.expire("a")
    assert life.content.memos == {"a": b"null"}


PAID = (
    b'{"data":{"id":1},"id":"e2","meta":{"sessions":{"s":"1"}},"name":"shop/paid","ts":1,"user":{},"v":"1"}'
)


def test_a_matched_event_gives_the_raw_event_without_a_wrapper() -> None:
    life = Life()
    life.report(make_op("WaitForEvent", "a", opts={"event": "shop/paid", "timeout": "1h"}))
    life.take(EventArrived(RUN_ID, life.wait_of("a").wait_id, "internal-2", PAID))
    assert life.content.memos == {"a": PAID}
    assert not life.run.waits


def test_an_event_that_never_came_gives_null() -> None:
    life = Life()
    life.report(make_op("WaitForEvent", "a", opts={"event": "shop/paid", "timeout": "1h"}))
    life.expire("a")
    assert life.content.memos == {"a": b"null"}


def test_a_signal_gives_its_name_and_data_in_a_wrapper() -> None:
    life = Life()
    life.report(make_op("WaitForSignal", "a", opts={"signal": 'go "now"', "timeout": "1h"}))
    life.take(SignalArrived(RUN_ID, life.wait_of("a").wait_id, 'go "now"', b'{"by":"ann"}'))
    assert life.content.memos == {"a": b'{"data":{"signal":"go \\"now\\"","data":{"by":"ann"}}}'}


def test_a_signal_that_never_came_gives_null() -> None:
    life = Life()
    life.report(make_op("WaitForSignal", "a", opts={"signal": "go", "timeout": "1h"}))
    life.expire("a")
    assert life.content.memos == {"a": b"null"}


@pytest.mark.parametrize("memo", [b'{"data":{"ok":1}}', b'{"error":{"name":"Error","message":"boom"}}'])
def test_an_invocation_gives_what_its_child_ended_with(memo: bytes) -> None:
    life = Life()
    life.report(make_op("InvokeFunction", "a", opts={"function_id": "shop-child", "payload": {}}))
    life.take(ChildEnded(RUN_ID, life.wait_of("a").wait_id, memo))
    assert life.content.memos == {"a": memo}


def test_an_invocation_that_took_too_long_gives_the_timeout_error() -> None:
    life = Life()
    life.report(
        make_op("InvokeFunction", "a", opts={"function_id": "shop-child", "payload": {}, "timeout": "1h"})
    )
    life.expire("a")
    assert life.memos["a"] == {
        "error": {
            "error": "InngestInvokeTimeoutError: Timed out waiting for invoked function to complete",
            "name": "InngestInvokeTimeoutError",
            "message": "Timed out waiting for invoked function to complete",
        }
    }


# Step results.


@pytest.mark.parametrize("code", ["StepRun", "Step", "StepFailed"])
def test_a_result_asks_the_app_what_comes_next(code: str) -> None:
    life = Life()
    life.pass_time()

    life.report(make_op(code, "a", data=1, error=make_error()))

    (item,) = life.sent
    assert (item.kind, item.attempt, item.stack_index, item.generation) == ("discovery", 0, 1, 1)
    assert item.queued_at_ms == T0_MS + SECOND_MS


def test_several_results_of_one_answer_lead_to_one_discovery() -> None:
    life = Life()  # A checkpoint failed, and its buffered steps come back together.

    life.report(ran("a"), ran("b"), make_op("StepFailed", "c", error=make_error()))

    assert life.stack == ["a", "b", "c"]
    assert [item.stack_index for item in life.sent] == [3]
    assert not life.content.plan_only


def test_a_second_result_of_a_step_is_ignored_but_discovery_is_ensured() -> None:
    life = Life()
    life.report(ran("a", "first"))
    first_discovery = life.sent[0].item_id

    life.report(ran("a", "second"))

    assert life.memos == {"a": {"data": "first"}}
    assert life.sent[0].item_id != first_discovery


def test_a_planned_step_is_requested_by_its_id_at_once() -> None:
    life = Life()

    life.report(*planned(SHA1))

    (item,) = life.sent
    assert (item.kind, item.step_id, item.attempt, item.stack_index) == ("step", SHA1, 0, 0)
    assert item.item_id == f"{RUN_ID}.{SHA1}"


def test_a_step_that_is_planned_twice_is_requested_once() -> None:
    life = Life()
    life.report(*planned("a", "b"), version=1)
    life.report_step(ran("a"))

    life.report(*planned("b", "c"), item=life.discoveries[0])

    assert [item.step_id for item in life.dispatches if item.kind == "step"] == ["a", "b", "c"]


def test_run_complete_ends_the_run_with_its_raw_data_after_recording_the_steps_beside_it() -> None:
    life = Life()

    life.report(ran("a", 1), make_op("RunComplete", "complete", data={"ok": [1]}))

    assert (life.status, life.run.row.output) == ("Completed", b'{"ok":[1]}')
    assert life.stack == ["a"]


def test_a_discovery_request_asks_again() -> None:
    life = Life()
    life.report(make_op("DiscoveryRequest", "d"))
    assert [item.kind for item in life.sent] == ["discovery"]


def test_a_discovery_request_is_no_step_that_a_group_waits_for() -> None:
    life = Life()
    life.report(*planned("a"), make_op("DiscoveryRequest", "d"))
    life.report(item=life.discoveries[0])

    life.report_step(ran("a"))

    assert len(life.discoveries) == 1


# Sleep.


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"opts": {"duration": "10s"}}, 10),
        ({"name": "1h30m"}, 5400),
        ({"opts": {"duration": "1m"}, "name": "10s"}, 60),
        ({"name": "2026-09-21T14:13:30.000Z", "opts": None}, 10),
        ({"opts": {"duration": "0"}}, 0),
        ({"opts": {"duration": ""}, "name": ""}, 0),
        ({"opts": {"duration": "-5s"}}, 0),
        ({"name": "2020-01-01T00:00:00Z"}, 0),
        ({"opts": {"duration": "366d"}}, 366 * 86_400),
    ],
    ids=repr,
)
def test_a_sleep_ends_after_its_duration_or_at_its_date(fields: dict[str, Any], seconds: int) -> None:
    life = Life()

    life.report(make_op("Sleep", "a", **fields))

    wait = life.wait_of("a")
    assert (wait.kind, wait.fires_at_ms - T0_MS) == (WaitKind.SLEEP, seconds * SECOND_MS)
    assert not life.run.items


@pytest.mark.parametrize(
    "fields", [{"name": "soon"}, {"opts": {"duration": 10}}, {"opts": {"duration": "10"}}]
)
def test_a_sleep_without_a_duration_fails_the_try(fields: dict[str, Any]) -> None:
    life = Life()
    life.report(make_op("Sleep", "a", **fields))
    assert [item.attempt for item in life.queued] == [1]
    assert not life.run.waits


# Waits.


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"opts": {"event": "shop/paid", "timeout": "1h"}, "name": "other"}, "shop/paid"),
        ({"name": "shop/paid", "opts": {"timeout": "1h"}}, "shop/paid"),
    ],
)
def test_a_wait_for_an_event_is_named_by_opts_or_else_by_name(fields: dict[str, Any], name: str) -> None:
    life = Life()
    life.report(make_op("WaitForEvent", "a", **fields))
    wait = life.wait_of("a")
    assert (wait.kind, wait.name, wait.expression, wait.captured) == (WaitKind.EVENT, name, "", b"[]")
    assert wait.wait_id == f"{RUN_ID}.a"


def test_a_wait_keeps_the_values_of_the_runs_own_event() -> None:
    life = Life()
    opts = {"event": "shop/paid", "timeout": "1h", "if": "event.data.a == async.data.a"}
    life.report(make_op("WaitForEvent", "a", opts=opts))
    wait = life.wait_of("a")
    assert (wait.expression, json.parse(wait.captured)) == (opts["if"], [1])


@pytest.mark.parametrize(
    ("timeout", "after_ms"),
    [
        ("1h", HOUR_MS),
        ("2026-09-21T14:13:30Z", 10 * SECOND_MS),
        ("", 0),
        ("-1s", 0),
        ("2020-01-01T00:00:00Z", 0),
        ("366d", 366 * DAY_MS),
        (None, 0),
    ],
)
def test_a_wait_for_an_event_ends_at_its_timeout(timeout: str | None, after_ms: int) -> None:
    life = Life()
    life.report(make_op("WaitForEvent", "a", opts={"event": "shop/paid", "timeout": timeout}))
    assert life.wait_of("a").fires_at_ms == T0_MS + after_ms


@pytest.mark.parametrize(
    ("code", "opts"),
    [("InvokeFunction", {"function_id": "shop-child"}), ("WaitForSignal", {"signal": "go"})],
)
@pytest.mark.parametrize("timeout", [None, ""])
def test_signals_and_invocations_wait_a_year_unless_told(
    code: str, opts: dict[str, Any], timeout: str | None
) -> None:
    life = Life()
    life.report(make_op(code, "a", opts={**opts, "timeout": timeout}))
    assert life.wait_of("a").fires_at_ms == T0_MS + YEAR_MS


@pytest.mark.parametrize(
    "op",
    [
        make_op("WaitForEvent", "a", opts={"timeout": "1h"}),
        make_op("WaitForEvent", "a", opts={"event": 7, "timeout": "1h"}),
        make_op("WaitForEvent", "a", opts={"event": "e", "timeout": "soon"}),
        make_op("WaitForEvent", "a", opts={"event": "e", "timeout": 60}),
        make_op("WaitForEvent", "a", opts={"event": "e", "timeout": "1h", "if": 7}),
        make_op("WaitForSignal", "a", opts={}),
        make_op("WaitForSignal", "a", opts={"signal": "s", "timeout": "soon"}),
        make_op("InvokeFunction", "a", opts={"payload": {}}),
        make_op("InvokeFunction", "a", opts={"function_id": "f", "payload": [1]}),
        make_op("InvokeFunction", "a", opts={"function_id": "f", "timeout": True}),
        make_op("StepFailed", "a"),
        make_op("StepError", "a"),
    ],
    ids=repr,
)
def test_an_opcode_that_lacks_what_it_needs_fails_the_try_and_records_nothing_else(op: Any) -> None:
    life = Life()

    life.report(ran("z"), op)

    assert [entry.kind for entry in life.journal] == [JournalKind.TRIED]
    assert json.parse(life.journal[0].payload or b"")["name"] == "malformed_op"
    assert [item.attempt for item in life.queued] == [1]
    assert not life.run.waits
    assert not life.messages


def test_an_if_that_does_not_compile_fails_the_run() -> None:
    life = Life()
    life.report(make_op("WaitForEvent", "a", opts={"event": "e", "timeout": "1h", "if": "event.data.("}))
    assert (life.status, life.output["name"]) == ("Failed", "CompileError")


def test_an_if_that_only_breaks_the_restricted_policy_is_accepted() -> None:
    life = Life()
    opts = {"event": "e", "timeout": "1h", "if": "size(async.data.list) + 1 > event.data.a"}
    life.report(make_op("WaitForEvent", "a", opts=opts))
    assert "a" in life.content.opened


@pytest.mark.parametrize(
    "op",
    [
        make_op("Sleep", "a", opts={"duration": "367d"}),
        make_op("Sleep", "a", name="2030-01-01T00:00:00Z"),
        make_op("WaitForEvent", "a", opts={"event": "e", "timeout": "8785h"}),
        make_op("WaitForSignal", "a", opts={"signal": "s", "timeout": "53w"}),
        make_op("InvokeFunction", "a", opts={"function_id": "f", "timeout": "367d"}),
    ],
    ids=repr,
)
def test_a_wait_beyond_366_days_fails_the_run(op: Any) -> None:
    life = Life()
    life.report(op)
    assert (life.status, life.output["name"]) == ("Failed", "InngestErrTimeoutTooLong")
    assert not life.run.waits
    assert not life.children


def test_an_open_wait_that_is_reported_again_stays_as_it_is() -> None:
    life = Life()
    op = make_op("WaitForEvent", "w", opts={"event": "shop/paid", "timeout": "1h"})
    life.report(op, *planned("a"), version=1)
    opened = life.wait_of("w")
    life.pass_time()
    life.report_step(ran("a"))

    life.report(op)

    assert life.wait_of("w") == opened


# Signals.


def signal(step_id: str, **opts: Any) -> Any:
    return make_op("WaitForSignal", step_id, opts={"signal": "go", "timeout": "1h", **opts})


@pytest.mark.parametrize("opts", [{}, {"conflict": "fail"}, {"conflict": None}])
def test_a_signal_that_another_run_waits_for_fails_the_run(opts: dict[str, Any]) -> None:
    life = Life()
    life.signals["go"] = "other-run.s"

    life.report(signal("a", **opts))

    assert life.status == "Failed"
    assert life.output["message"] == "Signal conflict; signal wait already exists for another run"
    assert life.output["name"] == "Error"


def test_a_signal_can_be_taken_over_from_another_run() -> None:
    life = Life()
    life.signals["go"] = "other-run.s"

    life.report(signal("a", conflict="replace"))

    assert life.signals["go"] == f"{RUN_ID}.a"


def test_the_same_step_reporting_its_signal_again_is_no_conflict() -> None:
    life = Life()
    life.report(signal("a"), *planned("b"), version=1)
    life.report_step(ran("b"))

    life.report(signal("a"))

    assert life.status == "Running"


# Invocations.


def test_an_invocation_starts_the_child_and_waits_for_it() -> None:
    life = Life()
    payload = {"data": {"x": 1}, "v": "2"}
    opts = {"function_id": "shop-child", "payload": payload, "timeout": "1h"}

    life.report(make_op("InvokeFunction", "a", displayName="Call child", opts=opts))

    wait = life.wait_of("a")
    assert (wait.kind, wait.name, wait.fires_at_ms) == (WaitKind.INVOKE, "shop-child", T0_MS + HOUR_MS)
    assert life.messages == [
        StartChild(
            correlation_id=f"{RUN_ID}.a",
            function="shop-child",
            payload=payload,
            expires_at_ms=T0_MS + HOUR_MS,
            source_function_id=FUNCTION_ID,
            step_name="Call child",
        )
    ]
    assert wait.wait_id == life.children[0].correlation_id


@pytest.mark.parametrize("payload", [None, {}])
def test_an_invocation_without_payload_sends_an_empty_one(payload: Any) -> None:
    life = Life()
    life.report(make_op("InvokeFunction", "a", opts={"function_id": "f", "payload": payload}))
    assert life.children[0].payload == {}


def test_a_child_is_started_once_however_often_its_step_is_reported() -> None:
    life = Life()
    op = make_op("InvokeFunction", "a", opts={"function_id": "f"})
    life.report(op, *planned("b"), version=1)
    life.report_step(ran("b"))

    life.report(op)

    assert len(life.children) == 1


def test_what_ends_after_the_wait_changes_nothing() -> None:
    life = Life()
    life.report(make_op("InvokeFunction", "a", opts={"function_id": "f", "timeout": "1s"}))
    life.expire("a")
    before = life.memos["a"]

    decision = life.take(ChildEnded(RUN_ID, f"{RUN_ID}.a", b'{"data":1}'))

    assert not decision.journal
    assert not decision.items
    assert life.memos["a"] == before


def test_of_an_event_and_the_timeout_of_its_wait_the_first_wins() -> None:
    life = Life()
    life.report(make_op("WaitForEvent", "a", opts={"event": "shop/paid", "timeout": "1h"}))
    wait_id = life.wait_of("a").wait_id
    life.take(EventArrived(RUN_ID, wait_id, "internal-2", PAID))

    decision = life.take(EventArrived(RUN_ID, wait_id, "internal-3", b"{}"))

    assert not decision.journal
    assert life.content.memos == {"a": PAID}
