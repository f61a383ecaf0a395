"""What is printed of findings."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from inngest_server.lint.lint import lint
from inngest_server.lint.report import as_github, as_json, as_text, explanation
from inngest_server.lint.rules import BY_CODE, BY_NAME, RULES, Rule, RuleError, codes_of, enabled

SOURCE = """\
import time, inngest
client = inngest.Inngest(app_id="shop")

@client.create_function(fn_id="fulfil", trigger=inngest.TriggerEvent(event="a"))
async def fulfil(ctx):
    await ctx.step.run("a", print)
    ctx.event.data["überfällig"], now = 1, time.time()
    return now
"""
SOURCES = {"shop/a,b.py": SOURCE}


def test_a_person_reads_place_reason_source_and_fix() -> None:
    assert "\n".join(as_text(lint(SOURCES, enabled()), SOURCES)) == (
        "shop/a,b.py:7:44: ING001 `time.time` reads the clock outside a step (function fulfil)\n"
        "   |\n"
        ' 7 |     ctx.event.data["überfällig"], now = 1, time.time()\n'
        "   |                                            ^^^^^^^^^^^\n"
        '   = fix: await ctx.step.run("time", lambda: time.time())\n'
        "\n"
        "Found 1 problem; looked at 1 Inngest function in 1 file."
    )


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ({}, "Found no Inngest function in 0 files: nothing to look at."),
        ({"a.py": "x = 1"}, "Found no Inngest function in 1 file: nothing to look at."),
        (
            {"a.py": SOURCE.replace("time.time()", "2")},
            "No problems; looked at 1 Inngest function in 1 file.",
        ),
        (
            {"a.py": SOURCE.replace("time.time()", "time.time()  # inngest: ignore")},
            "No problems (1 suppressed); looked at 1 Inngest function in 1 file.",
        ),
        (
            {"a.py": SOURCE, "b.py": SOURCE},
            "Found 2 problems in 2 files; looked at 2 Inngest functions in 2 files.",
        ),
    ],
)
def test_the_summary_says_how_much_was_looked_at(sources: dict[str, str], said: str) -> None:
    assert list(as_text(lint(sources, enabled()), sources))[-1] == said


def test_a_machine_reads_one_object() -> None:
    found = json.loads("".join(as_json(lint(SOURCES, enabled()), SOURCES)))
    assert (found["files"], found["functions"], found["suppressed"]) == (1, 1, 0)
    assert found["findings"] == [
        {
            "path": "shop/a,b.py",
            "line": 7,
            "column": 44,
            "end_line": 7,
            "end_column": 55,
            "code": "ING001",
            "rule": "clock-outside-step",
            "message": "`time.time` reads the clock outside a step",
            "why": BY_CODE["ING001"].why,
            "fix": 'await ctx.step.run("time", lambda: time.time())',
            "function": "fulfil",
        }
    ]


def test_github_reads_one_line_for_each() -> None:
    assert next(as_github(lint(SOURCES, enabled()), SOURCES)) == (
        "::error file=shop/a%2Cb.py,line=7,col=44,endLine=7,endColumn=55,"
        "title=ING001 clock-outside-step::shop/a,b.py:7:44: `time.time` reads the clock outside a step. "
        'Fix: await ctx.step.run("time", lambda: time.time())'
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("def a(:\n", 1),
        ("x = 1\n  y = 2\n", 2),
        ("a\0b", 1),
        ("(" * 5000, 1),
        ("x = '\n", 1),
        ("-" * 99999, 1),
    ],
)
def test_a_file_that_is_no_python_is_a_finding_and_the_others_are_looked_at(text: str, line: int) -> None:
    result = lint({"bad.py": text, "good.py": SOURCE}, enabled())
    assert [(one.path, one.code) for one in result.findings] == [("bad.py", "ING000"), ("good.py", "ING001")]
    assert result.findings[0].line == line
    assert "\n".join(as_text(result, {"bad.py": text, "good.py": SOURCE}))


def test_a_function_that_is_nested_too_deeply_is_a_finding() -> None:
    deep = SOURCE.replace("time.time()", "+".join("1" * 1500))
    findings = lint({"deep.py": deep, "good.py": SOURCE}, enabled()).findings
    assert [(one.path, one.line, one.code) for one in findings] == [
        ("deep.py", 5, "ING000"),
        ("good.py", 7, "ING001"),
    ]


def test_codes_and_names_of_rules_are_used_once() -> None:
    assert len(BY_CODE) == len(BY_NAME) == len(RULES)
    assert [rule.code for rule in RULES] == [f"ING{number:03}" for number in range(len(RULES))]


@pytest.mark.parametrize("rule", RULES, ids=BY_CODE)
def test_every_rule_explains_itself(rule: Rule) -> None:
    text = explanation(rule)
    assert text.startswith(f"{rule.code} {rule.name}\n\nFinds ")
    assert "Fix: " in text
    assert ".." not in text.replace("...", "")


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("ING003", ["ING003"]),
        ("ing003", ["ING003"]),
        ("io-outside-step", ["ING003"]),
        ("ING02", ["ING020"]),
        ("ING", list(BY_CODE)),
    ],
)
def test_rules_are_named_by_code_name_or_beginning(text: str, codes: list[str]) -> None:
    assert codes_of(text) == codes


def test_an_unknown_rule_is_answered_with_the_nearest() -> None:
    with pytest.raises(RuleError, match="there is no rule 'clock-outside'; did you mean clock-outside-step"):
        codes_of("clock-outside")
    with pytest.raises(RuleError, match="there is no rule 'E501'; there are ING000 to ING020"):
        codes_of("E501")


def test_opt_in_rules_are_looked_for_when_they_are_named() -> None:
    assert "ING005" not in enabled()
    assert enabled(["ING005"]) == {"ING000", "ING005"}
    assert enabled(["ING"], ["ING01", "ING000"]) == {code for code in BY_CODE if code[:5] != "ING01"} - {
        "ING000"
    }


def test_whatever_people_write_is_looked_at() -> None:
    """Every function of some of Python's own modules, as if it were an Inngest function."""
    folder = Path(asyncio.__file__).parent
    files = [*folder.glob("*.py"), *folder.parent.glob("[c-i]*.py")]
    assert len(files) > 60
    for file in files:
        text = file.read_text(encoding="utf-8")
        made = re.sub(
            r"^(\s*)((?:async )?def )", r'\1@client.create_function(fn_id="x")\n\1\2', text, flags=re.M
        )
        assert lint({file.name: made}, enabled(["ING"])).functions > 0 or "def " not in text
