"""Sessions of pytest in processes of their own, as users start them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGIN = "inngest_server.testing.plugin"
TIMEOUT_S = 120.0


def run_pytest(
    directory: Path, *words: str, command: Sequence[str] = (), env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the tests of a directory; `command` is the interpreter, with whatever makes pytest of it.

    No plugin is loaded but ours and those that `words` name: others cost seconds.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("INNGEST_", "PYTEST_"))
    }
    start = list(command) or [sys.executable, "-m", "pytest"]
    return subprocess.run(
        [*start, "-p", "no:cacheprovider", "-p", PLUGIN, *words, str(directory)],
        cwd=directory,
        env={**inherited, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
