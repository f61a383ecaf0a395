"""The repository works anywhere: it names no machine's folders and no registry's host."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Written so that they do not find themselves.
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:work|root|home)/")
REGISTRY_HOST = re.compile(r"(?:pypi|pythonhosted|registry\.npmjs|registry\.yarnpkg)\.(?:org|com)\b")
A_PLACE_TO_DOWNLOAD_FROM = re.compile(r"://|\s@\s|^\s*(?:-i|-f|--\S*index-url|--find-links)\b", re.MULTILINE)
PINNED_AND_HASHED = re.compile(r"==.*--hash=sha256:")

# Where no git is: what `.gitignore` keeps out.
NOT_OURS = {".git", ".venv", "node_modules", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis"}


@cache
def our_files() -> tuple[Path, ...]:
    """Files that git tracks or would track; in a copy without git, all but environments and caches."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    except (FileNotFoundError, subprocess.CalledProcessError):
        candidates = (path for path in ROOT.rglob("*") if not NOT_OURS & set(path.relative_to(ROOT).parts))
    else:
        candidates = (ROOT / name for name in listed.split("\0") if name)
    return tuple(sorted(path for path in candidates if path.is_file()))


def text_of(path: Path) -> str:
    """The file's text, or nothing when it is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in our_files()
        for number, line in enumerate(text_of(path).splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_file_names_a_folder_of_one_machine() -> None:
    assert lines_with(MACHINE_PATH) == []


def test_no_file_names_a_package_registry() -> None:
    assert lines_with(REGISTRY_HOST) == []


def test_requirements_are_pinned_hashed_and_name_no_place_to_download_from() -> None:
    locks = [ROOT / "requirements" / name for name in ("runtime.txt", "dev.txt")]
    locks += [path for path in our_files() if path.match("tests/interop/**/requirements*.txt")]
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert A_PLACE_TO_DOWNLOAD_FROM.search(text) is None, lock
        requirements = re.sub(r"#.*|\\\n", "", text).split("\n")
        loose = [line for line in requirements if line.strip() and not PINNED_AND_HASHED.search(line)]
        assert loose == [], lock


def test_npm_locks_name_no_place_to_download_from() -> None:
    for lock in our_files():
        if lock.name == "package-lock.json":
            packages = json.loads(lock.read_text(encoding="utf-8")).get("packages", {})
            named = [name for name, package in packages.items() if "://" in package.get("resolved", "")]
            assert named == [], lock


@pytest.mark.parametrize("folder", ["", "server", "sdk"])
def test_the_licence_is_there_and_the_same_in_both_distributions(folder: str) -> None:
    licence = (ROOT / folder / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "Version 2.0, January 2004" in licence
    assert licence == (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "is_found"),
    [
        ("cd {}/main", True),
        ('path = "{}/app"', True),
        ("see docs{}/notes.md", False),
        ("https://example.com{}/", False),
        ("~{}/app", False),
    ],
)
@pytest.mark.parametrize("folder", ["work", "root", "home"])
def test_a_machine_path_is_told_from_another_path(line: str, folder: str, is_found: bool) -> None:
    assert bool(MACHINE_PATH.search(line.format(f"/{folder}"))) is is_found
