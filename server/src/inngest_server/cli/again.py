"""The commands `rerun` and `fork`."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from inngest_server.cli.client import DONE, client_of
from inngest_server.cli.config import Config
from inngest_server.cli.config_file import ConfigError


def again(config: Config, words: Sequence[str]) -> int:
    """Do either command.

    Raises:
        ConfigError: not one run is named, or a flag is wrong.
        ServerRefusedError: it did not do it.
    """
    command = config.command
    if len(words) != 1 or not words[0]:
        raise ConfigError(f"`inngest {command}` takes the id of one run: inngest {command} 01M7XS5QAHR7...")
    path = f"/runs/{quote(words[0], safe='')}/{command}" + (
        "?dry_run=true" if config.switch("dry-run") else ""
    )
    found = client_of(config).call("POST", path, _body(config))
    print(json.dumps(found) if config.switch("json") else _in_words(found))
    return DONE


def _body(config: Config) -> dict[str, Any]:
    body: dict[str, Any] = {"event": _json(config, "event", dict)}
    if config.command == "rerun":
        body |= {"from_step": config.values["from"], "input": _json(config, "input", list)}
    else:
        body["replace"] = _json(config, "replace", dict)
        if "keep" in config.given:
            body["keep"] = list(config.texts("keep"))
        body["again"] = list(config.texts("again"))
    return {key: value for key, value in body.items() if value is not None}


def _json(config: Config, name: str, kind: type) -> Any:
    """The value of a flag that is JSON; None if it was not given."""
    text = config.values[name]
    if text is None:
        return None
    try:
        value = json.loads(str(text))
    except ValueError as error:
        raise ConfigError(f"{config.where(name)} is no JSON: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{config.where(name)} is nested too deeply") from error
    if not isinstance(value, kind):
        wanted = "an array" if kind is list else "an object"
        raise ConfigError(f"{config.where(name)} must be {wanted}, such as {_EXAMPLES[name]}")
    return value


_EXAMPLES = {
    "event": '{"data": {"amount": 5}}',
    "input": '[{"amount": 5}]',
    "replace": '{"charge": {"data": {"paid": false}}}',
}


def _in_words(found: dict[str, Any]) -> str:
    kept, edited = found.get("kept", []), found.get("edited", [])
    parts = [f"kept: {', '.join(kept)}"] if kept else []
    parts += [f"edited: {', '.join(edited)}"] if edited else []
    taken = "; ".join(parts) or "nothing is kept"
    if "run_id" not in found:
        return f"nothing was started; {taken}"
    if found["status"] == "Skipped":
        return f"run {found['run_id']} is skipped: `inngest explain {found['run_id']}` says why"
    return f"run {found['run_id']} is {found['status'].lower()}; {taken}"
