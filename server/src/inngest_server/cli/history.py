"""The command `history`: histories of runs as lines of JSON, for `inngest replay`."""

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from inngest_server.cli.client import DONE, client_of
from inngest_server.cli.config import Config
from inngest_server.cli.config_file import ConfigError


def history(config: Config, words: Sequence[str]) -> int:
    """Print the histories of the runs that are named, and of the latest runs of a function.

    Raises:
        ConfigError: no run and no function is named.
        ServerRefusedError: a run is not there, or nobody answers.
    """
    function = config.values["function"]
    if not words and function is None:
        raise ConfigError(
            "`inngest history` takes ids of runs, or --function: "
            "inngest history --function shop-fulfil > histories.jsonl"
        )
    if any(not word.strip() for word in words):
        raise ConfigError("an id of a run is empty")
    client = client_of(config)
    run_ids = [word.strip() for word in words]
    if function is not None:
        query: dict[str, str] = {"limit": str(config.number("limit"))}
        if config.values["status"] is not None:
            query["status"] = config.text("status")
        path = f"/functions/{quote(config.text('function'), safe='')}/runs?{urlencode(query)}"
        run_ids += client.call("GET", path)["run_ids"]
    for run_id in dict.fromkeys(run_ids):
        found = client.call("GET", f"/runs/{quote(run_id, safe='')}/history")
        print(json.dumps(found, separators=(",", ":")))
    return DONE
