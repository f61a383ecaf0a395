"""The command `inngest`."""

from inngest_server.cli.main import main

__all__ = ["main"]
