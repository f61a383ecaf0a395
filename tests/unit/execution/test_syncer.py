"""Syncs in the answer to a PUT: whose functions are taken, and what is said of the rest."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from inngest_server import clock
from inngest_server.apps.registration import Registration, parse_registration
from inngest_server.execution.http1 import Headers
from inngest_server.execution.syncer import AppSyncer
from inngest_server.execution.transport import Response
from inngest_server.wire.signature import sign, verify

KEY = "0123456789abcdef"
NOW_S = 1_790_000_000
URL = "http://app.example/api/inngest"
FUNCTION = {
    "id": "shop-order",
    "name": "Order",
    "triggers": [{"event": "shop/order.placed"}],
    "steps": {
        "step": {
            "id": "step",
            "name": "step",
            "runtime": {"type": "http", "url": f"{URL}?fnId=shop-order&stepId=step"},
        }
    },
}
# What Python 0.5.19 sends: no `sdk`, `url`, `platform`, `env` or `appVersion`.
PYTHON = {
    "app_id": "shop",
    "framework": "fast_api",
    "functions": [FUNCTION],
    "inspection": {},
    "sdk_author": "inngest",
    "sdk_language": "py",
    "sdk_version": "0.5.19",
}
TYPESCRIPT = {
    **PYTHON,
    "appVersion": "2024-01-01.1",
    "env": None,
    "platform": "vercel",
    "sdk": "js:v4.24.0",
    "url": "http://localhost:3000/api/inngest",
}


class Clock(clock.Clock):
    def now_ms(self) -> int:
        return NOW_S * 1000

    def host_s(self) -> int:
        return NOW_S

    def monotonic_s(self) -> float:
        return 0.0


class App:
    """A transport that answers every PUT in the same way."""

    def __init__(self, body: bytes, headers: Mapping[str, str], status: int = 200) -> None:
        self.response = Response(status, Headers({"x-inngest-sdk": "inngest-py:v0.5.19", **headers}), body)
        self.asked: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.registered: list[Registration] = []

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, **_: Any
    ) -> Response:
        self.asked.append((method, url, headers, body))
        return self.response

    async def register(self, body: object) -> None:
        self.registered.append(parse_registration(body))

    def syncer(self, signing_key: str | None = KEY) -> AppSyncer:
        transport: Any = self
        kind = "dev" if signing_key is None else "cloud"
        return AppSyncer(
            transport, Clock(), signing_key=signing_key, server_kind=kind, register=self.register
        )


def in_band(reply: object = PYTHON, *, key: str = KEY, at_s: int = NOW_S, signed: bytes | None = None) -> App:
    body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
    signature = sign(body if signed is None else signed, key, at_s)
    return App(body, {"x-inngest-sync-kind": "in_band", "x-inngest-signature": signature})


@pytest.mark.parametrize(
    ("reply", "sdk", "version"), [(PYTHON, "py:v0.5.19", ""), (TYPESCRIPT, "js:v4.24.0", "2024-01-01.1")]
)
async def test_the_functions_of_a_signed_reply_are_taken(
    reply: dict[str, object], sdk: str, version: str
) -> None:
    app = in_band(reply)

    assert await app.syncer().sync(URL) is None

    [registration] = app.registered
    assert (registration.app_name, registration.url) == ("shop", URL)
    assert (registration.sdk, registration.app_version) == (sdk, version)
    assert [function.id for function in registration.functions] == ["shop-order"]


async def test_the_request_is_signed_and_asks_for_a_reply() -> None:
    app = in_band()

    await app.syncer().sync(URL)

    [(method, url, headers, body)] = app.asked
    assert (method, url, body) == ("PUT", URL, json.dumps({"url": URL}, separators=(",", ":")).encode())
    assert headers["X-Inngest-Sync-Kind"] == "in_band"
    assert headers["X-Inngest-Server-Kind"] == "cloud"
    verify(body, headers["X-Inngest-Signature"], KEY, NOW_S)


async def test_without_a_signing_key_the_app_is_asked_to_call_back() -> None:
    app = in_band()

    assert await app.syncer(None).sync(URL) is None

    assert "X-Inngest-Sync-Kind" not in app.asked[0][2]
    assert app.registered == []


async def test_an_app_that_called_back_has_said_all() -> None:
    app = App(b'{"message":"Successfully registered","modified":true}', {})

    assert await app.syncer().sync(URL) is None
    assert app.registered == []


async def test_go_signs_its_reply_without_the_line_feed_at_its_end() -> None:
    body = json.dumps(PYTHON).encode()
    app = in_band(body + b"\n", signed=body)

    assert await app.syncer().sync(URL) is None
    assert len(app.registered) == 1


def unsigned(reply: object) -> App:
    return App(json.dumps(reply).encode(), {"x-inngest-sync-kind": "in_band"})


@pytest.mark.parametrize(
    ("app", "code"),
    [
        (unsigned(PYTHON), "signature_missing"),
        (in_band(key="ffff"), "signature_mismatch"),
        (in_band(signed=b"{}"), "signature_mismatch"),
        (in_band(at_s=NOW_S - 301), "signature_expired"),
        (in_band(at_s=NOW_S + 301), "signature_expired"),
        (in_band(b"no json"), "invalid_reply"),
        (in_band([1]), "config_invalid"),
        (in_band({**PYTHON, "app_id": ""}), "config_invalid"),
        (in_band({**PYTHON, "functions": [{"id": "x"}]}), "config_invalid"),
    ],
)
async def test_a_reply_that_cannot_be_trusted_or_read_registers_nothing(app: App, code: str) -> None:
    error = await app.syncer().sync(URL)

    assert error is not None
    assert error.code == code
    assert URL in error.message
    assert KEY not in error.message
    assert app.registered == []


async def test_an_app_in_development_is_told_so() -> None:
    error = await unsigned(PYTHON).syncer().sync(URL)

    assert error is not None
    assert "INNGEST_DEV=0" in error.message
