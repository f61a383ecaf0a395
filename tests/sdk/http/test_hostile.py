"""Whatever is sent: an answer with a status and JSON, no traceback, no hang."""

import json
import random
from collections.abc import AsyncIterator, Iterator
from copy import deepcopy
from typing import Any

import pytest

import inngest
from inngest._http.handler import Handler
from inngest._http.messages import Request
from tests.sdk.http.asking import KEY, URL, Asker, call, call_body, double_step, request, said, step_hash

NONSENSE: list[Any] = [None, True, -1, 1.5, 10**400, "", "x", "\x00", [], [None], {}, {"": {}}, {"data": []}]


@pytest.fixture
async def asker(is_async: bool) -> AsyncIterator[Asker]:
    client = inngest.Inngest(app_id="app", is_production=False, base_url="http://127.0.0.1:1")
    yield Asker(Handler(client, [double_step(client, is_async=is_async)], framework="t"), is_async=is_async)
    await client.aclose()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from places(one, (*path, index))


def changed(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    body = deepcopy(body)
    inner = body
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return body


BODY = call_body(steps={"one": {"data": 5}, "other": {"error": {"name": "E", "message": "m"}}}, use_api=False)
PLACES = list(places(BODY))


@pytest.mark.parametrize("path", PLACES, ids=lambda path: ".".join(str(key)[:12] for key in path) or "body")
async def test_nonsense_in_any_place_is_answered(path: tuple[Any, ...], asker: Asker) -> None:
    for value in NONSENSE:
        response = await asker.ask(call(body=changed(BODY, path, value)))

        assert response.status in (200, 206, 400, 500), (path, value)
        assert "Traceback" not in response.body.decode() or response.status == 500
        said(response)


@pytest.mark.parametrize("path", [path for path in PLACES if path])
async def test_a_missing_field_is_answered(path: tuple[Any, ...], asker: Asker) -> None:
    body = deepcopy(BODY)
    inner: Any = body
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]

    response = await asker.ask(call(body=body))

    assert response.status in (200, 206, 400, 500)
    said(response)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\xff\xfe\xfd",
        b"{",
        b"NaN",
        b"[" * 200_000,
        b'{"a":' * 50_000,
        b'"' + b"a" * 10_000_000 + b'"',
        b"[" + b"1e-7," * 1_500_000 + b"1]",
        b"9" * 5_000,
    ],
    ids=lambda body: f"{body[:6]!r}x{len(body)}",
)
@pytest.mark.parametrize("method", ["POST", "PUT", "GET", "HEAD", "PATCH"])
async def test_a_body_that_is_no_call_request_is_refused(body: bytes, method: str, asker: Asker) -> None:
    response = await asker.ask(request(method, body, query="fnId=app-fn&stepId=step"))

    assert response.status in (200, 400, 405, 500)
    if method == "POST":
        assert (response.status, said(response)["code"]) == (400, "body_invalid")


async def test_a_body_beyond_all_bounds_is_refused_unread(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inngest._http.handler.BODY_BYTES_MAX", 1000)

    assert (await asker.ask(call(body=b"x" * 1001))).status == 413


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "query_param_missing"),
        ("fnId=", "query_param_missing"),
        ("stepId=step", "query_param_missing"),
        ("fnId=%00", "function_not_found"),
        ("fnId=" + "x" * 100_000, "function_not_found"),
        ("&".join(f"a{n}=1" for n in range(1000)), "body_invalid"),
        ("probe=%ff", "body_invalid"),
    ],
)
async def test_a_query_that_is_none_is_refused(query: str, code: str, asker: Asker) -> None:
    response = await asker.ask(request("POST", call_body(), query=query))

    assert said(response)["code"] == code
    assert len(response.body) < 2000


@pytest.mark.parametrize(
    "url", ["", "x", "http://[::1", "http://h/\udcff", "//", "http://h:99999/p?fnId=app-fn"]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
async def test_a_url_that_is_none_is_answered(url: str, method: str, asker: Asker) -> None:
    response = await asker.ask(Request(method, url, {}, json.dumps(call_body()).encode()))

    assert response.status in (200, 206, 400, 500)


@pytest.mark.parametrize("target", ["", "x", "\x00", "0" * 10_000, step_hash("none")])
async def test_a_target_that_is_none_is_an_error(target: str, asker: Asker) -> None:
    response = await asker.ask(call(step=target))

    assert response.status in (206, 400, 500)


async def test_every_refusal_is_one_line_for_the_log(asker: Asker, caplog: pytest.LogCaptureFixture) -> None:
    await asker.ask(call("app-other"))
    await asker.ask(call(body=b"x"))

    assert [record.exc_info for record in caplog.records] == [None, None]


@pytest.mark.parametrize("seed", range(5))
async def test_bytes_at_random_are_answered(seed: int, asker: Asker) -> None:
    chance = random.Random(seed)
    good = call().body
    for _ in range(200):
        body = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        response = await asker.ask(call(body=bytes(body)))

        assert response.status in (200, 206, 400, 500)
        said(response)


@pytest.mark.parametrize("header", ["", "t=1&s=2", "t=9e9&s=x", "\x00", "t=1700000000&s=" + "f" * 100_000])
async def test_signatures_at_random_are_refused(header: str, is_async: bool) -> None:
    client = inngest.Inngest(app_id="app", signing_key=KEY)
    asker = Asker(Handler(client, [double_step(client, is_async=is_async)], framework="t"), is_async=is_async)

    for method in ("POST", "GET"):
        response = await asker.ask(Request(method, URL, {"x-inngest-signature": header}, b"{}"))
        assert response.status == 401
    await client.aclose()
