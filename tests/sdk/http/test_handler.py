"""Calls, introspection and trust: what the handler answers, in both ways of asking it."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

import inngest
from inngest._http.handler import Handler
from inngest._wire import signature
from inngest.errors import ConfigError, SigningKeyMissingError
from tests.sdk.http.asking import FALLBACK_KEY, KEY, Asker, call, call_body, double_step, request, said
from tests.sdk.http.server import Server


@pytest.fixture
def client() -> inngest.Inngest:
    return inngest.Inngest(app_id="app", is_production=False, event_key="k", env="branch")


@pytest.fixture
def keyed() -> inngest.Inngest:
    return inngest.Inngest(app_id="app", signing_key=KEY, signing_key_fallback=FALLBACK_KEY)


@pytest.fixture(params=[True, False], ids=["async-function", "plain-function"])
def is_async_function(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
async def dev(client: inngest.Inngest, is_async: bool, is_async_function: bool) -> AsyncIterator[Asker]:
    function = double_step(client, is_async=is_async_function)
    yield Asker(Handler(client, [function], framework="test"), is_async=is_async)
    await client.aclose()


@pytest.fixture
async def cloud(keyed: inngest.Inngest, is_async: bool) -> AsyncIterator[Asker]:
    function = double_step(keyed, is_async=is_async)
    yield Asker(Handler(keyed, [function], framework="test"), is_async=is_async)
    await keyed.aclose()


# Calls.


async def test_a_call_runs_the_next_step(dev: Asker) -> None:
    response = await dev.ask(call())

    assert response.status == 206
    (op,) = said(response)
    assert (op["op"], op["data"], op["displayName"]) == ("StepRun", 21, "one")


async def test_a_call_with_all_results_ends_the_function(dev: Asker) -> None:
    response = await dev.ask(call(body=call_body(steps={"one": {"data": 5}})))

    assert (response.status, said(response)) == (200, 10)


async def test_every_answer_says_who_answers(dev: Asker) -> None:
    version = f"inngest-py:v{inngest.__version__}"

    for response in [await dev.ask(call()), await dev.ask(request("GET")), await dev.ask(call("app-other"))]:
        assert response.headers == {
            "content-type": "application/json",
            "user-agent": version,
            "x-inngest-env": "branch",
            "x-inngest-expected-server-kind": "dev",
            "x-inngest-framework": "test",
            "x-inngest-req-version": "2",
            "x-inngest-sdk": version,
            "x-inngest-sdk-handled": "true",
        }


async def test_an_unknown_function_is_an_error_that_names_the_known_ones(dev: Asker) -> None:
    response = await dev.ask(call("app-other"))

    assert response.status == 500
    assert said(response)["code"] == "function_not_found"
    assert "'app-other' is not served here; known: app-fn." in said(response)["message"]


async def test_the_failure_handler_is_called_by_its_own_id(client: inngest.Inngest, is_async: bool) -> None:
    def handle(ctx: inngest.ContextSync) -> Any:
        return ctx.event.data["error"]["message"]

    function = double_step(client, is_async=False, on_failure=handle)
    asker = Asker(Handler(client, [function], framework="test"), is_async=is_async)
    event = {"name": "inngest/function.failed", "data": {"error": {"message": "it broke"}}}

    response = await asker.ask(call("app-fn-failure", call_body(event=event)))

    assert (response.status, said(response)) == (200, "it broke")
    client.close()


async def test_a_plain_function_runs_outside_of_the_event_loop(client: inngest.Inngest) -> None:
    async def answer() -> Any:
        return said(await handler.handle(call()))

    @client.create_function(fn_id="fn", event="a")
    def blocking(ctx: inngest.ContextSync) -> str:
        # Blocks until the loop has gone on, which it could not if it were blocked too.
        asyncio.run_coroutine_threadsafe(moved.wait(), loop).result(30)
        return "went on"

    handler = Handler(client, [blocking], framework="test")
    loop, moved = asyncio.get_running_loop(), asyncio.Event()
    task = asyncio.create_task(answer())
    await asyncio.sleep(0)
    moved.set()

    assert await task == "went on"
    client.close()


async def test_context_variables_of_the_request_are_seen(
    client: inngest.Inngest, is_async: bool, is_async_function: bool
) -> None:
    from contextvars import ContextVar

    tenant: ContextVar[str] = ContextVar("tenant")
    make = client.create_function(fn_id="fn", event="a")
    if is_async_function:

        async def see(ctx: inngest.Context) -> str:
            return tenant.get()

        function: Any = make(see)
    else:

        def see_sync(ctx: inngest.ContextSync) -> str:
            return tenant.get()

        function = make(see_sync)
    asker = Asker(Handler(client, [function], framework="test"), is_async=is_async)
    tenant.set("ann")

    assert said(await asker.ask(call())) == "ann"
    client.close()


class Hooks(inngest.MiddlewareSync):
    """Notes the request it belongs to, and fails when told to."""

    seen: list[Any] = []  # noqa: RUF012 (Set anew by each test.)
    error: Exception | None = None

    def before_response(self) -> None:
        Hooks.seen.append(self.raw_request)
        if Hooks.error is not None:
            raise Hooks.error


async def test_middleware_gets_the_raw_request_and_runs_before_the_response(
    is_async: bool, is_async_function: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hooks, "seen", [])
    client = inngest.Inngest(app_id="app", is_production=False, middleware=[Hooks])
    function = double_step(client, is_async=is_async_function)
    asker = Asker(Handler(client, [function], framework="test"), is_async=is_async)
    raw = object()
    asked = call()

    await asker.ask(type(asked)(asked.method, asked.url, asked.headers, asked.body, raw))

    assert Hooks.seen == [raw]
    client.close()


async def test_a_hook_that_fails_before_the_response_fails_the_request(
    is_async: bool, is_async_function: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hooks, "error", ValueError("hook broke"))
    client = inngest.Inngest(app_id="app", is_production=False, middleware=[Hooks])
    function = double_step(client, is_async=is_async_function)
    asker = Asker(Handler(client, [function], framework="test"), is_async=is_async)

    response = await asker.ask(call())

    assert response.status == 500
    assert (said(response)["name"], said(response)["message"]) == ("ValueError", "hook broke")
    client.close()


async def test_large_state_is_fetched(server: Server, is_async: bool, is_async_function: bool) -> None:
    from tests.sdk.http.asking import step_hash

    def answer(asked: Any) -> Any:
        if asked.target.endswith("/actions"):
            return 200, {step_hash("one"): {"data": 4}}
        return 200, [{"name": "a", "data": {"n": 1}}, {"name": "a", "data": {"n": 2}}]

    server.answer = answer
    client = inngest.Inngest(app_id="app", is_production=False, base_url=server.url)
    function = double_step(client, is_async=is_async_function)
    asker = Asker(Handler(client, [function], framework="test"), is_async=is_async)
    body = call_body(use_api=True)

    response = await asker.ask(call(body={**body, "events": []}))

    assert (response.status, said(response)) == (200, 8)
    run = "/v0/runs/01HZ0000000000000000000000"
    assert {asked.target for asked in server.asked} == {f"{run}/actions", f"{run}/batch"}
    await client.aclose()


@pytest.mark.usefixtures("no_backoff")
async def test_state_that_cannot_be_fetched_fails_the_attempt(server: Server, is_async: bool) -> None:
    server.answers = [(410, {"error": "the run is gone", "status": 410})]
    client = inngest.Inngest(app_id="app", is_production=False, base_url=server.url)
    asker = Asker(Handler(client, [double_step(client, is_async=is_async)], framework="t"), is_async=is_async)

    response = await asker.ask(call(body=call_body(use_api=True)))

    assert response.status == 500
    assert "the run is gone" in said(response)["message"]
    assert "x-inngest-no-retry" not in response.headers
    await client.aclose()


# Other methods.


async def test_other_methods_are_refused_with_the_allowed_ones(dev: Asker) -> None:
    response = await dev.ask(request("DELETE"))

    assert response.status == 405
    assert response.headers["allow"] == "GET, HEAD, POST, PUT"


async def test_head_is_get_without_a_body(dev: Asker) -> None:
    got, head = await dev.ask(request("GET")), await dev.ask(request("HEAD"))

    assert (head.status, head.headers, head.body) == (got.status, got.headers, b"")


@pytest.mark.parametrize("error", [GeneratorExit(), SystemExit(3), asyncio.CancelledError(), StopIteration()])
async def test_whatever_a_function_raises_is_answered(
    error: BaseException, client: inngest.Inngest, is_async: bool, is_async_function: bool
) -> None:
    make = client.create_function(fn_id="fn", event="a")
    if is_async_function:

        async def fail(ctx: inngest.Context) -> None:
            raise error

        function: Any = make(fail)
    else:

        def fail_sync(ctx: inngest.ContextSync) -> None:
            raise error

        function = make(fail_sync)
    asker = Asker(Handler(client, [function], framework="test"), is_async=is_async)

    response = await asker.ask(call())

    assert response.status == 500
    assert said(response)["name"] in ("RuntimeError", "StopIteration")
    await client.aclose()


# Trust in production.


async def test_a_signed_call_is_answered_with_a_signature_of_the_same_key(cloud: Asker) -> None:
    for key in (KEY, FALLBACK_KEY):
        response = await cloud.ask(call(key=key))

        assert response.status == 206
        header = response.headers["x-inngest-signature"]
        assert signature.verify(header, response.body, [key], now_s=time.time()) == key


@pytest.mark.parametrize(
    "options",
    [{}, {"key": "signkey-test-" + "ef" * 32}, {"key": KEY, "signed_at_s": 1_700_000_000.0}],
    ids=["unsigned", "wrong key", "too old"],
)
@pytest.mark.parametrize("ask", ["call", "probe", "introspect", "unknown"])
async def test_whoever_is_not_trusted_learns_nothing(options: Any, ask: str, cloud: Asker) -> None:
    asked = {
        "call": lambda: call(**options),
        "probe": lambda: request("POST", query="probe=trust", **options),
        "introspect": lambda: request("GET", **options),
        "unknown": lambda: call("app-other", **options),
    }[ask]()

    response = await cloud.ask(asked)

    assert (response.status, said(response)) == (401, {"message": "Unauthorized"})
    assert response.headers == {"content-type": "application/json", "x-inngest-sdk-handled": "true"}


async def test_head_is_refused_without_a_body(cloud: Asker) -> None:
    response = await cloud.ask(request("HEAD"))

    assert (response.status, response.body) == (401, b"")


async def test_a_changed_body_is_not_trusted(cloud: Asker) -> None:
    good = call(key=KEY)
    changed = good.body.replace(b'"attempt": 0', b'"attempt": 1')
    assert changed != good.body

    response = await cloud.ask(type(good)("POST", good.url, good.headers, changed))

    assert response.status == 401


async def test_a_trust_probe_is_answered_without_a_body(cloud: Asker) -> None:
    response = await cloud.ask(request("POST", query="probe=trust", key=KEY))

    assert (response.status, response.body) == (200, b"")
    assert signature.verify(response.headers["x-inngest-signature"], b"", [KEY], now_s=time.time())


async def test_an_unknown_probe_is_refused(cloud: Asker) -> None:
    response = await cloud.ask(request("POST", query="probe=luck", key=KEY))

    assert response.status == 400
    assert "no probe called 'luck'" in said(response)["message"]


async def test_dev_mode_trusts_everybody(dev: Asker) -> None:
    assert (await dev.ask(call(key=KEY))).status == 206
    assert (await dev.ask(call(x_inngest_signature="t=1&s=00"))).status == 206
    assert (await dev.ask(request("POST", query="probe=trust"))).status == 200


# Introspection.


async def test_anybody_may_know_the_mode_of_a_dev_app(dev: Asker) -> None:
    response = await dev.ask(request("GET"))

    assert said(response) == {
        "schema_version": "2024-05-24",
        "authentication_succeeded": None,
        "function_count": 1,
        "has_event_key": True,
        "has_signing_key": False,
        "has_signing_key_fallback": False,
        "mode": "dev",
    }


async def test_a_trusted_server_may_know_all_but_the_keys(cloud: Asker) -> None:
    response = await cloud.ask(request("GET", key=KEY))

    found = said(response)
    assert found == {
        "schema_version": "2024-05-24",
        "authentication_succeeded": True,
        "function_count": 1,
        "has_event_key": False,
        "has_signing_key": True,
        "has_signing_key_fallback": True,
        "mode": "cloud",
        "api_origin": "https://api.inngest.com",
        "app_id": "app",
        "capabilities": {"connect": "v1", "edited_input": "v1", "in_band_sync": "v1", "trust_probe": "v1"},
        "env": None,
        "event_api_origin": "https://inn.gs",
        "event_key_hash": None,
        "framework": "test",
        "sdk_language": "py",
        "sdk_version": inngest.__version__,
        "serve_origin": None,
        "serve_path": None,
        "signing_key_hash": hashlib.sha256(bytes.fromhex("ab" * 32)).hexdigest(),
        "signing_key_fallback_hash": hashlib.sha256(bytes.fromhex("cd" * 32)).hexdigest(),
    }
    assert signature.verify(response.headers["x-inngest-signature"], response.body, [KEY], now_s=time.time())


async def test_a_server_of_another_kind_is_told_nothing(dev: Asker) -> None:
    response = await dev.ask(request("GET", x_inngest_server_kind="cloud"))

    assert (response.status, response.body) == (403, b"{}")
    assert (await dev.ask(request("GET", x_inngest_server_kind="dev"))).status == 200


# What serve() checks.


def test_production_without_a_signing_key_says_what_to_do() -> None:
    client = inngest.Inngest(app_id="app")

    with pytest.raises(SigningKeyMissingError, match=r"INNGEST_SIGNING_KEY.*INNGEST_DEV=1"):
        Handler(client, [], framework="test")


def test_a_signing_key_that_is_no_hex_is_refused_when_serving() -> None:
    with pytest.raises(ConfigError, match="hex of even length"):
        Handler(inngest.Inngest(app_id="app", signing_key="signkey-prod-xyz"), [], framework="test")


def test_arguments_in_the_wrong_places_are_named(client: inngest.Inngest) -> None:
    function = double_step(client, is_async=True)

    with pytest.raises(ConfigError, match=r"takes the client \(inngest.Inngest\).*not list"):
        Handler([function], client, framework="test")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="takes a list of functions; put <Function 'app-fn'>"):
        Handler(client, function, framework="test")


def test_two_functions_of_one_id_are_refused(client: inngest.Inngest) -> None:
    def handle(ctx: inngest.ContextSync) -> None: ...

    one = double_step(client, is_async=True)
    with pytest.raises(ConfigError, match="two functions have the id 'app-fn'"):
        Handler(client, [one, double_step(client, is_async=False)], framework="test")
    with pytest.raises(ConfigError, match="'app-fn-failure'"):
        Handler(
            client,
            [
                double_step(client, is_async=False, on_failure=handle),
                double_step(client, is_async=False, fn_id="fn-failure"),
            ],
            framework="test",
        )


def test_a_function_of_another_app_is_served_with_a_warning(
    client: inngest.Inngest, caplog: pytest.LogCaptureFixture
) -> None:
    other = inngest.Inngest(app_id="other", is_production=False)

    Handler(client, [double_step(client, is_async=True)], framework="test")
    assert caplog.messages == []
    Handler(client, [double_step(other, is_async=True)], framework="test")

    assert "'other-fn' was made by the client of app 'other'" in caplog.text


def test_what_is_no_function_is_refused(client: inngest.Inngest) -> None:
    with pytest.raises(ConfigError, match=r"create_function.* missing above it"):
        Handler(client, [lambda ctx: None], framework="test")  # type: ignore[list-item]


def test_a_body_is_json_text(client: inngest.Inngest) -> None:
    """The tool itself."""
    assert json.loads(call().body)["ctx"]["run_id"].startswith("01HZ")
