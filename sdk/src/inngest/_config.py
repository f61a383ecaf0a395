"""Settings of a client and of `serve`: arguments first, then variables of the environment, then defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from urllib.parse import urlsplit

from ._wire.durations import Duration, to_timedelta
from .errors import ConfigError, URLInvalidError

API_ORIGIN_CLOUD = "https://api.inngest.com"
EVENT_API_ORIGIN_CLOUD = "https://inn.gs"
ORIGIN_DEV = "http://127.0.0.1:8288"
DEFAULT_SERVE_PATH = "/api/inngest"
REQUEST_TIMEOUT = timedelta(seconds=30)

_TRUE = frozenset(("1", "true", "yes", "y", "on"))
_FALSE = frozenset(("0", "false", "no", "n", "off", ""))


class Mode(Enum):
    """Which kind of server a client belongs to; the value is what the wire calls that kind."""

    DEV = "dev"
    CLOUD = "cloud"


class Streaming(Enum):
    """Whether answers are streamed: bytes at once and every few seconds, until the answer is there."""

    DISABLE = "disable"
    FORCE = "force"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a client was told about its server. Origins have no slash at the end."""

    mode: Mode
    api_origin: str
    event_api_origin: str
    env: str | None
    event_key: str | None
    signing_key: str | None
    signing_key_fallback: str | None
    request_timeout: timedelta

    @property
    def is_dev(self) -> bool:
        return self.mode is Mode.DEV

    @property
    def signing_keys(self) -> tuple[str, ...]:
        """In the order in which they are tried."""
        return tuple(key for key in (self.signing_key, self.signing_key_fallback) if key)


def resolve(
    *,
    is_production: bool | None,
    base_url: str | None,
    api_base_url: str | None,
    event_api_base_url: str | None,
    env: str | None,
    event_key: str | None,
    signing_key: str | None,
    signing_key_fallback: str | None,
    request_timeout: Duration | None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings that follow from a client's arguments and the environment.

    Raises:
        ConfigError: an argument or a variable has a value that can never work; the message names it.
    """
    given = os.environ if environ is None else environ
    is_dev, dev_origin = _read_dev(given.get("INNGEST_DEV", ""))
    if is_production is not None:
        is_dev = not is_production
    both = _origin("base_url", base_url) or _origin("INNGEST_BASE_URL", given.get("INNGEST_BASE_URL"))
    if is_dev:
        both = both or dev_origin
    api_default, event_default = (
        (ORIGIN_DEV, ORIGIN_DEV) if is_dev else (API_ORIGIN_CLOUD, EVENT_API_ORIGIN_CLOUD)
    )
    timeout = REQUEST_TIMEOUT
    if request_timeout is not None:
        timeout = to_timedelta(request_timeout, what="request_timeout")
        if not timeout:
            raise ConfigError("request_timeout cannot be 0: no server would ever answer in time")
    return Settings(
        mode=Mode.DEV if is_dev else Mode.CLOUD,
        api_origin=_origin("api_base_url", api_base_url)
        or _origin("INNGEST_API_BASE_URL", given.get("INNGEST_API_BASE_URL"))
        or both
        or api_default,
        event_api_origin=_origin("event_api_base_url", event_api_base_url)
        or _origin("INNGEST_EVENT_API_BASE_URL", given.get("INNGEST_EVENT_API_BASE_URL"))
        or both
        or event_default,
        env=_header_text("env (INNGEST_ENV)", env or given.get("INNGEST_ENV") or None),
        event_key=event_key or given.get("INNGEST_EVENT_KEY") or None,
        signing_key=signing_key or given.get("INNGEST_SIGNING_KEY") or None,
        signing_key_fallback=signing_key_fallback or given.get("INNGEST_SIGNING_KEY_FALLBACK") or None,
        request_timeout=timeout,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Where and how functions are served."""

    origin: str | None
    """Scheme and host that the server shall call, when they are not those of the sync request."""
    path: str | None
    """Path of the functions in the app; prefixes that the app is mounted under come before it."""
    public_path: str | None
    """Whole path that the server shall call, where a proxy changes paths."""
    streaming: Streaming
    allow_in_band_sync: bool
    allow_unsigned_sync: bool


def resolve_serving(
    *,
    serve_origin: str | None,
    serve_path: str | None,
    public_path: str | None,
    enable_unauthed_sync: bool | None,
    streaming: Streaming | None,
    environ: Mapping[str, str] | None = None,
) -> ServeSettings:
    """The settings of one `serve`; behind a proxy that changes paths, `public_path` is the one outside.

    Raises:
        ConfigError: an argument or a variable has a value that can never work.
    """
    given = os.environ if environ is None else environ
    path = serve_path or given.get("INNGEST_SERVE_PATH") or None
    if streaming is None:
        streaming = _read_streaming(given.get("INNGEST_STREAMING", ""))
    elif not isinstance(streaming, Streaming):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"streaming has to be inngest.Streaming.FORCE or .DISABLE, not {streaming!r}")
    if enable_unauthed_sync is None:
        enable_unauthed_sync = read_bool("INNGEST_ENABLE_UNAUTHED_SYNC", given, default=True)
    return ServeSettings(
        origin=_origin("serve_origin", serve_origin)
        or _origin("INNGEST_SERVE_ORIGIN", given.get("INNGEST_SERVE_ORIGIN"))
        or _origin("INNGEST_SERVE_HOST", given.get("INNGEST_SERVE_HOST")),
        path="/" + path.lstrip("/") if path else None,
        public_path="/" + public_path.lstrip("/") if public_path else None,
        streaming=streaming,
        allow_in_band_sync=read_bool("INNGEST_ALLOW_IN_BAND_SYNC", given, default=True),
        allow_unsigned_sync=enable_unauthed_sync,
    )


