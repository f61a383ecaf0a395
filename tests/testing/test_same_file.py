"""One test file of a user passes with our SDK and with the official one, in process and over HTTP.

The official SDK has an environment of its own, without this server. For apps in the test's process that
environment gets this server beside it, behind everything of its own.
"""

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.testing.sessions import ROOT, run_pytest

HERE = Path(__file__).parent / "portable"
OFFICIAL = ROOT / "tests" / "interop" / "python" / ".venv" / "bin" / "python"
BESIDE = """
import sys
sys.path += {paths!r}
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""

pytestmark = pytest.mark.interop


def official() -> str:
    if not OFFICIAL.exists():
        reason = "the environment of the official Python SDK is missing: `make interop-python` makes it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return str(OFFICIAL)


def run(sdk: str, command: list[str] | None = None, **env: str) -> None:
    words = ["-c", str(HERE / "pytest.ini"), "--rootdir", str(HERE), "--import-mode=prepend", "-q"]
    shown = run_pytest(HERE, *words, command=command or (), env={"ORDERS_SDK": sdk, **env})
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "12 passed" in shown.stdout


def test_our_sdk_in_process() -> None:
    run(str(ROOT / "sdk"))


def test_our_sdk_over_http() -> None:
    run(str(ROOT / "sdk"), ORDERS_PYTHON=sys.executable)


def test_the_official_sdk_in_process() -> None:
    paths = [str(ROOT / "server" / "src"), sysconfig.get_paths()["purelib"]]
    run(str(OFFICIAL.parents[1]), [official(), "-c", BESIDE.format(paths=paths)])


def test_the_official_sdk_over_http() -> None:
    run(str(OFFICIAL.parents[1]), ORDERS_PYTHON=official())
