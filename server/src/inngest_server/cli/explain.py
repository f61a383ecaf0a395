"""The command `explain`: why a run is not running, or what became of an event."""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from inngest_server.cli.client import DONE, Client, ServerRefusedError, client_of
from inngest_server.cli.config import Config
from inngest_server.cli.config_file import ConfigError
from inngest_server.wire.ulid import is_ulid

MARKS = {"pass": "✓", "block": "■", "wait": "◷", "skip": "-", "unknown": "?"}
NAME_COLUMNS = 26


def explain(config: Config, words: Sequence[str]) -> int:
    """Explain a run or an event.

    Raises:
        ConfigError: not one of them is named, or a flag is wrong.
        ServerRefusedError: it is neither, or nobody answers.
    """
    if len(words) != 1 or not words[0].strip():
        raise ConfigError(
            "`inngest explain` takes the id of one run or event: inngest explain 01M7XS5QAHR7..."
        )
    found = _ask(client_of(config), words[0].strip())
    if config.switch("json"):
        print(json.dumps(found))
        return DONE
    lines = lines_of_run(found) if "run" in found else lines_of_event(found)
    encoding = sys.stdout.encoding or "ascii"
    text = "\n".join(map(_printable, lines))
    print(text.encode(encoding, "replace").decode(encoding))
    return DONE


def _printable(line: str) -> str:
    """Names are the users' own: they may not break the line or move the cursor."""
    return "".join(char if char.isprintable() else "?" for char in line)


def _ask(client: Client, name: str) -> dict[str, Any]:
    """Runs and events have ids of the same shape: what is no run may be an event.

    Raises:
        ServerRefusedError: it is neither, or nobody answers.
    """
    path = quote(name, safe="")
    if is_ulid(name.upper()):
        try:
            return client.call("GET", f"/runs/{path}/explain")
        except ServerRefusedError as error:
            if error.code != "run_not_found":
                raise
    try:
        return client.call("GET", f"/events/{path}/explain")
    except ServerRefusedError as error:
        if error.code != "event_not_found":
            raise
        raise ServerRefusedError(f"there is no run or event {name}: {error}", error.code) from error


def lines_of_run(found: dict[str, Any]) -> Iterator[str]:
    """What people read of a run: the sentence, its gates, and the one that holds it back in detail."""
    yield found["summary"]
    yield ""
    for gate in found["gates"]:
        yield _gate_line(gate)
        if gate["id"] == found["blocking"]:
            yield from _details(gate)
    if found["actions"]:
        yield ""
        yield "What helps"
        for action in found["actions"]:
            yield f"  {action['label']}: {action['method']} {action['path']}"


def lines_of_event(found: dict[str, Any]) -> Iterator[str]:
    """What people read of an event: the sentence, and how far it came at each function."""
    yield found["summary"]
    for row in found["functions"]:
        yield ""
        yield f"{row['function']}: {row['says']}"
        for gate in row["gates"]:
            yield _gate_line(gate)
            if gate["id"] == row["blocking"]:
                yield from _details(gate)
    for near in () if found["functions"] else found["near"]:
        yield f"  ? {near['trigger']} of {near['function']} {near['why']}"
    if found["others"] and found["functions"]:
        yield ""
        yield f"{found['others']:,} other functions look for events of other names"


def _gate_line(gate: dict[str, Any]) -> str:
    return f"  {MARKS.get(gate['verdict'], '?')} {gate['label']:<{NAME_COLUMNS}} {gate['says']}".rstrip()


def _details(gate: dict[str, Any]) -> Iterator[str]:
    """What is known of a gate that is shut, indented below its line."""
    indent = " " * (NAME_COLUMNS + 5)
    for name in ("since", "eta"):
        if gate[name]:
            yield f"{indent}{name} {gate[name]}"
    if gate["ends"]:
        yield f"{indent}ends {gate['ends']}"
    if "limit" in gate and "used" in gate:
        yield f"{indent}{gate['used']} of {gate['limit']} used"
    for fact in gate["facts"]:
        yield f"{indent}{fact['k']}: {fact['v']}{' ms' if fact['unit'] == 'ms' else ''}"
    for holder in gate["holders"]:
        step = f", step {holder['step']}" if holder["step"] else ""
        since = f", since {holder['since']}" if holder["since"] else ""
        yield f"{indent}held by {holder['run']} of {holder['function']}{step}{since}"
