"""Pages in a browser: which may call the server, and which may read its answers. Source: design 7."""

import pytest

from tests.unit.api.harness import BEARER, EVENT_KEY, InProcess, dev, start

EVIL = "https://evil.example"
LOOPBACK = ["http://localhost:3000", "http://127.0.0.1:5173", "http://[::1]:80", "http://app.localhost"]
NOT_LOOPBACK = [
    EVIL,
    "http://127.evil.example",
    "http://localhost.evil.example",
    "http://evillocalhost",
    "http://10.0.0.1",
    "null",
    "http://[",
    "\xff",
]
ALLOW = "access-control-allow-origin"


# Development: the host must be this machine.


@pytest.mark.parametrize("path", ["/v1/events", "/dev", "/health", "/v0/runs/x/batch"])
@pytest.mark.parametrize(
    "sign",
    [
        {"origin": "http://localhost:3000"},
        {"sec-fetch-site": "cross-site"},
        {"user-agent": "Mozilla/5.0 (X11; Linux x86_64)"},
    ],
)
async def test_a_page_must_name_a_host_of_this_machine(
    server: InProcess, path: str, sign: dict[str, str]
) -> None:
    for host in ("localhost:8288", "127.0.0.1", "[::1]:8288", "x.localhost:8288", "127.9.9.9"):
        assert (await server.request("GET", path, headers={"host": host, **sign})).status != 403
    for host in ("evil.example", "127.0.0.1.evil.example", "169.254.169.254", "", "[", "\xff"):
        answer = await server.request("GET", path, headers={"host": host, **sign})

        assert answer.status == 403
        assert answer.json()["code"] == "host_denied"


async def test_a_program_may_name_any_host(server: InProcess) -> None:
    assert (await server.request("GET", "/v1/events", headers={"host": "docker.internal"})).status == 200


async def test_a_page_may_name_an_allowed_host_and_the_one_listened_on() -> None:
    async with InProcess(dev(host="10.1.2.3", allowed_hosts=("dev.example",))) as server:
        for host in ("dev.example:8288", "DEV.example", "10.1.2.3:8288"):
            headers = {"host": host, "origin": f"http://{host}"}
            assert (await server.request("GET", "/v1/events", headers=headers)).status == 200


# Development: the page must be of this machine.


@pytest.mark.parametrize("origin", LOOPBACK)
async def test_pages_of_this_machine_may_call_and_read(server: InProcess, origin: str) -> None:
    answer = await server.request("GET", "/v1/events", headers={"origin": origin})

    assert answer.status == 200
    assert answer.headers[ALLOW] == origin
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", NOT_LOOPBACK)
async def test_other_pages_may_neither_change_nor_read(server: InProcess, origin: str) -> None:
    for method, path in (("GET", "/v1/events"), ("POST", "/v1/signals"), ("DELETE", "/fn/remove")):
        answer = await server.request(method, path, b"{}", {"origin": origin, "content-type": "text/plain"})

        assert ALLOW not in answer.headers
        assert answer.status == 403 or (origin == "null" and method == "GET")
    health = await server.request("GET", "/health", headers={"origin": origin})
    assert ALLOW not in health.headers


@pytest.mark.parametrize("path", ["/v1/signals", "/invoke/x", "/v0/telemetry", "/v1/checkpoint/x/async"])
async def test_a_page_must_send_json_or_be_an_sdk(server: InProcess, path: str) -> None:
    """What a form can send needs no preflight, so it would come from any page."""
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        headers = {"origin": "http://localhost:3000", "content-type": content_type}
        assert (await server.request("POST", path, b"{}", headers)).status == 403
        sdk = {**headers, "x-inngest-sdk": "inngest-js:v4"}
        assert (await server.request("POST", path, b"{}", sdk)).status != 403
    for content_type in ("application/json", "Application/JSON; charset=utf-8"):
        headers = {"origin": "http://localhost:3000", "content-type": content_type}
        assert (await server.request("POST", path, b"{}", headers)).status != 403


# Events come from any page.


@pytest.mark.parametrize("origin", [*LOOPBACK, *NOT_LOOPBACK])
async def test_any_page_may_send_events_and_read_the_answer(server: InProcess, origin: str) -> None:
    for body, status in ((b'{"name":"a/b"}', 200), (b"{", 400)):
        answer = await server.request(
            "POST", "/e/key", body, {"origin": origin, "content-type": "text/plain"}
        )

        assert answer.status == status
        assert answer.headers[ALLOW] == "*"
        assert answer.headers["access-control-expose-headers"] == "Link, Mcp-Session-Id"
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_may_read_why_its_key_is_refused(locked: InProcess) -> None:
    answer = await locked.request("POST", "/e/wrong", {"name": "a/b"}, {"origin": EVIL})

    assert (answer.status, answer.headers[ALLOW]) == (401, "*")


@pytest.mark.parametrize("kind", ["dev", "start"])
async def test_the_preflight_of_events_allows_everything_asked_for(kind: str) -> None:
    async with InProcess(dev() if kind == "dev" else start()) as server:
        answer = await server.request(
            "OPTIONS",
            f"/e/{EVENT_KEY}",
            headers={
                "origin": EVIL,
                "access-control-request-method": "POST",
                "access-control-request-headers": "content-type, x-inngest-event-id-seed",
            },
        )

    assert (answer.status, answer.body) == (204, b"")
    assert "content-length" not in answer.headers
    assert answer.headers[ALLOW] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET, POST, PUT, DELETE, OPTIONS"
    assert answer.headers["access-control-allow-headers"] == "content-type, x-inngest-event-id-seed"
    assert answer.headers["access-control-max-age"] == "3600"


@pytest.mark.parametrize("path", ["/v1/signals", "/v1/runs/x", "/fn/register", "/invoke/x", "/v0/telemetry"])
async def test_other_preflights_allow_pages_of_this_machine_alone(server: InProcess, path: str) -> None:
    for origin in LOOPBACK:
        answer = await server.request("OPTIONS", path, headers={"origin": origin})
        assert (answer.status, answer.headers[ALLOW]) == (204, origin)
    for origin in NOT_LOOPBACK:
        answer = await server.request("OPTIONS", path, headers={"origin": origin})
        assert answer.status == 204
        assert not [name for name in answer.headers if name.startswith("access-control")]


# With keys the bearer decides, and other pages do not have it.


@pytest.mark.parametrize("origin", NOT_LOOPBACK)
async def test_with_keys_other_pages_read_nothing_either(locked: InProcess, origin: str) -> None:
    answer = await locked.request("GET", "/v1/events", headers={"origin": origin}, bearer=BEARER)

    assert ALLOW not in answer.headers
    assert answer.status == (200 if origin == "null" else 403)
