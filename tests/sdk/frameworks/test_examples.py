"""Each framework's example is complete: it starts, and its run goes from the event to the end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sdk.frameworks.calls import step_hash

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
# `hello` is no framework's.
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/app.py") if path.parent.name != "hello")
MODULES = ROOT / "sdk" / "src" / "inngest"
ADAPTERS = [path.stem for path in MODULES.glob("*.py") if "\ndef serve(" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", NAMES)
def test_the_run_of_an_example_goes_from_the_event_to_the_end(name: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("INNGEST_")}
    # Lambda and its like run in production mode elsewhere; here nobody signs.
    environment |= {"INNGEST_DEV": "1"}

    command = [
        sys.executable,
        "-W",
        "error::DeprecationWarning:inngest",
        "-m",
        "tests.sdk.frameworks.example",
        name,
    ]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout.splitlines()[-1])
    assert Path(result["inngest"]).parent == MODULES  # Ours, not the official SDK of the same name.
    assert result["about"]["function_count"] == 1
    welcome, sleep, tips, end = result["answers"]
    assert [status for status, _ in (welcome, sleep, tips, end)] == [206, 206, 206, 200]
    assert [body[0]["op"] for _, body in (welcome, sleep, tips)] == ["StepRun", "Sleep", "StepRun"]
    assert welcome[1][0]["id"] == step_hash("send welcome")
    assert welcome[1][0]["data"] == "sent 'Welcome!' to a@example.com"
    assert end[1] == "sent"


def test_every_adapter_has_an_example_that_the_readme_lists() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")

    assert sorted(ADAPTERS) == NAMES
    assert [name for name in NAMES if f"({name}/app.py)" not in readme] == []
