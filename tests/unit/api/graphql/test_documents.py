"""What is refused before anything is resolved, and the bounds of an answer."""

import pytest
from graphql import get_introspection_query

from inngest_server.api.graphql import session as sessions
from inngest_server.api.graphql.documents import (
    DEPTH_MAX,
    DOCUMENT_CHARS_MAX,
    FIELDS_MAX,
    ROOT_FIELDS_MAX,
    TOKENS_MAX,
    prepare,
)
from inngest_server.api.graphql.schema import the_schema
from tests.unit.api.graphql.operations import OPERATIONS, RUNS, ask, code_of, post
from tests.unit.api.harness import InProcess

DOUBLING = " ".join(
    f"fragment f{n} on App {{ functions {{ app {{ ...f{n + 1} ...f{n + 1} }} }} }}" for n in range(12)
)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("{", "query_syntax"),
        ("{ apps { name } } \ud83d }", "query_syntax"),
        ("query", "query_syntax"),
        ("{ nothing }", "query_invalid"),
        ("{ apps }", "query_invalid"),
        ("{ apps { name { more } } }", "query_invalid"),
        ("subscription { apps { name } }", "query_invalid"),
        ("{ app(id: 7) { name } }", "query_invalid"),
        ('{ app(id: "no uuid") { name } }', "query_invalid"),
        ('{ eventV2(id: "no ulid") { name } }', "query_invalid"),
        ("query Q($a: Nothing) { apps { name } }", "query_invalid"),
        ("query Q { apps { ...f } } fragment f on App { ...g } fragment g on App { ...f }", "query_invalid"),
        ("{ " + "a" * DOCUMENT_CHARS_MAX + " }", "query_too_large"),
        ("{ apps { " + "name " * TOKENS_MAX + "} }", "query_syntax"),
        ("{ apps { " + "name " * (FIELDS_MAX + 1) + "} }", "query_too_large"),
        ("{ " + "apps { functions { app { " * 20 + "name" + " } } }" * 20 + " }", "query_too_large"),
        (
            "{ " + " ".join(f"a{n}: apps {{ name }}" for n in range(ROOT_FIELDS_MAX + 1)) + " }",
            "query_too_large",
        ),
        ("{ apps { ...f0 } } " + DOUBLING + " fragment f12 on App { name }", "query_too_large"),
        ("{ " * 3000, "query_syntax"),
        ("{ apps(filter: " + "[" * 1500 + "]" * 1500 + ") { name } }", "query_syntax"),
    ],
)
async def test_a_bad_document_is_refused_with_a_code(server: InProcess, document: str, code: str) -> None:
    errors = (await post(server, document))["errors"]

    assert {error["extensions"]["code"] for error in errors} == {code}


async def test_an_error_of_a_document_says_where_it_is(server: InProcess) -> None:
    [error] = (await post(server, "{\n  nothing\n}"))["errors"]

    assert error["locations"] == [{"line": 2, "column": 3}]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"query":7}', b'{"query":" "}', b"\xff", b"[" * 10_000,
        b'{"query":"{a}","variables":[]}',
        b'{"query":"{a}","operationName":7}', b'[{"query":"{ apps { name } }"}]',
    ],
)  # fmt: skip
async def test_what_is_no_request_is_a_400(server: InProcess, body: bytes) -> None:
    answer = await server.post("/v0/gql", body)

    assert answer.status == 400
    assert answer.json()["errors"][0]["extensions"] == {"code": "invalid_query"}


async def test_a_document_with_several_operations_needs_the_name_of_one(server: InProcess) -> None:
    document = "query A { apps { name } } query B { functions { name } }"
    body = {"query": document, "operationName": "B"}

    assert (await server.post("/v0/gql", body)).json() == {"data": {"functions": []}}
    assert await code_of(server, document) == "operation_unknown"
    answer = await server.post("/v0/gql", {**body, "operationName": "C"})
    assert answer.json()["errors"][0]["extensions"]["code"] == "operation_unknown"
    assert await code_of(server, "fragment f on App { name }") in ("query_invalid", "operation_unknown")


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"startTime": None, "timeField": "QUEUED_AT"},
        {"startTime": 7, "timeField": "QUEUED_AT"},
        {"startTime": "yesterday", "timeField": "QUEUED_AT"},
        {**RUNS, "timeField": "NEVER"},
        {**RUNS, "status": ["COMPLETED", "GONE"]},
        {**RUNS, "appIDs": ["x"]},
        {**RUNS, "appIDs": [None]},
        {**RUNS, "preview": "yes"},
        {**RUNS, "celQuery": {"a": 1}},
    ],
)
async def test_variables_that_do_not_fit_are_refused(server: InProcess, variables: dict[str, object]) -> None:
    errors = (await post(server, OPERATIONS["GetRuns"], **variables))["errors"]

    assert {error["extensions"]["code"] for error in errors} == {"variables_invalid"}


async def test_the_schema_can_be_read(server: InProcess) -> None:
    schema = (await ask(server, get_introspection_query(input_value_deprecation=True)))["__schema"]

    names = {kind["name"] for kind in schema["types"]}
    assert {"FunctionRunV2", "RunTraceSpan", "StepInfo", "RunsFilterV2", "ULID", "Bytes"} <= names
    assert len(names) == len(the_schema().type_map)


async def test_a_schema_cannot_be_asked_for_in_depth(server: InProcess) -> None:
    deep = "{ __schema { types { fields { type { fields { type { fields { type { name } } } } } } } } }"

    assert await code_of(server, deep) == "query_invalid"


def test_a_document_is_prepared_once() -> None:
    text = "{ apps { name } }"

    assert prepare(text) is prepare(text)


def test_the_operations_of_the_interface_are_far_from_the_bounds() -> None:
    assert DEPTH_MAX >= 30
    for name, document in OPERATIONS.items():
        if "Debug" not in name:
            prepare(document)


async def test_an_answer_with_too_many_fields_is_given_up(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "RESOLVED_FIELDS_MAX", 3)

    assert await code_of(
        server, "{ a: apps { name } b: apps { name } c: apps { name } d: apps { name } }"
    ) == ("query_too_large")


async def test_an_answer_with_too_large_payloads_is_given_up(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "ANSWER_BYTES_MAX", 100)
    [event_id] = await server.send({"name": "a/b", "data": {"text": "x" * 100}})

    assert await code_of(server, OPERATIONS["GetEventV2Payload"], eventID=event_id) == "query_too_large"


async def test_a_slug_in_place_of_an_id_is_told_what_is_wanted(server: InProcess) -> None:
    answer = await post(server, '{ app(id: "shop-f") { name } }')

    [error] = answer["errors"]
    assert error["message"] == "UUID must be the `id` of a function or an app, a UUID, got 'shop-f'"
