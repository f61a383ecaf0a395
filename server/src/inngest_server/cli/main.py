"""Reads the command line. Imports of the server come inside the commands: `--help` must be quick."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="inngest",
    help="Durable functions on your machine: events in, runs out, every step stored.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Host = Annotated[str, typer.Option(envvar="INNGEST_HOST", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", "-p", envvar="INNGEST_PORT", help="Port to listen on.")]
SdkUrl = Annotated[
    list[str] | None,
    typer.Option(
        "--sdk-url",
        "-u",
        envvar="INNGEST_SDK_URL",
        help="URL at which an app serves its functions; repeatable.",
    ),
]
SqliteDir = Annotated[
    Path,
    typer.Option("--sqlite-dir", envvar="INNGEST_SQLITE_DIR", help="Directory of the database `main.db`."),
]
InMemory = Annotated[
    bool,
    typer.Option("--in-memory", envvar="INNGEST_IN_MEMORY", help="Keep nothing: start empty, end empty."),
]
Relaxed = Annotated[
    bool,
    typer.Option(
        "--relaxed",
        envvar="INNGEST_RELAXED",
        help="Acknowledge before the disk has it. A power failure may then lose what was acknowledged in the "
        "last moments (until the next checkpoint of the database); a crash of the server loses nothing.",
    ),
]
RetryInterval = Annotated[
    int,
    typer.Option(
        "--retry-interval",
        min=0,
        envvar="INNGEST_RETRY_INTERVAL",
        help="Constant seconds between tries; 0 backs off as documented.",
    ),
]
Retention = Annotated[
    str,
    typer.Option(
        envvar="INNGEST_RETENTION", help="How long ended runs and events are kept, as `7d`; `0` for ever."
    ),
]
CatchUp = Annotated[
    str,
    typer.Option(
        "--cron-catch-up",
        envvar="INNGEST_CRON_CATCH_UP",
        help="Slots missed while no server ran: `skip`, `one` or `all`.",
    ),
]
AppConnections = Annotated[
    int,
    typer.Option(
        "--app-connections", min=1, envvar="INNGEST_APP_CONNECTIONS", help="Calls to one app at a time."
    ),
]
LogLevel = Annotated[
    str, typer.Option("--log-level", "-l", envvar="INNGEST_LOG_LEVEL", help="debug, info, warning or error.")
]
LogJson = Annotated[
    bool, typer.Option("--json", envvar="INNGEST_JSON", help="Log as JSON even on a terminal.")
]


@app.command()
def dev(
    host: Host = "127.0.0.1",
    port: Port = 8288,
    sdk_url: SdkUrl = None,
    no_poll: Annotated[
        bool,
        typer.Option("--no-poll", envvar="INNGEST_NO_POLL", help="Do not ask apps again every few seconds."),
    ] = False,
    poll_interval: Annotated[
        int,
        typer.Option(
            "--poll-interval", min=1, envvar="INNGEST_POLL_INTERVAL", help="Seconds between asking."
        ),
    ] = 5,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host", envvar="INNGEST_ALLOWED_HOST", help="Further host name that browsers may use."
        ),
    ] = None,
    sqlite_dir: SqliteDir = Path(".inngest"),
    in_memory: InMemory = False,
    relaxed: Relaxed = False,
    retry_interval: RetryInterval = 0,
    retention: Retention = "7d",
    cron_catch_up: CatchUp = "skip",
    app_connections: AppConnections = 256,
    log_level: LogLevel = "info",
    log_json: LogJson = False,
) -> None:
    """Run a server for development: no keys, apps are asked again every few seconds."""
    from inngest_server.settings import ServerKind, Settings

    _serve(
        Settings(
            kind=ServerKind.DEV,
            host=_host(host),
            port=port,
            allowed_hosts=tuple(name.lower() for name in allowed_host or ()),
            sdk_urls=_urls(sdk_url),
            poll=not no_poll,
            poll_interval_s=poll_interval,
            directory=sqlite_dir,
            in_memory=in_memory,
            relaxed=relaxed,
            retry_interval_s=retry_interval,
            retention_ms=_retention_ms(retention),
            cron_catch_up=_catch_up(cron_catch_up),
            app_connections=app_connections,
            log_level=log_level,
            log_json=log_json or not sys.stderr.isatty(),
        )
    )


@app.command()
def start(
    host: Host = "0.0.0.0",
    port: Port = 8288,
    signing_key: Annotated[
        str | None,
        typer.Option(
            "--signing-key",
            envvar="INNGEST_SIGNING_KEY",
            help="Secret shared with the apps: hex of even length.",
        ),
    ] = None,
    event_key: Annotated[
        list[str] | None,
        typer.Option(
            "--event-key", envvar="INNGEST_EVENT_KEY", help="Key with which events may be sent; repeatable."
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", envvar="INNGEST_INSECURE", help="Start without keys: everybody may do everything."
        ),
    ] = False,
    sdk_url: SdkUrl = None,
    sqlite_dir: SqliteDir = Path(".inngest"),
    in_memory: InMemory = False,
    relaxed: Relaxed = False,
    retry_interval: RetryInterval = 0,
    retention: Retention = "7d",
    cron_catch_up: CatchUp = "skip",
    app_connections: AppConnections = 256,
    log_level: LogLevel = "info",
    log_json: LogJson = False,
) -> None:
    """Run a server for production: signed requests to apps, keys for everything that comes in."""
    from inngest_server.settings import ServerKind, Settings
    from inngest_server.wire.signature import InvalidSigningKeyError, check_signing_key

    if signing_key is None and not insecure:
        raise typer.BadParameter(
            "a server for production needs a signing key: give --signing-key or INNGEST_SIGNING_KEY "
            "(`openssl rand -hex 32` makes one), or --insecure to let everybody in"
        )
    if not event_key and not insecure:
        raise typer.BadParameter(
            "a server for production needs an event key: give --event-key or INNGEST_EVENT_KEY, "
            "or --insecure to let everybody in"
        )
    try:
        key = check_signing_key(signing_key) if signing_key is not None else None
    except InvalidSigningKeyError as error:
        raise typer.BadParameter(str(error)) from error
    if any(argument.startswith("--signing-key") for argument in sys.argv):
        typer.echo("other users of this machine can read --signing-key; prefer INNGEST_SIGNING_KEY", err=True)
    _serve(
        Settings(
            kind=ServerKind.CLOUD,
            host=_host(host),
            port=port,
            signing_key=key,
            event_keys=tuple(name for given in event_key or () for name in given.split(",") if name),
            insecure=insecure,
            sdk_urls=_urls(sdk_url),
            poll=False,
            directory=sqlite_dir,
            in_memory=in_memory,
            relaxed=relaxed,
            retry_interval_s=retry_interval,
            retention_ms=_retention_ms(retention),
            cron_catch_up=_catch_up(cron_catch_up),
            app_connections=app_connections,
            log_level=log_level,
            log_json=log_json or not sys.stderr.isatty(),
        )
    )


@app.command()
def version() -> None:
    """Print the version."""
    from inngest_server import __version__

    typer.echo(__version__)


def _serve(settings: "object") -> None:
    import asyncio

    from inngest_server.app import AddressInUseError, Server
    from inngest_server.observability.log import LEVELS, set_up_logging
    from inngest_server.settings import Settings
    from inngest_server.storage.protocol import StorageError

    assert isinstance(settings, Settings)
    if settings.log_level.lower() not in LEVELS:
        raise typer.BadParameter(
            f"{settings.log_level!r} is not one of {', '.join(LEVELS)}", param_hint="--log-level"
        )
    set_up_logging(as_json=settings.log_json, level=settings.log_level)
    try:
        import uvloop

        new_loop = uvloop.new_event_loop
    except ImportError:
        new_loop = asyncio.new_event_loop
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(_run(Server, settings))
    except (AddressInUseError, StorageError) as error:
        typer.echo(f"inngest: {error}", err=True)
        raise typer.Exit(1) from error


async def _run(server_class: type, settings: object) -> None:
    await server_class(settings).run()


def _host(text: str) -> str:
    """With or without scheme. Source: decisions, `--host`."""
    return text.removeprefix("http://").removeprefix("https://").rstrip("/").strip("[]")


def _urls(given: list[str] | None) -> tuple[str, ...]:
    from inngest_server.apps.urls import InvalidAppURLError, normalize_app_url

    try:
        return tuple(normalize_app_url(url) for text in given or () for url in text.split(",") if url)
    except InvalidAppURLError as error:
        raise typer.BadParameter(str(error), param_hint="--sdk-url") from error


def _retention_ms(text: str) -> int:
    from inngest_server.wire.durations import InvalidDurationError, parse_duration_ms

    try:
        return parse_duration_ms(text)
    except InvalidDurationError as error:
        raise typer.BadParameter(str(error), param_hint="--retention") from error


def _catch_up(text: str) -> str:
    if text not in ("skip", "one", "all"):
        raise typer.BadParameter(f"{text!r} is not one of skip, one, all", param_hint="--cron-catch-up")
    return text


def main() -> None:
    """Entry point of the command."""
    app()
