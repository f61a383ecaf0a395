"""Registration: out of band, in band, and what is refused."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

import inngest
from inngest._http.handler import Handler
from inngest._wire import signature
from inngest_server.apps.in_band import register_body
from inngest_server.apps.registration import parse_registration
from tests.sdk.http.asking import FALLBACK_KEY, KEY, URL, Asker, double_step, request, said
from tests.sdk.http.server import Server


class App:
    """A client and its handler, towards the scripted server."""

    def __init__(self, server: Server, *, is_async: bool, is_dev: bool, **options: Any) -> None:
        self.client = inngest.Inngest(
            app_id="app",
            app_version="7",
            is_production=not is_dev,
            base_url=server.url,
            signing_key=KEY,
            signing_key_fallback=FALLBACK_KEY,
        )
        self.server = server
        self.is_async = is_async
        self.asker = self.serve(**options)

    def serve(self, *, functions: list[Any] | None = None, **options: Any) -> Asker:
        functions = [double_step(self.client, is_async=True)] if functions is None else functions
        return Asker(Handler(self.client, functions, framework="test", **options), is_async=self.is_async)


@pytest.fixture
async def dev(server: Server, is_async: bool) -> AsyncIterator[App]:
    server.answers = [(200, {"ok": True, "modified": True})]
    app = App(server, is_async=is_async, is_dev=True)
    yield app
    await app.client.aclose()


@pytest.fixture
async def cloud(server: Server, is_async: bool) -> AsyncIterator[App]:
    server.answers = [(200, {"ok": True, "modified": True})]
    app = App(server, is_async=is_async, is_dev=False)
    yield app
    await app.client.aclose()


async def test_a_put_registers_the_app(dev: App) -> None:
    response = await dev.asker.ask(
        request("PUT", {"url": "http://other/x"}, query="deployId=d%201", x_inngest_server_kind="dev")
    )

    (asked,) = dev.server.asked
    assert (response.status, said(response)["modified"]) == (200, True)
    assert (asked.method, asked.target) == ("POST", "/fn/register?deployId=d%201")
    assert asked.headers["x-inngest-expected-server-kind"] == "dev"
    assert asked.headers["x-inngest-framework"] == "test"
    assert asked.headers["authorization"] == f"Bearer {signature.bearer_of(KEY)}"
    assert asked.json() == {
        "appName": "app",
        "appVersion": "7",
        "capabilities": {"connect": "v1", "edited_input": "v1", "in_band_sync": "v1", "trust_probe": "v1"},
        "deployType": "ping",
        "framework": "test",
        "functions": [
            {
                "id": "app-fn",
                "name": "fn",
                "triggers": [{"event": "a"}],
                "steps": {
                    "step": {
                        "id": "step",
                        "name": "step",
                        "runtime": {"type": "http", "url": f"{URL}?fnId=app-fn&stepId=step"},
                    }
                },
            }
        ],
        "sdk": f"py:v{inngest.__version__}",
        "url": URL,
        "v": "0.1",
    }
    parsed = parse_registration(asked.json())
    assert (parsed.app_name, [one.id for one in parsed.functions], parsed.warnings) == ("app", ["app-fn"], ())


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({"serve_origin": "https://pub.org"}, "https://pub.org/api/inngest"),
        ({"public_path": "/outside"}, "http://app.test:3000/outside"),
        ({"serve_origin": "https://pub.org:8443/", "public_path": "outside"}, "https://pub.org:8443/outside"),
    ],
)
async def test_the_address_is_that_of_the_settings(options: Any, url: str, dev: App) -> None:
    await dev.serve(**options).ask(request("PUT"))

    body = dev.server.asked[0].json()
    assert body["url"] == url
    assert body["functions"][0]["steps"]["step"]["runtime"]["url"] == f"{url}?fnId=app-fn&stepId=step"


@pytest.mark.parametrize(("app", "kind"), [("dev", "cloud"), ("cloud", "dev")])
async def test_a_server_of_another_kind_is_refused(app: str, kind: str, dev: App, cloud: App) -> None:
    response = await {"dev": dev, "cloud": cloud}[app].asker.ask(request("PUT", x_inngest_server_kind=kind))

    assert response.status == 400
    assert said(response)["code"] == "server_kind_mismatch"
    assert f"server in {kind} mode and this app is in {app} mode" in said(response)["message"]
    assert dev.server.asked == []


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        ((400, {"error": "function app-fn: cron is invalid", "status": 400}), 400, "cron is invalid"),
        ((401, "Authentication failed"), 400, "Your signing key is invalid"),
        ((500, {"error": "no storage"}), 500, "no storage"),
        ((200, "<html>"), 500, "no JSON object"),
        ((0, ""), 500, "could not reach"),
    ],
)
async def test_a_failed_registration_tells_the_server_why(
    answer: Any, status: int, message: str, dev: App
) -> None:
    dev.server.answers = [answer]

    response = await dev.asker.ask(request("PUT"))

    assert response.status == status
    assert said(response)["code"] == "registration_failed"
    assert message in said(response)["message"]


async def test_the_fallback_key_registers_when_the_first_is_refused(cloud: App) -> None:
    cloud.server.answers = [(401, "Authentication failed"), (200, {"ok": True, "modified": False})]

    assert (await cloud.asker.ask(request("PUT"))).status == 200
    assert (await cloud.asker.ask(request("PUT"))).status == 200

    bearers = [asked.headers["authorization"].removeprefix("Bearer ") for asked in cloud.server.asked]
    first, second = signature.bearer_of(KEY), signature.bearer_of(FALLBACK_KEY)
    # What worked is tried first from then on.
    assert bearers == [first, second, second]


async def test_an_app_without_functions_is_not_registered(dev: App) -> None:
    response = await dev.serve(functions=[]).ask(request("PUT"))

    assert response.status == 400
    assert "No functions registered" in said(response)["message"]
    assert dev.server.asked == []


# In band.


@pytest.mark.parametrize("key", [KEY, FALLBACK_KEY])
async def test_a_signed_in_band_sync_is_answered_with_the_registration(key: str, cloud: App) -> None:
    response = await cloud.asker.ask(
        request("PUT", {"url": "http://seen/by/server"}, key=key, x_inngest_sync_kind="in_band")
    )

    body = said(response)
    assert response.status == 200
    assert response.headers["x-inngest-sync-kind"] == "in_band"
    assert signature.verify(response.headers["x-inngest-signature"], response.body, [key], now_s=time.time())
    assert cloud.server.asked == []
    assert (body["app_id"], body["appVersion"], body["sdk_language"]) == ("app", "7", "py")
    assert body["url"] == "http://seen/by/server"
    assert body["inspection"]["authentication_succeeded"] is True
    parsed = parse_registration(register_body(body, body["url"]))
    assert parsed.functions[0].url == "http://seen/by/server?fnId=app-fn&stepId=step"


async def test_an_unsigned_in_band_sync_is_refused(cloud: App) -> None:
    response = await cloud.asker.ask(request("PUT", {"url": URL}, x_inngest_sync_kind="in_band"))

    assert response.status == 401


async def test_in_dev_mode_an_unsigned_in_band_sync_goes_out_of_band(dev: App) -> None:
    response = await dev.asker.ask(request("PUT", {"url": URL}, x_inngest_sync_kind="in_band"))

    assert (response.status, response.headers["x-inngest-sync-kind"]) == (200, "out_of_band")
    assert len(dev.server.asked) == 1


async def test_in_band_syncs_may_be_turned_off(cloud: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_ALLOW_IN_BAND_SYNC", "0")

    response = await cloud.serve().ask(request("PUT", {"url": URL}, key=KEY, x_inngest_sync_kind="in_band"))

    assert response.headers["x-inngest-sync-kind"] == "out_of_band"


@pytest.mark.parametrize("body", [b"", b"x", [], {"url": 5}, {}])
async def test_an_in_band_sync_needs_an_address(body: Any, cloud: App) -> None:
    response = await cloud.asker.ask(request("PUT", body, key=KEY, x_inngest_sync_kind="in_band"))

    assert (response.status, said(response)["code"]) == (400, "body_invalid")


# Unsigned syncs in production.


async def test_an_unsigned_sync_is_passed_on_unless_that_is_turned_off(cloud: App) -> None:
    assert (await cloud.asker.ask(request("PUT"))).status == 200

    response = await cloud.serve(enable_unauthed_sync=False).ask(request("PUT"))
    assert (response.status, said(response)) == (401, {"message": "Unauthorized"})
    assert (await cloud.serve(enable_unauthed_sync=False).ask(request("PUT", key=KEY))).status == 200
    assert len(cloud.server.asked) == 2


async def test_a_wrongly_signed_sync_is_refused(cloud: App) -> None:
    response = await cloud.asker.ask(request("PUT", key="signkey-test-" + "ef" * 32))

    assert response.status == 401
    assert cloud.server.asked == []
