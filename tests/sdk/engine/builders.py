"""A function and its server in one line."""

import logging
from typing import Any

import inngest

from .driver import Server


def make_client(**options: Any) -> inngest.Inngest:
    options.setdefault("logger", logging.getLogger("tests.sdk"))
    return inngest.Inngest(app_id="app", is_production=False, **options)


def serve(handler: Any, client: inngest.Inngest | None = None, **options: Any) -> Server:
    """The server of one function; keyword arguments are options of `create_function`."""
    client = client or make_client(checkpointing=False)
    options.setdefault("fn_id", "fn")
    function = client.create_function(trigger=inngest.TriggerEvent(event="test"), **options)(handler)
    return Server(function, client)
