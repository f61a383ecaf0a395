"""The command `jobs`: what is being done to many runs at once, and stopping it."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from inngest_server.cli.client import DONE, Client, client_of
from inngest_server.cli.config import Config
from inngest_server.cli.config_file import ConfigError

DID = {"cancel": "cancelled", "replay": "started again"}


def jobs(config: Config, words: Sequence[str]) -> int:
    """List the jobs, show one, or stop one.

    Raises:
        ConfigError: the words mean nothing, or a flag is wrong.
        ServerRefusedError: it did not do it.
    """
    if len(words) > 2 or (len(words) == 2 and words[0] != "stop") or list(words) == ["stop"] or "" in words:
        raise ConfigError("`inngest jobs` takes nothing, the id of a job, or: stop ID")
    answer = _ask(client_of(config), words)
    if config.switch("json"):
        print(json.dumps(answer))
        return DONE
    found = answer["jobs"] if not words else [answer]
    print("\n".join(map(_in_words, found)) if found else "there are no jobs")
    if not words and answer["next"]:
        print(f"older ones: GET /api/ui/v1/jobs?cursor={answer['next']}")
    for error in answer["errors"] if words else ():
        print(f"  {error['run_id']}  {error['error']}")
    return DONE


def _ask(client: Client, words: Sequence[str]) -> Any:
    if not words:
        return client.call("GET", "/jobs")
    method = "DELETE" if len(words) == 2 else "GET"
    return client.call(method, f"/jobs/{quote(words[-1], safe='')}")


def _in_words(job: dict[str, Any]) -> str:
    """One line: which job, of which function, and how far it is."""
    seen = str(job["seen"]) if job["total"] is None else f"{job['seen']} of {job['total']}"
    parts = [f"{seen} runs seen", f"{job['affected']} {DID[job['kind']]}"]
    if job["undecided"]:
        parts.append(f"{job['undecided']} undecided")
    name = f" ({job['name']})" if job["name"] else ""
    function = job["function"] or job["function_id"]
    status = "stopped" if job["status"] == "deleted" else job["status"]
    return f"{job['id']}  {status:7}  {job['kind']} {function}{name}: {', '.join(parts)}"
