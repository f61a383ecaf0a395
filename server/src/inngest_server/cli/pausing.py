"""The commands `pause` and `resume`."""

import json
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from inngest_server.cli.client import ServerRefusedError, client_of
from inngest_server.cli.config import Config
from inngest_server.cli.config_file import ConfigError

DONE, NOT_DONE = 0, 1


def pausing(config: Config, words: Sequence[str]) -> int:
    """Do either command; the exit status is 1 when the server refuses.

    Raises:
        ConfigError: not one function is named, or a flag is wrong.
    """
    command = config.command
    if len(words) != 1 or not words[0]:
        raise ConfigError(
            f"`inngest {command}` takes the slug of one function: inngest {command} shop-fulfil"
        )
    body = {"in_flight": config.text("in-flight")} if command == "pause" else {}
    try:
        function = client_of(config).call("POST", f"/functions/{quote(words[0], safe='')}/{command}", body)
    except ServerRefusedError as error:
        print(f"inngest: {error}", file=sys.stderr)
        return NOT_DONE
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
