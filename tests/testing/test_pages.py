"""The Python of the how-to pages is executed, with the shop that they are about."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from inngest_server.testing import World
from tests.testing.sessions import ROOT, run_pytest

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "docs" / "howto" / name for name in ("test-your-functions.md", "replay-in-ci.md")]
SHOP = Path(__file__).parent / "shop.py"
NOBODY = '    inngest_world.serve("http://localhost:3000/api/inngest")\n'
"""A line that needs an app which nobody has started here."""


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_pass_as_they_are_written(page: Path, tmp_path: Path) -> None:
    found = blocks(page)
    (tmp_path / "shop.py").write_text(SHOP.read_text(encoding="utf-8"))
    (tmp_path / "conftest.py").write_text(
        "import pytest\n\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\ninngest = true\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "histories.jsonl").write_text(history(tmp_path))
    tests = [block for block in found if "def test_" in block]
    for number, block in enumerate(tests):
        (tmp_path / f"test_{number}.py").write_text(block.replace(NOBODY, ""))
    shown = run_pytest(tmp_path, "-p", "anyio")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert f"{len(tests)} passed" in shown.stdout
    for script in found:
        if script not in tests:
            ran = subprocess.run(
                [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert ran.returncode == 0, ran.stderr


def history(directory: Path) -> str:
    """A line of the file that the page about replays reads."""
    made = directory / "made"
    made.mkdir()
    (made / "shop.py").write_text(SHOP.read_text(encoding="utf-8"))
    (made / "pytest.ini").write_text("[pytest]\ninngest = true\n")
    (made / "test_made.py").write_text(
        """
import json
import pathlib
from shop import app

def test_made(inngest_world):
    inngest_world.serve(app)
    run = inngest_world.send("shop/order.placed", {"id": 1, "amount": 5}).run
    inngest_world.advance(days=1)
    pathlib.Path(__file__).with_name("history.json").write_text(json.dumps(run.history))
"""
    )
    shown = run_pytest(made)
    assert shown.returncode == 0, shown.stdout
    text = (made / "history.json").read_text()
    assert [step["name"] for step in json.loads(text)["steps"]] == ["reserve"]
    for file in (made / "test_made.py", made / "pytest.ini"):
        file.unlink()
    return text


def test_a_world_has_what_the_page_says(world: World) -> None:
    page = PAGES[0].read_text(encoding="utf-8")
    table = page.partition("| Of a run | Is |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)", "".join(line.split("|")[1] for line in table.splitlines()[2:])))
    from inngest_server.testing import Run

    assert {name for name in named if not hasattr(Run, name)} == set()
    assert len(named) >= 13
