"""The reference page of the rules says what the rules say, and its examples are right."""

import re
from pathlib import Path

import pytest

from inngest_server.lint.rules import RULES, Rule
from tests.unit.lint.cases import found, in_function

PAGE = (Path(__file__).parents[3] / "docs/reference/lint.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WITH_EXAMPLES = [rule for rule in RULES if rule.code != "ING000"]


def section(rule: Rule) -> str:
    return PAGE.partition(f"\n## {rule.code}: {rule.name}\n")[2].partition("\n## ")[0]


def test_the_table_has_every_rule() -> None:
    rows = [line.strip("|").split(" | ") for line in PAGE.splitlines() if line.startswith("| `ING")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        [f"`{rule.code}`", f"`{rule.name}`", rule.finds, "no" if rule.opt_in else "yes"] for rule in RULES
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_every_rule_has_a_section_with_its_reason_and_fix(rule: Rule) -> None:
    words = " ".join(section(rule).split())
    assert words.startswith(f"Finds {rule.finds}. {rule.why} Fix: {rule.fix}.")


@pytest.mark.parametrize("rule", WITH_EXAMPLES, ids=lambda rule: rule.code)
def test_the_first_example_is_found_and_the_second_is_not(rule: Rule) -> None:
    bad, good = BLOCK.findall(section(rule))
    codes = {
        code for _, _, code in found({"app.py": in_function(bad)}, *([rule.code] if rule.opt_in else []))
    }
    assert codes == {rule.code}
    assert found({"app.py": in_function(good)}, "ING") == []