def read_bool(name: str, given: Mapping[str, str], *, default: bool) -> bool:
    """A variable that says yes or no.

    Raises:
        ConfigError: it says something else.
    """
    text = given.get(name, "").strip().lower()
    if not text:
        return default
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ConfigError(f"{name} is {given[name]!r}; it has to be 1 or 0 (or true, false, yes, no, on, off)")


def thread_pool_workers(environ: Mapping[str, str] | None = None) -> int | None:
    """How many threads run synchronous functions; None when it is not said.

    Raises:
        ConfigError: `INNGEST_THREAD_POOL_MAX_WORKERS` is no positive integer.
    """
    text = (os.environ if environ is None else environ).get("INNGEST_THREAD_POOL_MAX_WORKERS", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit() and 0 < len(text) <= 5 and int(text) > 0:
        return int(text)
    raise ConfigError(f"INNGEST_THREAD_POOL_MAX_WORKERS is {text!r}; it has to be a positive integer")


def _read_dev(text: str) -> tuple[bool, str | None]:
    """Whether `INNGEST_DEV` asks for dev mode, and the address of the dev server if it has one."""
    word = text.strip()
    if word.lower() in _TRUE or word.lower() in _FALSE:
        return word.lower() in _TRUE, None
    # A host alone could be a misspelt word; an address shows itself by a colon.
    if ":" in word:
        return True, _origin("INNGEST_DEV", word if "://" in word else f"http://{word}")
    raise ConfigError(
        f"INNGEST_DEV is {text!r}; it has to be 1 (dev mode), 0 (production mode) or the address of a dev "
        "server, "
        f"such as {ORIGIN_DEV}"
    )


def _read_streaming(text: str) -> Streaming:
    match text.strip().lower():
        case "force" | "allow" | "true" | "1":
            return Streaming.FORCE
        case "" | "false" | "disable" | "0":
            return Streaming.DISABLE
        case _:
            raise ConfigError(f'INNGEST_STREAMING is {text!r}; it has to be "force" or "disable"')


def _header_text(what: str, text: str | None) -> str | None:
    """What is sent as a header has to be ASCII on one line."""
    if text is not None and not (text.isascii() and text.isprintable()):
        raise ConfigError(f"{what} is {text!r}; it has to be printable ASCII")
    return text


def _origin(what: str, url: str | None) -> str | None:
    if not url:
        return None
    try:
        parts = urlsplit(url.strip())
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise URLInvalidError(f"{what} is {url!r}; it has to be an address such as {ORIGIN_DEV}")
    return url.strip().partition("?")[0].rstrip("/")
