"""Splits the words of a command line into a command and the texts of its flags."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from inngest_server.cli.config_file import ConfigError
from inngest_server.cli.flags import BY_NAME, COMMANDS, GLOBAL, OPERANDS, Flag, Kind, flags_of


@dataclass(slots=True)
class Arguments:
    """A command line as it was written."""

    command: str = ""
    """Empty when none was named."""
    flags: dict[str, str | list[str]] = field(default_factory=dict[str, str | list[str]])
    """By name; of a flag that takes one value the last counts."""
    wants_help: bool = False
    operands: list[str] = field(default_factory=list[str])
    """Further words, of a command that takes some."""


def parse(words: Sequence[str]) -> Arguments:
    """Read the words after the name of the program.

    Raises:
        ConfigError: there is no such command or flag, or a flag lacks its value.
    """
    found = Arguments()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            found.wants_help = True
        elif word == "--version" and not found.command:
            found.command = "version"
        elif word.startswith("-") and len(word) > 1 and not (word[1].isdigit() and found.command in OPERANDS):
            _take_flag(found, word, rest)
        elif not found.command:
            found.command = _command(word)
        elif found.command == "help":
            found.command, found.wants_help = _command(word), True
        elif found.command in OPERANDS:
            found.operands.append(word)
        else:
            raise ConfigError(f"{word!r} is too much: `inngest {found.command}` takes only flags")
    if found.command == "help":
        found.command, found.wants_help = "", True
    return found


def _command(word: str) -> str:
    if word == "help" or word in COMMANDS:
        return word
    nearest = get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(COMMANDS)}"
    raise ConfigError(f"there is no command {word!r}; {hint}")


def _take_flag(found: Arguments, word: str, rest: list[str]) -> None:
    known = [BY_NAME[name] for name in GLOBAL] if not found.command else flags_of(found.command)
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        flag = next((flag for flag in known if flag.name == name), None)
        shown = f"--{name}"
    else:
        flag = next((flag for flag in known if flag.short == word[1]), None)
        shown, value = word[:2], word[2:].removeprefix("=")
        equals = "=" if len(word) > 2 else ""
    if flag is None:
        raise ConfigError(_unknown(shown, found.command, known))
    if not equals and flag.kind is Kind.SWITCH:
        value = "true"
    elif not equals:
        if not rest or rest[0].startswith("--"):
            raise ConfigError(f"{shown} needs a value: {shown} {flag.takes or flag.kind.value or 'TEXT'}")
        value = rest.pop(0)
    if flag.kind is Kind.LIST:
        texts = found.flags.setdefault(flag.name, [])
        assert isinstance(texts, list)
        texts.append(value)
    else:
        found.flags[flag.name] = value


_WHERE_A_SERVER_IS = frozenset({"host", "port", "url"})
"""Flags by which people name the server to a command that asks one."""


def _unknown(shown: str, command: str, known: list[Flag]) -> str:
    name = shown.lstrip("-")
    if not command:
        if name in BY_NAME:
            return f"{shown} stands behind the command: inngest dev {shown} ..."
        return f"there is no flag {shown}; see `inngest --help`"
    if name in BY_NAME:
        commands = " and ".join(f"`inngest {other}`" for other in BY_NAME[name].defaults)
        asks_a_server = any(flag.name == "server" for flag in known)
        hint = "; the server is given by --server URL" if asks_a_server and name in _WHERE_A_SERVER_IS else ""
        return f"{shown} is a flag of {commands} only{hint}"
    nearest = get_close_matches(name, [flag.name for flag in known], n=1)
    hint = f"did you mean --{nearest[0]}?" if nearest else f"see `inngest {command} --help`"
    return f"`inngest {command}` has no flag {shown}; {hint}"
