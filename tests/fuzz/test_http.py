"""Whatever arrives over HTTP is answered with a status that was meant, and harms nobody else."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from inngest_server.api.table import route_table
from tests.builders import RUN_ID
from tests.fuzz.values import TEXTS, broken, json_values, mutated
from tests.fuzz.watchdog import watched
from tests.unit.api.harness import InProcess, Response, dev
from tests.unit.apps.bodies import GO, PYTHON, TYPESCRIPT, make_function

FAULTS = frozenset({"api.request_failed", "engine.batch_failed", "engine.fact_set_aside", "engine.held"})
NAMES = [
    "id", "name", "data", "user", "ts", "v", "_inngest", "signal", "steps", "op", "opts", "error", "stack",
    "message", "qi_id", "generation_id", "run_id", "fn_id", "appName", "url", "functions", "triggers",
    "event", "cron", "expression", "concurrency", "key", "limit", "scope", "timeout", "if", "duration",
    "payload", "function_id", "request_id", "ids", "app_id", "metadata", "kind", "scopes", "values",
]  # fmt: skip
JSON = json_values(NAMES)
EVENT = {
    "name": "shop/order",
    "id": "e1",
    "ts": 1_700_000_000_000,
    "v": "1",
    "user": {"a": 1},
    "data": {"b": [1]},
}
CHECKPOINT = {
    "run_id": RUN_ID, "fn_id": "f", "qi_id": "i", "request_id": RUN_ID, "generation_id": 1, "ts": 1,
    "steps": [{"op": "StepRun", "id": "a" * 40, "name": "a", "data": {"x": 1}, "opts": {}}],
}  # fmt: skip
FUZZ = settings(max_examples=150, deadline=None)

Use = Callable[[InProcess], Awaitable[None]]


def serve(use: Use) -> None:
    """Run `use` against a fresh server that has a function; nothing that it does is a fault of the server."""

    async def served() -> None:
        async with InProcess(dev()) as server:
            await server.register(make_function(triggers=[{"event": "shop/order"}, {"event": "shop/*"}]))
            await use(server)
            assert (await server.get("/health")).status == 200
            assert not server.engine.held

    with watched(), structlog.testing.capture_logs() as logs:
        asyncio.run(served())
    assert not [line for line in logs if line["event"] in FAULTS]


def judge(answer: Response) -> None:
    """Success, or a refusal in a shape that people and SDKs can read."""
    assert answer.status < 500 or answer.status in (501, 503), (answer.status, answer.body)
    if answer.status >= 400 and answer.body:
        assert answer.json()["error"]


def post(target: str, body: Any, **headers: str) -> None:
    async def use(server: InProcess) -> None:
        judge(await server.request("POST", target, body, headers))

    serve(use)


# ---- bodies -------------------------------------------------------------------------------------


@FUZZ
@given(JSON | st.lists(JSON, max_size=3))
def test_any_json_as_events(body: Any) -> None:
    post("/e/key", body)


@FUZZ
@given(mutated(EVENT, JSON))
def test_an_event_with_one_value_replaced(body: Any) -> None:
    post("/e/key", body)


@FUZZ
@given(broken(b'[{"name":"shop/order","data":{"text":"\\u00e4","n":1.5e3}},{"name":"a"}]'))
def test_bytes_that_were_events(body: bytes) -> None:
    post("/e/key", body, **{"content-type": "application/json"})


@FUZZ
@given(st.text(max_size=40) | st.sampled_from(["1700000000000,AAAAAAAAAAAAAA==", ",", "1,", "-1,AA=="]))
def test_any_seed_of_event_ids(seed: str) -> None:
    post(
        "/e/key", [EVENT], **{"x-inngest-event-id-seed": seed.encode("latin-1", "replace").decode("latin-1")}
    )


@FUZZ
@given(st.sampled_from([PYTHON, TYPESCRIPT, GO]).flatmap(lambda body: mutated(body, JSON)))
def test_a_registration_with_one_value_replaced(body: Any) -> None:
    post("/fn/register", body)


@FUZZ
@given(
    st.sampled_from(["/v1/signals", "/invoke/shop-order", f"/v1/runs/{RUN_ID}/metadata", "/v0/telemetry"]),
    JSON,
)
def test_any_json_for_the_other_routes(target: str, body: Any) -> None:
    post(target, body)


@FUZZ
@given(mutated(CHECKPOINT, JSON) | JSON)
def test_any_checkpoint_of_a_run_that_is_not_there(body: Any) -> None:
    post(f"/v1/checkpoint/{RUN_ID}/async", body)


@FUZZ
@given(mutated(CHECKPOINT, JSON))
def test_any_checkpoint_of_a_call_that_is_under_way(body: Any) -> None:
    async def use(server: InProcess) -> None:
        await server.send({"name": "shop/order"})
        item = (await server.call(0)).item
        call = {"qi_id": item.item_id, "generation_id": item.generation}
        judge(await server.post(f"/v1/checkpoint/{item.run_id}/async", {**body, **call}))

    serve(use)


# ---- addresses ----------------------------------------------------------------------------------

SEGMENTS = st.sampled_from([*TEXTS, RUN_ID, "..", "%2e%2e", "shop", "%ff%fe"]) | st.text(
    min_size=1, max_size=20
)
ROUTES = [(route.method, route.path) for route in route_table()]
QUERY_NAMES = ["limit", "cursor", "name", "received_after", "received_before", "url", "includeCompleted", "a"]


@FUZZ
@given(
    st.sampled_from(ROUTES),
    st.lists(SEGMENTS, min_size=3, max_size=3),
    st.lists(st.tuples(st.sampled_from(QUERY_NAMES), SEGMENTS), max_size=4),
    st.binary(max_size=5),
)
def test_any_value_in_any_place_of_an_address(
    route: tuple[str, str], segments: list[str], query: list[tuple[str, str]], raw: bytes
) -> None:
    method, pattern = route
    parts = [
        quote(segments.pop(), safe="%") if part.startswith("{") and segments else part
        for part in pattern.split("/")
    ]
    pairs = "&".join(f"{name}={quote(value, safe='%')}" for name, value in query)
    target = f"{'/'.join(parts)}?{pairs}&{quote(raw)}"

    async def use(server: InProcess) -> None:
        judge_any(await server.request(method, target, b"{}", {"content-type": "application/json"}))

    serve(use)


def judge_any(answer: Response) -> None:
    """Of a route that may answer with a page or with nothing."""
    assert answer.status < 500 or answer.status in (501, 503), (answer.status, answer.body)


@FUZZ
@given(st.text(max_size=60), st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "BREW"]))
def test_any_path(path: str, method: str) -> None:
    async def use(server: InProcess) -> None:
        judge_any(await server.request(method, "/" + quote(path, safe="/%", errors="replace")))

    serve(use)


HEADER_TEXTS = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=40)
HEADER_NAMES = [
    "authorization", "origin", "sec-fetch-site", "host", "content-type", "content-encoding",
    "content-length", "transfer-encoding", "accept", "x-inngest-sdk", "x-inngest-env", "x-inngest-signature",
    "x-inngest-expected-server-kind", "x-inngest-event-id-seed", "x-forwarded-for", "if-none-match",
    "cookie", "range",
]  # fmt: skip


@FUZZ
@given(st.dictionaries(st.sampled_from(HEADER_NAMES), HEADER_TEXTS, max_size=5), st.sampled_from(ROUTES))
def test_any_headers(headers: dict[str, str], route: tuple[str, str]) -> None:
    method, pattern = route

    async def use(server: InProcess) -> None:
        target = pattern.replace("{", "").replace("}", "")
        judge_any(await server.request(method, target, b"{}", headers))

    serve(use)
