"""What an app says about itself: register bodies and introspection (protocol 2.2, 2.8, 2.9)."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from inngest import __version__

from . import signature

if TYPE_CHECKING:
    from inngest.client import Inngest

SDK_HEADER = f"inngest-py:v{__version__}"
"""What `x-inngest-sdk` and `user-agent` say."""
REQUEST_VERSION = "2"
CAPABILITIES = {"connect": "v1", "edited_input": "v1", "in_band_sync": "v1", "trust_probe": "v1"}
"""`edited_input` is known to our server only: a rerun may give a step other arguments (protocol 3.3)."""
SCHEMA_VERSION = "2024-05-24"
IN_BAND = "in_band"


def register_body(
    client: Inngest, functions: list[dict[str, Any]], *, url: str, framework: str
) -> dict[str, Any]:
    """The body of `POST /fn/register`."""
    body: dict[str, Any] = {
        "appName": client.app_id,
        "capabilities": CAPABILITIES,
        "deployType": "ping",
        "framework": framework,
        "functions": functions,
        "sdk": f"py:v{__version__}",
        "url": url,
        "v": "0.1",
    }
    if client.app_version is not None:
        body["appVersion"] = client.app_version
    return body


def in_band_body(
    client: Inngest,
    functions: list[dict[str, Any]],
    *,
    url: str,
    framework: str,
    inspection: dict[str, Any],
) -> dict[str, Any]:
    """The answer to a sync that wants the registration at once."""
    return {
        "app_id": client.app_id,
        "appVersion": client.app_version,
        "capabilities": CAPABILITIES,
        "env": client.env,
        "framework": framework,
        "functions": functions,
        "inspection": inspection,
        "platform": None,
        "sdk": f"py:v{__version__}",
        "sdk_author": "inngest",
        "sdk_language": "py",
        "sdk_version": __version__,
        "url": url,
    }


def open_inspection(client: Inngest, function_count: int) -> dict[str, Any]:
    """What anybody may know."""
    return {
        "schema_version": SCHEMA_VERSION,
        "authentication_succeeded": None,
        "function_count": function_count,
        "has_event_key": client.event_key is not None,
        "has_signing_key": client.signing_key is not None,
        "has_signing_key_fallback": client.signing_key_fallback is not None,
        "mode": client.settings.mode.value,
    }


def trusted_inspection(
    client: Inngest,
    function_count: int,
    *,
    framework: str,
    serve_origin: str | None,
    serve_path: str | None,
) -> dict[str, Any]:
    """What only a server with the app's signing key may know; of the keys their hashes."""
    return {
        **open_inspection(client, function_count),
        "authentication_succeeded": True,
        "api_origin": client.api_origin,
        "app_id": client.app_id,
        "capabilities": CAPABILITIES,
        "env": client.env,
        "event_api_origin": client.event_api_origin,
        "event_key_hash": None if client.event_key is None else sha256(client.event_key.encode()).hexdigest(),
        "framework": framework,
        "sdk_language": "py",
        "sdk_version": __version__,
        "serve_origin": serve_origin,
        "serve_path": serve_path,
        "signing_key_fallback_hash": _hash_of(client.signing_key_fallback),
        "signing_key_hash": _hash_of(client.signing_key),
    }


def _hash_of(key: str | None) -> str | None:
    return None if key is None else signature.bearer_of(key)
