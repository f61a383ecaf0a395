"""The command `replay`: whether the code of an app still follows the histories of real runs."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from inngest_server.cli.config import Config
from inngest_server.cli.config_file import ConfigError
from inngest_server.execution.transport import HTTPTransport
from inngest_server.testing.follow import DIFFERS, UNASKED, Verdict
from inngest_server.testing.gate import Gate, lines_of, read_histories
from inngest_server.traces.exported import BadHistoryError, ExportedRun
from inngest_server.wire.signature import InvalidSigningKeyError, check_signing_key

ALL_FOLLOW, ONE_DIFFERS, NOT_CHECKED = 0, 1, 2
"""Exit statuses."""


def replay(config: Config, words: Sequence[str]) -> int:
    """Follow every history of the files with the code of the app at `--url`.

    Raises:
        ConfigError: a file, the URL or the key is none.
    """
    if not words:
        raise ConfigError(
            "`inngest replay` takes files of histories, or - for what it is given: "
            "inngest replay histories.jsonl --url http://localhost:8000/api/inngest"
        )
    runs = [run for word in words for run in _read(word)]
    if not runs:
        raise ConfigError(f"there is no history in {', '.join(words)}: `inngest history` writes them")
    verdicts = asyncio.run(_follow(config, _url(config), _key(config), runs))
    if config.switch("json"):
        print(json.dumps({"runs": [verdict.to_json() for verdict in verdicts]}))
    else:
        for line in lines_of(verdicts):
            print(
                line.encode(sys.stdout.encoding or "ascii", "replace").decode(sys.stdout.encoding or "ascii")
            )
    outcomes = {verdict.outcome for verdict in verdicts}
    if UNASKED in outcomes:
        return NOT_CHECKED
    return ONE_DIFFERS if DIFFERS in outcomes else ALL_FOLLOW


async def _follow(config: Config, url: str, key: str | None, runs: Sequence[ExportedRun]) -> list[Verdict]:
    transport = HTTPTransport()
    try:
        gate = Gate(transport, url, signing_key=key, compares_output=config.switch("compare-output"))
        return await gate.follow_all(runs)
    finally:
        await transport.close()


def _read(word: str) -> list[ExportedRun]:
    try:
        text = sys.stdin.read() if word == "-" else Path(word).read_text(encoding="utf-8")
        return read_histories(text, "the input" if word == "-" else word)
    except BadHistoryError as error:
        raise ConfigError(str(error)) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{word[:200]} cannot be read: {error}") from error


def _url(config: Config) -> str:
    url = config.values["url"]
    if not isinstance(url, str):
        raise ConfigError(
            "--url is missing: where the app serves its functions, http://localhost:8000/api/inngest"
        )
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # Brackets that are not closed, a port beyond 65535.
        is_url = False
    if not is_url:
        raise ConfigError(
            f"{config.where('url')}: {url!r} is no URL such as http://localhost:8000/api/inngest"
        )
    return url


def _key(config: Config) -> str | None:
    key = config.values["signing-key"]
    if not isinstance(key, str):
        return None
    try:
        return check_signing_key(key)
    except InvalidSigningKeyError as error:
        raise ConfigError(f"{config.where('signing-key')}: {error}") from error
