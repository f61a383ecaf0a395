"""The command `lint`: reads Python files and says what in their Inngest functions is not repeatable."""

import os
import sys
import tokenize
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, cast

from inngest_server.cli.config import Config
from inngest_server.cli.config_file import ConfigError
from inngest_server.lint.lint import lint as lint_sources
from inngest_server.lint.report import FORMATS, explanation
from inngest_server.lint.rules import RuleError, enabled, find_rule

NOTHING_FOUND, FOUND = 0, 1
SETTINGS = ("select", "ignore", "exclude")
NEVER_READ = frozenset(
    {"__pycache__", "node_modules", "site-packages", "venv", "env", "build", "dist", "__pypackages__"}
)
"""Folders of other people's code, or copies; those whose name begins with a dot are not read either."""
FILE_BYTES_MAX = 4 * 1024 * 1024
"""A larger file is data, and its tree would take gigabytes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `[tool.inngest.lint]` of a `pyproject.toml` says."""

    path: Path | None = None
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    """Patterns of paths below the folder of the file."""


def lint(config: Config, words: Sequence[str]) -> int:
    """Look at files and folders, or at the working directory. The exit status is 1 when something was found.

    Raises:
        ConfigError: a path, a rule or a setting is wrong.
    """
    if "explain" in config.given:
        return _explain(config.text("explain"))
    settings = read_settings(Path.cwd())
    select = config.texts("select") if "select" in config.given else settings.select
    ignore = config.texts("ignore") if "ignore" in config.given else settings.ignore
    try:
        codes = enabled(select, ignore)
    except RuleError as error:
        raise ConfigError(f"{_where(config, settings)}{error}; see `inngest lint --help`") from error
    exclude = (*settings.exclude, *config.texts("exclude"))
    sources = dict(_read(words or ["."], settings, exclude))
    result = lint_sources(sources, codes)
    _print(FORMATS[config.text("format")](result, sources))
    return FOUND if result.findings else NOTHING_FOUND


def _where(config: Config, settings: Settings) -> str:
    given = [config.where(name) for name in ("select", "ignore") if name in config.given]
    if not given and settings.path is not None:
        given = [f"{settings.path}, tool.inngest.lint"]
    return f"{' or '.join(given)}: " if given else ""


def _explain(text: str) -> int:
    rule = find_rule(text)
    if rule is None:
        raise ConfigError(f"--explain: there is no rule {text!r}; the page reference/lint.md lists all")
    _print(iter([explanation(rule)]))
    return NOTHING_FOUND


def _print(lines: Iterator[str]) -> None:
    encoding = sys.stdout.encoding or "ascii"
    for line in lines:
        print(line.encode(encoding, "replace").decode(encoding))


# ---- settings -------------------------------------------------------------------------------------


def read_settings(directory: Path) -> Settings:
    """Those of the nearest `pyproject.toml`, in a directory or above it, that has a `[tool.inngest.lint]`.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown or of another type.
    """
    for folder in (directory, *directory.parents):
        path = folder / "pyproject.toml"
        if path.is_file():
            table = _table(path)
            if table is not None:
                return _settings(path, table)
    return Settings()


def _table(path: Path) -> dict[str, Any] | None:
    try:
        found: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    for name in ("tool", "inngest", "lint"):
        found = cast("dict[str, Any]", found).get(name) if isinstance(found, dict) else None
        if found is None:
            return None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: tool.inngest.lint is no table; write [tool.inngest.lint]")
    return cast("dict[str, Any]", found)


def _settings(path: Path, table: Mapping[str, Any]) -> Settings:
    for name, value in table.items():
        if name not in SETTINGS:
            known = ", ".join(SETTINGS)
            raise ConfigError(f"{path}: tool.inngest.lint has no setting {name!r}; there are {known}")
        if not isinstance(value, list) or not all(
            isinstance(one, str) for one in cast("list[object]", value)
        ):
            raise ConfigError(f'{path}: tool.inngest.lint.{name} takes a list of texts, as ["ING001"]')
    return Settings(path, **{name: tuple(value) for name, value in table.items()})


# ---- files ----------------------------------------------------------------------------------------


def _read(words: Sequence[str], settings: Settings, exclude: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Path, as it is shown, and text of every file to look at, each file once."""
    base = settings.path.parent if settings.path is not None else Path.cwd()
    seen: set[Path] = set()
    for word in words:
        given = Path(word)
        if not given.exists():
            raise ConfigError(f"there is no file or folder {word}")
        for path in [given] if given.is_file() else _python_files(given):
            actual = path.resolve()
            # A file that is named is looked at, whatever the patterns say.
            if actual in seen or (not given.is_file() and _is_excluded(actual, base, exclude)):
                continue
            seen.add(actual)
            text = _text(path, is_named=given.is_file())
            if text is not None:
                yield path.as_posix(), text


def _python_files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_never_read(Path(root) / name))
        for name in sorted(files):
            if name.endswith(".py"):
                yield Path(root) / name


def _is_never_read(folder: Path) -> bool:
    # An environment may have any name; this file says what it is.
    return folder.name in NEVER_READ or folder.name.startswith(".") or (folder / "pyvenv.cfg").exists()


def _is_excluded(path: Path, base: Path, patterns: Sequence[str]) -> bool:
    """Whether a pattern means a file or a folder that it is in: `tests`, `app/old/*`, `*_pb2.py`."""
    inside = path.relative_to(base) if path.is_relative_to(base) else path
    candidates = [inside, *inside.parents]
    return any(
        fnmatch(one.as_posix(), pattern.strip("/")) or fnmatch(one.name, pattern.strip("/"))
        for one in candidates
        for pattern in patterns
        if one.name
    )


def _text(path: Path, *, is_named: bool) -> str | None:
    """The text of a file in the encoding that it declares.

    Raises:
        ConfigError: a file that was named cannot be read.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise OSError(f"it is larger than {FILE_BYTES_MAX // 1024 // 1024} MiB")
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError, LookupError):
        # Of no known encoding: the replaced characters make a finding, or stand in comments.
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        if is_named:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        print(f"inngest: {path} is left out: {error}", file=sys.stderr)
        return None
