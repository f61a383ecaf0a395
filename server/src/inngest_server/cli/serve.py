"""The commands `dev` and `start`: from what was given to the settings of a server, and running it."""

import asyncio
import ipaddress
import os
import stat
import sys
from pathlib import Path

import structlog

from inngest_server.api.connections import AddressInUseError
from inngest_server.app import Server
from inngest_server.apps.urls import InvalidAppURLError, normalize_app_url
from inngest_server.cli.config import Config
from inngest_server.cli.config_file import ConfigError
from inngest_server.execution.prober import PORTS
from inngest_server.observability.log import set_up_logging
from inngest_server.settings import DAY_MS, ServerKind, Settings
from inngest_server.storage.protocol import StorageError
from inngest_server.wire.durations import InvalidDurationError, parse_duration_ms
from inngest_server.wire.signature import InvalidSigningKeyError, check_signing_key
from inngest_server.wire.sizes import find_size

ASK_AGAIN_S = 5
"""Between asking apps that never answered, when apps are not polled."""
PORT_MAX = 65_535
RETENTION_BYTES_MIN = 10_000_000
"""An empty database with a few apps takes less than a tenth of this."""


def serve(config: Config) -> int:
    """Run a server until it is stopped; returns the exit status.

    Raises:
        ConfigError: a server cannot be what it was told to be.
    """
    settings = settings_of(config)
    set_up_logging(as_json=settings.log_json, level=settings.log_level)
    _tell(config)
    try:
        import uvloop

        new_loop = uvloop.new_event_loop
    except ImportError:
        new_loop = asyncio.new_event_loop
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(_run(settings))
    except (AddressInUseError, StorageError) as error:
        print(f"inngest: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(settings: Settings) -> None:
    await Server(settings).run()


def settings_of(config: Config) -> Settings:
    """The settings that a configuration asks for.

    Raises:
        ConfigError: a value is wrong, a key is missing, or what is asked for is not built.
    """
    config.refuse_unbuilt()
    is_dev = config.command == "dev"
    poll_interval_s = config.number("poll-interval")
    signing_key = None if is_dev else _signing_key(config)
    if not is_dev and not config.texts("event-key") and not config.switch("insecure"):
        raise ConfigError(
            "a server for production needs an event key: give --event-key or INNGEST_EVENT_KEY, "
            "or --insecure to let everybody in"
        )
    return Settings(
        kind=ServerKind.DEV if is_dev else ServerKind.CLOUD,
        host=_host(config),
        port=_port(config),
        allowed_hosts=tuple(name.lower() for name in config.texts("allowed-host")),
        signing_key=signing_key,
        event_keys=config.texts("event-key"),
        insecure=config.switch("insecure"),
        sdk_urls=_urls(config),
        discovery_ports=_discovery_ports(config) if is_dev else (),
        poll=poll_interval_s > 0 and not config.switch("no-poll"),
        poll_interval_s=poll_interval_s or ASK_AGAIN_S,
        directory=Path(config.text("sqlite-dir")),
        in_memory=config.switch("in-memory"),
        relaxed=config.switch("relaxed"),
        retry_interval_s=config.number("retry-interval"),
        priority_max_s=config.number("priority-max"),
        retention_ms=_retention_ms(config),
        retention_bytes=_retention_bytes(config),
        cron_catch_up=config.text("cron-catch-up"),
        clock=config.text("clock") if is_dev else "real",
        clock_absolute=config.switch("clock-absolute"),
        app_connections=config.number("app-connections"),
        allow_private_gateway=is_dev or config.switch("allow-private-gateway"),
        ui=not config.switch("no-ui"),
        log_level=_log_level(config),
        log_json=config.switch("json") or not sys.stderr.isatty(),
    )


def _host(config: Config) -> str:
    """With or without scheme. Source: decisions, `--host` and `start` without keys."""
    if config.switch("insecure") and "host" not in config.given:
        return "127.0.0.1"
    host = config.text("host").removeprefix("http://").removeprefix("https://").rstrip("/")
    bare = host.strip("[]")
    if not bare:
        raise ConfigError(f"{config.where('host')} names no address")
    if ":" in bare:
        try:
            ipaddress.IPv6Address(bare)
        except ValueError:
            raise ConfigError(
                f"{config.where('host')}: {host!r} is no address; the port is a flag of its own, --port"
            ) from None
    return bare


def _port(config: Config) -> int:
    port = config.number("port")
    if port > PORT_MAX:
        raise ConfigError(f"{config.where('port')}: {port} is more than {PORT_MAX}, the last port there is")
    return port


def _signing_key(config: Config) -> str | None:
    if config.values["signing-key"] is None:
        if config.switch("insecure"):
            return None
        raise ConfigError(
            "a server for production needs a signing key: give --signing-key or INNGEST_SIGNING_KEY "
            "(`openssl rand -hex 32` makes one), or --insecure to let everybody in"
        )
    try:
        return check_signing_key(config.text("signing-key"))
    except InvalidSigningKeyError as error:
        raise ConfigError(f"{config.where('signing-key')}: {error}") from error


def _urls(config: Config) -> tuple[str, ...]:
    try:
        return tuple(normalize_app_url(url) for url in config.texts("sdk-url"))
    except InvalidAppURLError as error:
        raise ConfigError(f"{config.where('sdk-url')}: {error}") from error


def _discovery_ports(config: Config) -> tuple[int, ...]:
    """Where apps usually are, and the port that `PORT` names, as many programs read it; not our own."""
    if config.switch("no-discovery"):
        return ()
    named = os.environ.get("PORT", "")
    is_port = named.isascii() and named.isdigit() and len(named) <= 5 and 0 < int(named) <= PORT_MAX
    extra = (int(named),) if is_port else ()
    return tuple(port for port in dict.fromkeys((*PORTS, *extra)) if port != config.number("port"))


def _retention_ms(config: Config) -> int:
    try:
        kept_ms = parse_duration_ms(config.text("retention"))
    except InvalidDurationError as error:
        raise ConfigError(f"{config.where('retention')}: {error}") from error
    if kept_ms != 0 and kept_ms < DAY_MS:
        raise ConfigError(
            f"{config.where('retention')}: ended runs are kept at least a day, because event ids are "
            "remembered so long; give `1d` or more, or `0` for ever"
        )
    return kept_ms


def _retention_bytes(config: Config) -> int:
    text = config.text("retention-size")
    size = find_size(text)
    if size is None or 0 < size < RETENTION_BYTES_MIN:
        raise ConfigError(
            f"{config.where('retention-size')}: {text[:60]!r} is not valid here: expected a size such as "
            "`10GB` or `512MiB`, at least `10MB`, or `0` for no limit"
        )
    return size


def _log_level(config: Config) -> str:
    is_verbose = config.switch("verbose") and "log-level" not in config.given
    return "debug" if is_verbose else config.text("log-level")


def _tell(config: Config) -> None:
    """Say what a reader of the log would otherwise have to guess; never a value, which may be a key."""
    log = structlog.get_logger("inngest.config")
    if config.file is not None:
        log.info("config.file", path=str(config.file))
    if ignored := config.without_effect():
        log.info("config.without_effect", detail="; ".join(f"{at}: {why}" for at, why in ignored.items()))
    for sentence in config.mistyped:
        log.warning("config.unknown_variable", detail=sentence)
    secrets = [config.given[name] for name in ("signing-key", "event-key") if name in config.given]
    if any(given.source == "flag" for given in secrets):
        log.warning(
            "config.key_is_visible",
            detail="other users of this machine can read --signing-key and --event-key; prefer "
            "INNGEST_SIGNING_KEY and INNGEST_EVENT_KEY",
        )
    if config.file is not None and any(given.source == "file" for given in secrets):
        mode = config.file.stat().st_mode
        if mode & (stat.S_IRGRP | stat.S_IROTH):
            log.warning(
                "config.key_is_visible",
                detail=f"other users of this machine can read {config.file}: chmod 600 it",
            )
