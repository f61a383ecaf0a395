"""Type checkers in their strictest mode: code of users that is right passes, and each mistake is found."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.harness import PYTHON, require

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
BIN = Path(sys.executable).parent
OURS = BIN / "python"
TIMEOUT_S = 120
Errors = list[tuple[int, str]]
"""Line and message."""


def pyright(file: Path, directory: Path, python: Path = OURS) -> Errors:
    """Errors that Pyright finds in strict mode, with the SDK of that environment."""
    shutil.copy(file, directory / file.name)
    settings = {
        "include": [file.name],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "venvPath": str(python.parents[2]),
        "venv": python.parents[1].name,
        "extraPaths": [str(ROOT / "sdk" / "src")] if python == OURS else [],
        "reportUnusedVariable": False,
        "reportUnusedExpression": False,
        "reportUnusedFunction": False,
    }
    config = directory / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    done = run([BIN / "pyright", "--project", config, "--outputjson"])
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1, done.stderr
    return [
        (one["range"]["start"]["line"] + 1, one["message"])
        for one in report["generalDiagnostics"]
        if one["severity"] == "error"
    ]


def mypy(file: Path, directory: Path, python: Path = OURS) -> Errors:
    """Errors that mypy finds in strict mode, with the SDK of that environment."""
    config = directory / "mypy.ini"
    cache = directory / f"mypy-{python.parents[1].name}-{python.parents[2].name}"
    config.write_text(f"[mypy]\nstrict = True\npython_version = 3.11\ncache_dir = {cache}\n")
    options = ["--config-file", config, "--python-executable", python, "--no-error-summary", "--no-pretty"]
    done = run([BIN / "mypy", *options, file])
    lines = re.findall(r"^[^:]+:(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert lines or done.returncode == 0, done.stdout + done.stderr
    return [(int(number), message) for number, message in lines]


def run(command: list[Path | str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=ROOT)


CHECKERS = [pytest.param(pyright, id="pyright"), pytest.param(mypy, id="mypy")]
Checker = Callable[..., Errors]


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_what_is_right_passes(checker: Checker, tmp_path: Path) -> None:
    assert checker(HERE / "user_code.py", tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("checker", "name"),
    [
        (pyright, "app.py"),
        (pyright, "onboarding.py"),
        # In flow.py Pyright complains with both of a partial of an overloaded method, at different lines.
        (mypy, "app.py"),
        (mypy, "flow.py"),
        (mypy, "onboarding.py"),
    ],
)
def test_code_for_the_official_sdk_has_no_new_errors(checker: Checker, name: str, tmp_path: Path) -> None:
    require(PYTHON)
    file = PYTHON.folder / name
    known = {line for line, _ in checker(file, tmp_path, PYTHON.folder / PYTHON.argv[0])}

    assert [(line, message) for line, message in checker(file, tmp_path) if line not in known] == []


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_each_mistake_is_found_and_nothing_else(checker: Checker, tmp_path: Path) -> None:
    file = HERE / "must_fail.py"
    marked = {
        number for number, line in enumerate(file.read_text().splitlines(), 1) if line.endswith("# wrong")
    }
    found = {line for line, _ in checker(file, tmp_path)}

    assert sorted(marked - found) == [], "mistakes that were not found"
    assert sorted(found - marked) == [], "errors where there is no mistake"
