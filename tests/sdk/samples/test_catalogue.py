"""The catalogue says of each Python sample of the documentation what becomes of it."""

import re
from pathlib import Path

import pytest

from tests.sdk.samples.pages import Sample, catalogue, page

HERE = Path(__file__).parent
PAGE = "inngest-docs-full.md"
# Of all samples at most those that do not compile, or mean nothing as they stand.
MOST_NOT_RUNNABLE = 40


@pytest.mark.parametrize("sample", catalogue().values(), ids=lambda sample: sample.id)
def test_the_page_still_says_what_it_said(sample: Sample) -> None:
    assert sample.digest_now == sample.digest, (
        f"look at lines {sample.first} to {sample.last} of {sample.page}"
    )


def test_a_sample_is_run_by_a_test_or_has_a_reason() -> None:
    tests = "".join(path.read_text() for path in HERE.glob("test_*.py") if path.name != Path(__file__).name)
    run = set(re.findall(r'"((?:PY|P|S)-[\w-]+)"', tests))
    reasons = {sample.id for sample in catalogue().values() if sample.not_runnable}

    assert run - set(catalogue()) == set()
    assert run & reasons == set()
    assert set(catalogue()) - run - reasons == set()
    assert len(reasons) <= MOST_NOT_RUNNABLE


def test_no_python_block_of_the_pages_is_forgotten() -> None:
    """Blocks that are marked as Python, in text or in a comment; some more are marked as another language."""
    known = {sample.first for sample in catalogue().values() if sample.page == PAGE}
    marked = re.compile(r"^\s*(\{/\*\s*)?`{3,}\s*(py|python)\b")

    assert [
        number for number, line in enumerate(page(PAGE), 1) if marked.match(line) and number not in known
    ] == []
