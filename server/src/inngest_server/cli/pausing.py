"""The commands `pause` and `resume`."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from inngest_server.cli.client import DONE, client_of
from inngest_server.cli.config import Config
from inngest_server.cli.config_file import ConfigError


def pausing(config: Config, words: Sequence[str]) -> int:
    """Do either command.

    Raises:
        ConfigError: not one function is named, or a flag is wrong.
        ServerRefusedError: it did not do it.
    """
    command = config.command
    if len(words) != 1 or not words[0]:
        raise ConfigError(
            f"`inngest {command}` takes the slug of one function: inngest {command} shop-fulfil"
        )
    body = {"in_flight": config.text("in-flight")} if command == "pause" else {}
    function = client_of(config).call("POST", f"/functions/{quote(words[0], safe='')}/{command}", body)
    print(json.dumps(function) if config.switch("json") else _in_words(function))
    return DONE


def _in_words(function: dict[str, Any]) -> str:
    slug, pause = function["slug"], function["pause"]
    if pause is None:
        return f"{slug} is {function['state']}"
    until = pause["cancels_runs_at"]
    runs = (
        "its runs are cancelled" if until is None else f"its runs are held until {until}, and then cancelled"
    )
    return f"{slug} is paused since {pause['since']}; {runs}"
