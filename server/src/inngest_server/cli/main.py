"""Reads the command line and starts the command. What a command needs is imported when it runs."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from inngest_server.cli.arguments import parse
from inngest_server.cli.config import Config, resolve
from inngest_server.cli.config_file import ConfigError
from inngest_server.cli.flags import CLIENTS

USAGE_ERROR = 2
INTERRUPTED, PIPE_CLOSED = 130, 141
"""What shells show for an end by SIGINT and by SIGPIPE."""


def main(words: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns its exit status."""
    given = sys.argv[1:] if words is None else list(words)
    try:
        status = _run(given)
        sys.stdout.flush()
        return status
    except ConfigError as error:
        print(f"inngest: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read has read enough, as in `inngest explain ID | head`. Nothing is left to be flushed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _run(words: Sequence[str]) -> int:
    arguments = parse(words)
    command = arguments.command
    if arguments.wants_help or not command:
        from inngest_server.cli.help import help_of, overview

        print(help_of(command) if command else overview(), end="")
        return 0 if arguments.wants_help else USAGE_ERROR
    if command == "version":
        from inngest_server import __version__

        print(__version__)
        return 0
    config = resolve(command, arguments.flags, os.environ, Path.cwd())
    if command in CLIENTS:
        return _ask_server(config, arguments.operands)
    if command == "lint":
        from inngest_server.cli.lint import lint

        return lint(config, arguments.operands)
    if command == "replay":
        from inngest_server.cli.replay import replay

        return replay(config, arguments.operands)
    if command == "doctor":
        from inngest_server.cli.doctor import doctor

        return doctor(config)
    from inngest_server.cli.serve import serve

    return serve(config)


def _ask_server(config: Config, words: Sequence[str]) -> int:
    """Do a command that asks a running server; the exit status is 1 when that refuses."""
    from inngest_server.cli import again, clock, explain, history, jobs, pausing
    from inngest_server.cli.client import NOT_DONE, ServerRefusedError

    commands = {
        "pause": pausing.pausing,
        "resume": pausing.pausing,
        "rerun": again.again,
        "fork": again.again,
        "explain": explain.explain,
        "history": history.history,
        "jobs": jobs.jobs,
        "clock": clock.clock,
    }
    try:
        return commands[config.command](config, words)
    except ServerRefusedError as error:
        print(f"inngest: {error}", file=sys.stderr)
        return NOT_DONE
