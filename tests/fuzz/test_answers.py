"""Whatever an app answers, its run ends or has a reason to wake, and other runs go on."""

import asyncio
from contextlib import suppress
from typing import Any

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from inngest_server.execution.answers import read_answer
from inngest_server.runs.facts import Answer
from inngest_server.wire import json
from inngest_server.wire.durations import InvalidDurationError, parse_deadline_ms, parse_duration_ms
from tests.builders import T0_MS
from tests.fuzz.test_http import FAULTS
from tests.fuzz.values import TEXTS, broken, json_values, mutated
from tests.fuzz.watchdog import watched
from tests.unit.api.harness import InProcess, dev
from tests.unit.apps.bodies import make_function

FUZZ = settings(max_examples=100, deadline=None)
OPS = [
    "StepRun", "Step", "StepPlanned", "StepError", "StepFailed", "Sleep", "WaitForEvent", "WaitForSignal",
    "InvokeFunction", "RunComplete", "DiscoveryRequest", "None", "Gateway", "AIGateway", "SyncRunComplete",
    "DeferAdd", "Unheard",
]  # fmt: skip
OPTS = [
    "duration", "event", "timeout", "if", "signal", "conflict", "function_id", "payload", "parallelMode",
    "type", "input", "url", "method", "headers", "body",
]  # fmt: skip
VALUES = json_values([*OPTS, "data", "error", "name", "message", "stack", "cause", "noRetry"])
OP = st.fixed_dictionaries(
    {"op": st.sampled_from(OPS) | VALUES, "id": st.sampled_from("abc") | VALUES},
    optional={
        "name": st.sampled_from(TEXTS) | VALUES,
        "displayName": VALUES,
        "data": VALUES,
        "error": st.fixed_dictionaries({"name": VALUES, "message": VALUES}) | VALUES,
        "opts": st.dictionaries(st.sampled_from(OPTS), st.sampled_from(TEXTS) | VALUES, max_size=5) | VALUES,
        "timing": VALUES,
        "userland": VALUES,
        "input": VALUES,
        "output": VALUES,
    },
)
STEPS = [
    {"op": "StepRun", "id": "a", "name": "a", "displayName": "a", "data": {"x": 1}, "opts": {}},
    {"op": "Sleep", "id": "b", "name": "1s", "opts": {"duration": "1s"}},
    {"op": "WaitForEvent", "id": "c", "name": "shop/x", "opts": {"event": "shop/x", "timeout": "1h"}},
]
BODIES = (
    st.lists(OP, max_size=4).map(json.dumps)
    | mutated(STEPS, VALUES).map(json.dumps)
    | broken(json.dumps(STEPS))
    | VALUES.map(json.dumps)
    | st.binary(max_size=40)
)
HEADERS = st.fixed_dictionaries(
    {"x-inngest-sdk": st.sampled_from(["js:v3.54.2", "py:v0.5.19", "x", ""])},
    optional={
        "x-inngest-req-version": st.sampled_from(["0", "1", "2", "-1", "3", "two", "", "9" * 5_000]),
        "x-inngest-no-retry": st.sampled_from(["true", "TRUE", "false", ""]),
        "retry-after": st.sampled_from(["1", "0", "-1", "9" * 400, "Wed, 21 Oct 2065 07:28:00 GMT", *TEXTS]),
        "x-inngest-sdk-handled": st.sampled_from(["true", ""]),
        "content-type": st.text(max_size=10),
        "location": st.sampled_from(TEXTS),
    },
)
STATUSES = st.sampled_from(
    [200, 201, 204, 206, 301, 400, 401, 403, 404, 413, 429, 500, 502, 503]
) | st.integers(100, 599)
STREAMS = st.fixed_dictionaries(
    {"status": STATUSES | VALUES, "body": BODIES.map(lambda raw: raw.decode("utf-8", "replace")) | VALUES},
    optional={"headers": HEADERS | VALUES, "noRetry": VALUES, "retryAt": VALUES, "error": VALUES},
).map(lambda inner: b"   " + json.dumps(inner))


async def answer_all(answers: list[Answer]) -> None:
    """Let an app answer all calls of a run so, in turn, while time passes."""
    async with InProcess(dev(retry_interval_s=1)) as server:
        await server.register(make_function(triggers=[{"event": "shop/order"}]))
        (event_id,) = await server.send({"name": "shop/order"})
        for number, answer in enumerate(answers):
            if len(server.app.calls) > number:
                await server.answer(server.app.calls[number], answer)
            run = await server.run_of(event_id)
            live = server.engine.live.find_run(run["run_id"])
            if run["status"] in ("Completed", "Failed", "Cancelled"):
                assert live is None
            else:
                assert live is not None
                assert live.items or live.waits, f"the run is {run} and nothing will wake it"
            server.clock.ms += 3_600_000
            (await server.send({"name": "shop/unrelated"}))  # Wakes the engine, which looks at its clock.
        assert not server.engine.held


def survive(*answers: Answer) -> None:
    with watched(), structlog.testing.capture_logs() as logs:
        asyncio.run(answer_all(list(answers)))
    assert not [line for line in logs if line["event"] in FAULTS]


@FUZZ
@given(st.lists(st.tuples(STATUSES, HEADERS, BODIES), min_size=1, max_size=4))
def test_any_responses_of_an_app(responses: list[tuple[int, dict[str, str], bytes]]) -> None:
    survive(*[read_answer(status, headers, body, T0_MS) for status, headers, body in responses])


@FUZZ
@given(st.lists(st.lists(OP, min_size=1, max_size=3), min_size=1, max_size=5))
def test_any_steps_that_an_app_reports(reports: list[list[Any]]) -> None:
    headers = {"x-inngest-sdk": "js:v4", "x-inngest-req-version": "2"}
    survive(*[read_answer(206, headers, json.dumps(ops), T0_MS) for ops in reports])


@FUZZ
@given(STREAMS | broken(b'  {"status":206,"body":"[]","headers":{}}'))
def test_any_response_that_was_kept_alive(body: bytes) -> None:
    survive(read_answer(201, {"x-inngest-sdk": "js:v4"}, body, T0_MS))


def test_streams_inside_streams_end() -> None:
    inner = b"null"
    for _ in range(200):
        inner = json.dumps({"status": 201, "headers": {}, "body": inner.decode()})
        if len(inner) > 1_000_000:
            break
    survive(read_answer(201, {"x-inngest-sdk": "js:v4"}, inner, T0_MS))


# ---- small texts --------------------------------------------------------------------------------


@FUZZ
@given(
    st.text()
    | st.text("0123456789.+-nuµmshdwTZ:", max_size=400)
    | st.sampled_from(["9" * 100_000, "1h" * 50_000])
)
def test_any_duration_or_deadline_is_read_or_refused(text: str) -> None:
    for read in (parse_duration_ms, lambda given: parse_deadline_ms(given, T0_MS)):
        with watched(), suppress(InvalidDurationError):
            assert isinstance(read(text), int)
