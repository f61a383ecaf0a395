"""Configuration files: finding one, and reading any of the forms into the same entries.

All values come out as the text that was written, so that a value means the same in every form, as a flag,
and as a variable; `0123` is not a number because YAML takes it for one.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

NAMES = ("inngest.json", "inngest.yaml", "inngest.yml", "inngest.toml", "inngest.properties")
FILE_BYTES_MAX = 1024 * 1024
NOT_PLAIN = "must be a text, a number, true, false, or a list of texts"


class ConfigError(Exception):
    """A flag, a variable or a file says something that cannot be; the message says which and what to try."""

    code = "invalid_configuration"


class Entry(NamedTuple):
    """One key of a file as it was written."""

    key: str
    value: str | list[str]
    line: int


def find_file(directory: Path) -> Path | None:
    """The configuration file in the directory or the nearest one above it.

    Raises:
        ConfigError: a directory has several; which one counts would be a guess.
    """
    for place in (directory, *directory.parents):
        found = [place / name for name in NAMES if (place / name).is_file()]
        if len(found) > 1:
            names = " and ".join(file.name for file in found)
            raise ConfigError(f"{place} has {names}; keep one of them, or name one with --config")
        if found:
            return found[0]
    return None


def read_file(path: Path) -> list[Entry]:
    """The entries of a file, in the form that its suffix names; keys without a value are left out.

    Raises:
        ConfigError: it cannot be read, is not in that form, or holds more than keys with values and lists.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: the name of a configuration file ends in {', '.join(_READERS)}")
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text") from error
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{path} is larger than 1 MiB, so it is no configuration file")
    try:
        return list(reader(path, text))
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply") from error


class _Pairs(list[tuple[str, object]]):
    """A JSON object. Not a dict, which would hide keys that are given twice."""


def _json(path: Path, text: str) -> Iterator[Entry]:
    import json

    try:
        # Numbers stay as they were written.
        value: object = json.loads(text, object_pairs_hook=_Pairs, parse_int=str, parse_float=str)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} line {error.lineno} is not JSON: {error.msg}") from error
    if not isinstance(value, _Pairs):
        raise ConfigError(f"{path} must hold a JSON object with flags as keys")
    yield from _plain(path, text, value, r'"{key}"\s*:')


def _toml(path: Path, text: str) -> Iterator[Entry]:
    import tomllib

    try:
        value = tomllib.loads(text, parse_float=str)
    except ValueError as error:  # Beside its own error that of an integer with thousands of digits.
        raise ConfigError(f"{path} is not TOML: {error}") from error
    yield from _plain(path, text, list(value.items()), r"^\s*[\"']?{key}[\"']?\s*=")


def _plain(path: Path, text: str, pairs: Sequence[tuple[str, object]], key_form: str) -> Iterator[Entry]:
    """Entries of a parser that does not tell lines: they are looked for in the text."""
    seen: dict[str, int] = {}
    for key, value in pairs:
        lines = [
            text.count("\n", 0, match.end()) + 1
            for match in re.finditer(key_form.format(key=re.escape(key)), text, re.MULTILINE)
        ]
        nth = seen[key] = seen.get(key, -1) + 1
        line = lines[min(nth, len(lines) - 1)] if lines else 0
        if value is None:
            continue
        where = f"{path} line {line}: {key}" if line else f"{path}: {key}"
        if isinstance(value, list) and not isinstance(value, _Pairs):
            yield Entry(key, [_scalar(where, part) for part in cast("list[object]", value)], line)
        else:
            yield Entry(key, _scalar(where, value), line)


def _scalar(where: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise ConfigError(f"{where} {NOT_PLAIN}")


def _yaml(path: Path, text: str) -> Iterator[Entry]:
    import yaml

    try:
        # The tree of the text and not Python's values: it has the lines, and each value as it was written.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        at = f" line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise ConfigError(f"{path}{at} is not YAML: {error.problem or error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply") from error
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path} must hold keys with values, such as `port: 8288`")
    for key, node in root.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{path} line {line}: a key must be a text")
        texts: list[str] = []
        for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(part, yaml.ScalarNode):
                raise ConfigError(f"{path} line {line}: {key.value} {NOT_PLAIN}")
            texts.append(part.value)
        if isinstance(node, yaml.SequenceNode):
            yield Entry(key.value, texts, line)
        elif node.tag != "tag:yaml.org,2002:null":
            yield Entry(key.value, texts[0], line)


_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_PROPERTY = re.compile(r"((?:\\.|[^\\=:\s])+)\s*[=:\s]\s*(.*)", re.DOTALL)


def _properties(path: Path, text: str) -> Iterator[Entry]:
    """Java's form: `key=value`, `key: value` or `key value`; `#` and `!` begin comments; `\\` goes on."""
    lines = enumerate(text.splitlines(), start=1)
    for number, line in lines:
        whole = line.strip()
        if not whole or whole[0] in "#!":
            continue
        parts = [whole]
        while _goes_on(parts[-1]):
            parts[-1] = parts[-1][:-1]
            parts.append(next(lines, (0, ""))[1].strip())
        whole = "".join(parts)
        found = _PROPERTY.fullmatch(whole)
        if found is None:
            raise ConfigError(f"{path} line {number}: expected `key = value`, found {whole[:40]!r}")
        key, value = (re.sub(r"\\(u[0-9a-fA-F]{4}|.)", _unescaped, part) for part in found.groups())
        if value:
            yield Entry(key, value, number)


def _goes_on(line: str) -> bool:
    """Whether the last of the backslashes that end a line is not escaped itself."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _unescaped(match: re.Match[str]) -> str:
    letter = match[1]
    return chr(int(letter[1:], 16)) if len(letter) == 5 else _ESCAPES.get(letter, letter)


_READERS = {".json": _json, ".yaml": _yaml, ".yml": _yaml, ".toml": _toml, ".properties": _properties}
