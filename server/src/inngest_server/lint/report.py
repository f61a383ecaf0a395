"""Findings as text: for people, for machines, and for the annotations of GitHub."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from inngest_server.lint.finding import Finding
from inngest_server.lint.lint import Result
from inngest_server.lint.rules import BY_CODE, Rule

LINE_CHARS_MAX = 160
"""Of a source line that is shown; generated files have very long ones."""


def as_text(result: Result, sources: Mapping[str, str]) -> Iterator[str]:
    """Each finding with its line of source and what to do, and a sentence about all of them at the end."""
    for finding in result.findings:
        yield from _for_people(finding, sources)
        yield ""
    yield summary(result)


def as_json(result: Result, sources: Mapping[str, str]) -> Iterator[str]:
    """One object with all findings and counts."""
    findings = [
        {**finding._asdict(), "rule": BY_CODE[finding.code].name, "why": BY_CODE[finding.code].why}
        for finding in result.findings
    ]
    counts = {"files": result.files, "functions": result.functions, "suppressed": result.suppressed}
    yield json.dumps({"findings": findings, **counts}, ensure_ascii=False)


def as_github(result: Result, sources: Mapping[str, str]) -> Iterator[str]:
    """Commands of a workflow's log, which GitHub shows beside the changed lines."""
    for finding in result.findings:
        title = f"{finding.code} {BY_CODE[finding.code].name}"
        fields = {
            "file": finding.path,
            "line": finding.line,
            "col": finding.column,
            "endLine": finding.end_line,
            "endColumn": finding.end_column,
            "title": title,
        }
        head = ",".join(f"{name}={_escaped(str(value), inside=True)}" for name, value in fields.items())
        place = f"{finding.path}:{finding.line}:{finding.column}"
        yield f"::error {head}::{_escaped(f'{place}: {finding.message}. Fix: {finding.fix}')}"
    yield summary(result)


Format = Callable[[Result, Mapping[str, str]], Iterator[str]]
FORMATS: Final[dict[str, Format]] = {"text": as_text, "json": as_json, "github": as_github}


def summary(result: Result) -> str:
    """How much was looked at and found: nothing found in nothing would be no good news."""
    looked = f"{_count(result.functions, 'Inngest function')} in {_count(result.files, 'file')}"
    hidden = f" ({result.suppressed} suppressed)" if result.suppressed else ""
    if result.findings:
        files = len({finding.path for finding in result.findings})
        found = _count(len(result.findings), "problem")
        where = f" in {_count(files, 'file')}" if files > 1 else ""
        return f"Found {found}{where}{hidden}; looked at {looked}."
    if not result.functions:
        return f"Found no Inngest function in {_count(result.files, 'file')}: nothing to look at."
    return f"No problems{hidden}; looked at {looked}."


def explanation(rule: Rule) -> str:
    """What `--explain` prints."""
    optional = "\nOnly looked for when it is selected." if rule.opt_in else ""
    return f"{rule.code} {rule.name}\n\nFinds {rule.finds}.\n\n{rule.why}\n\nFix: {rule.fix}.{optional}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _for_people(finding: Finding, sources: Mapping[str, str]) -> Iterator[str]:
    where = f"{finding.path}:{finding.line}:{finding.column}"
    function = f" (function {finding.function})" if finding.function else ""
    yield f"{where}: {finding.code} {finding.message}{function}"
    lines = sources[finding.path].splitlines()
    if 0 < finding.line <= len(lines):
        source = lines[finding.line - 1].expandtabs(1)[:LINE_CHARS_MAX].rstrip()
        margin = len(str(finding.line))
        end = finding.end_column if finding.end_line == finding.line else len(source) + 1
        carets = "^" * max(1, min(end, len(source) + 1) - finding.column)
        yield f" {' ' * margin} |"
        yield f" {finding.line} | {source}"
        yield f" {' ' * margin} | {' ' * (finding.column - 1)}{carets}"
        yield f" {' ' * margin} = fix: {finding.fix}"


def _escaped(text: str, *, inside: bool = False) -> str:
    """Workflow commands end at a line's end, and their fields at commas and colons."""
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if inside else text
