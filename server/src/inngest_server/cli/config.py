"""What a command was told: flag over variable over file over default, each value with where it came from."""

import os.path
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from inngest_server.cli.config_file import ConfigError, Entry, find_file, read_file
from inngest_server.cli.flags import BY_KEY, BY_NAME, FLAGS, PREFIX, SDK_VARIABLES, Flag, Kind, flags_of

TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
FALSE = frozenset({"0", "false", "f", "no", "n", "off"})
PATH_CHARS_SHOWN = 500

Value = str | int | bool | tuple[str, ...] | None


class Given(NamedTuple):
    """What was written for a flag, and where."""

    text: str | list[str]
    where: str
    """For people: `--port`, `INNGEST_PORT`, `inngest.yaml line 3: port`."""
    source: str
    """`flag`, `variable` or `file`."""


@dataclass(frozen=True, slots=True)
class Config:
    """The value of every flag of a command."""

    command: str
    values: Mapping[str, Value]
    given: Mapping[str, Given]
    """Of the flags that are not at their default."""
    file: Path | None = None
    foreign: tuple[str, ...] = field(default=())
    """Keys of the file that are flags of other commands."""
    mistyped: tuple[str, ...] = field(default=())
    """What is to be said about variables that nobody reads, a sentence each."""

    def text(self, name: str) -> str:
        value = self.values[name]
        assert isinstance(value, str), name
        return value

    def number(self, name: str) -> int:
        value = self.values[name]
        assert isinstance(value, int), name
        return value

    def switch(self, name: str) -> bool:
        """Off for commands without the flag."""
        return bool(self.values.get(name, False))

    def texts(self, name: str) -> tuple[str, ...]:
        """Empty for commands without the flag."""
        value = self.values.get(name)
        return value if isinstance(value, tuple) else ()

    def where(self, name: str) -> str:
        """What to look at when the value is wrong."""
        return self.given[name].where if name in self.given else f"--{name}"

    def refuse_unbuilt(self) -> None:
        """Return if nothing that is not built yet was asked for.

        Raises:
            ConfigError: it was.
        """
        for name, given in self.given.items():
            if reason := BY_NAME[name].unbuilt:
                raise ConfigError(f"{given.where}: {reason}")

    def without_effect(self) -> dict[str, str]:
        """What was given and does nothing, with the reason."""
        found = {given.where: BY_NAME[name].idle for name, given in self.given.items() if BY_NAME[name].idle}
        found.update(dict.fromkeys(self.foreign, f"is not a flag of `inngest {self.command}`"))
        return found


def resolve(
    command: str,
    flags: Mapping[str, str | Sequence[str]],
    environment: Mapping[str, str],
    directory: Path,
) -> Config:
    """Put together what was given; `flags` are those on the command line, `directory` the working directory.

    Raises:
        ConfigError: a value, a key or a file is wrong.
    """
    known = {flag.name: flag for flag in flags_of(command)}
    given: dict[str, Given] = {}
    for name, flag in known.items():
        if name in flags:
            text = flags[name]
            given[name] = Given(text if isinstance(text, str) else list(text), flag.option, "flag")
        elif environment.get(flag.variable, "").strip():
            given[name] = Given(environment[flag.variable].strip(), flag.variable, "variable")
    file = _file(given, directory) if "config" in known else None
    foreign: list[str] = []
    if file is not None:
        for name, found in _checked(file, read_file(file)).items():
            if name not in known:
                foreign.append(found.where)
            else:
                given.setdefault(name, found)
    values: dict[str, Value] = {}
    for name, flag in known.items():
        default = flag.defaults[command]
        values[name] = _value(flag, given[name]) if name in given else default
    if file is not None and "sqlite-dir" in given and given["sqlite-dir"].source == "file":
        # A file is found from every directory below it, and names the same database for all of them.
        values["sqlite-dir"] = str(file.parent / str(values["sqlite-dir"]))
    return Config(command, values, given, file, tuple(foreign), tuple(_mistyped(environment)))


def _mistyped(environment: Mapping[str, str]) -> Iterator[str]:
    """Variables that look like ours and are neither a flag's, of whichever command, nor an SDK's."""
    ours = [flag.variable for flag in FLAGS]
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in ours and name not in SDK_VARIABLES:
            nearest = get_close_matches(name, ours, n=1, cutoff=0.75)
            hint = f"did you mean {nearest[0]}?" if nearest else "it does nothing"
            yield f"there is no setting {name}; {hint}"


def _file(given: Mapping[str, Given], directory: Path) -> Path | None:
    named = given.get("config")
    if named is None:
        return find_file(directory)
    # Those of `os.path` raise nothing, whatever the text: a name may be too long, or of no user.
    path = directory / os.path.expanduser(str(named.text))
    if not os.path.isfile(path):
        raise ConfigError(f"{named.where}: there is no file {str(path)[:PATH_CHARS_SHOWN]}")
    return path


def _checked(path: Path, entries: Sequence[Entry]) -> dict[str, Given]:
    """The entries by the names of their flags."""
    found: dict[str, Given] = {}
    for entry in entries:
        key = entry.key.strip().lower().replace("_", "-")
        at = f"{path} line {entry.line}" if entry.line else str(path)
        flag = BY_KEY.get(key)
        if flag is None or flag.name == "config":
            nearest = get_close_matches(key, BY_KEY, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "see `inngest start --help`"
            raise ConfigError(f"{at}: there is no setting {entry.key!r}; {hint}")
        if flag.name in found:
            raise ConfigError(f"{at}: {entry.key} was given before, as {found[flag.name].where}")
        found[flag.name] = Given(entry.value, f"{at}: {entry.key}", "file")
    return found


def _value(flag: Flag, given: Given) -> Value:
    if flag.kind is Kind.LIST:
        # A list of a file is one already; texts, also those of a repeated flag, hold several.
        parts = given.text if isinstance(given.text, list) else [given.text]
        if not (given.source == "file" and isinstance(given.text, list)):
            parts = [one for part in parts for one in part.split(",")]
        return tuple(part.strip() for part in parts if part.strip())
    if isinstance(given.text, list):
        if len(given.text) != 1:
            raise ConfigError(f"{given.where} takes one value and not a list")
        text = given.text[0].strip()
    else:
        text = given.text.strip()
    if flag.kind is Kind.SWITCH:
        if text.lower() in TRUE | FALSE:
            return text.lower() in TRUE
        raise ConfigError(f"{given.where}: {text!r} is neither true nor false")
    if flag.kind is Kind.NUMBER:
        return _number(flag, given, text)
    if flag.choices and text.lower() not in flag.choices:
        raise ConfigError(f"{given.where}: {text!r} is not one of {', '.join(flag.choices)}")
    if not text:
        raise ConfigError(f"{given.where} is empty")
    return text.lower() if flag.choices else text


def _number(flag: Flag, given: Given, text: str) -> int:
    if not (text.isascii() and text.lstrip("-").isdigit()) or len(text) > 12:
        raise ConfigError(f"{given.where}: {text!r} is not a whole number")
    number = int(text)
    if flag.minimum is not None and number < flag.minimum:
        raise ConfigError(f"{given.where}: {number} is less than {flag.minimum}")
    if flag.maximum is not None and number > flag.maximum:
        raise ConfigError(f"{given.where}: {number} is more than {flag.maximum}")
    return number
