"""Closed unless listed: every route of the table, in `start` mode."""

import re

import pytest

from inngest_server.api.access import Access
from inngest_server.api.router import Route
from inngest_server.api.table import route_table
from tests.unit.api.harness import BEARER, EVENT_KEY, SIGNING_KEY, InProcess

HASH = BEARER.removeprefix("Bearer ")
BEARERS = [
    f"Bearer {HASH}",
    f"Bearer signkey-prod-{HASH}",
    f"Bearer signkey-test-{HASH}",
    f"bearer {HASH}",
    f"Bearer {SIGNING_KEY}",
    f"Bearer signkey-prod-{SIGNING_KEY}",
]
NOT_BEARERS = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Bearer undefined",
    "Bearer null",
    f"Basic {HASH}",
    HASH,
    f"Bearer {HASH[:-1]}",
    f"Bearer {HASH}0",
    f"Bearer {HASH} {HASH}",
    f"Bearer {'0' * 64}",
    "Bearer \xff\xfe",
    "Bearer signkey-prod-",
    f"Bearer {EVENT_KEY}",
]
OPEN = {("GET", "/health"), ("POST", "/e/{key}")}
UNKNOWN = [
    "/nothing",
    "/v1",
    "/v1/",
    "/v1/runs",
    "/v1/runs/",
    "/v2/health",
    "/e",
    "/e/",
    "/e/a/b",
    "/metrics/more",
    "/%2e%2e",
    "/a" * 999,
]


def routes() -> list[Route]:
    return route_table()


def closed_routes() -> list[Route]:
    return [route for route in routes() if (route.method, route.path) not in OPEN]


def filled(route: Route) -> str:
    return re.sub(r"\{\w+\}", "x", route.path)


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


def test_only_what_is_listed_is_open() -> None:
    assert {
        (route.method, route.path) for route in routes() if route.access in (Access.OPEN, Access.EVENT_KEY)
    } == OPEN


def test_no_route_is_there_twice() -> None:
    shapes = [(route.method, re.sub(r"\{\w+\}", "{}", route.path)) for route in routes()]

    assert len(set(shapes)) == len(shapes)


def test_routes_of_one_path_have_one_rule() -> None:
    """A preflight and a wrong method are answered by the rule of the path."""
    rules: dict[str, set[Access]] = {}
    for route in routes():
        rules.setdefault(route.path, set()).add(route.access)

    assert all(len(rule) == 1 for rule in rules.values())


@pytest.mark.parametrize("route", closed_routes(), ids=name_of)
async def test_a_closed_route_needs_the_bearer(locked: InProcess, route: Route) -> None:
    for bearer in NOT_BEARERS:
        if bearer == f"Bearer {EVENT_KEY}" and route.access is Access.EVENT_KEY_OR_BEARER:
            continue
        answer = await locked.request(route.method, filled(route), {}, bearer=bearer)

        assert answer.status == 401, bearer
        shown = answer.json()
        assert shown.get("error", shown.get("message")).startswith("Authentication failed")
        assert HASH not in answer.body.decode() + str(answer.headers)


@pytest.mark.parametrize("route", closed_routes(), ids=name_of)
async def test_a_closed_route_takes_every_form_of_the_bearer(locked: InProcess, route: Route) -> None:
    for bearer in BEARERS:
        answer = await locked.request(route.method, filled(route), {}, bearer=bearer)

        assert answer.status not in (401, 403, 405, 500, 503), (bearer, answer.body)


@pytest.mark.parametrize("route", closed_routes(), ids=name_of)
async def test_a_wrong_method_is_told_to_nobody_without_the_bearer(locked: InProcess, route: Route) -> None:
    assert (await locked.request("PATCH", filled(route))).status == 401
    assert (await locked.request("PATCH", filled(route), bearer=BEARER)).status == 405


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", UNKNOWN)
async def test_what_is_not_in_the_table_is_closed_and_not_there(
    locked: InProcess, method: str, path: str
) -> None:
    assert (await locked.request(method, path)).status == 401
    assert (await locked.request(method, path, bearer="Bearer undefined")).status == 401
    assert (await locked.request(method, path, bearer=BEARER)).status == 404


async def test_an_app_without_a_signing_key_is_told_so(locked: InProcess) -> None:
    answer = await locked.request("POST", "/fn/register", {}, bearer="Bearer undefined")

    assert "INNGEST_SIGNING_KEY" in answer.json()["error"]


async def test_in_development_the_bearer_does_not_matter(server: InProcess) -> None:
    for bearer in NOT_BEARERS:
        assert (await server.request("GET", "/v1/events", bearer=bearer)).status == 200


@pytest.mark.parametrize("route", routes(), ids=name_of)
async def test_every_answer_names_the_kind_of_server_and_is_json(server: InProcess, route: Route) -> None:
    """The harness checks the header of the kind on each answer."""
    for body in (b"", b"{", b"\xff", b"[]", b"{}", b'"x"', b"0"):
        answer = await server.request(route.method, filled(route), body)

        assert answer.status not in (500, 503), answer.body
        if answer.body and route.path != "/":  # That one is for people.
            assert answer.headers["content-type"] == "application/json"
            answer.json()
