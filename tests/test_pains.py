"""The tests that `docs/explanation/pains.md` names are there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_pain_names_a_test_that_exists() -> None:
    named = NAMED.findall((ROOT / "docs/explanation/pains.md").read_text())
    assert len(named) > 20
    for file, test in named:
        found = ast.walk(ast.parse((ROOT / file).read_text()))
        assert any(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == test for node in found
        ), f"{file} has no {test}"
