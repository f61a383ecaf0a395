"""Who may call what. Everything is closed unless its route says otherwise. Source: design 7, protocol 6.5."""

import hmac
import ipaddress
from enum import StrEnum
from urllib.parse import urlsplit

from inngest_server.api.replies import RequestRejectedError, Scope, header_of
from inngest_server.settings import Settings
from inngest_server.wire.signature import bearer_matches


class Access(StrEnum):
    """The rule of a route."""

    OPEN = "open"
    """Anyone."""
    EVENT_KEY = "event_key"
    """The key in the path is one of the server's event keys; the handler checks it."""
    BEARER = "bearer"
    """The signing key, as SDKs send it."""
    EVENT_KEY_OR_BEARER = "event_key_or_bearer"
    """Either, as bearer."""


STATE_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def check_access(settings: Settings, access: Access, scope: Scope) -> None:
    """Let the request pass, or say why not.

    Raises:
        RequestRejectedError: 401 or 403.
    """
    _check_browser(settings, access, scope)
    if settings.is_open or access in (Access.OPEN, Access.EVENT_KEY):
        return
    bearer = header_of(scope, b"authorization")
    if settings.signing_key is not None and bearer_matches(bearer, settings.signing_key):
        return
    if access is Access.EVENT_KEY_OR_BEARER and is_event_key(settings, bearer.partition(" ")[2].strip()):
        return
    hint = (
        ": no signing key was sent; set INNGEST_SIGNING_KEY in the app, or send `Authorization: Bearer <key>`"
        if bearer.lower() in ("", "bearer", "bearer undefined")
        else ""
    )
    raise RequestRejectedError(401, f"Authentication failed{hint}", code="unauthorized")


def is_event_key(settings: Settings, key: str) -> bool:
    """Whether the key is one of the server's, compared in constant time."""
    given = key.encode()
    return sum(hmac.compare_digest(given, known.encode()) for known in settings.event_keys) > 0


def _check_browser(settings: Settings, access: Access, scope: Scope) -> None:
    """A page of another site must not drive a server on this machine through its user's browser."""
    origin = header_of(scope, b"origin")
    # Over plain HTTP, to a name that the page's owner has made ours, a browser sends neither of the two.
    is_browser = origin or header_of(scope, b"sec-fetch-site")
    if not is_browser and not header_of(scope, b"user-agent").startswith("Mozilla/"):
        return
    host = _host_of("//" + header_of(scope, b"host"))
    if settings.is_open and not _is_known_host(settings, host):
        raise RequestRejectedError(
            403,
            f"host {host!r} is not served to browsers; allow it with --allowed-host {host}",
            code="host_denied",
        )
    if access in (Access.EVENT_KEY, Access.OPEN) or not origin:
        return
    if not _is_known_host(settings, _host_of(origin)) and origin != "null":
        raise RequestRejectedError(403, f"origin {origin} may not call this server", code="origin_denied")
    if scope["method"] in STATE_CHANGING and settings.is_open:
        kind = header_of(scope, b"content-type").partition(";")[0].strip().lower()
        if kind != "application/json" and not header_of(scope, b"x-inngest-sdk"):
            raise RequestRejectedError(
                403, "a browser must send Content-Type: application/json here", code="content_type_denied"
            )


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _is_known_host(settings: Settings, host: str) -> bool:
    return host == settings.host.lower() or host in settings.allowed_hosts or _is_this_machine(host)


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def cors_headers(access: Access, scope: Scope) -> list[tuple[bytes, bytes]]:
    """What lets a page read the answer: any page for events, pages of this machine for the rest."""
    origin = header_of(scope, b"origin")
    if not origin:
        return []
    if access is Access.EVENT_KEY:
        allowed = b"*"
    else:
        if not _is_this_machine(_host_of(origin)):
            return []
        allowed = origin.encode("latin-1")
    return [
        (b"access-control-allow-origin", allowed),
        (b"access-control-expose-headers", b"Link, Mcp-Session-Id"),
        (b"vary", b"Origin"),
    ]


def preflight_headers(access: Access, scope: Scope) -> list[tuple[bytes, bytes]]:
    """The answer to a browser that asks before it sends."""
    headers = cors_headers(access, scope)
    if headers:
        wanted = header_of(scope, b"access-control-request-headers") or "*"
        headers += [
            (b"access-control-allow-methods", b"GET, POST, PUT, DELETE, OPTIONS"),
            (b"access-control-allow-headers", wanted.encode("latin-1")),
            (b"access-control-max-age", b"3600"),
        ]
    return headers
