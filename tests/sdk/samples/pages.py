"""The samples of the documentation: where each begins and ends, and whether it is still the same text.

The text itself is not in this repository. `catalogue.csv` has one row for each sample: id, page, first and
last line (fence to fence, or plain lines on a page without fences), a hash of the text, and the reason if
nothing of it can run. The ids are those of the inventories of features.
"""

import csv
import hashlib
import os
import re
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = ROOT.parent / "shared" / "spec" / "docs"
CATALOGUE = Path(__file__).with_name("catalogue.csv")
FENCE = re.compile(r"^\s*(\{/\*\s*)?`{3,}")


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of the documentation."""

    id: str
    page: str
    first: int
    last: int
    digest: str
    not_runnable: str
    """Why nothing of it can run; empty for one that a test runs."""

    @property
    def text(self) -> str:
        """The sample as printed, moved to the left margin."""
        lines = page(self.page)[self.first - 1 : self.last]
        if FENCE.match(lines[0]):
            lines = lines[1:-1]
        return textwrap.dedent("\n".join(lines)) + "\n"

    @property
    def digest_now(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]


@cache
def page(name: str) -> list[str]:
    """The lines of a page; without the pages the test is skipped, in continuous integration it fails."""
    path = PAGES / name
    if path.exists():
        return path.read_text(encoding="utf-8").split("\n")
    reason = f"the documentation is not beside the repository: {name} is not in ../shared/spec/docs"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@cache
def catalogue() -> dict[str, Sample]:
    """All samples by id."""
    with CATALOGUE.open(encoding="utf-8", newline="") as file:
        rows = [
            Sample(**{**row, "first": int(row["first"]), "last": int(row["last"])})
            for row in csv.DictReader(file)
        ]
    return {row.id: row for row in rows}
